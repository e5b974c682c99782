//! Cookies in fields: find one, drop one, replace a value. Names are compared exactly (RFC 6265 section 4.2).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The values of all cookies called `name`, in the order in which the request has them, without surrounding quotes.
pub fn find<'a>(headers: &'a HeaderMap, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    std::iter::empty()
}

/// Takes every cookie called `name` out of the request; an emptied `Cookie` field is dropped. True when there was one.
pub fn remove(headers: &mut HeaderMap, name: &[u8]) -> bool {
    unimplemented!()
}
