//! The `sessiond` program: everything is in the library, so that `lab sessiond` is the very same code.

fn main() -> std::process::ExitCode {
    sessiond::cli::run(std::env::args_os().collect())
}
