//! The real gunicorn, to be compared with.

use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Output;
use super::outside::{ask, python};

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
