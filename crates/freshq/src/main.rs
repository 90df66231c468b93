//! The `freshq` command.

fn main() -> std::process::ExitCode {
    freshq::run()
}
