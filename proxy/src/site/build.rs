//! From [`Config`] to [`Site`]: every check of the configuration, each with the dotted path of the setting it is about.

mod fields;
mod listeners;
mod locations;
mod rules;
mod upstreams;

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;

use super::{ClientLimits, LogTarget, Site, SiteError, Surroundings};
use crate::config::{BalanceName, Config, HashName, UpstreamConfig, UpstreamEntry};
use crate::head::Limits;
use crate::headers::{Policy, Via};
use crate::realip::{Network, RealIp, Source};

/// Name of the one upstream of the simple case; what the article calls it.
const SIMPLE_UPSTREAM: &str = "dynamic";

/// Least length of a key that signs cookies.
const MIN_KEY: usize = 16;

/// Smallest limit for a request line; below, ordinary requests fail.
const MIN_LINE: usize = 256;

pub(super) type Result<T> = std::result::Result<T, SiteError>;

/// A [`SiteError`] about this setting.
pub(super) fn refuse<T>(path: impl Into<String>, why: impl Into<String>) -> Result<T> {
    Err(SiteError {
        path: path.into(),
        why: why.into(),
    })
}

/// The upstreams of the configuration: those of `[[upstream]]`, or the one of the simple case.
pub(super) fn groups(config: &Config) -> Result<Vec<UpstreamConfig>> {
    let mut groups = Vec::new();
    let mut servers = Vec::new();
    for entry in &config.upstream {
        match entry {
            UpstreamEntry::Server(server) => servers.push(server.clone()),
            UpstreamEntry::Group(group) => groups.push(UpstreamConfig::clone(group)),
        }
    }
    if !servers.is_empty() && !groups.is_empty() {
        return refuse(
            "upstream",
            "servers and [[upstream]] tables are mixed; put the servers into a table as `server = [\"host:port\"]`",
        );
    }
    if !servers.is_empty() {
        groups.push(UpstreamConfig {
            name: SIMPLE_UPSTREAM.into(),
            server: servers,
            ..UpstreamConfig::default()
        });
    }
    Ok(groups)
}

