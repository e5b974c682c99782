//! The addresses to listen on, and which virtual servers are behind each.

use std::net::SocketAddr;

use super::{Result, refuse};
use crate::config::{Config, ListenEntry, ServerConfig};
use crate::site::{Certificate, Listener};

/// All listeners, in the order of the configuration; servers without addresses of their own are behind those of the top.
pub(super) fn listeners(config: &Config) -> Result<Box<[Listener]>> {
    let mut listeners: Vec<Listener> = Vec::new();
    let simple = [ServerConfig::default()];
    let servers = if config.server.is_empty() {
        &simple[..]
    } else {
        &config.server
    };
    for (place, server) in servers.iter().enumerate() {
        let (entries, path, common) = if server.listen.is_empty() {
            (&config.listen, "listen".to_owned(), true)
        } else {
            (&server.listen, format!("server.{place}.listen"), false)
        };
        if entries.is_empty() {
            return refuse(path, "no address to listen on; write ADDR:PORT");
        }
        for entry in entries {
            let address = address(&path, entry)?;
            let proxy_protocol = entry.proxy_protocol || (common && config.proxy_protocol);
            let certificate = match entry.ssl {
                true => Some(certificate(config, server, place, &path)?),
                false => None,
            };
            match listeners.iter_mut().find(|l| l.address == address) {
                None => listeners.push(Listener {
                    address,
                    tls: certificate.into_iter().collect(),
                    proxy_protocol,
                    servers: [place].into(),
                }),
                Some(known) if known.servers.contains(&place) && address.port() != 0 => {
                    return refuse(path, format!("{address} is there twice; write it once"));
                }
                Some(known) => {
                    if known.tls.is_empty() == entry.ssl || known.proxy_protocol != proxy_protocol {
                        return refuse(
                            path,
                            format!(
                                "{address} is also another server's, with other words behind it; write ssl and proxy_protocol alike in both"
                            ),
                        );
                    }
                    known.tls = known.tls.iter().cloned().chain(certificate).collect();
                    known.servers = known.servers.iter().copied().chain([place]).collect();
                }
            }
        }
    }
    let taken = |one: &Listener| {
        let ip = one.address.ip();
        ip.is_unspecified()
            && listeners.iter().any(|other| {
                let address = other.address;
                // A socket on [::] also takes IPv4.
                let family = ip.is_ipv6() || address.is_ipv4();
                address != one.address && address.port() == one.address.port() && family
            })
    };
    if let Some(wide) = listeners.iter().find(|l| l.address.port() != 0 && taken(l)) {
        return refuse(
            "listen",
            format!(
                "{} takes its port at every address, another address with this port cannot be listened on beside it; leave one of them out",
                wide.address
            ),
        );
    }
    let any_certificate = !config.ssl_certificate.is_empty()
        || config.server.iter().any(|s| !s.ssl_certificate.is_empty());
    if any_certificate && listeners.iter().all(|l| l.tls.is_empty()) {
        return refuse(
            "ssl_certificate",
            "a certificate is set, and no address says ` ssl`; write it behind the address, as in `0.0.0.0:8443 ssl`",
        );
    }
    Ok(listeners.into())
}

/// `ADDR:PORT`, `*:PORT`, `PORT` or `localhost:PORT`.
fn address(path: &str, entry: &ListenEntry) -> Result<SocketAddr> {
    let text = entry.address.as_str();
    let full = match text.split_once(':') {
        None => format!("0.0.0.0:{text}"),
        Some(("*", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(_) => text.to_owned(),
    };
    match full.parse() {
        Ok(address) => Ok(address),
        Err(_) => refuse(
            path,
            format!(
                "`{text}` is no address; write one such as 127.0.0.1:8080, [::]:8080 or *:8080"
            ),
        ),
    }
}

fn certificate(
    config: &Config,
    server: &ServerConfig,
    place: usize,
    listen: &str,
) -> Result<Certificate> {
    let (chain, key, path) = if server.ssl_certificate.is_empty() {
        (
            &config.ssl_certificate,
            &config.ssl_certificate_key,
            String::new(),
        )
    } else {
        (
            &server.ssl_certificate,
            &server.ssl_certificate_key,
            format!("server.{place}."),
        )
    };
    if chain.is_empty() {
        return refuse(
            listen,
            "an address says ` ssl`, and there is no certificate; set ssl_certificate and ssl_certificate_key",
        );
    }
    if key.is_empty() {
        return refuse(
            format!("{path}ssl_certificate_key"),
            "is missing beside ssl_certificate; name the PEM file of the private key",
        );
    }
    Ok(Certificate {
        names: server
            .server_name
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        chain: chain.into(),
        key: key.into(),
    })
}
