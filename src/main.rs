//! The program: hands the words of the command line to `rwsgi::cli`.

/// The engine, in executables that `make` built; empty in those that a plain `cargo build` made.
static ENGINE: &[u8] = include_bytes!(env!("RWSGI_ENGINE_FILE"));

fn main() {
    std::process::exit(rwsgi::cli::run(std::env::args_os().skip(1).collect(), ENGINE));
}
