//! Exit codes, in one place: 0 fine, 1 the work failed (or a verdict did), 2 usage, 3 the environment is not as needed.

use std::fmt::Display;
use std::process::ExitCode;

/// Why a program ends other than well. Its message says what was attempted, why it failed and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The work itself failed: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The settings or arguments are wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A port is taken, a file cannot be read, a peer is missing: exit code 3.
    #[error("{0}")]
    Environment(String),
}

impl Failure {
    /// [`Failure::Environment`] from any error, with what was attempted.
    pub fn environment(attempted: impl Display, cause: impl Display) -> Self {
        Self::Environment(format!("{attempted}: {cause}"))
    }

    /// The exit code for this failure.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Environment(_) => 3,
        })
    }
}

/// Turns the outcome of a program into its exit code; a failure goes to stderr as `program: message`.
pub fn code(program: &str, outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        eprintln!("{program}: {failure}");
        failure.code()
    })
}
