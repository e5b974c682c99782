//! Settings as people write them: a TOML file, flags and `LNMT_*` variables, under nginx's names and with its defaults.
//!
//! The simple case needs no file: `listen`, `upstream` and the settings below say it all. The full form adds `[[server]]`
//! with `[[server.location]]`, and `[[upstream]]` with `[[upstream.server]]`; the settings at the top then hold for all of
//! them unless they say otherwise. [`Site`](crate::site::Site) is what becomes of it: checked, and with everything computed
//! that can be before the first request.

pub mod choices;
pub mod entry;
pub mod settings;

use serde::{Deserialize, Serialize};

use program::logging::LogFormat;
use program::{Duration, Size};

pub use choices::{
    BalanceName, CheckType, CookieMode, CookieOption, HashName, Mode, SameSite, Secure, XForwarded,
};
pub use entry::{ListenEntry, ServerEntry, UpstreamEntry};
pub use settings::PROGRAM;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this node in logs.
    pub node_id: String,
    /// Addresses to listen on in the simple case: `ADDR:PORT`, then ` ssl`, ` proxy_protocol`.
    pub listen: Vec<ListenEntry>,
    /// Address of the admin port; empty: none.
    pub admin: String,
    /// `tracing` filter.
    pub log: String,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// The lab's mode; gives `balance` its default.
    pub mode: Mode,
    /// How peers are chosen.
    pub balance: Option<BalanceName>,
    /// Servers of the one upstream of the simple case, or `[[upstream]]` tables.
    pub upstream: Vec<UpstreamEntry>,
    /// `[[server]]` tables.
    pub server: Vec<ServerConfig>,

    /// What `hash` and `consistent_hash` hash.
    pub hash_key: String,
    /// The cookie that holds the session id, for `route` and `learn`.
    pub session_cookie: String,
    /// Sessions without a request for so long are forgotten, for `learn`.
    pub learn_timeout: Duration,
    /// Most sessions that `learn` remembers.
    pub learn_sessions: usize,
    /// The sticky cookie.
    pub sticky: StickyConfig,

    /// Failures that pause a peer.
    pub max_fails: u32,
    /// Window for failures and length of the pause.
    pub fail_timeout: Duration,
    /// Weight rises for so long after recovery.
    pub slow_start: Duration,
    /// Active checks.
    pub check: CheckConfig,
    /// How long a resolved name holds.
    pub resolver_valid: Duration,
    /// Idle connections per peer and worker.
    pub keepalive: usize,
    /// How long they are kept.
    pub upstream_keepalive_timeout: Duration,
    /// Requests over one of them.
    pub upstream_keepalive_requests: u64,

    /// `Host` for the peer: `$http_host` (the client's), `$proxy_host` (the name in `proxy_pass`), or text.
    pub proxy_host: String,
    /// Time to connect to a peer.
    pub proxy_connect_timeout: Duration,
    /// Time between two reads from a peer.
    pub proxy_read_timeout: Duration,
    /// Time between two writes to a peer.
    pub proxy_send_timeout: Duration,
    /// What lets a request go on to the next peer.
    pub proxy_next_upstream: Vec<String>,
    /// Most tries; 0: one per peer.
    pub proxy_next_upstream_tries: u32,
    /// Longest time for all tries; 0: none.
    pub proxy_next_upstream_timeout: Duration,

    /// Largest request body; 0: no limit.
    pub client_max_body_size: Size,
    /// Time for a whole request head.
    pub client_header_timeout: Duration,
    /// Time between two reads of a request body.
    pub client_body_timeout: Duration,
    /// Time between two writes to a client.
    pub send_timeout: Duration,
    /// How long an idle client connection is kept.
    pub keepalive_timeout: Duration,
    /// Requests over one client connection.
    pub keepalive_requests: u64,
    /// Longest request line, and longest field.
    pub client_header_line: Size,
    /// Longest request head.
    pub client_header_size: Size,
    /// Most fields in a request head.
    pub max_headers: usize,
    /// Most client connections of the process.
    pub worker_connections: usize,
    /// Worker threads; 0: one per core.
    pub worker_processes: usize,
    /// How long running requests may take after a stop.
    pub shutdown_timeout: Duration,

    /// Networks whose word about the client is believed.
    pub set_real_ip_from: Vec<String>,
    /// Where they say it: `X-Forwarded-For`, `X-Real-IP`, `Forwarded`, or `proxy_protocol`.
    pub real_ip_header: String,
    /// Go on to the left past trusted addresses.
    pub real_ip_recursive: bool,
    /// Every address of `listen` expects the PROXY protocol.
    pub proxy_protocol: bool,
    /// Certificate chain (PEM) for the addresses of `listen` that say `ssl`.
    pub ssl_certificate: String,
    /// Its private key (PEM).
    pub ssl_certificate_key: String,

    /// Keep fields with `_` in their names.
    pub underscores_in_headers: bool,
    /// Which of `X-Forwarded-For`, `-Proto` and `-Host` to write.
    pub x_forwarded: XForwarded,
    /// Write `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Name in `Via` of requests; empty: none.
    pub via: String,
    /// `Server` of responses; empty: the upstream's.
    pub server_header: String,
    /// Send `X-Proxy`.
    pub x_proxy: bool,
    /// Send `X-Upstream`.
    pub x_upstream: bool,
    /// Send `X-Route`.
    pub x_route: bool,

    /// `off`, `stdout`, `stderr` or a file.
    pub access_log: String,
    /// Form of its lines.
    pub access_log_format: crate::access_log::Format,
    /// File for 500, 502, 503 and 504; empty: built in.
    pub error_page_50x: String,
    /// Without `[[server]]` tables: answer `/favicon.ico` with 204 and ask no server, so that what a browser fetches by itself
    /// takes no turn (nginx: `location = /favicon.ico { return 204; }`).
    pub no_favicon: bool,
}

