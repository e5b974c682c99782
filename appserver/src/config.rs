//! The settings, with Tomcat's defaults where Tomcat has them.

use std::net::SocketAddr;

use program::units::{Duration, Size};
use program::{Failure, logging::LogFormat};
use serde::{Deserialize, Serialize};

use crate::manager::cluster::core::{CoreConfig, Spread};
use crate::manager::cluster::sessions::ClusterConfig;
use crate::manager::msm::sessions::MsmConfig;
use crate::manager::msm::settings::MsmSettings;
use crate::manager::standard::StandardConfig;
use crate::request::Network;
use crate::session::Suffix;
use crate::session::cookie::CookieConfig;
use crate::site::Colour;
use crate::tribes::settings::ClusterSettings;
use regex::Regex;

/// Everything that can be set; `appserver.toml` shows it with comments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where applications are served.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz`, `/status` and `/metrics` are served; empty: nowhere.
    pub admin: Admin,
    /// Name of this node, which ends with its letter: title of the page, `node` in JSON.
    pub node_id: String,
    /// What follows the name in the page's heading.
    pub domain: String,
    /// Colour of the heading, `#RRGGBB`; empty: red for A, blue for B, then colours that the colour-blind can tell apart.
    pub colour: Colour,
    /// Route that session ids end with; empty: none. Tomcat: `jvmRoute`.
    pub jvm_route: String,
    /// How sessions are kept.
    pub mode: Mode,
    /// Paths of the applications; each has its own sessions and cookie path.
    pub contexts: Vec<String>,
    /// Threads that serve; 0: one per core.
    pub workers: usize,
    /// At most so many connections; more wait in the system's queue. Tomcat: `maxConnections`.
    pub max_connections: usize,
    /// The longest time from one answer to the next complete request head. Longer than the proxy keeps idle connections,
    /// so that it is the proxy that closes them. Tomcat: `keepAliveTimeout`, `connectionTimeout`.
    pub keepalive_timeout: Duration,
    /// The largest form. Tomcat: `maxPostSize`.
    pub max_post_size: Size,
    /// The longest time for a form to arrive.
    pub body_timeout: Duration,
    /// The longest wait that `api/slow` may be asked for.
    pub slow_max: Duration,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Tomcat: `internalProxies`.
    pub internal_proxies: Vec<Network>,
    /// A line for each request on standard output.
    pub access_log: AccessLog,
    /// How long running requests may take after the signal to stop.
    pub shutdown_grace: Duration,
    /// What is logged on standard error.
    pub log: String,
    /// As text or JSON.
    pub log_format: LogFormat,
    /// Life and number of sessions.
    pub session: SessionConfig,
    /// The session cookie.
    pub cookie: CookieConfig,
    /// The nodes of the modes `msm` and `msm_sticky`, under the names of memcached-session-manager.
    pub msm: MsmSettings,
    /// The members and messages of a cluster, under Tomcat's names.
    pub cluster: ClusterSettings,
}

/// Life and number of sessions, per context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionConfig {
    /// How long a session may be idle; 0: for ever. Tomcat: `session-timeout`.
    pub timeout: Duration,
    /// At most so many sessions; 0: no limit. Tomcat: `maxActiveSessions`.
    pub max_active: usize,
    /// How often expired sessions are looked for. Tomcat: `processExpiresFrequency` × `backgroundProcessorDelay`.
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            admin: Admin(Some(SocketAddr::from(([127, 0, 0, 1], 8091)))),
            node_id: "TomcatA".into(),
            domain: "magedu.com".into(),
            colour: Colour::default(),
            jvm_route: String::new(),
            mode: Mode::RoundRobin,
            contexts: vec!["/jsp".into(), "/test".into()],
            workers: 0,
            max_connections: 8192,
            keepalive_timeout: Duration::seconds(75),
            max_post_size: Size(64 << 10),
            body_timeout: Duration::seconds(20),
            slow_max: Duration::seconds(60),
            internal_proxies: Vec::new(),
            access_log: AccessLog::Off,
            shutdown_grace: Duration::seconds(10),
            log: "info".into(),
            log_format: LogFormat::Text,
            session: SessionConfig::default(),
            cookie: CookieConfig::default(),
            msm: MsmSettings::default(),
            cluster: ClusterSettings::default(),
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::seconds(30 * 60),
            max_active: 1_000_000,
            sweep_interval: Duration::seconds(60),
        }
    }
}

