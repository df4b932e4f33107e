//! Listeners against the real kernel; each case in a directory of its own.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr as UnixName, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{geteuid, setfsuid};

use tempfile::TempDir;

use super::*;

/// A directory that is removed with what is in it.
struct Directory(TempDir);

impl Directory {
    fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub(super) fn tcp(host: &str, port: u16) -> Where {
    Where::Tcp { host: host.into(), port }
}

pub(super) fn unix(path: impl Into<PathBuf>) -> Where {
    Where::Unix { path: path.into(), mode: None, owner: None }
}

fn open(at: &Where) -> Listener {
    Listener::open(at, 16, PortUse::Alone).unwrap()
}

/// Opens a socket that was just closed here. Another test may fork, and its child hold a copy of the closed one for a
/// moment.
fn eventually_open(at: &Where) -> Listener {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match Listener::open(at, 16, PortUse::Alone) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        thread::yield_now();
    }
}

fn cause(at: &Where) -> Cause {
    let error = Listener::open(at, 16, PortUse::Alone).unwrap_err();
    assert_eq!(error.at, *at);
    error.cause
}

fn tcp_address(listener: &Listener) -> SocketAddr {
    match listener.address() {
        Address::Tcp(address) => *address,
        other => panic!("expected a TCP address, found {other}"),
    }
}

/// Returns the next connection, for which the listener is polled.
fn accepted(listener: &Listener) -> (OwnedFd, Peer) {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waiting, PollTimeout::from(5000_u16)).unwrap(), 1, "no connection came");
    listener.accept().unwrap().unwrap()
}

fn is_set(fd: &impl AsFd, flag: OFlag) -> bool {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(flag)
}

fn is_close_on_exec(fd: &impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GETFD).unwrap() == libc::FD_CLOEXEC
}

/// Runs `f` with a user's rights to files, also if root runs the tests. The kernel keeps this for each thread.
fn as_another_user<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let run = || {
        if geteuid().is_root() {
            setfsuid(nix::unistd::Uid::from_raw(65_534));
        }
        f()
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn a_tcp_listener_takes_connections() {
    let listener = open(&tcp("127.0.0.1", 0));
    let address = tcp_address(&listener);
    assert_ne!(address.port(), 0);
    assert_eq!(listener.address().to_string(), format!("http://127.0.0.1:{}", address.port()));
    assert!(is_set(&listener, OFlag::O_NONBLOCK) && is_close_on_exec(&listener));
    assert!(listener.accept().unwrap().is_none());
    let client = TcpStream::connect(address).unwrap();
    let (socket, peer) = accepted(&listener);
    assert!(is_set(&socket, OFlag::O_NONBLOCK) && is_close_on_exec(&socket));
    assert!(getsockopt(&socket, sockopt::TcpNoDelay).unwrap());
    let expected = client.local_addr().unwrap();
    assert_eq!(peer, Peer::Tcp(expected));
    assert_eq!((peer.to_string().as_str(), peer.port()), ("127.0.0.1", Some(expected.port())));
    assert!(!listener.unlink());
}

#[test]
fn an_ipv6_listener_has_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        // Containers are often without IPv6; there is nothing to test then.
        return;
    }
    for host in ["::1", "[::1]"] {
        let listener = open(&tcp(host, 0));
        let address = tcp_address(&listener);
        assert_eq!(listener.address().to_string(), format!("http://[::1]:{}", address.port()));
        let _client = TcpStream::connect(address).unwrap();
        assert_eq!(accepted(&listener).1.to_string(), "::1");
    }
}

#[test]
fn names_are_looked_up_and_an_empty_one_is_every_address() {
    assert!(tcp_address(&open(&tcp("localhost", 0))).ip().is_loopback());
    assert!(tcp_address(&open(&tcp("", 0))).ip().is_unspecified());
}

#[test]
fn a_port_just_left_can_be_taken_again() {
    let listener = open(&tcp("127.0.0.1", 0));
    let address = tcp_address(&listener);
    let mut client = TcpStream::connect(address).unwrap();
    // The side that closes first keeps the port in TIME_WAIT.
    drop(accepted(&listener));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop((client, listener));
    eventually_open(&tcp("127.0.0.1", address.port()));
}