/// The sticky cookie, under the parameter names of Tengine's `session_sticky`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StickyConfig {
    /// Its name.
    pub cookie: String,
    /// `Domain`; empty: none.
    pub domain: String,
    /// `Path`.
    pub path: String,
    /// `Max-Age`; 0: none.
    pub maxage: Duration,
    /// Own cookie, mark before the application's value, or replacement of it.
    pub mode: CookieMode,
    /// Whether the upstream sees it.
    pub option: CookieOption,
    /// Longest time between two requests; 0: off.
    pub maxidle: Duration,
    /// Longest time since the first request; 0: off.
    pub maxlife: Duration,
    /// Go elsewhere when the bound peer cannot serve.
    pub fallback: bool,
    /// How a peer is named in it.
    pub hash: HashName,
    /// Further ways that are read but not written, for the time of a change.
    pub accept: Vec<HashName>,
    /// `SameSite`.
    pub samesite: SameSite,
    /// `Secure`.
    pub secure: Secure,
    /// `HttpOnly`.
    pub httponly: bool,
    /// Secret for `hash = "hmac"`.
    pub key: String,
}

/// Active checks, as Tengine's `check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckConfig {
    /// What a check does.
    #[serde(rename = "type")]
    pub kind: CheckType,
    /// Time between two checks of a peer.
    pub interval: Duration,
    /// Passes in a row that bring it up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
    /// Longest time for a check.
    pub timeout: Duration,
    /// What `http` asks for.
    pub path: String,
    /// Another port; 0: the peer's own.
    pub port: u16,
}

/// One `[[server]]`: names and locations behind some addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Its addresses; none: those of the top.
    pub listen: Vec<ListenEntry>,
    /// Its names: exact, `*.example.org`, `www.*`; none: any.
    pub server_name: Vec<String>,
    /// Certificate chain (PEM); empty: that of the top.
    pub ssl_certificate: String,
    /// Private key (PEM); empty: that of the top.
    pub ssl_certificate_key: String,
    /// Largest request body; none: that of the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_max_body_size: Option<Size>,
    /// `NAME: VALUE` fields for responses of the statuses 200, 201, 204, 206, 301 to 304, 307 and 308; `NAME: VALUE always`
    /// for every response, error pages included.
    pub add_header: Vec<String>,
    /// Its locations.
    pub location: Vec<LocationConfig>,
}

/// One `[[server.location]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocationConfig {
    /// `/prefix/`, or `= /exact`.
    pub path: String,
    /// `http://UPSTREAM`, with a path to replace the prefix by.
    pub proxy_pass: String,
    /// `NAME: VALUE` fields for the upstream, with nginx's variables; an empty value removes the field.
    pub proxy_set_header: Vec<String>,
    /// A directory of static files.
    pub root: String,
    /// `STATUS` or `STATUS TEXT-OR-URL`.
    #[serde(rename = "return")]
    pub answer: String,
    /// `NAME: VALUE` fields for responses, after those of the server.
    pub add_header: Vec<String>,
    /// Largest request body; none: that of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_max_body_size: Option<Size>,
    /// None: that of the top, as all below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_connect_timeout: Option<Duration>,
    /// Time between two reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_read_timeout: Option<Duration>,
    /// Time between two writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_send_timeout: Option<Duration>,
    /// What lets a request go on to the next peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream: Option<Vec<String>>,
    /// Most tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream_tries: Option<u32>,
    /// Longest time for all tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream_timeout: Option<Duration>,
}

