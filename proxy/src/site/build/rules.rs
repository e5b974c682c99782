//! What an upstream's settings must keep to.

use std::time::Duration;

use super::{MIN_KEY, Result, is_token, positive, refuse};
use crate::balance::consistent;
use crate::config::{
    BalanceName, CheckConfig, CheckType, CookieMode, HashName, SameSite, Secure, ServerEntry,
    StickyConfig,
};
use crate::upstream::{ActiveCheck, CheckKind};

/// Largest weight; above, sums of weights could run over.
const MAX_WEIGHT: u32 = 65_535;
/// HAProxy's largest weight, which bounds the map of `source`.
const MAX_SOURCE_WEIGHT: u32 = 256;

/// One server.
pub(super) fn check_server(path: &str, server: &ServerEntry, balance: BalanceName) -> Result<()> {
    let largest = match balance {
        BalanceName::Source => MAX_SOURCE_WEIGHT,
        BalanceName::ConsistentHash => consistent::MAX_WEIGHT,
        _ => MAX_WEIGHT,
    };
    if server.weight == 0 || server.weight > largest {
        return refuse(
            format!("{path}.weight"),
            format!(
                "{} is not between 1 and {largest}; to let a server keep its sessions and get no new ones, write drain",
                server.weight
            ),
        );
    }
    let hashes = matches!(
        balance,
        BalanceName::IpHash | BalanceName::Hash | BalanceName::ConsistentHash
    );
    if server.backup && hashes {
        return refuse(
            format!("{path}.backup"),
            "there are no backups with ip_hash, hash and consistent_hash (as in nginx); make it an ordinary server, or choose another balance",
        );
    }
    if server.down && server.drain {
        return refuse(
            format!("{path}.drain"),
            "a server is either down (takes nothing) or drain (keeps its sessions); write one of them",
        );
    }
    for (name, text) in [("id", &server.id), ("route", &server.route)] {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !text.bytes().all(good) {
            return refuse(
                format!("{path}.{name}"),
                format!("`{text}` must stand in a cookie; use letters, digits, `-`, `_` and `.`"),
            );
        }
    }
    Ok(())
}

/// The sticky cookie, signed with a key of so many bytes.
pub(super) fn check_sticky(path: &str, sticky: &StickyConfig, key: usize) -> Result<()> {
    let at = |name: &str| format!("{path}.{name}");
    if sticky.cookie.is_empty() || !sticky.cookie.bytes().all(is_token) {
        return refuse(
            at("cookie"),
            format!(
                "`{}` is no cookie name; use letters, digits, `-` and `_`",
                sticky.cookie
            ),
        );
    }
    for (name, text) in [("domain", &sticky.domain), ("path", &sticky.path)] {
        if !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b';' && b != b',')
        {
            return refuse(
                at(name),
                format!("`{text}` cannot stand in a cookie; leave out blanks, `;` and `,`"),
            );
        }
    }
    let limited = !sticky.maxidle.is_zero() || !sticky.maxlife.is_zero();
    if limited && sticky.mode != CookieMode::Insert {
        return refuse(
            at("mode"),
            "maxidle and maxlife need a cookie of the proxy's own; write mode = \"insert\", or leave them 0",
        );
    }
    if sticky.samesite == SameSite::None && sticky.secure == Secure::Off {
        return refuse(
            at("samesite"),
            "browsers throw a SameSite=None cookie away that is not Secure; write secure = \"auto\" or \"on\"",
        );
    }
    let signs = sticky.hash == HashName::Hmac || sticky.accept.contains(&HashName::Hmac);
    if signs && key < MIN_KEY {
        return refuse(
            at("key"),
            format!(
                "{key} bytes are too few for a secret; write at least {MIN_KEY} random characters"
            ),
        );
    }
    Ok(())
}

/// The active checks, where they are on.
pub(super) fn check(path: &str, check: &CheckConfig) -> Result<Option<ActiveCheck>> {
    let kind = match check.kind {
        CheckType::Off => return Ok(None),
        CheckType::Tcp => CheckKind::Tcp,
        CheckType::Http => CheckKind::Http {
            path: check.path.as_str().into(),
        },
    };
    let at = |name: &str| format!("{path}.{name}");
    if !check.path.starts_with('/') || !check.path.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse(
            at("path"),
            format!(
                "`{}` is no path; write one that begins with `/`",
                check.path
            ),
        );
    }
    positive(&at("interval"), *check.interval)?;
    positive(&at("timeout"), *check.timeout)?;
    Ok(Some(ActiveCheck {
        kind,
        interval: (*check.interval).max(Duration::from_millis(1)),
        rise: check.rise.max(1),
        fall: check.fall.max(1),
        timeout: *check.timeout,
        port: check.port,
    }))
}
