//! Following the route in a session id: Tomcat appends its `jvmRoute` (`ID.WEB1`), memcached-session-manager puts its node in
//! front of that (`ID-n1.WEB1`). The id stands in a cookie or, for browsers without cookies, in the path
//! (`/cart;jsessionid=ID.WEB1`).

use crate::balance::Facts;
use crate::binding::{By, Presented};
use crate::cookie;

/// Where the session id stands, and whose route is which.
#[derive(Debug)]
pub struct Route {
    cookie: Box<[u8]>,
    /// `;jsessionid=`.
    parameter: Box<str>,
    /// By peer; empty for a peer without route.
    routes: Box<[Box<str>]>,
}

impl Route {
    /// For ids in this cookie, and in the path parameter of the same name in lower case; `routes` by peer.
    pub fn new(cookie: &str, routes: impl IntoIterator<Item = Box<str>>) -> Self {
        Self {
            cookie: cookie.as_bytes().into(),
            parameter: format!(";{}=", cookie.to_ascii_lowercase()).into(),
            routes: routes.into_iter().collect(),
        }
    }

    /// The peer whose route ends the session id. The first id with a known route wins, cookies before the path.
    pub(crate) fn read(&self, facts: &Facts<'_>) -> Presented {
        let path = facts.target.split('?').next().unwrap_or_default();
        let in_path = path.split_once(&*self.parameter).map(|(_, rest)| {
            let end = rest.find([';', '/']).unwrap_or(rest.len());
            &rest.as_bytes()[..end]
        });
        let mut presented = Presented::Nothing;
        for id in cookie::find(facts.headers, &self.cookie).chain(in_path) {
            let Some(dot) = id.iter().rposition(|byte| *byte == b'.') else {
                continue;
            };
            let route = &id[dot + 1..];
            if route.is_empty() {
                continue;
            }
            if let Some(peer) = self.routes.iter().position(|r| r.as_bytes() == route) {
                return Presented::Peer {
                    peer,
                    by: By::Route,
                };
            }
            presented = Presented::Unknown(None);
        }
        presented
    }
}

#[cfg(test)]
mod tests {
    use super::Route;
    use crate::balance::Facts;
    use crate::binding::{By, Presented};
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn the_route_is_read_from_cookie_and_path() {
        let route = Route::new("JSESSIONID", ["WEB1".into(), "WEB2".into(), "".into()]);
        let peer = |peer| Presented::Peer {
            peer,
            by: By::Route,
        };
        let unknown = Presented::Unknown(None);
        for (cookie, target, expected) in [
            ("JSESSIONID=0A1B.WEB1", "/", peer(0)),
            ("JSESSIONID=0A1B-n1.WEB2", "/", peer(1)),
            ("JSESSIONID=0A1B", "/", Presented::Nothing),
            ("JSESSIONID=0A1B.", "/", Presented::Nothing),
            ("JSESSIONID=0A1B.WEB3", "/", unknown),
            ("JSESSIONID=0A1B.web1", "/", unknown),
            ("JSESSIONID=A.WEB9; JSESSIONID=A.WEB2", "/", peer(1)),
            ("XJSESSIONID=A.WEB1", "/", Presented::Nothing),
            ("", "/cart;jsessionid=0A1B.WEB2", peer(1)),
            (
                "",
                "/cart;jsessionid=0A1B.WEB2?x=;jsessionid=A.WEB1",
                peer(1),
            ),
            ("", "/cart;jsessionid=0A1B.WEB2;v=1/more", peer(1)),
            ("", "/cart?a=;jsessionid=0A1B.WEB2", Presented::Nothing),
            ("JSESSIONID=A.WEB1", "/;jsessionid=B.WEB2", peer(0)),
            ("JSESSIONID=A.WEB9", "/;jsessionid=B.WEB2", peer(1)),
            ("", "/", Presented::Nothing),
        ] {
            let mut headers = HeaderMap::new();
            if !cookie.is_empty() {
                let value = HeaderValue::from_str(cookie).expect("a value");
                headers.insert(header::COOKIE, value);
            }
            let facts = Facts {
                client: "10.0.0.1".parse().expect("an address"),
                target,
                host: "",
                headers: &headers,
                unix: 0,
            };
            assert_eq!(route.read(&facts), expected, "{cookie} {target}");
        }
    }
}
