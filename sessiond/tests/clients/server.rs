//! Who is asked: sessiond in this process, or the real memcached.

use std::fs::Permissions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use sessiond::Config;
use tempfile::TempDir;

use super::program::find;
use super::support::{Memcached, Node};

/// A server that suites are played against; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    /// Name and password, where it wants them.
    pub(crate) login: Option<(String, String)>,
    /// Its files.
    _folder: Option<TempDir>,
    running: Running,
}

/// Who may come in where not everybody may.
const NAME: &str = "tomcat";
const PASSWORD: &str = "red-or-blue";

/// Kept for being dropped at the end.
enum Running {
    Sessiond { _node: Node },
    Memcached { _memcached: Memcached },
}

/// Ours or the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Sessiond,
    Memcached,
}

impl Server {
    /// One that serves everybody; `None`, with a message, where it is not installed.
    pub(crate) fn open(which: Which) -> Option<Self> {
        match which {
            Which::Sessiond => Some(Self::sessiond(Config::default())),
            Which::Memcached => Some(Self::memcached(Memcached::start()?)),
        }
    }

    /// One that wants a name and a password (SASL PLAIN, so binary only); `None`, with a message, where that cannot be.
    pub(crate) fn guarded(which: Which) -> Option<Self> {
        match which {
            Which::Sessiond => None,
            Which::Memcached => Self::guarded_memcached(),
        }
    }

    /// memcached takes its users from a database of Cyrus SASL, where the host's name belongs to theirs.
    fn guarded_memcached() -> Option<Self> {
        let program = find("saslpasswd2", "sasl2-bin")?;
        let folder = tempfile::tempdir().expect("a folder");
        // memcached is somebody else then.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
        let database = folder.path().join("users");
        let mut made = Command::new(program)
            .args(["-p", "-c", "-a", "memcached", "-f"])
            .args([database.as_os_str(), NAME.as_ref()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it was found");
        let mut input = made.stdin.take().expect("piped");
        writeln!(input, "{PASSWORD}").expect("it reads");
        drop(input);
        assert!(made.wait().expect("a child of ours").success());
        std::fs::set_permissions(&database, Permissions::from_mode(0o644)).expect("made");
        let settings = format!(
            "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n",
            database.display()
        );
        std::fs::write(folder.path().join("memcached.conf"), settings).expect("writable");
        let variables = [("SASL_CONF_PATH", folder.path().as_os_str())];
        let mut server = Self::memcached(Memcached::start_with(&["-S"], &variables)?);
        server.login = Some((NAME.to_owned(), PASSWORD.to_owned()));
        server._folder = Some(folder);
        Some(server)
    }

    fn sessiond(config: Config) -> Self {
        let node = Node::start(config);
        Self {
            address: node.address,
            login: None,
            _folder: None,
            running: Running::Sessiond { _node: node },
        }
    }

    fn memcached(memcached: Memcached) -> Self {
        Self {
            address: memcached.address,
            login: None,
            _folder: None,
            running: Running::Memcached {
                _memcached: memcached,
            },
        }
    }

    /// `HOST:PORT`, as clients want it.
    pub(crate) fn place(&self) -> String {
        self.address.to_string()
    }

    /// Whether it is ours.
    pub(crate) fn is_sessiond(&self) -> bool {
        matches!(self.running, Running::Sessiond { .. })
    }

    /// The address and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
