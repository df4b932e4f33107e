//! Other servers in front of the one under test: Apache and HAProxy. nginx is in `outside.rs`, because more tests want it.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt};
use nix::unistd::geteuid;

use super::outside::tool;
use super::{Output, limit};

/// A running Apache or HAProxy, one process. Dropped, it is killed.
pub struct Front {
    child: Child,
    output: Output,
}

impl Front {
    /// Runs HAProxy, whose configuration says `bind fd@0`, `bind fd@1` for the listeners, in their order.
    ///
    /// It inherits the sockets, so that no other process can take a port in between, and a client can connect at once.
    pub fn haproxy(directory: &Path, configuration: &str, listeners: Vec<TcpListener>) -> Front {
        let file = directory.join("haproxy.cfg");
        let text = listeners.iter().enumerate().fold(configuration.to_owned(), |text, (index, listener)| {
            text.replace(&format!("bind fd@{index}\n"), &format!("bind fd@{}\n", listener.as_raw_fd()))
        });
        fs::write(&file, text).unwrap();
        let mut command = tool("haproxy", ["-db", "-f"]);
        command.arg(&file).current_dir(directory);
        let keep_open = move || {
            let kept = listeners.iter().try_for_each(|fd| fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop));
            kept.map_err(Into::into)
        };
        // SAFETY: between fork and exec nothing but fcntl(2) is called, and nothing allocated.
        unsafe { command.pre_exec(keep_open) };
        Front::spawn(command)
    }

    /// Runs Apache as a single process and waits until it serves. The configuration is given the ports to listen on.
    ///
    /// Apache inherits no sockets. Its ports are held by sockets that do not listen, beside which it may bind and listen.
    pub fn apache(directory: &Path, ports: usize, configuration: impl FnOnce(&[u16]) -> String) -> (Front, Vec<u16>) {
        let held: Vec<_> = (0..ports).map(|_| held_port()).collect();
        let ports: Vec<u16> = held.iter().map(|(_, port)| *port).collect();
        // Its process keeps to a user that is not root, who has to get at the directory.
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        let user = if geteuid().is_root() { "User nobody\nGroup nogroup\n" } else { "" };
        let file = directory.join("apache.conf");
        fs::write(&file, format!("{APACHE}{user}{}", configuration(&ports))).unwrap();
        let mut command = tool("apache2", ["-X", "-d"]);
        command.arg(directory).arg("-f").arg(&file).current_dir(directory);
        let front = Front::spawn(command);
        let serves = front.output.wait(|written| written.stderr.contains(SERVES));
        assert!(serves, "apache2 within {:?}:\n{}", limit(), front.log());
        (front, ports)
    }

    fn spawn(mut command: Command) -> Front {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Output::of(&mut child);
        Front { child, output }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        format!("{}{}", self.output.stdout(), self.output.stderr())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket with a port of its own that does not listen.
fn held_port() -> (std::os::fd::OwnedFd, u16) {
    let held = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&held, sockopt::ReuseAddr, &true).unwrap();
    bind(held.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = getsockname::<SockaddrIn>(held.as_raw_fd()).unwrap().port();
    (held, port)
}

/// A listener on a free port, with its port.
pub fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What Apache says last before it serves, and after it has begun to listen; as a single process it says nothing later.
const SERVES: &str = "start_threads";

/// What every Apache here has: Debian's modules, one process, its log on standard error.
const APACHE: &str = "\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule env_module /usr/lib/apache2/modules/mod_env.so
LoadModule unique_id_module /usr/lib/apache2/modules/mod_unique_id.so
PidFile apache.pid
ErrorLog /dev/stderr
LogLevel crit mpm_event:debug
ServerName test
ServerLimit 1
StartServers 1
ThreadsPerChild 16
MaxRequestWorkers 16
";
