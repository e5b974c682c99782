//! The command line of `appserver`.

use std::ffi::OsString;
use std::process::ExitCode;

use program::settings::Action;
use program::signals::Signals;
use program::{Failure, Kind, Program, Setting, exit, healthcheck, logging, sockets};

use crate::config::{Admin, Config};
use crate::{Clock, Listeners, serve};

/// A heading of the help.
const MSM: &str = "Nodes of the modes msm and msm_sticky";

/// Another.
const CLUSTER: &str = "Members and messages of a cluster; more in appserver.toml";

/// The program and its settings. Everything in `appserver.toml` is a flag too.
pub const PROGRAM: Program = Program {
    name: "appserver",
    about: "Serves the session page: Tomcat's role in the session lab",
    after_help: "SIGTERM, SIGINT and SIGQUIT stop: no more connections, running requests finish within --shutdown-grace.",
    version: "",
    settings: &[
        Setting::new(
            "listen",
            Kind::Text,
            "ADDR:PORT",
            "Serve applications here [default: 127.0.0.1:8081]",
        ),
        Setting::new(
            "admin",
            Kind::Text,
            "ADDR:PORT",
            "Serve health, status and metrics here; empty: nowhere [default: 127.0.0.1:8091]",
        ),
        Setting::new(
            "node_id",
            Kind::Text,
            "NAME",
            "Name of this node, its letter last [default: TomcatA]",
        ),
        Setting::new(
            "domain",
            Kind::Text,
            "DOMAIN",
            "What follows the name in the heading [default: magedu.com]",
        ),
        Setting::new(
            "colour",
            Kind::Text,
            "#RRGGBB",
            "Colour of the heading [default: by the node's letter]",
        ),
        Setting::new(
            "jvm_route",
            Kind::Text,
            "ROUTE",
            "Route that session ids end with [default: none]",
        ),
        Setting::new(
            "mode",
            Kind::Text,
            "MODE",
            "round_robin (none), ip_hash, session_sticky, cluster, backup, msm or msm_sticky [default: round_robin]",
        ),
        Setting::new(
            "contexts",
            Kind::List,
            "PATHS",
            "Paths of the applications [default: /jsp,/test]",
        ),
        Setting::new(
            "workers",
            Kind::Integer,
            "N",
            "Serving threads; 0: one per core [default: 0]",
        ),
        Setting::new(
            "max_connections",
            Kind::Integer,
            "N",
            "Most connections; more wait [default: 8192]",
        ),
        Setting::new(
            "keepalive_timeout",
            Kind::Text,
            "TIME",
            "Longest idle time of a connection, its next request head included [default: 75s]",
        ),
        Setting::new(
            "max_post_size",
            Kind::Text,
            "SIZE",
            "Largest form [default: 64k]",
        ),
        Setting::new(
            "body_timeout",
            Kind::Text,
            "TIME",
            "Longest time for a form to arrive [default: 20s]",
        ),
        Setting::new(
            "slow_max",
            Kind::Text,
            "TIME",
            "Longest wait of api/slow [default: 1m]",
        ),
        Setting::new(
            "internal_proxies",
            Kind::List,
            "NETWORKS",
            "Proxies whose X-Forwarded-For and -Proto are believed [default: none]",
        ),
        Setting::new(
            "access_log",
            Kind::Text,
            "FORMAT",
            "off, combined or json, on standard output [default: off]",
        ),
        Setting::new(
            "shutdown_grace",
            Kind::Text,
            "TIME",
            "How long running requests may take after the signal to stop [default: 10s]",
        ),
        Setting::new(
            "session_timeout",
            Kind::Text,
            "TIME",
            "How long a session may be idle; 0: for ever [default: 30m]",
        )
        .at("session.timeout"),
        Setting::new(
            "session_max_active",
            Kind::Integer,
            "N",
            "Most sessions per context; 0: no limit [default: 1000000]",
        )
        .at("session.max_active"),
        Setting::new(
            "session_sweep_interval",
            Kind::Text,
            "TIME",
            "How often expired sessions are looked for [default: 1m]",
        )
        .at("session.sweep_interval"),
        Setting::new(
            "cookie_name",
            Kind::Text,
            "NAME",
            "Name of the session cookie [default: JSESSIONID]",
        )
        .at("cookie.name"),
        Setting::new(
            "cookie_domain",
            Kind::Text,
            "DOMAIN",
            "Its Domain [default: none]",
        )
        .at("cookie.domain"),
        Setting::new(
            "cookie_path",
            Kind::Text,
            "PATH",
            "Its Path [default: the context's]",
        )
        .at("cookie.path"),
        Setting::new(
            "cookie_max_age",
            Kind::Integer,
            "SECONDS",
            "Its Max-Age; negative: none [default: -1]",
        )
        .at("cookie.max_age"),
        Setting::new(
            "cookie_http_only",
            Kind::Boolean,
            "BOOL",
            "Scripts cannot read it [default: true]",
        )
        .at("cookie.http_only"),
        Setting::new(
            "cookie_secure",
            Kind::Text,
            "WHEN",
            "auto (as the request was), always or never [default: auto]",
        )
        .at("cookie.secure"),
        Setting::new(
            "cookie_same_site",
            Kind::Text,
            "VALUE",
            "unset, none, lax or strict [default: unset]",
        )
        .at("cookie.same_site"),
        Setting::new(
            "memcached_nodes",
            Kind::Text,
            "NODES",
            "ID:HOST:PORT, separated by commas or spaces [default: the article's]",
        )
        .at("msm.memcachedNodes")
        .group(MSM),
        Setting::new(
            "msm_sticky",
            Kind::Boolean,
            "BOOL",
            "Servers keep their sessions, the nodes have copies: what the mode msm_sticky means [default: false]",
        )
        .at("msm.sticky")
        .group(MSM),
        Setting::new(
            "failover_nodes",
            Kind::Text,
            "IDS",
            "Sticky only: nodes for when no other is up [default: none]",
        )
        .at("msm.failoverNodes")
        .group(MSM),
        Setting::new(
            "session_backup_async",
            Kind::Boolean,
            "BOOL",
            "The response leaves before the session is stored [default: false]",
        )
        .at("msm.sessionBackupAsync")
        .group(MSM),
        Setting::new(
            "session_backup_timeout",
            Kind::Integer,
            "MS",
            "msm only: longest wait for a store; safe waits as for any answer [default: 100]",
        )
        .at("msm.sessionBackupTimeout")
        .group(MSM),
        Setting::new(
            "backup_thread_count",
            Kind::Integer,
            "N",
            "Asynchronous only: sessions stored at once; 0: one per core [default: 0]",
        )
        .at("msm.backupThreadCount")
        .group(MSM),
        Setting::new(
            "locking_mode",
            Kind::Text,
            "MODE",
            "none, merge, auto, all or uriPattern:REGEX [default: uriPattern:/path1|/path2]",
        )
        .at("msm.lockingMode")
        .group(MSM),
        Setting::new(
            "lock_expiration",
            Kind::Integer,
            "SECONDS",
            "When a node frees the lock of a dead server [default: 5]",
        )
        .at("msm.lockExpiration")
        .group(MSM),
        Setting::new(
            "lock_timeout",
            Kind::Integer,
            "MS",
            "Safe only: longest wait for a lock [default: 10000]",
        )
        .at("msm.lockTimeout")
        .group(MSM),
        Setting::new(
            "lock_on_timeout",
            Kind::Text,
            "WHAT",
            "Safe only: after it, wait (a minute in all), fail or proceed [default: fail]",
        )
        .at("msm.lockOnTimeout")
        .group(MSM),
        Setting::new(
            "request_uri_ignore_pattern",
            Kind::Text,
            "REGEX",
            "Requests that store nothing; msm only: that have no session [default: images, styles, scripts]",
        )
        .at("msm.requestUriIgnorePattern")
        .group(MSM),
        Setting::new(
            "session_attribute_filter",
            Kind::Text,
            "REGEX",
            "Names of the attributes that are stored [default: all]",
        )
        .at("msm.sessionAttributeFilter")
        .group(MSM),
        Setting::new(
            "storage_key_prefix",
            Kind::Text,
            "RULE",
            "What keys begin with [default: nothing]",
        )
        .at("msm.storageKeyPrefix")
        .group(MSM),
        Setting::new(
            "operation_timeout",
            Kind::Integer,
            "MS",
            "Longest wait for an answer; msm only: and for a lock [default: 1000]",
        )
        .at("msm.operationTimeout")
        .group(MSM),
        Setting::new(
            "memcached_protocol",
            Kind::Text,
            "PROTOCOL",
            "text or binary [default: text]",
        )
        .at("msm.memcachedProtocol")
        .group(MSM),
        Setting::new(
            "msm_username",
            Kind::Text,
            "NAME",
            "For nodes with SASL, binary only [default: none]",
        )
        .at("msm.username")
        .group(MSM),
        Setting::new(
            "msm_password",
            Kind::Secret,
            "PASSWORD",
            "For nodes with SASL, binary only [default: none]",
        )
        .at("msm.password")
        .group(MSM),
        Setting::new(
            "transcoder_factory_class",
            Kind::Text,
            "CLASS",
            "Form of the attributes [default: Java's]",
        )
        .at("msm.transcoderFactoryClass")
        .group(MSM),
        Setting::new(
            "msm_enabled",
            Kind::Boolean,
            "BOOL",
            "Sticky only: whether the nodes are used [default: true]",
        )
        .at("msm.enabled")
        .group(MSM),
        Setting::new(
            "enable_statistics",
            Kind::Boolean,
            "BOOL",
            "Show figures of the nodes [default: true]",
        )
        .at("msm.enableStatistics")
        .group(MSM),
        Setting::new(
            "msm_behaviour",
            Kind::Text,
            "NAME",
            "safe: msm's records, and nothing acknowledged is lost; msm: command for command [default: safe]",
        )
        .at("msm.behaviour")
        .group(MSM),
        Setting::new(
            "channel_send_options",
            Kind::Text,
            "OPTIONS",
            "What the response waits for: 8 nothing, 2 read, 6 applied by the others, or names [default: 6]",
        )
        .at("cluster.channelSendOptions")
        .group(CLUSTER),
        Setting::new(
            "encryption_key",
            Kind::Secret,
            "KEY",
            "Shared key of all members, 32, 48 or 64 hexadecimal digits [default: none]",
        )
        .at("cluster.encryptionKey")
        .group(CLUSTER),
        Setting::new(
            "expire_sessions_on_shutdown",
            Kind::Boolean,
            "BOOL",
            "A node that stops ends all sessions [default: false]",
        )
        .at("cluster.manager.expireSessionsOnShutdown")
        .group(CLUSTER),
        Setting::new(
            "state_transfer_timeout",
            Kind::Integer,
            "SECONDS",
            "How long to wait for the sessions at the start; -1: for ever, 0: not at all [default: 60]",
        )
        .at("cluster.manager.stateTransferTimeout")
        .group(CLUSTER),
        Setting::new(
            "map_send_options",
            Kind::Text,
            "OPTIONS",
            "BackupManager: what the response waits for [default: 6]",
        )
        .at("cluster.manager.mapSendOptions")
        .group(CLUSTER),
        Setting::new(
            "membership_type",
            Kind::Text,
            "TYPE",
            "How members are found: multicast, static, dns or auto [default: multicast]",
        )
        .at("cluster.membership.type")
        .group(CLUSTER),
        Setting::new(
            "membership_address",
            Kind::Text,
            "GROUP",
            "Multicast group of the heartbeats [default: 228.0.0.4]",
        )
        .at("cluster.membership.address")
        .group(CLUSTER),
        Setting::new(
            "membership_port",
            Kind::Integer,
            "PORT",
            "Its port [default: 45564]",
        )
        .at("cluster.membership.port")
        .group(CLUSTER),
        Setting::new(
            "membership_frequency",
            Kind::Integer,
            "MS",
            "Time between heartbeats [default: 500]",
        )
        .at("cluster.membership.frequency")
        .group(CLUSTER),
        Setting::new(
            "membership_drop_time",
            Kind::Integer,
            "MS",
            "Silence after which a member is suspected [default: 3000]",
        )
        .at("cluster.membership.dropTime")
        .group(CLUSTER),
        Setting::new(
            "membership_bind",
            Kind::Text,
            "ADDR",
            "Address of the interface for multicast [default: the system's choice]",
        )
        .at("cluster.membership.bind")
        .group(CLUSTER),
        Setting::new(
            "membership_domain",
            Kind::Text,
            "NAME",
            "Domain that heartbeats name [default: none]",
        )
        .at("cluster.membership.domain")
        .group(CLUSTER),
        Setting::new(
            "membership_members",
            Kind::List,
            "ADDR:PORT",
            "For static: all members [default: none]",
        )
        .at("cluster.membership.members")
        .group(CLUSTER),
        Setting::new(
            "membership_name",
            Kind::Text,
            "NAME",
            "For dns: the name that has the addresses of all members [default: none]",
        )
        .at("cluster.membership.name")
        .group(CLUSTER),
        Setting::new(
            "receiver_address",
            Kind::Text,
            "ADDR",
            "Where messages are received; auto: the address that others reach; tomcat-auto: as Tomcat [default: auto]",
        )
        .at("cluster.receiver.address")
        .group(CLUSTER),
        Setting::new(
            "receiver_port",
            Kind::Integer,
            "PORT",
            "The first port that is tried [default: 4000]",
        )
        .at("cluster.receiver.port")
        .group(CLUSTER),
        Setting::new(
            "receiver_auto_bind",
            Kind::Integer,
            "N",
            "How many ports are tried [default: 100]",
        )
        .at("cluster.receiver.autoBind")
        .group(CLUSTER),
        Setting::new(
            "sender_timeout",
            Kind::Integer,
            "MS",
            "Longest wait for a connection and for an answer [default: 3000]",
        )
        .at("cluster.sender.timeout")
        .group(CLUSTER),
        Setting::new(
            "replication_filter",
            Kind::Text,
            "REGEX",
            "Requests whose path matches send nothing [default: none]",
        )
        .at("cluster.valve.filter")
        .group(CLUSTER),
        Setting::new(
            "primary_indicator",
            Kind::Boolean,
            "BOOL",
            "Whether requests are told if this node is the session's primary [default: false]",
        )
        .at("cluster.valve.primaryIndicator")
        .group(CLUSTER),
        Setting::new(
            "jvm_route_binder",
            Kind::Boolean,
            "BOOL",
            "Whether a session from another node gets this node's route [default: true]",
        )
        .at("cluster.jvmRouteBinder.enabled")
        .group(CLUSTER),
        Setting::new(
            "log",
            Kind::Text,
            "FILTER",
            "Log level or filter [default: info]",
        ),
        Setting::new(
            "log_format",
            Kind::Text,
            "FORMAT",
            "text or json [default: text]",
        ),
    ],
};

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    exit::code(PROGRAM.name, run_program(arguments))
}

