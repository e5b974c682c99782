//! A client that is a program: whether it is here, how it is run within a bounded time, and what it said.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::skipped;

/// The longest that a client's whole suite may take; a Java program is compiled first.
const SECONDS_MAX: &str = "60";

/// Where `.ci/run clients` puts what is not in Debian: below cargo's target folder.
pub(crate) fn clients_folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("below the target folder").join("clients")
}

/// The file of a program that is looked for as a shell does; `None`, with a message, where it is not installed.
pub(crate) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!(
            "{program} is not installed (apt-get install {package})"
        ));
    }
    found
}

/// A suite next to these tests.
pub(crate) fn suite(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    folder.join(name)
}

/// What a program printed, and whether it ended well.
#[derive(Debug)]
pub(crate) struct Said {
    /// Exit code 0.
    pub(crate) well: bool,
    /// Its standard output.
    pub(crate) output: String,
    /// Its standard error.
    pub(crate) errors: String,
}

impl Said {
    /// The output of a program that has to end well.
    pub(crate) fn good(self) -> String {
        assert!(self.well, "{}\n{}", self.output, self.errors);
        self.output
    }

    /// The errors of a program that has to fail.
    pub(crate) fn bad(self) -> String {
        assert!(!self.well, "{}\n{}", self.output, self.errors);
        self.errors
    }
}

/// Runs a program to its end, in the folder for temporary files.
pub(crate) fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Said {
    let output = Command::new("timeout")
        .args(["--kill-after=5", SECONDS_MAX])
        .arg(program)
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .output()
        .expect("timeout is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    assert_ne!(
        output.status.code(),
        Some(124),
        "{} took longer than {SECONDS_MAX} s: {errors}",
        program.display()
    );
    Said {
        well: output.status.success(),
        output: text(&output.stdout),
        errors,
    }
}
