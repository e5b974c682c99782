//! Signals with nginx's meanings: TERM and INT stop fast, QUIT stops gracefully, HUP reloads, USR1 reopens logs.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM: stop; each program says in its help how long running work may take.
    Terminate,
    /// SIGINT (Ctrl-C): as [`Request::Terminate`].
    Interrupt,
    /// SIGQUIT: finish what runs, then stop.
    Quit,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open log files again.
    ReopenLogs,
}

/// The process's signals from now on; they no longer kill it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    /// Takes the signals over. Must be called inside a tokio runtime.
    pub fn listen() -> Result<Self, Failure> {
        let take =
            |kind| signal(kind).map_err(|e| Failure::environment("cannot listen for signals", e));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            quit: take(SignalKind::quit())?,
            hangup: take(SignalKind::hangup())?,
            user1: take(SignalKind::user_defined1())?,
        })
    }

    /// The next request of the operator. Cancel safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Terminate,
            _ = self.interrupt.recv() => Request::Interrupt,
            _ = self.quit.recv() => Request::Quit,
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::ReopenLogs,
        }
    }

    /// Completes when the process shall stop, whichever way was asked for; reloads are passed over. Cancel safe.
    pub async fn stop(&mut self) -> Request {
        loop {
            match self.next().await {
                Request::Reload | Request::ReopenLogs => {}
                stop => return stop,
            }
        }
    }
}
