//! The servers of this user whose control sockets no setting names: found by their address, or by the directory in
//! which they were started. Listed by `rwsgi ls`.

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::unistd::{Pid, geteuid};
use serde::Serialize;

use super::ctl::{self, AT_ONCE, ControlCall};
use crate::control::words::table;
use crate::control::{Answer, ControlRequest, name};
use crate::log;
use crate::os::{runtime_directory, socket};
use crate::settings::Settings;

/// The socket of a server that runs.
struct Found {
    path: PathBuf,
    pid: Option<Pid>,
    /// The directory in which the server was started.
    directory: Option<PathBuf>,
}

/// The reason why the settings lead to no socket.
#[derive(Debug)]
pub(super) enum NotFound {
    /// No server listens at this address.
    At(String),
    /// No server was started in this directory, and none listens at this address.
    Here(Option<String>),
    /// Several servers were started in this directory, with these sockets.
    Several(Vec<PathBuf>),
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotFound::At(address) => write!(f, "expected a running server at {address}, found none"),
            NotFound::Here(address) => {
                let place = address.as_ref().map_or_else(String::new, |address| format!(" or at {address}"));
                write!(f, "expected a running server that was started in this directory{place}, found none")
            }
            NotFound::Several(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                write!(f, "expected one server that was started in this directory, found {}", paths.join(", "))
            }
        }?;
        f.write_str(
            "\nhint: rwsgi ls lists your servers; --bind ADDRESS, --config FILE, --pid FILE or --control-socket PATH \
             names one, as at its start",
        )
    }
}

/// Returns the socket of the server that the settings mean: the one at their first address, or without an address the
/// one that was started in this directory, or the one at the default address.
pub(super) fn find(settings: &Settings, has_address: bool, directories: &[PathBuf]) -> Result<PathBuf, NotFound> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let address = name::address_of(&settings.bind, absolute);
    let running = running(directories);
    let of_name = |address: &String| {
        let name = name::socket_name(address);
        running.iter().find(|server| server.path.ends_with(&name)).map(|server| server.path.clone())
    };
    match &address {
        Some(address) if has_address => return of_name(address).ok_or_else(|| NotFound::At(address.clone())),
        _ => {}
    }
    let here = std::env::current_dir().ok();
    let mut of_here: Vec<PathBuf> =
        running.iter().filter(|server| server.directory == here).map(|server| server.path.clone()).collect();
    match of_here.len() {
        0 => address.as_ref().and_then(of_name).ok_or(NotFound::Here(address)),
        1 => Ok(of_here.remove(0)),
        _ => Err(NotFound::Several(of_here)),
    }
}

/// Returns the servers that listen on sockets in these directories. Others than this user's are left out, and so are
/// files that servers have left behind.
fn running(directories: &[PathBuf]) -> Vec<Found> {
    let private = directories.iter().filter(|directory| runtime_directory::is_private(directory));
    let entries = private.flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
    let paths = entries.map(|entry| entry.path());
    let is_socket = |path: &PathBuf| path.to_string_lossy().ends_with(name::SUFFIX);
    let mut found: Vec<Found> = paths.filter(is_socket).filter_map(server_at).collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn server_at(path: PathBuf) -> Option<Found> {
    let stream = socket::connect_unix(&path, AT_ONCE).ok()?;
    socket::peer_user(stream.as_fd()).filter(|user| *user == geteuid().as_raw())?;
    let pid = socket::peer_process(stream.as_fd());
    let directory = pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/cwd")).ok());
    Some(Found { path, pid, directory })
}

/// A server in the list.
#[derive(Serialize)]
struct Listed {
    pid: Option<i32>,
    state: Option<String>,
    listening: Vec<String>,
    app: Option<String>,
    directory: Option<PathBuf>,
    control_socket: PathBuf,
}

/// Prints the servers of this user, and returns the exit code.
pub(super) fn list(json: bool, directories: &[PathBuf]) -> i32 {
    let listed: Vec<Listed> = running(directories).into_iter().map(listed).collect();
    let text = if json { serde_json::to_string(&listed).unwrap_or_default() } else { Table(&listed).to_string() };
    let text = if json { log::escaped_json(&text) } else { log::escaped(&text) };
    super::print(&format!("{text}\n"))
}

fn listed(server: Found) -> Listed {
    let call = ControlCall { request: ControlRequest::Status, json: false, within: None };
    let status = match ctl::ask(&call, &server.path, &Settings::default()) {
        Ok(Answer::Status(status)) => Some(*status),
        _ => None,
    };
    Listed {
        pid: server.pid.map(Pid::as_raw),
        state: status.as_ref().map(|status| status.state.clone()),
        listening: status.as_ref().map(|status| status.listening.clone()).unwrap_or_default(),
        app: status.map(|status| status.app),
        directory: server.directory,
        control_socket: server.path,
    }
}

struct Table<'a>(&'a [Listed]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(
                "no server of this user runs, or it has a control socket elsewhere (--pid, --control-socket)",
            );
        }
        let row = |server: &Listed| {
            let unknown = || "-".to_owned();
            [
                server.pid.map_or_else(unknown, |pid| pid.to_string()),
                server.state.clone().unwrap_or_else(|| "no answer".to_owned()),
                server.listening.join(","),
                server.app.clone().unwrap_or_else(unknown),
                server.directory.as_ref().map_or_else(unknown, |path| path.display().to_string()),
            ]
        };
        table(f, ["pid", "state", "listening", "application", "directory"], self.0.iter().map(row).collect())
    }
}
