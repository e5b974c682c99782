//! The `lab` program: everything is in the library, this file only hands over.

fn main() -> std::process::ExitCode {
    lab::cli::run(std::env::args_os().collect())
}
