//! A real Tomcat in TomcatB's place: it answers as ours does, and dies, comes back and ends with the lab as ours does.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use support::tomcat::{ask, is_here, set_cookie};
use support::{Running, children, free_address, gone, lab, signal, text, wait_for};

/// `lab up` with a Tomcat on free ports, once everything is up.
struct Up {
    running: Running,
    folder: tempfile::TempDir,
    proxy: SocketAddr,
    servers: [SocketAddr; 2],
}

impl Up {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let places = [
            "listen",
            "tomcat-a",
            "tomcat-b",
            "admin",
            "tomcat-a-admin",
            "n1",
            "n1-admin",
            "n2",
            "n2-admin",
        ];
        let places = places.map(|setting| (setting, free_address()));
        let mut command = lab(["up", "--app-b", "tomcat"]);
        for (setting, address) in places {
            command.arg(format!("--{setting}={address}"));
        }
        // Its admin port is not wanted, so it may be taken.
        command.arg(format!("--tomcat-b-admin={}", places[0].1));
        command.args(arguments);
        let up = Self {
            running: Running::start(command, folder.path()),
            folder,
            proxy: places[0].1,
            servers: [places[1].1, places[2].1],
        };
        up.wait_for("proxy    up");
        up
    }

    fn said(&self) -> String {
        ["out.txt", "err.txt"]
            .map(|name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }

    fn wait_for(&self, wanted: &str) {
        wait_for(wanted, || self.said().contains(wanted));
    }

    /// The process that is TomcatB now.
    fn tomcat(&self) -> u32 {
        let said = self.said();
        let lines = said.lines().filter(|line| line.contains(" TomcatB "));
        let mut ids = lines.filter_map(|line| line.rsplit_once(" process ")?.1.parse().ok());
        ids.next_back()
            .unwrap_or_else(|| panic!("TomcatB is not up:\n{said}"))
    }
}

/// What both kinds of server must say alike: without the name, the ID and the times, which are only looked at.
fn comparable(body: &str) -> Value {
    let mut json: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    if let Some(error) = json.get_mut("error") {
        assert!(error.as_str().is_some_and(|why| why.len() > 10), "{body}");
        *error = Value::Null;
        return json;
    }
    let node = json["node"].take();
    assert!(
        node.as_str().is_some_and(|node| node.starts_with("Tomcat")),
        "{body}"
    );
    if let Some(session) = json["session"].as_object_mut() {
        let id = session.insert("id".into(), Value::Null).expect("an ID");
        let id = id.as_str().expect("text");
        let (random, route) = id.split_once('.').expect("a route");
        assert_eq!((random.len(), &route[..3]), (32, "WEB"), "{body}");
        let times = ["created", "last_accessed"].map(|time| session[time].as_u64());
        assert!(times[0] > Some(1 << 40) && times[1] >= times[0], "{body}");
        for time in ["created", "last_accessed"] {
            session.insert(time.into(), Value::Null);
        }
    }
    json
}

const LONG: &str = "/jsp/api/set?name=a%20name&value=%C3%A4%22%5C%F0%9F%98%80%26%3C%0A";

