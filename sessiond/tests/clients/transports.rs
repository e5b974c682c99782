//! Clients over other transports than plain TCP. Both servers are started with the same arguments, which are memcached's.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use memcache::Client;
use tempfile::TempDir;

use super::program::{find, run};
use super::python::pymemcache_at;
use super::server::Which;
use super::support::until;

mod over_a_unix_socket {
    use super::Which;

    #[test]
    fn sessiond() {
        super::over_a_unix_socket(Which::Sessiond);
    }

    #[test]
    fn memcached() {
        super::over_a_unix_socket(Which::Memcached);
    }
}

mod over_tls {
    use super::Which;

    #[test]
    fn sessiond() {
        super::over_tls(Which::Sessiond);
    }

    #[test]
    fn memcached() {
        super::over_tls(Which::Memcached);
    }
}

mod over_udp {
    use super::Which;

    #[test]
    fn sessiond() {
        super::over_udp(Which::Sessiond);
    }

    #[test]
    fn memcached() {
        super::over_udp(Which::Memcached);
    }
}

fn over_a_unix_socket(which: Which) {
    let folder = folder();
    let socket = folder.path().join("socket");
    let place = socket.to_str().expect("readable");
    let Some(_running) = Running::start(which, folder.path(), &["-s", place, "-a", "0777"]) else {
        return;
    };
    until("it listens", || UnixStream::connect(&socket).ok());
    pymemcache_at(place, None);

    let url = format!("memcache://{place}?timeout=10");
    for protocol in ["ascii", "binary"] {
        let client = Client::connect(format!("{url}&protocol={protocol}")).expect("it listens");
        client.set("a", protocol, 0).expect("stored");
        let read = client.get::<String>("a").expect("answered");
        assert_eq!(read.as_deref(), Some(protocol));
    }

    let (Some(copy), Some(cat)) = (
        find("memccp", "libmemcached-tools"),
        find("memccat", "libmemcached-tools"),
    ) else {
        return;
    };
    let file = folder.path().join("file");
    std::fs::write(&file, "over a socket").expect("writable");
    let servers = format!("--servers={place}");
    run(&copy, &[OsStr::new(&servers), file.as_os_str()]).good();
    let said = run(&cat, &[&servers, "file"]).good();
    assert_eq!(said.trim_end(), "over a socket");
}

fn over_tls(which: Which) {
    let folder = folder();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("signed");
    let certificate = folder.path().join("certificate.pem");
    std::fs::write(&certificate, made.cert.pem()).expect("writable");
    let key = folder.path().join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
    let files = format!(
        "ssl_chain_cert={},ssl_key={}",
        certificate.display(),
        key.display()
    );
    let arguments = ["-l", "127.0.0.1", "-p", "-1", "-Z", "-o", &files];
    let Some(running) = Running::start(which, folder.path(), &arguments) else {
        return;
    };
    let place = format!("localhost:{}", running.port("TCP INET"));
    pymemcache_at(&place, Some(&certificate));
}

fn over_udp(which: Which) {
    let folder = folder();
    let arguments = ["-l", "127.0.0.1", "-p", "-1", "-U", "-1"];
    let Some(running) = Running::start(which, folder.path(), &arguments) else {
        return;
    };
    // Over text this client cannot read from datagrams.
    let place = format!("127.0.0.1:{}", running.port("UDP INET"));
    let client =
        Client::connect(format!("memcache+udp://{place}?protocol=binary")).expect("a socket");
    client.set("a", "a datagram", 0).expect("stored");
    let read = client.get::<String>("a").expect("answered");
    assert_eq!(read.as_deref(), Some("a datagram"));
    client.append("a", " and more").expect("appended");
    assert!(client.touch("a", 100).expect("answered"));
    client.set("n", 41, 0).expect("stored");
    assert_eq!(client.increment("n", 1).expect("counted"), 42);
    // Nearly what a datagram holds.
    client.set("n", "x".repeat(1200), 0).expect("stored");
    let read = client.get::<String>("n").expect("answered");
    assert_eq!(read.map(|value| value.len()), Some(1200));
    assert!(client.delete("n").expect("answered"));
    let read = client.get::<String>("a").expect("answered");
    assert_eq!(read.as_deref(), Some("a datagram and more"));
}

/// A folder whose files memcached may read, which is somebody else when it is started by root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("ours");
    folder
}

/// A server; killed when dropped.
struct Running {
    child: Child,
    ports: PathBuf,
}

impl Running {
    /// Starts one or the other; `None`, with a message, where it is not installed.
    fn start(which: Which, folder: &Path, arguments: &[&str]) -> Option<Self> {
        let program = match which {
            Which::Sessiond => PathBuf::from(env!("CARGO_BIN_EXE_sessiond")),
            Which::Memcached => find("memcached", "memcached")?,
        };
        let ports = folder.join("ports");
        let child = Command::new(program)
            .args(arguments)
            .args(["-u", "nobody"])
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Some(Self { child, ports })
    }

    /// The first port of this kind.
    fn port(&self, kind: &str) -> u16 {
        until("it tells its ports", || {
            let text = std::fs::read_to_string(&self.ports).ok()?;
            let port = text.lines().find_map(|line| line.strip_prefix(kind))?;
            port.trim_start_matches(": ").parse().ok()
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