/// One `[[upstream]]`. What is absent is that of the top; a `[upstream.sticky]` or `[upstream.check]` table replaces the
/// one at the top as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name.
    pub name: String,
    /// How peers are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceName>,
    /// What `hash` and `consistent_hash` hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<String>,
    /// The cookie that holds the session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie: Option<String>,
    /// The sticky cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyConfig>,
    /// Active checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckConfig>,
    /// Idle connections per peer and worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<usize>,
    /// Its servers: `"host:port weight=2"` or tables.
    pub server: Vec<ServerEntry>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: "proxy".into(),
            listen: vec![ListenEntry::plain("127.0.0.1:8080")],
            admin: String::new(),
            log: "info".into(),
            log_format: LogFormat::default(),
            mode: Mode::default(),
            balance: None,
            upstream: Vec::new(),
            server: Vec::new(),
            hash_key: "$request_uri".into(),
            session_cookie: "JSESSIONID".into(),
            learn_timeout: Duration::seconds(600),
            learn_sessions: 100_000,
            sticky: StickyConfig::default(),
            max_fails: 1,
            fail_timeout: Duration::seconds(10),
            slow_start: Duration::seconds(0),
            check: CheckConfig::default(),
            resolver_valid: Duration::seconds(10),
            keepalive: 32,
            upstream_keepalive_timeout: Duration::seconds(15),
            upstream_keepalive_requests: 1000,
            proxy_host: "$http_host".into(),
            proxy_connect_timeout: Duration::seconds(60),
            proxy_read_timeout: Duration::seconds(60),
            proxy_send_timeout: Duration::seconds(60),
            proxy_next_upstream: vec!["error".into(), "timeout".into()],
            proxy_next_upstream_tries: 0,
            proxy_next_upstream_timeout: Duration::seconds(0),
            client_max_body_size: Size(1 << 20),
            client_header_timeout: Duration::seconds(60),
            client_body_timeout: Duration::seconds(60),
            send_timeout: Duration::seconds(60),
            keepalive_timeout: Duration::seconds(75),
            keepalive_requests: 1000,
            client_header_line: Size(8 << 10),
            client_header_size: Size(32 << 10),
            max_headers: 100,
            worker_connections: 16_384,
            worker_processes: 0,
            shutdown_timeout: Duration::seconds(30),
            set_real_ip_from: Vec::new(),
            real_ip_header: "X-Forwarded-For".into(),
            real_ip_recursive: true,
            proxy_protocol: false,
            ssl_certificate: String::new(),
            ssl_certificate_key: String::new(),
            underscores_in_headers: false,
            x_forwarded: XForwarded::ALL,
            forwarded: false,
            via: "lnmt-proxy".into(),
            server_header: "lnmt-proxy".into(),
            x_proxy: true,
            x_upstream: true,
            x_route: true,
            access_log: "off".into(),
            access_log_format: crate::access_log::Format::default(),
            error_page_50x: String::new(),
            no_favicon: false,
        }
    }
}

impl Default for StickyConfig {
    fn default() -> Self {
        Self {
            cookie: "route".into(),
            domain: String::new(),
            path: "/".into(),
            maxage: Duration::seconds(0),
            mode: CookieMode::default(),
            option: CookieOption::default(),
            maxidle: Duration::seconds(0),
            maxlife: Duration::seconds(0),
            fallback: true,
            hash: HashName::default(),
            accept: Vec::new(),
            samesite: SameSite::default(),
            secure: Secure::default(),
            httponly: true,
            key: String::new(),
        }
    }
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            kind: CheckType::default(),
            interval: Duration::seconds(30),
            rise: 2,
            fall: 5,
            timeout: Duration::seconds(1),
            path: "/".into(),
            port: 0,
        }
    }
}

impl Config {
    /// How peers are chosen where an upstream does not say it: `balance`, else by `mode`.
    pub fn balance(&self) -> BalanceName {
        self.balance.unwrap_or(self.mode.balance())
    }
}
