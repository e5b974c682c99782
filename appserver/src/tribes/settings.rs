//! The article's `<Cluster>` element, attribute by attribute, under Tomcat's names and with Tomcat's defaults where nothing is said.
//!
//! What Tomcat has and this node has no use for (thread numbers, pools) is accepted, checked, and named by
//! [`ClusterSettings::notes`]; what this node cannot do is refused with what to do instead.

pub mod interceptors;
pub mod membership;
pub mod replication;
pub mod transport;

use serde::{Deserialize, Serialize};

use super::options::SendOptions;
pub use interceptors::{
    Encrypt, FailureDetector, Interceptor, MessageDispatch, encryption_key_bytes,
};
pub use membership::{MembershipSettings, MembershipType};
pub use replication::{DeployerSettings, JvmRouteBinderSettings, ManagerSettings, ValveSettings};
pub use transport::{ReceiverAddress, ReceiverSettings, SenderSettings};

/// The attributes of `<Cluster>` and of what stands in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSettings {
    /// `SimpleTcpCluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// What the response waits for. Tomcat's and the article's value is 8: nothing. Here it is 6: the others have applied it.
    pub channel_send_options: SendOptions,
    /// Which services of the channel start; all: 15.
    pub channel_start_options: u32,
    /// Tomcat: which thread does the housekeeping.
    pub heartbeat_background_enabled: bool,
    /// Short for an `EncryptInterceptor` with this key: 32, 48 or 64 hexadecimal digits. Never shown.
    #[serde(skip_serializing)]
    pub encryption_key: String,
    /// `<Manager>`.
    pub manager: ManagerSettings,
    /// `<Membership>`.
    pub membership: MembershipSettings,
    /// `<Receiver>`.
    pub receiver: ReceiverSettings,
    /// `<Sender>` with its `<Transport>`.
    pub sender: SenderSettings,
    /// `<Interceptor>`, in their order.
    pub interceptors: Vec<Interceptor>,
    /// `<Valve>`: `ReplicationValve`.
    pub valve: ValveSettings,
    /// `<Valve>`: `JvmRouteBinderValve`.
    pub jvm_route_binder: JvmRouteBinderSettings,
    /// `<Deployer>`.
    pub deployer: DeployerSettings,
    /// `<ClusterListener>`: `ClusterSessionListener`.
    pub cluster_listener: String,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            channel_send_options: SendOptions::USE_ACK.with(SendOptions::SYNC_ACK),
            channel_start_options: 15,
            heartbeat_background_enabled: false,
            encryption_key: String::new(),
            manager: ManagerSettings::default(),
            membership: MembershipSettings::default(),
            receiver: ReceiverSettings::default(),
            sender: SenderSettings::default(),
            interceptors: vec![
                Interceptor::TcpFailureDetector(FailureDetector::default()),
                Interceptor::MessageDispatch(MessageDispatch::default()),
            ],
            valve: ValveSettings::default(),
            jvm_route_binder: JvmRouteBinderSettings::default(),
            deployer: DeployerSettings::default(),
            cluster_listener: "ClusterSessionListener".into(),
        }
    }
}

/// Settings that cannot be used; says which and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// Refuses.
fn wrong(message: impl Into<String>) -> Result<(), SettingsError> {
    Err(SettingsError(message.into()))
}

/// Refuses a number that is outside.
fn range<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), SettingsError> {
    if value < min || value > max {
        return wrong(format!("{name} = {value}: use {min} to {max}"));
    }
    Ok(())
}

/// Refuses another class than `known`, which is given with its package.
fn class(setting: &str, name: Option<&str>, known: &[&str]) -> Result<(), SettingsError> {
    let is = |known: &&str, name: &str| *known == name || known.rsplit('.').next() == Some(name);
    match name {
        Some(name) if !known.iter().any(|known| is(known, name)) => wrong(format!(
            "{setting}: className `{name}` is not built: use {}",
            known.join(" or ")
        )),
        _ => Ok(()),
    }
}

