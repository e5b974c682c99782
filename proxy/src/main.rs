//! The `proxy` program: everything is in the library, so that `lab proxy` is the very same code.

fn main() -> std::process::ExitCode {
    proxy::cli::run(std::env::args_os().collect())
}
