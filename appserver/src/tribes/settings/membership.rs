//! `<Membership>`: how members find each other.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::transport::ReceiverSettings;
use super::{SettingsError, class, range, wrong};

/// Where the others are heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembershipType {
    /// Heartbeats to a group: Tomcat's `McastService`.
    #[default]
    Multicast,
    /// A list of addresses.
    Static,
    /// All addresses of a name.
    Dns,
    /// Multicast, and if nobody is heard, the name, and then the list.
    Auto,
}

impl MembershipType {
    /// As in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Static => "static",
            Self::Dns => "dns",
            Self::Auto => "auto",
        }
    }
}

/// The attributes of `<Membership>`, and what the other sources need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct MembershipSettings {
    /// `McastService`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Where the others are heard of.
    #[serde(rename = "type")]
    pub kind: MembershipType,
    /// The group.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Milliseconds between heartbeats.
    pub frequency: u64,
    /// Milliseconds of silence after which a member is suspected.
    pub drop_time: u64,
    /// The address of the interface that is used; empty: the system chooses.
    pub bind: String,
    /// How many routers may pass heartbeats on; -1: the system's value, 1.
    pub ttl: i32,
    /// Tomcat: how long one read blocks; 0: as the frequency.
    pub so_timeout: u64,
    /// What heartbeats say about the part of the cluster.
    pub domain: String,
    /// Whether multicast is begun again after an error.
    pub recovery_enabled: bool,
    /// At most so many times.
    pub recovery_counter: u32,
    /// Milliseconds before it.
    pub recovery_sleep_time: u64,
    /// For `static`: `HOST:PORT` of each member; this node's own address may be among them. Without a port: the receiver's.
    pub members: Vec<String>,
    /// For `dns`: the name, with `:PORT` if that is not the receiver's.
    pub name: String,
}

impl Default for MembershipSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            kind: MembershipType::Multicast,
            address: Ipv4Addr::new(228, 0, 0, 4).into(),
            port: 45564,
            frequency: 500,
            drop_time: 3000,
            bind: String::new(),
            ttl: -1,
            so_timeout: 0,
            domain: String::new(),
            recovery_enabled: true,
            recovery_counter: 10,
            recovery_sleep_time: 5000,
            members: Vec::new(),
            name: String::new(),
        }
    }
}

/// At most so many static members.
const MEMBERS_MAX: usize = 128;

/// The longest domain, so that a heartbeat stays small.
const DOMAIN_MAX: usize = 255;

impl MembershipSettings {
    pub(super) fn check(&self, receiver: &ReceiverSettings) -> Result<(), SettingsError> {
        let service = "org.apache.catalina.tribes.membership.McastService";
        class("membership", self.class_name.as_deref(), &[service])?;
        range("membership.frequency", self.frequency, 10, 60_000)?;
        range("membership.dropTime", self.drop_time, 20, 3_600_000)?;
        if self.drop_time < 2 * self.frequency {
            return wrong(format!(
                "membership.dropTime = {} with frequency = {}: one lost heartbeat would make a member suspected; use at least {}",
                self.drop_time,
                self.frequency,
                2 * self.frequency
            ));
        }
        let multicast = matches!(self.kind, MembershipType::Multicast | MembershipType::Auto);
        if multicast && !matches!(self.address, IpAddr::V4(group) if group.is_multicast()) {
            return wrong(format!(
                "membership.address = {} is no IPv4 multicast group: use one of 224.0.0.0 to 239.255.255.255, such as 228.0.0.4",
                self.address
            ));
        }
        range("membership.port", self.port, 1, u16::MAX)?;
        range("membership.ttl", self.ttl, -1, 255)?;
        range("membership.soTimeout", self.so_timeout, 0, 60_000)?;
        range(
            "membership.recoveryCounter",
            self.recovery_counter,
            0,
            1_000_000,
        )?;
        range(
            "membership.recoverySleepTime",
            self.recovery_sleep_time,
            1,
            3_600_000,
        )?;
        self.interface()?;
        if self.domain.len() > DOMAIN_MAX {
            return wrong(format!(
                "membership.domain has {} bytes: use at most {DOMAIN_MAX}",
                self.domain.len()
            ));
        }
        if self.members.len() > MEMBERS_MAX {
            return wrong(format!(
                "membership.members has {} addresses: use at most {MEMBERS_MAX}",
                self.members.len()
            ));
        }
        for member in &self.members {
            host_port(member, receiver.port)
                .map_err(|why| SettingsError(format!("membership.members: `{member}` {why}")))?;
        }
        if self.kind == MembershipType::Static && self.members.is_empty() {
            return wrong("membership.type = static needs membership.members = [\"HOST:PORT\", …]");
        }
        if self.kind == MembershipType::Dns && self.name.is_empty() {
            return wrong(
                "membership.type = dns needs membership.name, a name that has the addresses of all members",
            );
        }
        if !self.name.is_empty() {
            let name = &self.name;
            host_port(name, receiver.port)
                .map_err(|why| SettingsError(format!("membership.name: `{name}` {why}")))?;
        }
        Ok(())
    }

    /// The address of the interface for multicast.
    pub fn interface(&self) -> Result<Option<Ipv4Addr>, SettingsError> {
        if self.bind.is_empty() {
            return Ok(None);
        }
        self.bind.parse().map(Some).map_err(|_| {
            SettingsError(format!(
                "membership.bind = `{}` is no IPv4 address: write the address of the interface that leads to the others",
                self.bind
            ))
        })
    }
}

/// `HOST:PORT` or `HOST`, or an error that goes on after the text.
pub fn host_port(text: &str, default: u16) -> Result<(&str, u16), &'static str> {
    let wrong = "is no address: write HOST:PORT, such as 192.168.23.90:4000 or [::1]:4000";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong)?)
        }
        _ => (text, default),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || port == 0 || !host.chars().all(plain) {
        return Err(wrong);
    }
    Ok((host, port))
}
