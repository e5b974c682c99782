//! `<Receiver>` and `<Sender>`: the TCP ends.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{SettingsError, class, range, wrong};

/// Where messages are received, and which address is announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReceiverAddress {
    /// The address that the others can reach: the one that the system would send to them from.
    #[default]
    Auto,
    /// As Tomcat's `auto`: what this machine's own name resolves to. The article's trap is that this may be 127.0.0.1.
    TomcatAuto,
    /// This one.
    Address(IpAddr),
}

impl FromStr for ReceiverAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "tomcat-auto" => Ok(Self::TomcatAuto),
            _ => text.parse().map(Self::Address).map_err(|_| {
                format!("receiver.address = `{text}`: write an address, auto (one that the others can reach) or tomcat-auto (as Tomcat's auto)")
            }),
        }
    }
}

impl fmt::Display for ReceiverAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::TomcatAuto => f.write_str("tomcat-auto"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Serialize for ReceiverAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReceiverAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The attributes of `<Receiver>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ReceiverSettings {
    /// `NioReceiver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// What is bound and announced.
    pub address: ReceiverAddress,
    /// The first port that is tried. 0: any free one, which the others learn from heartbeats.
    pub port: u16,
    /// How many ports are tried; 0 is as 1.
    pub auto_bind: u16,
    /// Tomcat: milliseconds that its selector waits.
    pub selector_timeout: u64,
    /// Tomcat: threads that read; here each connection has a task.
    pub max_threads: u32,
    /// Tomcat: threads that are kept.
    pub min_threads: u32,
    /// Bytes of a socket's receive buffer; 0: the system's (Tomcat: 65536).
    pub rx_buf_size: u32,
    /// Bytes of a socket's send buffer; 0: the system's (Tomcat: 25188).
    pub tx_buf_size: u32,
    /// The largest frame that is read, in bytes; a larger one ends its connection. Tomcat has no limit, and sends all sessions in one.
    pub max_frame_size: u32,
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            address: ReceiverAddress::Auto,
            port: 4000,
            auto_bind: 100,
            selector_timeout: 5000,
            max_threads: 15,
            min_threads: 6,
            rx_buf_size: 0,
            tx_buf_size: 0,
            max_frame_size: 64 << 20,
        }
    }
}

/// The largest socket buffer.
const BUFFER_MAX: u32 = 64 << 20;

impl ReceiverSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let receiver = "org.apache.catalina.tribes.transport.nio.NioReceiver";
        class("receiver", self.class_name.as_deref(), &[receiver])?;
        if let ReceiverAddress::Address(address) = self.address
            && address.is_multicast()
        {
            return wrong(format!(
                "receiver.address = {address} is a group: messages come by TCP; use this machine's address or auto"
            ));
        }
        range("receiver.autoBind", self.auto_bind, 0, 1000)?;
        range(
            "receiver.selectorTimeout",
            self.selector_timeout,
            1,
            600_000,
        )?;
        range("receiver.maxThreads", self.max_threads, 1, 10_000)?;
        range("receiver.minThreads", self.min_threads, 1, 10_000)?;
        range("receiver.rxBufSize", self.rx_buf_size, 0, BUFFER_MAX)?;
        range("receiver.txBufSize", self.tx_buf_size, 0, BUFFER_MAX)?;
        range("receiver.maxFrameSize", self.max_frame_size, 4096, 1 << 30)
    }
}

/// The attributes of `<Sender>` and `<Transport>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SenderSettings {
    /// `ReplicationTransmitter` or `PooledParallelSender`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Tomcat: connections to each member; here one, which keeps the order.
    pub pool_size: u32,
    /// The longest wait for a connection, and for an answer, in milliseconds.
    pub timeout: u64,
    /// How often a message is sent again after its connection broke.
    pub max_retry_attempts: u32,
    /// Milliseconds after which a connection is closed; -1: never.
    pub keep_alive_time: i64,
    /// Messages after which a connection is closed; -1: never.
    pub keep_alive_count: i64,
    /// Whether a member's answer that it could not deal with a message is a failure.
    pub throw_on_failed_ack: bool,
}

impl Default for SenderSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            pool_size: 25,
            timeout: 3000,
            max_retry_attempts: 1,
            keep_alive_time: -1,
            keep_alive_count: -1,
            throw_on_failed_ack: true,
        }
    }
}

impl SenderSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let senders = [
            "org.apache.catalina.tribes.transport.ReplicationTransmitter",
            "org.apache.catalina.tribes.transport.nio.PooledParallelSender",
        ];
        class("sender", self.class_name.as_deref(), &senders)?;
        range("sender.poolSize", self.pool_size, 1, 10_000)?;
        range("sender.timeout", self.timeout, 1, 600_000)?;
        range("sender.maxRetryAttempts", self.max_retry_attempts, 0, 10)?;
        for (name, value) in [
            ("keepAliveTime", self.keep_alive_time),
            ("keepAliveCount", self.keep_alive_count),
        ] {
            if value != -1 {
                return wrong(format!(
                    "sender.{name} = {value}: connections are kept open here: use -1"
                ));
            }
        }
        Ok(())
    }
}