/// The longest node name.
const NODE_ID_MAX: usize = 64;

/// The name of Tomcat's host, which msm puts into keys when it is told to.
const HOST: &str = "localhost";

/// At most so many contexts.
const CONTEXTS_MAX: usize = 64;

impl Config {
    /// Refuses settings that cannot work together; says what to do.
    pub fn check(&self) -> Result<(), Failure> {
        let wrong = |message: String| Err(Failure::Usage(message));
        let name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.node_id.is_empty()
            || self.node_id.len() > NODE_ID_MAX
            || !self.node_id.bytes().all(name)
        {
            return wrong(format!(
                "node_id = `{}`: use 1 to {NODE_ID_MAX} letters, digits, `-`, `_` or `.`",
                self.node_id
            ));
        }
        if !self.domain.bytes().all(name) {
            return wrong(format!(
                "domain = `{}` is no domain name: write magedu.com",
                self.domain
            ));
        }
        if self.contexts.is_empty() || self.contexts.len() > CONTEXTS_MAX {
            return wrong(format!(
                "contexts has {} paths: name 1 to {CONTEXTS_MAX}, such as /jsp",
                self.contexts.len()
            ));
        }
        for (i, path) in self.contexts.iter().enumerate() {
            let plain = path.strip_prefix('/').is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .split('/')
                        .all(|s| !s.is_empty() && s != "." && s != ".." && s.bytes().all(name))
            });
            if !plain {
                return wrong(format!(
                    "contexts: `{path}` is no context path: write /name of letters, digits, `-`, `_` or `.`"
                ));
            }
            if self.contexts[..i].contains(path) {
                return wrong(format!("contexts: `{path}` is there twice; remove one"));
            }
        }
        if self.max_connections == 0 {
            return wrong("max_connections = 0 would serve nobody: allow at least 1".into());
        }
        for (setting, duration) in [
            ("keepalive_timeout", self.keepalive_timeout),
            ("body_timeout", self.body_timeout),
            ("session.sweep_interval", self.session.sweep_interval),
        ] {
            if duration.is_zero() {
                return wrong(format!(
                    "{setting} = 0 would end everything at once: allow some time, such as 20s"
                ));
            }
        }
        let seconds = self.session.timeout.as_secs();
        if self.session.timeout.subsec_millis() != 0 || i32::try_from(seconds).is_err() {
            return wrong(format!(
                "session.timeout = {}: write whole seconds, at most {}",
                self.session.timeout,
                i32::MAX
            ));
        }
        self.standard()?;
        if matches!(self.mode, Mode::Msm | Mode::MsmSticky) {
            self.msm_settings()?;
        }
        self.cluster
            .check()
            .map_err(|error| Failure::Usage(format!("cluster.{error}")))?;
        for path in &self.contexts {
            self.cookie
                .cookie(path)
                .map_err(|e| Failure::Usage(e.to_string()))?;
        }
        Ok(())
    }

    /// The settings of a manager that keeps the sessions of this context in memcached nodes.
    pub fn msm(&self, context: &str) -> Result<MsmConfig, Failure> {
        let settings = self.msm_settings()?;
        let standard = self.standard()?;
        Ok(MsmConfig {
            prefix: settings.storage_key_prefix.prefix(HOST, context),
            settings,
            context: context.to_owned(),
            route: self.jvm_route.clone(),
            max_inactive: standard.max_inactive,
            max_active: standard.max_active,
            sweep_interval: standard.sweep_interval,
        })
    }

    /// The settings of a manager that replicates the sessions of this context to all members of a cluster.
    pub fn cluster_manager(&self, context: &str) -> Result<ClusterConfig, Failure> {
        let (cluster, standard) = (&self.cluster, self.standard()?);
        let filter = Some(&cluster.valve.filter).filter(|filter| !filter.is_empty());
        let filter = filter.map(|filter| Regex::new(&format!("^(?:{filter})$")));
        let filter = filter
            .transpose()
            .map_err(|error| Failure::Usage(format!("cluster.valve.filter: {error}")))?;
        let timeout = cluster.manager.state_transfer_timeout;
        Ok(ClusterConfig {
            core: CoreConfig {
                context: context.to_owned(),
                spread: match self.mode {
                    Mode::Backup => Spread::Backup,
                    _ => Spread::All,
                },
                suffix: standard.suffix,
                binds_route: cluster.jvm_route_binder.enabled,
                max_inactive: standard.max_inactive,
                max_active: standard.max_active,
                expire_sessions_on_shutdown: cluster.manager.expire_sessions_on_shutdown,
                notify_listeners_on_replication: cluster.manager.notify_listeners_on_replication,
                record_all_actions: cluster.manager.record_all_actions,
                state_transfer_timeout: u64::try_from(timeout).ok().map(|s| s * 1000),
            },
            send_options: match self.mode {
                Mode::Backup => cluster.manager.map_send_options,
                _ => cluster.channel_send_options,
            },
            fetch_limit: std::time::Duration::from_millis(
                cluster.manager.rpc_timeout.min(cluster.sender.timeout),
            ),
            limit: std::time::Duration::from_millis(cluster.sender.timeout),
            filter,
            sweep_interval: standard.sweep_interval,
        })
    }

    /// msm's settings, checked; the mode `msm_sticky` is another word for `sticky = true`.
    fn msm_settings(&self) -> Result<MsmSettings, Failure> {
        let mut settings = self.msm.clone();
        settings.sticky |= self.mode == Mode::MsmSticky;
        settings
            .check(HOST, &self.contexts, &self.jvm_route)
            .map_err(|error| Failure::Usage(format!("msm: {error}")))?;
        Ok(settings)
    }

    /// The settings of a manager that keeps sessions in memory.
    pub fn standard(&self) -> Result<StandardConfig, Failure> {
        let route = Some(self.jvm_route.as_str()).filter(|r| !r.is_empty());
        let suffix =
            Suffix::new(None, route).map_err(|e| Failure::Usage(format!("jvm_route: {e}")))?;
        Ok(StandardConfig {
            suffix,
            max_inactive: i32::try_from(self.session.timeout.as_secs()).unwrap_or(i32::MAX),
            max_active: self.session.max_active,
            sweep_interval: self.session.sweep_interval.into(),
        })
    }
}

