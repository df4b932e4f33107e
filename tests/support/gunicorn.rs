//! The real gunicorn, of the tests' virtualenv, beside the server under test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::outside::{ask, python, tool};
use super::{Output, limit, virtualenv, wait};

/// A command line of gunicorn in `directory`. Its control socket, one for all servers of a user, is off.
pub fn gunicorn(directory: &Path, words: &[&str]) -> Command {
    let mut command = tool(virtualenv().join("bin/gunicorn"), words);
    // A worker of gunicorn's may miss TERM (a signal between two looks at it): its master kills it then.
    command.args(["--no-control-socket", "--graceful-timeout", "5"]).current_dir(directory);
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
            // Its address, too: the line is whole.
            let listens = |line: &str| line.ends_with('\n') && line.to_lowercase().contains("listening");
            written.stderr.split_inclusive('\n').any(listens)
        });
        assert!(found, "{command:?} does not listen within {:?}\n{}", limit(), server.log());
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
    pub fn stop_by(&mut self, signal: Signal) -> i32 {
        kill(self.pid(), signal).unwrap();
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

/// A running gunicorn. Dropped, it is stopped, and with it its workers.
pub struct Gunicorn {
    child: Child,
    pub output: Output,
    port: u16,
}

impl Gunicorn {
    /// Runs it in `directory` on a free port of 127.0.0.1, and waits until a worker boots.
    pub fn start(directory: &Path, words: &[&str]) -> Gunicorn {
        let mut command = python(["-m", "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket"]);
        command.args(words).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("GUNICORN_CMD_ARGS");
        let mut child = command.spawn().unwrap();
        let output = Output::of(&mut child);
        assert!(output.wait(|written| written.stderr.contains("Booting worker")), "{}", output.stderr());
        let log = output.stderr();
        let port = log.split_once("http://127.0.0.1:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        Gunicorn { child, output, port }
    }

    /// Sends bytes and reads the response.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> super::Response {
        ask(self.port, request)
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