/// What must be resolved: servers by name, those in `proxy_pass` too.
pub(super) fn names(config: &Config) -> Vec<String> {
    let mut groups = groups(config).unwrap_or_default();
    let _an_error_comes_from_site = locations::servers(config, &mut groups);
    let mut names: Vec<String> = groups
        .iter()
        .flat_map(|group| &group.server)
        .map(upstreams::host_and_port)
        .filter(|name| name.parse::<SocketAddr>().is_err())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Builds the whole site.
pub(super) fn site(config: &Config, surroundings: &Surroundings<'_>) -> Result<Site> {
    let mut groups = groups(config)?;
    let servers = locations::servers(config, &mut groups)?;
    let upstreams = groups
        .iter()
        .enumerate()
        .map(|(place, group)| upstreams::upstream(config, group, place, surroundings))
        .collect::<Result<_>>()?;
    Ok(Site {
        listeners: listeners::listeners(config)?,
        servers,
        upstreams,
        head_limits: head_limits(config)?,
        client: client_limits(config)?,
        real_ip: real_ip(config)?,
        policy: policy(config)?,
        access_log: log_target(&config.access_log),
        access_log_format: config.access_log_format,
        error_page_50x: (!config.error_page_50x.is_empty())
            .then(|| config.error_page_50x.clone().into()),
        workers: config.worker_processes,
        worker_connections: at_least_one("worker_connections", config.worker_connections)?,
        shutdown_timeout: *config.shutdown_timeout,
        resolver_valid: *config.resolver_valid,
        node_id: config.node_id.as_str().into(),
        mode: config.balance().as_str().into(),
    })
}

/// Whether some upstream signs its cookies and no key is set.
pub(super) fn needs_sticky_key(config: &Config) -> bool {
    let needs = |group: &UpstreamConfig| {
        let sticky = group.sticky.as_ref().unwrap_or(&config.sticky);
        let signs = sticky.hash == HashName::Hmac || sticky.accept.contains(&HashName::Hmac);
        let balance = group.balance.unwrap_or_else(|| config.balance());
        balance == BalanceName::SessionSticky && signs && sticky.key.is_empty()
    };
    groups(config).is_ok_and(|groups| groups.iter().any(needs))
}

fn head_limits(config: &Config) -> Result<Limits> {
    let line = config.client_header_line.bytes();
    let head = config.client_header_size.bytes();
    if line < MIN_LINE {
        return refuse(
            "client_header_line",
            format!("{line} bytes are too few for ordinary requests; write at least {MIN_LINE}"),
        );
    }
    if head < line {
        return refuse(
            "client_header_size",
            format!("{head} is less than client_header_line, {line}; write at least as much"),
        );
    }
    Ok(Limits {
        line,
        head,
        fields: at_least_one("max_headers", config.max_headers)?,
    })
}

fn client_limits(config: &Config) -> Result<ClientLimits> {
    Ok(ClientLimits {
        header_timeout: positive("client_header_timeout", *config.client_header_timeout)?,
        body_timeout: positive("client_body_timeout", *config.client_body_timeout)?,
        send_timeout: positive("send_timeout", *config.send_timeout)?,
        keepalive_timeout: *config.keepalive_timeout,
        keepalive_requests: config.keepalive_requests.max(1),
    })
}

fn real_ip(config: &Config) -> Result<Option<RealIp>> {
    let networks = config
        .set_real_ip_from
        .iter()
        .enumerate()
        .map(|(place, text)| {
            text.parse::<Network>().map_err(|why| SiteError {
                path: format!("set_real_ip_from.{place}"),
                why: format!("`{text}` {why}"),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let source = match config.real_ip_header.to_ascii_lowercase().as_str() {
        "proxy_protocol" => Source::ProxyProtocol,
        "forwarded" => Source::Forwarded,
        name => match name.parse() {
            Ok(name) => Source::Field(name),
            Err(_) => {
                return refuse(
                    "real_ip_header",
                    format!(
                        "`{name}` is no field name; write X-Forwarded-For, X-Real-IP, Forwarded or proxy_protocol"
                    ),
                );
            }
        },
    };
    Ok((!networks.is_empty()).then(|| RealIp::new(networks, source, config.real_ip_recursive)))
}

fn policy(config: &Config) -> Result<Policy> {
    let via = match config.via.as_str() {
        "" => None,
        name if name.bytes().all(is_token) => Some(Via {
            http1: value("via", &format!("1.1 {name}"))?,
            http2: value("via", &format!("2.0 {name}"))?,
        }),
        name => {
            return refuse(
                "via",
                format!("`{name}` is no name; write letters, digits, `-` and `.`"),
            );
        }
    };
    let server = match config.server_header.as_str() {
        "" => None,
        text => Some(value("server_header", text)?),
    };
    Ok(Policy {
        x_forwarded: config.x_forwarded,
        forwarded: config.forwarded,
        via,
        underscores: config.underscores_in_headers,
        server,
        x_proxy: config.x_proxy,
        x_upstream: config.x_upstream,
        x_route: config.x_route,
    })
}

fn log_target(text: &str) -> LogTarget {
    match text {
        "" | "off" => LogTarget::Off,
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        file => LogTarget::File(file.into()),
    }
}

/// A time that must not be zero.
pub(super) fn positive(path: &str, time: Duration) -> Result<Duration> {
    if time.is_zero() {
        return refuse(path, "0 would fail every request; write a time such as 60s");
    }
    Ok(time)
}

fn at_least_one(path: &str, number: usize) -> Result<usize> {
    if number == 0 {
        return refuse(path, "0 would let nothing through; write at least 1");
    }
    Ok(number)
}

/// Text as the value of a field.
pub(super) fn value(path: &str, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| SiteError {
        path: path.to_owned(),
        why: format!("`{text}` cannot stand in a header field; use visible ASCII characters"),
    })
}

/// Characters of names in HTTP (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