/// The address of the admin port, if it is served; as text an address or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin(pub Option<SocketAddr>);

impl Serialize for Admin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for Admin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|e| {
            serde::de::Error::custom(format!(
                "`{text}` is no address ({e}): write 127.0.0.1:8091, or nothing for no admin port"
            ))
        })?;
        Ok(Self(Some(address)))
    }
}

/// How the session survives that one of several servers answers. The first three bind a browser to a server, which is the
/// proxy's work: here they are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is done (`none`).
    RoundRobin,
    /// Binding by client address.
    IpHash,
    /// Binding by cookie.
    SessionSticky,
    /// Sessions in the servers, each in all of them: Tomcat's `DeltaManager`.
    Cluster,
    /// Sessions in the servers, each in two of them: Tomcat's `BackupManager`.
    Backup,
    /// Sessions in memcached nodes, none in the servers.
    Msm,
    /// Sessions in the servers, a copy of each in a memcached node.
    MsmSticky,
}

impl Mode {
    const NAMES: [(&'static str, Self); 8] = [
        ("round_robin", Self::RoundRobin),
        ("none", Self::RoundRobin),
        ("ip_hash", Self::IpHash),
        ("session_sticky", Self::SessionSticky),
        ("cluster", Self::Cluster),
        ("backup", Self::Backup),
        ("msm", Self::Msm),
        ("msm_sticky", Self::MsmSticky),
    ];

    /// Modes that keep sessions in other ways.
    const LATER: [&'static str; 1] = ["persistent"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::IpHash => "ip_hash",
            Self::SessionSticky => "session_sticky",
            Self::Cluster => "cluster",
            Self::Backup => "backup",
            Self::Msm => "msm",
            Self::MsmSticky => "msm_sticky",
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some((_, mode)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*mode);
        }
        let known = "use one of round_robin (or none), ip_hash, session_sticky, cluster, backup, msm, msm_sticky";
        let hint = program::settings::nearest(&text, Self::NAMES.iter().map(|(name, _)| *name));
        Err(serde::de::Error::custom(
            if Self::LATER.contains(&text.as_str()) {
                format!("mode `{text}` is not built yet: {known}")
            } else {
                let hint = hint
                    .map(|h| format!("; did you mean `{h}`?"))
                    .unwrap_or_default();
                format!("mode `{text}` is unknown: {known}{hint}")
            },
        ))
    }
}

/// The form of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// The combined format of Apache, Tomcat and nginx.
    Combined,
    /// One JSON object per line.
    Json,
}