fn run_program(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let settings = PROGRAM.settings(arguments)?;
    let config: Config = settings.config()?;
    config.check()?;
    match settings.action {
        Action::PrintConfig => print!("{}", settings.print(&config)?),
        Action::TestConfig => println!("the settings are valid"),
        Action::Healthcheck => match config.admin.0 {
            Some(admin) => healthcheck::http(admin, "/readyz")?,
            None => {
                let why = "cannot ask for the health without an admin port; set --admin";
                return Err(Failure::Usage(why.into()));
            }
        },
        Action::Serve => start(config)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Binds, says where, serves until a signal.
fn start(config: Config) -> Result<(), Failure> {
    logging::start(&config.log, config.log_format)?;
    sockets::raise_open_file_limit();
    let applications = sockets::bind(config.listen, "--listen")?;
    let admin = match config.admin.0 {
        Some(address) => Some(sockets::bind(address, "--admin")?),
        None => None,
    };
    let listening = applications
        .local_addr()
        .map_err(|e| Failure::environment("no address", e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // As the threads that serve do, since it may be one.
        .on_thread_park(std::thread::yield_now)
        .build()
        .map_err(|e| Failure::environment("cannot start the runtime", e))?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let Admin(admin_port) = config.admin;
        tracing::info!(node = config.node_id, mode = config.mode.name(), admin = ?admin_port, %listening, "serving");
        let shutdown = async move {
            let request = signals.stop().await;
            tracing::info!(?request, "stopping");
        };
        let listeners = Listeners {
            applications,
            admin,
        };
        serve(listeners, config, Clock::system(), shutdown).await
    })
}
