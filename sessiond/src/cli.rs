//! The command line of `sessiond`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    drop(arguments);
    ExitCode::SUCCESS
}