impl ClusterSettings {
    /// Refuses what cannot work or is not built.
    pub fn check(&self) -> Result<(), SettingsError> {
        let cluster = "org.apache.catalina.ha.tcp.SimpleTcpCluster";
        class("cluster", self.class_name.as_deref(), &[cluster])?;
        for (name, options) in [
            ("channelSendOptions", self.channel_send_options),
            ("manager.mapSendOptions", self.manager.map_send_options),
        ] {
            if options.bits() > 15 {
                return wrong(format!(
                    "{name} = {}: secure, udp and multicast (16, 32, 64) are not built: use a sum of 2, 4 and 8",
                    options.bits()
                ));
            }
            if options.is_bytes() {
                return wrong(format!(
                    "{name} = {}: session messages are Java objects and not raw bytes (1): use a sum of 2, 4 and 8",
                    options.bits()
                ));
            }
        }
        if self.channel_start_options != 15 {
            return wrong(format!(
                "channelStartOptions = {}: a part of a channel is not built: use 15",
                self.channel_start_options
            ));
        }
        self.manager.check()?;
        self.membership.check(&self.receiver)?;
        self.receiver.check()?;
        self.sender.check()?;
        interceptors::check(&self.interceptors, &self.encryption_key)?;
        self.valve.check()?;
        self.jvm_route_binder.check()?;
        self.deployer.check()?;
        let listener = "org.apache.catalina.ha.session.ClusterSessionListener";
        class("clusterListener", Some(&self.cluster_listener), &[listener])
    }

    /// What is set differently from its default and has no effect here, for the log.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |set: bool, name: &str, why: &str| {
            if set {
                notes.push(format!("cluster.{name} has no effect: {why}"));
            }
        };
        let default = Self::default();
        let (receiver, sender) = (&self.receiver, &self.sender);
        note(
            self.heartbeat_background_enabled,
            "heartbeatBackgroundEnabled",
            "the channel has tasks of its own",
        );
        note(
            self.membership.so_timeout != 0,
            "membership.soTimeout",
            "nothing blocks while it waits for heartbeats",
        );
        note(
            receiver.selector_timeout != default.receiver.selector_timeout,
            "receiver.selectorTimeout",
            "nothing blocks while it waits for connections",
        );
        note(
            receiver.max_threads != default.receiver.max_threads
                || receiver.min_threads != default.receiver.min_threads,
            "receiver.maxThreads and minThreads",
            "each connection is read by a task",
        );
        note(
            sender.pool_size != default.sender.pool_size,
            "sender.poolSize",
            "each member has one connection, which keeps the order",
        );
        note(
            self.deployer != default.deployer,
            "deployer",
            "there are no web applications to deploy",
        );
        notes
    }

    /// The failure detector's settings.
    pub fn failure_detector(&self) -> FailureDetector {
        let find = |interceptor: &Interceptor| match interceptor {
            Interceptor::TcpFailureDetector(detector) => Some(detector.clone()),
            _ => None,
        };
        self.interceptors.iter().find_map(find).unwrap_or_default()
    }

    /// The queue's settings.
    pub fn message_dispatch(&self) -> MessageDispatch {
        let find = |interceptor: &Interceptor| match interceptor {
            Interceptor::MessageDispatch(dispatch) => Some(dispatch.clone()),
            _ => None,
        };
        self.interceptors.iter().find_map(find).unwrap_or_default()
    }

    /// The shared key and how it is used; `None`: messages are in the clear.
    pub fn encryption(&self) -> Option<Encrypt> {
        let find = |interceptor: &Interceptor| match interceptor {
            Interceptor::Encrypt(encrypt) => Some(encrypt.clone()),
            _ => None,
        };
        let short = || {
            (!self.encryption_key.is_empty()).then(|| Encrypt {
                encryption_key: self.encryption_key.clone(),
                ..Encrypt::default()
            })
        };
        self.interceptors.iter().find_map(find).or_else(short)
    }
}