#[test]
fn a_port_in_use_is_said_with_the_command_that_shows_by_whom() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let error = Listener::open(&tcp("127.0.0.1", port), 16, PortUse::Alone).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "bind 127.0.0.1:{port}: address already in use\n\
             hint: another process listens there; \"ss -ltnp 'sport = :{port}'\" shows which"
        )
    );
}

#[test]
fn addresses_that_are_not_ours_and_names_that_are_none_are_errors() {
    // TEST-NET-1 of RFC 5737 and a top-level domain that RFC 2606 keeps from existing.
    assert_eq!(cause(&tcp("192.0.2.1", 0)), Cause::NotAvailable);
    assert!(matches!(cause(&tcp("no-such-host.invalid", 0)), Cause::Unresolvable(_)));
}

#[test]
fn a_unix_listener_takes_connections_and_removes_its_file() {
    let directory = Directory::new();
    let path = directory.at("app.sock");
    let listener = open(&unix(&path));
    assert_eq!(listener.address().to_string(), format!("unix:{}", path.display()));
    let _client = UnixStream::connect(&path).unwrap();
    let (socket, peer) = accepted(&listener);
    assert!(is_set(&socket, OFlag::O_NONBLOCK) && is_close_on_exec(&socket));
    assert_eq!((peer, peer.port(), peer.to_string().as_str()), (Peer::Unix, None, ""));
    assert!(listener.unlink());
    assert!(!path.exists() && !listener.unlink());
}

#[test]
fn a_socket_file_of_another_is_not_removed() {
    let directory = Directory::new();
    let path = directory.at("app.sock");
    let first = open(&unix(&path));
    fs::rename(&path, directory.at("moved")).unwrap();
    let second = open(&unix(&path));
    assert!(!first.unlink() && path.exists());
    assert!(second.unlink() && !path.exists());
}

#[test]
fn a_closed_listener_leaves_its_file() {
    let directory = Directory::new();
    let path = directory.at("app.sock");
    drop(open(&unix(&path)));
    assert!(path.exists());
}

#[test]
fn mode_and_owner_are_set() {
    let directory = Directory::new();
    let me = fs::metadata(&directory.0).unwrap();
    let (uid, gid) = if geteuid().is_root() { (65_534, 65_533) } else { (me.uid(), me.gid()) };
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let path = directory.at(&format!("{mode:o}.sock"));
        open(&Where::Unix { path: path.clone(), mode: Some(mode), owner: Some((uid, gid)) });
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, mode);
        assert_eq!((made.uid(), made.gid()), (uid, gid));
    }
}

#[test]
fn an_owner_that_may_not_be_is_an_error_and_leaves_no_file() {
    let directory = Directory::new();
    fs::set_permissions(&directory.0, PermissionsExt::from_mode(0o777)).unwrap();
    let path = directory.at("app.sock");
    let at = Where::Unix { path: path.clone(), mode: None, owner: Some((1, 1)) };
    assert_eq!(as_another_user(|| cause(&at)), Cause::OwnerDenied { uid: 1, gid: 1 });
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
    let directory = Directory::new();
    let path = directory.at("app.sock");
    drop(UnixListener::bind(&path).unwrap());
    let listener = eventually_open(&unix(&path));
    let error = Listener::open(&unix(&path), 16, PortUse::Alone).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "bind unix:{}: already served by another process\n\
             hint: stop that process first; \"ss -lxp\" shows which it is",
            path.display()
        )
    );
    let _client = UnixStream::connect(&path).unwrap();
    // The probe for a live server left a connection of its own, closed at once.
    drop((accepted(&listener), accepted(&listener)));
}

#[test]
fn a_served_socket_with_a_full_queue_or_of_another_type_is_served() {
    let directory = Directory::new();
    let full = directory.at("full.sock");
    let listener = Listener::open(&unix(&full), 1, PortUse::Alone).unwrap();
    let waiting: Vec<UnixStream> = (0..2).map(|_| UnixStream::connect(&full).unwrap()).collect();
    assert_eq!(cause(&unix(&full)), Cause::Served);
    let datagrams = directory.at("datagrams.sock");
    let _bound = UnixDatagram::bind(&datagrams).unwrap();
    assert_eq!(cause(&unix(&datagrams)), Cause::Served);
    drop((listener, waiting));
}

