//! Virtual servers and their locations from the configuration.

use http::header::HOST;
use http::{HeaderName, StatusCode};

use super::fields::{field, set_header};
use super::{Result, positive, refuse, value};
use crate::config::{Config, LocationConfig, ServerConfig, ServerEntry, UpstreamConfig};
use crate::retry::NextUpstream;
use crate::site::path::normalise;
use crate::site::{
    Action, AddHeader, Location, ProxyPass, SendHost, SetHeader, SiteError, Value, VirtualServer,
};

/// The virtual servers. A `proxy_pass` to an address that is no upstream's name adds an upstream of one server to `groups`.
pub(super) fn servers(
    config: &Config,
    groups: &mut Vec<UpstreamConfig>,
) -> Result<Box<[VirtualServer]>> {
    for (place, group) in groups.iter().enumerate() {
        let earlier = &groups[..place];
        if group.name.is_empty() || earlier.iter().any(|g| g.name == group.name) {
            return refuse(
                format!("upstream.{place}.name"),
                format!(
                    "`{}` is empty or there twice; give each upstream a name of its own",
                    group.name
                ),
            );
        }
        if group.server.is_empty() {
            return refuse(
                format!("upstream.{place}.server"),
                "no servers; write server = [\"host:port\", \"host:port\"]",
            );
        }
    }
    if !config.server.is_empty() {
        return config
            .server
            .iter()
            .enumerate()
            .map(|(place, server)| virtual_server(config, server, place, groups))
            .collect();
    }
    let name = match groups.as_slice() {
        [] => {
            return refuse(
                "upstream",
                "nothing to pass requests to; write --upstream host:port,host:port, or [[upstream]] and [[server]] tables",
            );
        }
        [only] => only.name.clone(),
        _ => {
            return refuse(
                "server",
                format!(
                    "there are {} upstreams and no [[server]] that says which path goes where; add one with [[server.location]] and proxy_pass",
                    groups.len()
                ),
            );
        }
    };
    let mut location = vec![LocationConfig {
        path: "/".into(),
        proxy_pass: format!("http://{name}"),
        ..LocationConfig::default()
    }];
    if config.no_favicon {
        location.push(LocationConfig {
            path: "= /favicon.ico".into(),
            answer: "204".into(),
            ..LocationConfig::default()
        });
    }
    let simple = ServerConfig {
        location,
        ..ServerConfig::default()
    };
    Ok([virtual_server(config, &simple, 0, groups)?].into())
}

fn virtual_server(
    config: &Config,
    server: &ServerConfig,
    place: usize,
    groups: &mut Vec<UpstreamConfig>,
) -> Result<VirtualServer> {
    let path = format!("server.{place}");
    if server.location.is_empty() {
        return refuse(
            format!("{path}.location"),
            "no locations; write [[server.location]] with path = \"/\" and proxy_pass",
        );
    }
    let mut locations: Vec<Location> = Vec::new();
    for (number, written) in server.location.iter().enumerate() {
        let maker = Maker {
            config,
            server,
            written,
            path: format!("{path}.location.{number}"),
        };
        let location = maker.location(groups)?;
        if locations
            .iter()
            .any(|l| l.path == location.path && l.exact == location.exact)
        {
            return refuse(
                format!("{}.path", maker.path),
                format!(
                    "`{}` is there twice; put both into one location",
                    written.path
                ),
            );
        }
        locations.push(location);
    }
    add_slashes(&mut locations);
    locations.sort_by_key(|l| (!l.exact, std::cmp::Reverse(l.path.len())));
    Ok(VirtualServer {
        names: server
            .server_name
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        locations: locations.into(),
    })
}