/// Each kind of server in turn gets the same requests, with the cookies that it has set.
#[test]
fn it_follows_the_contract_as_ours_does() {
    if !is_here() {
        return;
    }
    let mut up = Up::start(&["--mode", "session_sticky"]);
    let requests = [
        ("GET", "/jsp/api/get?name=k", 200),
        ("POST", "/jsp/api/logout", 200),
        ("GET", "/jsp/api/session", 200),
        ("POST", LONG, 200),
        ("GET", "/jsp/api/get?name=a%20name", 200),
        ("GET", "/jsp/api/get?name=none", 200),
        ("POST", "/jsp/api/append?name=list&value=one", 200),
        ("GET", "/jsp/api/append?name=list&value=", 200),
        ("POST", "/jsp/api/count", 200),
        ("POST", "/jsp/api/count", 200),
        ("POST", "/jsp/api/append?name=count&value=1", 400),
        ("POST", "/jsp/api/set?name=count&value=text", 200),
        ("POST", "/jsp/api/count", 400),
        ("POST", "/jsp/api/login?user=alice", 200),
        ("GET", "/jsp/api/session", 200),
        ("POST", "/jsp/api/slow?ms=1&name=late&value=yes", 200),
        ("POST", "/jsp/api/slow?ms=0", 200),
        ("POST", "/jsp/api/slow?ms=-1", 400),
        ("POST", "/jsp/api/slow", 400),
        ("POST", "/jsp/api/set?name=k", 400),
        ("GET", "/jsp/api/nothing", 404),
        ("GET", "/jsp/get.jsp?name=late", 200),
        ("GET", "/jsp/get?name=none", 200),
        ("GET", "/jsp/set?value=1", 400),
        ("GET", "/jsp/set.jsp?name=k&value=1", 200),
        ("GET", "/jsp/", 200),
        ("GET", "/jsp/index.jsp", 200),
        ("GET", "/jsp", 302),
        ("GET", "/", 200),
        ("POST", "/jsp/api/logout", 200),
        ("GET", "/jsp/api/get?name=late", 200),
        ("GET", "/jsp/get.jsp?name=late", 200),
        ("GET", "/test/api/session", 200),
    ];
    let mut cookies = [String::new(), String::new()];
    for (method, target, expected) in requests {
        let answers = [0, 1].map(|server| {
            let cookie = if target.starts_with("/jsp") {
                &cookies[server]
            } else {
                ""
            };
            ask(up.servers[server], method, target, cookie)
        });
        let [ours, theirs] = &answers;
        assert_eq!(
            (ours.0, theirs.0),
            (expected, expected),
            "{target}: {theirs:?}"
        );
        if target.starts_with("/jsp") {
            let set = [&ours.1, &theirs.1].map(|head| set_cookie(head));
            assert_eq!(set[0].is_some(), set[1].is_some(), "{target}: {answers:?}");
            for (cookie, set) in cookies.iter_mut().zip(set) {
                *cookie = set.unwrap_or(std::mem::take(cookie));
            }
        }
        let source = |head: &str| {
            Some(
                head.split_once("x-session-source: ")?
                    .1
                    .lines()
                    .next()?
                    .to_owned(),
            )
        };
        if target.contains("/api/") {
            assert_eq!(comparable(&ours.2), comparable(&theirs.2), "{target}");
            // Ours does not look for a session where there is no call.
            if expected != 404 {
                assert_eq!(source(&ours.1), source(&theirs.1), "{target}");
            }
            for field in ["content-type: application/json", "cache-control: no-store"] {
                assert!(theirs.1.contains(field), "{target}: {}", theirs.1);
            }
        } else if expected == 200 && target != "/" {
            // The page but for who answers and with which ID; the value of get.jsp.
            let words = |body: &str, cookie: &str| {
                let time = body
                    .split_once("Created on</td>\n<td>")
                    .and_then(|(_, rest)| rest.get(..13));
                let body = body
                    .replace(cookie, "ID")
                    .replace(time.unwrap_or("no time"), "TIME");
                body.replace("TomcatB", "TomcatA")
                    .replace("#0000FF", "#FF0000")
            };
            let gone = if cookies[0].is_empty() {
                "no ID"
            } else {
                &cookies[0]
            };
            assert_eq!(
                words(&ours.2, gone),
                words(&theirs.2, &cookies[1]),
                "{target}"
            );
        }
    }
    // Both stand behind the proxy, under their names.
    let titles = [(); 8].map(|()| ask(up.proxy, "GET", "/jsp/", "").2);
    for title in ["<title>TomcatA<", "<title>TomcatB<"] {
        assert!(
            titles.iter().any(|page| page.contains(title)),
            "{title}: {titles:?}"
        );
    }
    let row = format!("{:<16} the real Tomcat", up.servers[1].to_string());
    let said = up.said();
    assert!(said.contains(&row), "{row} is in\n{said}");
    signal(up.running.0.id(), "-TERM");
    assert_eq!(up.running.wait(), Some(0), "{}", up.said());
    // It stopped in good order and not because it was killed.
    assert!(!up.said().contains("TomcatB killed"), "{}", up.said());
    assert!(!up.said().contains("TomcatB exited"), "{}", up.said());
    assert!(log(up.folder.path()).contains("Destroying ProtocolHandler"));
}

