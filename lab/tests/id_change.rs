//! The moment in which a Tomcat has taken a session from its table and not yet put it back under its new ID. It is of microseconds;
//! Java's debugger holds it. Where Tomcat or `jdb` is not installed: skipped. That ours have no such moment is a rule of theirs:
//! `appserver/tests/cluster_simulation/`.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use lab::process::{Child, Start};
use lab::tomcat::{self, Manager, STATUS_PATH, Tables, Tomcat};
use lab::wait::Question;
use serde_json::{Value, json};
use support::pair::User;
use support::tomcat::{ask, is_here};
use support::{LAB, free_address, wait_for};

/// Lets a debugger in, at a port that the log tells.
const AGENT: &str = "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1:0";
const AGENT_SAYS: &str = "Listening for transport dt_socket at address: ";

/// What puts a session into the table.
const ADD: &str = "org.apache.catalina.session.ManagerBase.add";

fn debugger_is_here() -> bool {
    let mut version = Command::new("jdb");
    let here = version.arg("-version").output().is_ok();
    if !here {
        let why = "there is no `jdb` in PATH: `apt-get install default-jdk-headless`";
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    here
}

/// A Tomcat of a cluster in which nobody else is.
async fn start_tomcat(listen: SocketAddr, folder: &Path) -> Child {
    let group = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let group = group.local_addr().expect("bound").port();
    let mut cluster = Tables::new();
    for (table, attribute, value) in [
        ("cluster.membership", "address", "228.0.0.4".to_owned()),
        ("cluster.membership", "port", group.to_string()),
        ("cluster.membership", "bind", "127.0.0.1".to_owned()),
        ("cluster.receiver", "address", "127.0.0.1".to_owned()),
        (
            "cluster.receiver",
            "port",
            free_address().port().to_string(),
        ),
    ] {
        cluster.entry(table).or_default().insert(attribute, value);
    }
    let server = Tomcat {
        name: "TomcatA".into(),
        jvm_route: "WEB1".into(),
        listen,
        manager: Manager::Delta,
        cluster,
    };
    let base = folder.join("TomcatA");
    server.write(&base).expect("written");
    let (program, mut arguments) = tomcat::command(&base);
    arguments.insert(0, AGENT.into());
    let start = Start {
        name: server.name,
        lab: LAB.into(),
        program,
        arguments,
        folder: folder.to_owned(),
    };
    let child = Child::start(start).await.unwrap_or_else(|e| panic!("{e}"));
    let ready = child.ready(Question::Tomcat(listen), tomcat::READY_AT_MOST);
    ready.await.unwrap_or_else(|e| panic!("{e}"));
    child
}

/// Java's debugger. When it is gone, everything that it holds goes on.
struct Debugger {
    process: std::process::Child,
    said: Arc<Mutex<String>>,
}

impl Debugger {
    fn attach(log: &Path) -> Self {
        let log = std::fs::read_to_string(log).expect("a log");
        let (_, port) = log.split_once(AGENT_SAYS).expect("the agent's port");
        let port = port.lines().next().expect("a line");
        let mut command = Command::new("jdb");
        command.args(["-attach", &format!("127.0.0.1:{port}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("jdb starts");
        let mut output = process.stdout.take().expect("piped");
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                heard.lock().expect("nobody panics").push_str(&text);
            }
        });
        Self { process, said }
    }

    fn order(&mut self, order: &str, answer: &str) {
        let input = self.process.stdin.as_mut().expect("piped");
        writeln!(input, "{order}").expect("it reads");
        self.wait_for(answer);
    }

    fn wait_for(&self, words: &str) {
        wait_for(words, || {
            self.said.lock().expect("nobody panics").contains(words)
        });
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sessions in the table.
fn sessions(server: SocketAddr) -> Value {
    let (status, _, body) = ask(server, "GET", STATUS_PATH, "");
    assert_eq!(status, 200, "{body}");
    let mut page: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
    page["active"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_moment_a_real_one_knows_neither_id() {
    if !is_here() || !debugger_is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = free_address();
    let tomcat = start_tomcat(server, folder.path()).await;
    let mut user = User::default();
    user.set(server, "cart", "full");
    let before = user.clone();
    assert_eq!(sessions(server), json!(1));

    let mut debugger = Debugger::attach(tomcat.log());
    debugger.order(&format!("stop thread in {ADD}"), "Set breakpoint");
    let login = std::thread::spawn(move || {
        user.call(server, "login?user=alice");
        user
    });
    debugger.wait_for("Breakpoint hit");
    assert!(!before.is_known(server), "the old ID is unknown");
    assert_eq!(sessions(server), json!(0), "and there is no other");

    drop(debugger);
    let mut user = login.join().expect("logged in");
    assert_ne!(user.random(), before.random());
    assert_eq!(user.get(server, "cart"), json!("full"), "it is there again");
    assert_eq!(sessions(server), json!(1));
    assert!(tomcat.kill().await.is_ok());
}