/// Where requests below `/path/` are passed on, `/path` leads there, unless a location says otherwise (nginx does the same
/// where `proxy_pass` stands in a location whose path ends in a slash).
fn add_slashes(locations: &mut Vec<Location>) {
    let without: Vec<Location> = locations
        .iter()
        .filter(|location| !location.exact && matches!(location.action, Action::Proxy(_)))
        .filter_map(|location| {
            let path = location.path.strip_suffix('/').filter(|p| !p.is_empty())?;
            let taken = locations.iter().any(|other| *other.path == *path);
            (!taken).then(|| Location {
                path: path.into(),
                exact: true,
                action: Action::AddSlash,
                max_body: location.max_body,
                add_headers: location.add_headers.clone(),
            })
        })
        .collect();
    locations.extend(without);
}

/// What a location is made from.
struct Maker<'a> {
    config: &'a Config,
    server: &'a ServerConfig,
    written: &'a LocationConfig,
    /// Of the location, for errors.
    path: String,
}

impl Maker<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn location(&self, groups: &mut Vec<UpstreamConfig>) -> Result<Location> {
        let (exact, path) = match self.written.path.strip_prefix('=') {
            Some(path) => (true, path.trim()),
            None => (false, self.written.path.trim()),
        };
        if !path.starts_with('/') {
            return refuse(
                self.at("path"),
                format!(
                    "`{}` does not begin with `/`; write `/prefix/` or `= /exact`",
                    self.written.path
                ),
            );
        }
        let body = self
            .written
            .client_max_body_size
            .or(self.server.client_max_body_size)
            .unwrap_or(self.config.client_max_body_size);
        Ok(Location {
            path: normalise(path).into(),
            exact,
            action: self.action(path, groups)?,
            max_body: (body.0 > 0).then_some(body.0),
            add_headers: self.add_headers()?,
        })
    }

    fn action(&self, path: &str, groups: &mut Vec<UpstreamConfig>) -> Result<Action> {
        let written = self.written;
        match (
            written.proxy_pass.as_str(),
            written.root.as_str(),
            written.answer.as_str(),
        ) {
            (pass, "", "") if !pass.is_empty() => {
                Ok(Action::Proxy(self.proxy_pass(path, pass, groups)?))
            }
            ("", root, "") if !root.is_empty() => Ok(Action::Files(root.into())),
            ("", "", answer) if !answer.is_empty() => self.answer(answer),
            _ => refuse(
                self.path.as_str(),
                "a location has exactly one of proxy_pass, root and return",
            ),
        }
    }

    fn answer(&self, text: &str) -> Result<Action> {
        let (status, text) = text.split_once(' ').unwrap_or((text, ""));
        match status.parse::<StatusCode>() {
            Ok(status) if status.as_u16() >= 200 => {
                if status.is_redirection() {
                    value(&self.at("return"), text)?;
                }
                Ok(Action::Answer {
                    status,
                    text: text.trim().into(),
                })
            }
            _ => refuse(
                self.at("return"),
                format!(
                    "`{status}` is no status; write one such as 404 or `301 https://example.org/`"
                ),
            ),
        }
    }

    fn proxy_pass(
        &self,
        path: &str,
        pass: &str,
        groups: &mut Vec<UpstreamConfig>,
    ) -> Result<ProxyPass> {
        let Some(rest) = pass.strip_prefix("http://") else {
            return refuse(
                self.at("proxy_pass"),
                format!("`{pass}` does not begin with http://; peers are asked over plain HTTP"),
            );
        };
        let (name, uri) = match rest.find('/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash..])),
            None => (rest, None),
        };
        if name.is_empty() {
            return refuse(
                self.at("proxy_pass"),
                format!("`{pass}` names no upstream; write http://NAME or http://host:port"),
            );
        }
        let upstream = groups
            .iter()
            .position(|group| group.name == name)
            .unwrap_or_else(|| {
                groups.push(UpstreamConfig {
                    name: name.to_owned(),
                    server: vec![ServerEntry {
                        address: name.to_owned(),
                        ..ServerEntry::default()
                    }],
                    ..UpstreamConfig::default()
                });
                groups.len() - 1
            });
        let mut set_headers = self.set_headers(name)?;
        let own_host = set_headers.iter().position(|(field, _)| field == HOST);
        let own_host = own_host.map(|place| set_headers.remove(place).1);
        Ok(ProxyPass {
            upstream,
            replace: uri.filter(|uri| *uri != path).map(Into::into),
            host: self.host(own_host, name)?,
            set_headers: set_headers.into(),
            connect_timeout: self.time(
                "proxy_connect_timeout",
                |l| l.proxy_connect_timeout,
                |c| c.proxy_connect_timeout,
            )?,
            read_timeout: self.time(
                "proxy_read_timeout",
                |l| l.proxy_read_timeout,
                |c| c.proxy_read_timeout,
            )?,
            send_timeout: self.time(
                "proxy_send_timeout",
                |l| l.proxy_send_timeout,
                |c| c.proxy_send_timeout,
            )?,
            next_upstream: self.next_upstream()?,
        })
    }

    fn time(
        &self,
        name: &str,
        own: impl Fn(&LocationConfig) -> Option<program::Duration>,
        common: impl Fn(&Config) -> program::Duration,
    ) -> Result<std::time::Duration> {
        match own(self.written) {
            Some(time) => positive(&self.at(name), *time),
            None => positive(name, *common(self.config)),
        }
    }

    fn next_upstream(&self) -> Result<NextUpstream> {
        let (written, config) = (self.written, self.config);
        let (path, words) = match &written.proxy_next_upstream {
            Some(words) => (self.at("proxy_next_upstream"), words),
            None => (
                "proxy_next_upstream".to_owned(),
                &config.proxy_next_upstream,
            ),
        };
        let tries = written
            .proxy_next_upstream_tries
            .unwrap_or(config.proxy_next_upstream_tries);
        let time = written
            .proxy_next_upstream_timeout
            .unwrap_or(config.proxy_next_upstream_timeout);
        let words = words.iter().flat_map(|word| word.split_whitespace());
        NextUpstream::new(words, tries, *time).map_err(|word| SiteError {
            path,
            why: format!(
                "`{word}` is unknown; use error, timeout, invalid_header, http_500, http_502, http_503, http_504, http_403, http_404, http_429, non_idempotent or off"
            ),
        })
    }

    fn host(&self, own: Option<SetHeader>, upstream: &str) -> Result<SendHost> {
        let absent = value(&self.at("proxy_pass"), upstream)?;
        let written = match own {
            None => set_header("proxy_host", &self.config.proxy_host, upstream)?,
            Some(own) => own,
        };
        Ok(match written {
            SetHeader::Fixed(host) => SendHost::Fixed(host),
            SetHeader::Made(parts) if *parts == [Value::HttpHost] => SendHost::Received { absent },
            SetHeader::Made(parts) => SendHost::Made(parts, absent),
            SetHeader::Remove => {
                return refuse(
                    self.at("proxy_set_header"),
                    "an HTTP/1.1 request needs a Host; write $http_host, $host, $proxy_host or text",
                );
            }
        })
    }

    fn set_headers(&self, upstream: &str) -> Result<Vec<(HeaderName, SetHeader)>> {
        let path = self.at("proxy_set_header");
        self.written
            .proxy_set_header
            .iter()
            .map(|line| {
                let (name, text) = field(&path, line)?;
                Ok((name, set_header(&path, text, upstream)?))
            })
            .collect()
    }

    /// Those of the server, then those of the location.
    fn add_headers(&self) -> Result<Box<[AddHeader]>> {
        let path = self.at("add_header");
        self.server
            .add_header
            .iter()
            .chain(&self.written.add_header)
            .map(|line| {
                let (name, text) = field(&path, line)?;
                let plain = text.strip_suffix(" always");
                Ok(AddHeader {
                    name,
                    value: value(&path, plain.unwrap_or(text).trim_end())?,
                    always: plain.is_some(),
                })
            })
            .collect()
    }
}
