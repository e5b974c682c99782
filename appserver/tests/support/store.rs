//! Store nodes for tests: ours in this process, and the real memcached where it is installed.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use program::units::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::until;

/// A node on a port of its own; stopped when dropped.
pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    run: Run,
    /// Who may come in, where not everybody may.
    _users: Option<TempDir>,
}

/// The name and password of a guarded node.
pub(crate) const LOGIN: (&str, &str) = ("tomcat", "red-or-blue");

enum Run {
    Ours(CancellationToken, Option<JoinHandle<()>>),
    Memcached(Child),
}

/// Which program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sessiond,
    Memcached,
}

impl Store {
    /// A node; `None`, with a message, where the program is not installed.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Sessiond => Some(Self::sessiond()),
            Kind::Memcached => Self::memcached(&[], None),
        }
    }

    /// A node that wants [`LOGIN`] (SASL PLAIN); `None`, with a message, where that cannot be.
    pub(crate) fn guarded(kind: Kind) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        // memcached is somebody else.
        let readable = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), readable(0o755)).expect("ours");
        let users = folder.path().join("users");
        match kind {
            Kind::Sessiond => {
                let (name, password) = LOGIN;
                std::fs::write(&users, format!("{name}:{password}\n")).expect("writable");
                let config = sessiond::Config {
                    enable_sasl: true,
                    sasl_pwdb: users,
                    ..sessiond::Config::default()
                };
                Some(Self::sessiond_with(config, Some(folder)))
            }
            Kind::Memcached => {
                // A database of Cyrus SASL.
                let made = Command::new("saslpasswd2")
                    .args(["-p", "-c", "-a", "memcached", "-f"])
                    .args([users.as_os_str(), LOGIN.0.as_ref()])
                    .stdin(Stdio::piped())
                    .spawn();
                let Ok(mut made) = made else {
                    skipped("saslpasswd2 is not installed (apt-get install sasl2-bin)");
                    return None;
                };
                let mut input = made.stdin.take().expect("piped");
                writeln!(input, "{}", LOGIN.1).expect("it reads");
                drop(input);
                assert!(made.wait().expect("a child of ours").success());
                std::fs::set_permissions(&users, readable(0o644)).expect("made");
                let users = users.display();
                let settings = format!(
                    "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {users}\n"
                );
                std::fs::write(folder.path().join("memcached.conf"), settings).expect("writable");
                Self::memcached(&["-S"], Some(folder))
            }
        }
    }

    pub(crate) fn sessiond() -> Self {
        Self::sessiond_with(sessiond::Config::default(), None)
    }

    fn sessiond_with(config: sessiond::Config, users: Option<TempDir>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = sessiond::Config {
            listen: any.into(),
            admin: String::new(),
            threads: 1,
            grace_period: Duration::millis(100),
            ..config
        };
        let listeners = sessiond::bind(&config).expect("a free port");
        let address = listeners.clients[0].address().expect("TCP");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let served = runtime.block_on(sessiond::serve(listeners, config, stopped));
            served.expect("it serves");
        });
        Self {
            address,
            run: Run::Ours(stop, Some(thread)),
            _users: users,
        }
    }

    fn memcached(more: &[&str], users: Option<TempDir>) -> Option<Self> {
        // Tests of one process run side by side.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("lnmt-appserver-{}-{number}", std::process::id());
        let ports = std::env::temp_dir().join(name);
        let mut command = Command::new("memcached");
        command
            .args(["-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", "nobody"])
            .args(more)
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null());
        if let Some(folder) = &users {
            command.env("SASL_CONF_PATH", folder.path());
        }
        let Ok(child) = command.spawn() else {
            skipped("memcached is not installed");
            return None;
        };
        let port = || {
            let told = std::fs::read_to_string(&ports).unwrap_or_default();
            let line = told.lines().find_map(|l| l.strip_prefix("TCP INET: "));
            line.and_then(|port| port.trim().parse::<u16>().ok())
        };
        until("memcached names its port", || port().is_some());
        let address = SocketAddr::from(([127, 0, 0, 1], port().expect("told")));
        let _ = std::fs::remove_file(&ports);
        Some(Self {
            address,
            run: Run::Memcached(child),
            _users: users,
        })
    }

    /// Ends it, with all that it has.
    pub(crate) fn kill(&mut self) {
        match &mut self.run {
            Run::Ours(stop, thread) => {
                stop.cancel();
                if let Some(thread) = thread.take() {
                    let ended = thread.join();
                    assert!(ended.is_ok() || std::thread::panicking(), "it failed");
                }
            }
            Run::Memcached(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Past the test harness, which keeps what good tests print.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}
