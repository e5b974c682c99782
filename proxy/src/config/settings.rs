//! The simple settings: each is a flag, an environment variable and a TOML key.

use program::settings::Kind::{Boolean, Integer, List, Secret, Text};
use program::{Program, Setting};

/// The program, with its simple settings.
pub const PROGRAM: Program = Program {
    name: "proxy",
    about: "A reverse proxy that keeps sessions: round robin, ip_hash, session_sticky and more",
    after_help: "Several servers, locations and upstreams go into a file; see the sample proxy.toml.\nSIGHUP reads the file again, SIGTERM and SIGQUIT stop after the running requests, a second one at once.",
    version: "",
    settings: SETTINGS,
};

const SETTINGS: &[Setting] = &[
    Setting::new(
        "node_id",
        Text,
        "NAME",
        "Name of this node in logs [default: proxy]",
    ),
    Setting::new(
        "listen",
        List,
        "ADDR:PORT,…",
        "Listen here; add ` ssl` or ` proxy_protocol` after a blank [default: 127.0.0.1:8080]",
    ),
    Setting::new(
        "admin",
        Text,
        "ADDR:PORT",
        "Serve /livez /readyz /status /metrics here [default: off]",
    ),
    Setting::new(
        "log",
        Text,
        "FILTER",
        "off, error, warn, info, debug, trace or target=level [default: info]",
    ),
    Setting::new("log_format", Text, "FORMAT", "text or json [default: text]"),
    Setting::new(
        "mode",
        Text,
        "MODE",
        "round_robin (none), ip_hash, session_sticky, cluster, backup, msm or msm_sticky; gives balance its default",
    ),
    Setting::new(
        "upstream",
        List,
        "HOST:PORT,…",
        "Servers; after a blank: weight=N backup down drain max_fails=N fail_timeout=T max_conns=N slow_start=T id=NAME route=NAME",
    ),
    Setting::new(
        "balance",
        Text,
        "METHOD",
        "round_robin, least_conn, ip_hash, source, hash, consistent_hash, session_sticky, route or learn [default: by mode]",
    ),
    Setting::new(
        "hash_key",
        Text,
        "KEY",
        "What hash and consistent_hash hash [default: $request_uri]",
    ),
    Setting::new(
        "session_cookie",
        Text,
        "NAME",
        "Cookie with the session id, for route and learn [default: JSESSIONID]",
    ),
    Setting::new(
        "learn_timeout",
        Text,
        "TIME",
        "learn forgets a session after so long [default: 10m]",
    ),
    Setting::new(
        "learn_sessions",
        Integer,
        "N",
        "Most sessions that learn remembers [default: 100000]",
    ),
    Setting::new(
        "sticky_cookie",
        Text,
        "NAME",
        "Name of the sticky cookie [default: route]",
    )
    .at("sticky.cookie"),
    Setting::new(
        "sticky_domain",
        Text,
        "DOMAIN",
        "Its Domain [default: none]",
    )
    .at("sticky.domain"),
    Setting::new("sticky_path", Text, "PATH", "Its Path [default: /]").at("sticky.path"),
    Setting::new(
        "sticky_maxage",
        Text,
        "TIME",
        "Its Max-Age; 0: none [default: 0]",
    )
    .at("sticky.maxage"),
    Setting::new(
        "sticky_mode",
        Text,
        "MODE",
        "insert, rewrite or prefix [default: insert]",
    )
    .at("sticky.mode"),
    Setting::new(
        "sticky_option",
        Text,
        "OPTION",
        "direct, or indirect: hidden from the upstream [default: direct]",
    )
    .at("sticky.option"),
    Setting::new(
        "sticky_maxidle",
        Text,
        "TIME",
        "Longest time between two requests; 0: off [default: 0]",
    )
    .at("sticky.maxidle"),
    Setting::new(
        "sticky_maxlife",
        Text,
        "TIME",
        "Longest time since the first request; 0: off [default: 0]",
    )
    .at("sticky.maxlife"),
    Setting::new(
        "sticky_fallback",
        Boolean,
        "BOOL",
        "Go elsewhere when the bound peer cannot serve [default: on]",
    )
    .at("sticky.fallback"),
    Setting::new(
        "sticky_hash",
        Text,
        "HASH",
        "How a peer is named: hmac, plain or md5 [default: hmac]",
    )
    .at("sticky.hash"),
    Setting::new(
        "sticky_accept",
        List,
        "HASH,…",
        "Also read, but do not write, these [default: none]",
    )
    .at("sticky.accept"),
    Setting::new(
        "sticky_samesite",
        Text,
        "VALUE",
        "lax, strict, none or off [default: lax]",
    )
    .at("sticky.samesite"),
    Setting::new(
        "sticky_secure",
        Text,
        "VALUE",
        "auto, on or off [default: auto]",
    )
    .at("sticky.secure"),
    Setting::new("sticky_httponly", Boolean, "BOOL", "HttpOnly [default: on]")
        .at("sticky.httponly"),
    Setting::new(
        "sticky_key",
        Secret,
        "SECRET",
        "Signs the sticky cookie [default: made once and kept in the state folder]",
    )
    .at("sticky.key"),
    Setting::new(
        "max_fails",
        Integer,
        "N",
        "Failures within fail_timeout that pause a peer; 0: never [default: 1]",
    ),
    Setting::new(
        "fail_timeout",
        Text,
        "TIME",
        "Window for failures, and length of the pause [default: 10s]",
    ),
    Setting::new(
        "slow_start",
        Text,
        "TIME",
        "Weight rises for so long after recovery [default: 0]",
    ),
    Setting::new(
        "check",
        Text,
        "TYPE",
        "Check peers beside the traffic: off, tcp or http [default: off]",
    )
    .at("check.type"),
    Setting::new(
        "check_interval",
        Text,
        "TIME",
        "Time between two checks of a peer [default: 30s]",
    )
    .at("check.interval"),
    Setting::new(
        "check_rise",
        Integer,
        "N",
        "Passes in a row that bring a peer up [default: 2]",
    )
    .at("check.rise"),
    Setting::new(
        "check_fall",
        Integer,
        "N",
        "Failures in a row that take it down [default: 5]",
    )
    .at("check.fall"),
    Setting::new(
        "check_timeout",
        Text,
        "TIME",
        "Longest time for a check [default: 1s]",
    )
    .at("check.timeout"),
    Setting::new(
        "check_path",
        Text,
        "PATH",
        "What http asks for [default: /]",
    )
    .at("check.path"),
    Setting::new(
        "check_port",
        Integer,
        "PORT",
        "Another port to check; 0: the peer's own [default: 0]",
    )
    .at("check.port"),
    Setting::new(
        "resolver_valid",
        Text,
        "TIME",
        "Resolve names of servers again after so long; 0: never [default: 10s]",
    ),
    Setting::new(
        "keepalive",
        Integer,
        "N",
        "Idle connections kept per peer and worker; 0: none [default: 32]",
    ),
    Setting::new(
        "upstream_keepalive_timeout",
        Text,
        "TIME",
        "How long they are kept; stay below the upstream's own time [default: 15s]",
    ),
    Setting::new(
        "upstream_keepalive_requests",
        Integer,
        "N",
        "Requests over one of them [default: 1000]",
    ),
    Setting::new(
        "proxy_host",
        Text,
        "HOST",
        "Host for the peer: $http_host (the client's), $proxy_host (the upstream's name) or text [default: $http_host]",
    ),
    Setting::new(
        "proxy_connect_timeout",
        Text,
        "TIME",
        "Time to connect to a peer [default: 1m]",
    ),
    Setting::new(
        "proxy_read_timeout",
        Text,
        "TIME",
        "Time between two reads from a peer [default: 1m]",
    ),
    Setting::new(
        "proxy_send_timeout",
        Text,
        "TIME",
        "Time between two writes to a peer [default: 1m]",
    ),
    Setting::new(
        "proxy_next_upstream",
        List,
        "CONDITION,…",
        "error, timeout, invalid_header, http_500, http_502, http_503, http_504, http_403, http_404, http_429, non_idempotent or off [default: error,timeout]",
    ),
    Setting::new(
        "proxy_next_upstream_tries",
        Integer,
        "N",
        "Most tries; 0: each peer once [default: 0]",
    ),
    Setting::new(
        "proxy_next_upstream_timeout",
        Text,
        "TIME",
        "No further try after so long; 0: no limit [default: 0]",
    ),
    Setting::new(
        "client_max_body_size",
        Text,
        "SIZE",
        "Largest request body; 0: no limit [default: 1m]",
    ),
    Setting::new(
        "client_header_timeout",
        Text,
        "TIME",
        "Time for a whole request head [default: 1m]",
    ),
    Setting::new(
        "client_body_timeout",
        Text,
        "TIME",
        "Time between two reads of a request body [default: 1m]",
    ),
    Setting::new(
        "send_timeout",
        Text,
        "TIME",
        "Time between two writes to a client [default: 1m]",
    ),
    Setting::new(
        "keepalive_timeout",
        Text,
        "TIME",
        "How long an idle client connection is kept; 0: closed at once [default: 75s]",
    ),
    Setting::new(
        "keepalive_requests",
        Integer,
        "N",
        "Requests over one client connection [default: 1000]",
    ),
    Setting::new(
        "client_header_line",
        Text,
        "SIZE",
        "Longest request line (414) and longest field (431) [default: 8k]",
    ),
    Setting::new(
        "client_header_size",
        Text,
        "SIZE",
        "Longest request head (431) [default: 32k]",
    ),
    Setting::new(
        "max_headers",
        Integer,
        "N",
        "Most fields in a request head (431) [default: 100]",
    ),
    Setting::new(
        "worker_connections",
        Integer,
        "N",
        "Most client connections of the process [default: 16384]",
    ),
    Setting::new(
        "worker_processes",
        Integer,
        "N",
        "Worker threads; 0: one per core [default: 0]",
    ),
    Setting::new(
        "shutdown_timeout",
        Text,
        "TIME",
        "How long running requests may take after a stop [default: 30s]",
    ),
    Setting::new(
        "set_real_ip_from",
        List,
        "CIDR,…",
        "Networks whose word about the client is believed [default: none]",
    ),
    Setting::new(
        "real_ip_header",
        Text,
        "NAME",
        "X-Forwarded-For, X-Real-IP, Forwarded or proxy_protocol [default: X-Forwarded-For]",
    ),
    Setting::new(
        "real_ip_recursive",
        Boolean,
        "BOOL",
        "Go on to the left past trusted addresses [default: on]",
    ),
    Setting::new(
        "proxy_protocol",
        Boolean,
        "BOOL",
        "Every address of listen expects the PROXY protocol [default: off]",
    ),
    Setting::new(
        "ssl_certificate",
        Text,
        "FILE",
        "Certificate chain (PEM) for addresses that say ` ssl`",
    ),
    Setting::new("ssl_certificate_key", Text, "FILE", "Its private key (PEM)"),
    Setting::new(
        "underscores_in_headers",
        Boolean,
        "BOOL",
        "Keep fields with `_` in their names [default: off]",
    ),
    Setting::new(
        "x_forwarded",
        List,
        "FIELD,…",
        "Which X-Forwarded fields to write: on, off, or some of for, proto, host [default: on]",
    ),
    Setting::new(
        "forwarded",
        Boolean,
        "BOOL",
        "Write Forwarded (RFC 7239) [default: off]",
    ),
    Setting::new(
        "via",
        Text,
        "NAME",
        "Name in Via of requests; empty: none [default: lnmt-proxy]",
    ),
    Setting::new(
        "server_header",
        Text,
        "TEXT",
        "Server of responses; empty: the upstream's [default: lnmt-proxy]",
    ),
    Setting::new(
        "x_proxy",
        Boolean,
        "BOOL",
        "Send X-Proxy: which address answered [default: on]",
    ),
    Setting::new(
        "x_upstream",
        Boolean,
        "BOOL",
        "Send X-Upstream: which peer answered [default: on]",
    ),
    Setting::new(
        "x_route",
        Boolean,
        "BOOL",
        "Send X-Route: why that peer [default: on]",
    ),
    Setting::new(
        "access_log",
        Text,
        "WHERE",
        "off, stdout, stderr or a file [default: off]",
    ),
    Setting::new(
        "access_log_format",
        Text,
        "FORMAT",
        "main, combined or json [default: main]",
    ),
    Setting::new(
        "error_page_50x",
        Text,
        "FILE",
        "Page for 500, 502, 503 and 504 [default: built in]",
    ),
    Setting::new(
        "no_favicon",
        Boolean,
        "BOOL",
        "Answer /favicon.ico with 204, so that it takes no turn [default: false]",
    ),
];
