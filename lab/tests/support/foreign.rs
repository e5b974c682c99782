//! Somebody else's site, in a few lines, that follows the JSON contract, with faults on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is wrong with the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Every tenth request finds its session gone.
    ForgetsSessions,
    /// Every third item of a list is acknowledged and not kept.
    LosesItems,
    /// Every fifth answer about the counter is the one before.
    ReadsStale,
    /// The ID changes at every tenth request, the data stays.
    ChurnsIds,
    /// A logout is acknowledged and forgotten.
    KeepsZombies,
    /// Every tenth request is answered by another node.
    MovesBrowsers,
}

#[derive(Default, Clone)]
struct Session {
    count: u64,
    lists: HashMap<String, Vec<String>>,
}

struct Site {
    fault: Fault,
    sessions: HashMap<String, Session>,
    requests: u64,
    items: u64,
    serial: u64,
}

/// Starts a site on a free port; its context is `/app/`.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let site = Arc::new(Mutex::new(Site {
        fault,
        sessions: HashMap::new(),
        requests: 0,
        items: 0,
        serial: 0,
    }));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&site);
            std::thread::spawn(move || converse(stream, &site));
        }
    });
    address
}

fn converse(stream: TcpStream, site: &Mutex<Site>) {
    let mut output = stream.try_clone().expect("a second handle");
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        let mut cookie = None;
        for line in lines.by_ref().map_while(Result::ok) {
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("cookie: sid=") {
                cookie = Some(value.to_owned());
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = site.lock().expect("one at a time").answer(&path, cookie);
        if output.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

impl Site {
    fn answer(&mut self, path: &str, cookie: Option<String>) -> String {
        self.requests += 1;
        let Some(request) = path.strip_prefix("/app/api/") else {
            return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
        };
        let (verb, query) = request.split_once('?').unwrap_or((request, ""));
        let parameters: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let name = parameters.get("name").copied().unwrap_or_default();
        let every = |number: u64| self.requests.is_multiple_of(number);
        let mut known = cookie.filter(|id| self.sessions.contains_key(id));
        if let Some(id) = &known
            && self.fault == Fault::ForgetsSessions
            && every(10)
        {
            self.sessions.remove(id);
            known = None;
        }
        let mut is_new = false;
        let mut set_cookie = String::new();
        if known.is_none() && !matches!(verb, "get" | "logout") {
            is_new = true;
            known = Some(self.serial());
        }
        let node = if self.fault == Fault::MovesBrowsers && self.requests.is_multiple_of(10) {
            "other"
        } else {
            "one"
        };
        let Some(mut id) = known else {
            return response(
                &format!(r#"{{"node":"{node}","session":null,"value":null}}"#),
                "",
            );
        };
        let mut session = self.sessions.get(&id).cloned().unwrap_or_default();
        let before = session.count;
        let churns = self.fault == Fault::ChurnsIds && self.requests.is_multiple_of(10) && !is_new;
        if verb == "login" || churns {
            self.sessions.remove(&id);
            id = self.serial();
        }
        if is_new || verb == "login" || churns {
            set_cookie = format!("Set-Cookie: sid={id}; Path=/app\r\n");
        }
        let mut value = match verb {
            "count" => {
                session.count += 1;
                session.count.to_string()
            }
            "append" => {
                self.items += 1;
                let list = session.lists.entry(name.to_owned()).or_default();
                let item = parameters
                    .get("value")
                    .copied()
                    .unwrap_or_default()
                    .to_owned();
                let mut answered = list.clone();
                answered.push(item.clone());
                if !(self.fault == Fault::LosesItems && self.items.is_multiple_of(3)) {
                    list.push(item);
                }
                format!("{answered:?}")
            }
            "get" if name == "count" && session.count > 0 => session.count.to_string(),
            "get" => session
                .lists
                .get(name)
                .map_or("null".to_owned(), |list| format!("{list:?}")),
            _ => "null".to_owned(),
        };
        if self.fault == Fault::ReadsStale
            && verb == "count"
            && before > 0
            && self.requests.is_multiple_of(5)
        {
            value = before.to_string();
        }
        if verb == "logout" && self.fault != Fault::KeepsZombies {
            self.sessions.remove(&id);
        } else {
            self.sessions.insert(id.clone(), session);
        }
        if verb == "logout" {
            return response(&format!(r#"{{"node":"{node}","session":null}}"#), "");
        }
        let session = format!(
            r#"{{"id":"{id}","is_new":{is_new},"created":1,"last_accessed":1,"max_inactive":1800}}"#
        );
        response(
            &format!(r#"{{"node":"{node}","session":{session},"value":{value}}}"#),
            &set_cookie,
        )
    }

    fn serial(&mut self) -> String {
        self.serial += 1;
        format!("s{}", self.serial)
    }
}

fn response(body: &str, set_cookie: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{set_cookie}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
