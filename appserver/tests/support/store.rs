//! Store nodes for tests: ours in this process, and the real memcached where it is installed.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use program::units::Duration;
use tokio_util::sync::CancellationToken;

use super::until;

/// A node on a port of its own; stopped when dropped.
pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    run: Run,
}

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
            Kind::Memcached => Self::memcached(),
        }
    }

    pub(crate) fn sessiond() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = sessiond::Config {
            listen: any.into(),
            admin: String::new(),
            threads: 1,
            grace_period: Duration::millis(100),
            ..sessiond::Config::default()
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
        }
    }

    fn memcached() -> Option<Self> {
        // Tests of one process run side by side.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("lnmt-appserver-{}-{number}", std::process::id());
        let ports = std::env::temp_dir().join(name);
        let child = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", "nobody"])
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            // Past the test harness, which keeps what good tests print.
            let _ = writeln!(std::io::stderr(), "skipped: memcached is not installed");
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

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}