#[test]
fn nothing_but_a_socket_is_replaced() {
    let directory = Directory::new();
    let (file, link) = (directory.at("file"), directory.at("link"));
    fs::write(&file, "precious").unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(cause(&unix(&file)), Cause::NotASocket("a file"));
    assert_eq!(cause(&unix(&link)), Cause::NotASocket("a symbolic link"));
    assert_eq!(cause(&unix(directory.0.path())), Cause::NotASocket("a directory"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn paths_that_cannot_be_are_errors() {
    let directory = Directory::new();
    fs::set_permissions(&directory.0, PermissionsExt::from_mode(0o755)).unwrap();
    let long = directory.at(&"x".repeat(200));
    assert_eq!(cause(&unix(&long)), Cause::PathTooLong(long.as_os_str().len()));
    assert_eq!(cause(&unix(directory.at("missing/app.sock"))), Cause::NoDirectory);
    assert_eq!(cause(&unix("")), Cause::PathInvalid);
    assert_eq!(cause(&unix("\0hidden")), Cause::PathInvalid);
    let denied = if geteuid().is_root() { directory.at("app.sock") } else { Path::new("/app.sock").into() };
    assert_eq!(as_another_user(|| cause(&unix(denied))), Cause::PathDenied);
}

#[test]
fn a_longest_path_is_bound_whole() {
    let directory = Directory::new();
    let used = directory.0.path().as_os_str().len() + 1;
    let path = directory.at(&"x".repeat(error::MAX_PATH - used));
    let listener = open(&unix(&path));
    assert_eq!(*listener.address(), Address::Unix(path.clone()));
    UnixStream::connect(&path).unwrap();
}

#[test]
fn an_inherited_listener_is_taken_over() {
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let original = inherited.as_fd();
    fcntl(original, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let at = Where::Fd(original.as_raw_fd());
    let listener = open(&at);
    assert!(is_close_on_exec(&listener) && is_close_on_exec(&inherited));
    assert!(is_set(&listener, OFlag::O_NONBLOCK));
    assert_eq!(tcp_address(&listener), inherited.local_addr().unwrap());
    let _client = TcpStream::connect(tcp_address(&listener)).unwrap();
    assert!(getsockopt(&accepted(&listener).0, sockopt::TcpNoDelay).unwrap());
    drop(open(&at));
    assert!(inherited.local_addr().is_ok(), "the descriptor is not ours to close");
}

#[test]
fn a_descriptor_that_does_not_listen_is_an_error() {
    let (one, _other) = UnixStream::pair().unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let null = File::open("/dev/null").unwrap();
    let cases = [
        (-1, "expected a listening socket, found no open descriptor of this number"),
        (i32::MAX, "expected a listening socket, found no open descriptor of this number"),
        (one.as_raw_fd(), "expected a listening socket, found one that does not listen"),
        (datagrams.as_raw_fd(), "expected a listening TCP or unix stream socket, found a datagram socket"),
        (null.as_raw_fd(), "expected a listening TCP or unix stream socket, found an open file that is no socket"),
    ];
    for (fd, expected) in cases {
        let error = Listener::open(&Where::Fd(fd), 16, PortUse::Alone).unwrap_err().to_string();
        assert!(error.starts_with(&format!("bind fd://{fd}: {expected}\nhint: fd://N is for")), "{error}");
    }
}

#[test]
fn a_listener_sent_to_another_process_works_there() {
    let directory = Directory::new();
    let path = directory.at("app.sock");
    let listener = open(&unix(&path));
    let copy = Listener::from_fd(listener.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(copy.address(), listener.address());
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(accepted(&copy).1, Peer::Unix);
    assert!(!copy.unlink() && path.exists(), "only who made the file removes it");
}

#[test]
fn an_abstract_name_is_shown_with_an_at_sign() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("rwsgi-test-{}", std::process::id());
    let bound = UnixListener::bind_addr(&UnixName::from_abstract_name(&name).unwrap()).unwrap();
    let listener = Listener::from_fd(bound.into()).unwrap();
    assert_eq!(listener.address().to_string(), format!("unix:@{name}"));
}
