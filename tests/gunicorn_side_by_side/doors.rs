//! Where a server listens: a port, a unix socket, or a socket that it was handed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::gunicorn::Listening;
use crate::support::{Response, limit};

/// The same command with a socket as systemd passes it.
pub(crate) fn with_socket(command: &Command, socket: &TcpListener) -> Command {
    let mut by_shell = Command::new("sh");
    by_shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]).arg(command.get_program());
    by_shell.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => by_shell.env(name, value),
            None => by_shell.env_remove(name),
        };
    }
    let fd = socket.as_raw_fd();
    // SAFETY: between fork and exec nothing but dup2(2) and fcntl(2) is called. A copy stays open over exec; where the socket
    // is number 3 already, dup2 makes none.
    unsafe {
        by_shell.pre_exec(move || {
            let is_open = libc::dup2(fd, 3) == 3 && libc::fcntl(3, libc::F_SETFD, 0) == 0;
            if is_open { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
    };
    by_shell
}

/// Where a server listens.
pub(crate) enum Door {
    Tcp(u16),
    Unix(PathBuf),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Door {
    /// Where it is says nothing.
    pub(crate) fn without_address(&self, text: &str) -> String {
        match self {
            Door::Tcp(port) => text.replace(&port.to_string(), "PORT"),
            Door::Unix(path) => text.replace(&path.display().to_string(), "SOCKET"),
        }
    }

    pub(crate) fn ask(&self, request: &[u8], server: &Listening) -> Response {
        let mut stream: Box<dyn Stream> = match self {
            Door::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port));
                let stream = stream.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
                stream.set_read_timeout(Some(limit())).unwrap();
                Box::new(stream)
            }
            Door::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(limit())).unwrap();
                Box::new(stream)
            }
        };
        // Who is refused in the middle of it gets an answer, too.
        let _ = stream.write_all(request);
        Response::read(&mut stream).unwrap_or_else(|error| {
            panic!("{error}\n{}\n{}", String::from_utf8_lossy(request), server.log());
        })
    }
}
