//! Cookies in fields: find one, drop one, write one. Names are compared exactly, pairs are separated as RFC 6265 section 4.2
//! says, and a field that becomes empty goes away.

use http::header::{COOKIE, Entry, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// The values of all cookies called `name`, in the order in which the request has them, without surrounding quotes.
pub fn find<'a>(headers: &'a HeaderMap, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| pairs(field.as_bytes()))
        .filter_map(move |pair| value_of(pair, name))
}

/// Takes every cookie called `name` out of the request. True when there was one.
pub fn remove(headers: &mut HeaderMap, name: &[u8]) -> bool {
    edit(headers, name, |_| None)
}

/// Gives every cookie called `name` in the request the value that `change` picks from its old one; `None` takes the cookie
/// out. Fields without such a cookie stay as they are, byte for byte. True when there was one.
pub fn edit(headers: &mut HeaderMap, name: &[u8], change: impl Fn(&[u8]) -> Option<&[u8]>) -> bool {
    if find(headers, name).next().is_none() {
        return false;
    }
    let old: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for field in old {
        if pairs(field.as_bytes()).all(|pair| value_of(pair, name).is_none()) {
            headers.append(COOKIE, field);
            continue;
        }
        let mut new = Vec::with_capacity(field.len());
        for pair in pairs(field.as_bytes()) {
            let changed = match value_of(pair, name) {
                None => Some((pair, None)),
                Some(value) => change(value).map(|value| (name, Some(value))),
            };
            let Some((first, value)) = changed else {
                continue;
            };
            if !new.is_empty() {
                new.extend_from_slice(b"; ");
            }
            new.extend_from_slice(first);
            if let Some(value) = value {
                new.push(b'=');
                new.extend_from_slice(value);
            }
        }
        if !new.is_empty() {
            headers.append(COOKIE, made_of_parts(new));
        }
    }
    true
}

/// Gives every `Set-Cookie` called `name` the value that `change` makes of its old one; attributes stay. True when there was
/// one.
pub fn edit_set_cookie(
    headers: &mut HeaderMap,
    name: &[u8],
    mut change: impl FnMut(&[u8]) -> Vec<u8>,
) -> bool {
    let Entry::Occupied(mut fields) = headers.entry(SET_COOKIE) else {
        return false;
    };
    let mut found = false;
    for field in fields.iter_mut() {
        let Some((value, attributes)) = set_cookie(field.as_bytes(), name) else {
            continue;
        };
        found = true;
        let mut new = name.to_vec();
        new.push(b'=');
        new.extend_from_slice(&change(value));
        new.extend_from_slice(attributes);
        *field = made_of_parts(new);
    }
    found
}

/// Drops every `Set-Cookie` called `name`.
pub fn remove_set_cookie(headers: &mut HeaderMap, name: &[u8]) {
    let has = |field: &HeaderValue| set_cookie(field.as_bytes(), name).is_some();
    if !headers.get_all(SET_COOKIE).iter().any(has) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(|field| !has(field))
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for field in kept {
        headers.append(SET_COOKIE, field);
    }
}

/// The values of all `Set-Cookie` called `name`.
pub fn find_set_cookie<'a>(
    headers: &'a HeaderMap,
    name: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(move |field| Some(unquoted(set_cookie(field.as_bytes(), name)?.0)))
}

/// The pairs of a `Cookie` field.
fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = pair.strip_prefix(name)?;
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    Some(unquoted(value.trim_ascii_start()))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Value and attributes (from the first semicolon) of a `Set-Cookie` called `name`.
fn set_cookie<'a>(field: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let end = field
        .iter()
        .position(|byte| *byte == b';')
        .unwrap_or(field.len());
    let (pair, attributes) = field.split_at(end);
    let rest = pair.trim_ascii().strip_prefix(name)?.trim_ascii_start();
    Some((rest.strip_prefix(b"=")?.trim_ascii_start(), attributes))
}

/// A field put together from parts of fields and of the configuration, which are both checked.
pub(crate) fn made_of_parts(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::{edit, edit_set_cookie, find, find_set_cookie, remove, remove_set_cookie};
    use http::header::{COOKIE, SET_COOKIE};
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(name: HeaderName, fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(&name, HeaderValue::from_str(field).expect("a value"));
        }
        headers
    }

    fn fields(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
        let all = headers.get_all(name);
        all.iter().map(|f| f.to_str().expect("text")).collect()
    }

    #[test]
    fn names_match_exactly_and_every_cookie_is_found() {
        for (cookies, values) in [
            (&["route=A"][..], &["A"][..]),
            (&["xroute=A; routex=B; route=C"], &["C"]),
            (&["Route=A"], &[]),
            (&["route=A; b=c; route=B", "route=D"], &["A", "B", "D"]),
            (&["route=\"A\""], &["A"]),
            (&["route="], &[""]),
            (&["route"], &[]),
            (&["a=1;route=A;b=2"], &["A"]),
            (&["a=route=A"], &[]),
            (&["  route = A  ;"], &["A"]),
        ] {
            let headers = headers(COOKIE, cookies);
            let found: Vec<&[u8]> = find(&headers, b"route").collect();
            let expected: Vec<&[u8]> = values.iter().map(|v| v.as_bytes()).collect();
            assert_eq!(found, expected, "{cookies:?}");
        }
    }

    #[test]
    fn what_remains_is_well_formed() {
        for (before, after) in [
            (&["a=b; route=S; c=d"][..], &["a=b; c=d"][..]),
            (&["a=b; route=S"], &["a=b"]),
            (&["route=S; a=b"], &["a=b"]),
            (&["route=S"], &[]),
            (&["route=S", "a=b"], &["a=b"]),
            (&["a=b;c=d"], &["a=b;c=d"]),
            (&["a=b;c=d", "route=S;e=f;route=T"], &["a=b;c=d", "e=f"]),
            (&["xroute=S"], &["xroute=S"]),
        ] {
            let mut headers = headers(COOKIE, before);
            let found = remove(&mut headers, b"route");
            assert_eq!(fields(&headers, COOKIE), after, "{before:?}");
            assert_eq!(found, before != after, "{before:?}");
        }
    }

    #[test]
    fn values_are_changed_in_place() {
        let mut headers = headers(COOKIE, &["a=b; sid=X~1; c=d; sid=2"]);
        edit(&mut headers, b"sid", |value| {
            Some(value.strip_prefix(b"X~").unwrap_or(value))
        });
        assert_eq!(fields(&headers, COOKIE), ["a=b; sid=1; c=d; sid=2"]);
    }

    #[test]
    fn set_cookies_keep_their_order_and_attributes() {
        let lines = ["a=1; Path=/", "sid=2; Path=/; HttpOnly", "b=3", "sid=4"];
        let mut headers = headers(SET_COOKIE, &lines);
        let found: Vec<&[u8]> = find_set_cookie(&headers, b"sid").collect();
        assert_eq!(found, [b"2", b"4"]);
        let changed = edit_set_cookie(&mut headers, b"sid", |value| [b"X~", value].concat());
        assert!(changed);
        let expected = ["a=1; Path=/", "sid=X~2; Path=/; HttpOnly", "b=3", "sid=X~4"];
        assert_eq!(fields(&headers, SET_COOKIE), expected);
        remove_set_cookie(&mut headers, b"sid");
        assert_eq!(fields(&headers, SET_COOKIE), ["a=1; Path=/", "b=3"]);
        assert!(!edit_set_cookie(&mut headers, b"sid", <[u8]>::to_vec));
    }
}
