//! What the node reads again while it serves: at SIGHUP, and when a command asks for it.

use std::sync::Arc;

use program::Failure;
use tracing::{error, info};

use crate::auth::{Policy, Users};
use crate::config::Config;
use crate::tls::Certificates;

/// What can be read again. A handle, cheap to clone.
#[derive(Debug, Clone)]
pub struct Reload {
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) policy: Arc<Policy>,
}

impl Reload {
    /// Reads everything for the first time.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            certificates: Certificates::of(config)?,
            policy: Arc::new(Policy::of(config)?),
        })
    }

    /// Reads all of it again. What cannot be used is logged, and what held so far goes on holding.
    pub fn run(&self) {
        let certificates = self.certificates.as_ref();
        told("certificates", certificates.map(|one| one.reload()));
        let users = self.policy.login.as_ref();
        told("auth_file", users.map(Users::reload));
        let users = self.policy.sasl.as_ref();
        told("sasl_pwdb", users.map(Users::reload));
    }
}

fn told(what: &str, outcome: Option<Result<(), Failure>>) {
    match outcome {
        Some(Ok(())) => info!(what, "read again"),
        Some(Err(error)) => {
            error!(what, %error, "cannot read again; what held so far goes on holding");
        }
        None => {}
    }
}
