//! The real gunicorn, of the tests' virtualenv, beside the server under test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::outside::tool;
use super::{LIMIT, Output, virtualenv, wait};

/// A command line of gunicorn in `directory`. Its control socket, one for all servers of a user, is off.
pub fn gunicorn(directory: &Path, words: &[&str]) -> Command {
    let mut command = tool(virtualenv().join("bin/gunicorn"), words);
    command.arg("--no-control-socket").current_dir(directory);
    command
}

/// A server that says on standard error where it listens: gunicorn, or the one under test. Dropped, it is asked to end, and
/// killed if it does not.
pub struct Listening {
    child: Child,
    output: Output,
    ended: bool,
}

impl Listening {
    /// Starts it and waits until it says so.
    pub fn spawn(mut command: Command) -> Listening {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Output::of(&mut child);
        let server = Listening { child, output, ended: false };
        let found = server.output.wait(|written| {
            let listens = |line: &str| line.to_lowercase().contains("listening");
            written.stderr.lines().any(listens) || written.open == 0
        });
        assert!(found, "{command:?} does not listen within {LIMIT:?}\n{}", server.log());
        server
    }

    /// The port of the TCP socket that it named.
    pub fn port(&self) -> u16 {
        let log = self.log();
        let (_, rest) = log.split_once("http://").unwrap_or_else(|| panic!("no address\n{log}"));
        let address = rest.split([' ', ',', '\n', '"']).next().unwrap_or_default();
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("{address}\n{log}"))
    }

    pub fn log(&self) -> String {
        self.output.stderr()
    }

    pub fn stdout(&self) -> String {
        self.output.stdout()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Asks it to end and says the exit code.
    pub fn stop(&mut self) -> i32 {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let status = wait(&mut self.child, &self.output);
        self.ended = true;
        self.output.wait_closed();
        status.code().unwrap_or(-1)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.ended {
            // Its workers end with it, which a killed gunicorn's do not at once.
            let _ = kill(self.pid(), Signal::SIGQUIT);
            let _ = wait(&mut self.child, &self.output);
        }
    }
}