fn log(folder: &Path) -> String {
    let runs = std::fs::read_dir(folder.join("lab-runs")).expect("run folders");
    let run = runs.flatten().next().expect("one run").path();
    std::fs::read_to_string(run.join("TomcatB.log")).expect("a log")
}

#[test]
fn it_is_started_again_and_does_not_outlive_the_lab() {
    if !is_here() {
        return;
    }
    let mut up = Up::start(&["--restart"]);
    let before = up.tomcat();
    let name = std::fs::read_to_string(format!("/proc/{before}/comm")).expect("it runs");
    assert_eq!(name.trim(), "java", "the process is the server itself");
    let answered = ask(up.servers[1], "POST", "/jsp/api/set?name=k&value=v", "");
    let id = set_cookie(&answered.1).expect("a session");
    signal(before, "-KILL");
    up.wait_for("TomcatB  down  was killed by signal 9 (SIGKILL)");
    up.wait_for("TomcatB  restarted");
    let (_, _, body) = ask(up.servers[1], "GET", "/jsp/api/get?name=k", &id);
    assert!(
        body.contains("\"session\":null"),
        "its memory is gone: {body}"
    );
    let nodes = children(up.running.0.id());
    assert_eq!(nodes.len(), 5);
    assert!(nodes.contains(&up.tomcat()));
    up.running.0.kill().expect("killed with SIGKILL");
    up.running.0.wait().expect("reaped");
    wait_for("no node", || nodes.iter().all(|id| gone(*id)));
}

/// The experiments play with it as with ours.
#[test]
fn the_claims_hold_with_it_as_well() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = |arguments: &str| -> Value {
        let mut command = lab(arguments.split(' '));
        let output = command
            .current_dir(folder.path())
            .output()
            .expect("lab runs");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let result = json("run C1 kill-node-session_sticky --app-b tomcat --seed 1 --json");
    let rows = result["results"].as_array().expect("results");
    for (row, scenario) in rows.iter().zip(["alternates", "kill-node-session_sticky"]) {
        assert_eq!(row["scenario"], scenario);
        assert_eq!(row["as_expected"], true, "{row:#}");
    }
    let result = json(
        "load --mode session_sticky --rate 200 --users 10 --duration 1s --app-b tomcat --json",
    );
    let nodes = result["nodes"].as_object().expect("nodes");
    assert!(nodes.contains_key("TomcatB"), "{result:#}");
    for run in std::fs::read_dir(folder.path().join("lab-runs"))
        .expect("runs")
        .flatten()
    {
        let has = ["", "alternates"]
            .map(|scenario| run.path().join(scenario).join("TomcatB/conf/server.xml"));
        assert!(has.iter().any(|file| file.exists()), "{has:?}");
    }
}

#[test]
fn where_it_cannot_be_that_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arguments in [["up"], ["run"], ["load"]] {
        let mut command = lab(arguments);
        command
            .env("LNMT_APP_B", "tomcat")
            .env("CATALINA_HOME", folder.path())
            .current_dir(folder.path());
        let output = command.output().expect("lab runs");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        for said in [
            "apt-get install tomcat10",
            "--app-b appserver",
            "APP_B=appserver",
        ] {
            assert!(error.contains(said), "{said} is in\n{error}");
        }
    }
    if is_here() {
        for arguments in ["up --mode msm", "run msm_sticky"] {
            let mut command = lab(arguments.split(' '));
            command.env("APP_B", "tomcat").current_dir(folder.path());
            let output = command.output().expect("lab runs");
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains("Choose another mode"), "{error}");
        }
    }
    assert!(
        !folder.path().join("lab-runs").exists(),
        "nothing was begun"
    );
}
