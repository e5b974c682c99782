//! `NAME: VALUE` lines of the configuration, with nginx's variables in them.

use http::HeaderName;

use super::{Result, refuse, value};
use crate::site::{SetHeader, Value};

/// `NAME: VALUE`.
pub(super) fn field<'a>(path: &str, line: &'a str) -> Result<(HeaderName, &'a str)> {
    let pair = line.split_once(':');
    match pair.and_then(|(name, text)| Some((name.trim().parse().ok()?, text.trim()))) {
        Some(field) => Ok(field),
        None => refuse(path, format!("`{line}` is no field; write \"Name: value\"")),
    }
}

/// A value with nginx's variables in it.
pub(super) fn set_header(path: &str, text: &str, upstream: &str) -> Result<SetHeader> {
    let mut parts: Vec<Value> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let part;
        (part, rest) = match rest.strip_prefix('$') {
            None => {
                let end = rest.find('$').unwrap_or(rest.len());
                (Value::Text(rest[..end].into()), &rest[end..])
            }
            Some(after) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                (variable(path, &after[..end], upstream)?, &after[end..])
            }
        };
        parts.push(part);
    }
    Ok(match parts.as_slice() {
        [] => SetHeader::Remove,
        [Value::Text(text)] => SetHeader::Fixed(value(path, text)?),
        _ => {
            for part in &parts {
                if let Value::Text(text) = part {
                    value(path, text)?;
                }
            }
            SetHeader::Made(parts.into())
        }
    })
}

fn variable(path: &str, name: &str, upstream: &str) -> Result<Value> {
    Ok(match name {
        "remote_addr" => Value::RemoteAddr,
        "proxy_add_x_forwarded_for" => Value::AddForwardedFor,
        "host" => Value::Host,
        "http_host" => Value::HttpHost,
        "proxy_host" => Value::Text(upstream.into()),
        "scheme" => Value::Scheme,
        "server_addr" => Value::ServerAddr,
        "server_port" => Value::ServerPort,
        "request_uri" => Value::RequestUri,
        _ => {
            let field = name
                .strip_prefix("http_")
                .and_then(|field| field.to_ascii_lowercase().replace('_', "-").parse().ok());
            match field {
                Some(field) => Value::Field(field),
                None => {
                    return refuse(
                        path,
                        format!(
                            "${name} is unknown; use $remote_addr, $proxy_add_x_forwarded_for, $host, $http_host, $proxy_host, $scheme, $server_addr, $server_port, $request_uri or $http_NAME"
                        ),
                    );
                }
            }
        }
    })
}
