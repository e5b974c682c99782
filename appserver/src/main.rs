//! The `appserver` program: everything is in the library, so that `lab appserver` is the very same code.

fn main() -> std::process::ExitCode {
    appserver::cli::run(std::env::args_os().collect())
}
