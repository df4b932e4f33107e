//! Channels between real processes and descriptors.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

fn packet(channel: &Channel) -> Packet {
    match channel.receive().unwrap() {
        Received::Packet(packet) => packet,
        other => panic!("expected a packet, found {other:?}"),
    }
}

#[test]
fn messages_keep_their_boundaries() {
    let (one, other) = Channel::pair().unwrap();
    one.send(b"first", &[]).unwrap();
    let longest = vec![7; MAX_MESSAGE];
    one.send(&longest, &[]).unwrap();
    assert_eq!(packet(&other).bytes, b"first");
    let second = packet(&other);
    assert_eq!(second.bytes, longest);
    assert!(second.fds.is_empty() && second.sender.is_none());
}

#[test]
fn descriptors_come_along_and_are_close_on_exec() {
    let (one, other) = Channel::pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    one.send(b"x", &[writer.as_fd()]).unwrap();
    drop(writer);
    let mut received = packet(&other);
    assert_eq!(fcntl(&received.fds[0], FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    let copy = File::from(received.fds.remove(0));
    (&copy).write_all(b"through").unwrap();
    drop(copy);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn the_most_descriptors_arrive() {
    let (one, other) = Channel::pair().unwrap();
    other.pass_credentials().unwrap();
    one.send(b"x", &vec![one.as_fd(); MAX_FDS]).unwrap();
    let received = packet(&other);
    assert_eq!((received.fds.len(), received.sender), (MAX_FDS, Some(own_pid())));
}

#[test]
fn what_may_not_be_sent_is_refused() {
    let (one, other) = Channel::pair().unwrap();
    let too_many = vec![one.as_fd(); MAX_FDS + 1];
    let too_long = vec![0; MAX_MESSAGE + 1];
    for (bytes, fds) in [(&[][..], &[][..]), (&too_long, &[]), (b"x", &too_many)] {
        let error = one.send(bytes, fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    other.set_nonblocking(true).unwrap();
    assert!(matches!(other.receive().unwrap(), Received::Nothing));
}

#[test]
fn a_message_too_long_is_an_error_and_its_descriptors_are_closed() {
    let (one, other) = Channel::pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let bytes = vec![1; MAX_MESSAGE + 1];
    let raw = [writer.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let parts = [IoSlice::new(&bytes)];
    sendmsg::<()>(one.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    one.send(b"next", &[]).unwrap();
    assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the pipe's write end is still open");
    assert_eq!(packet(&other).bytes, b"next");
}

#[test]
fn the_end_is_told_from_nothing() {
    let (one, other) = Channel::pair().unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(matches!(other.receive().unwrap(), Received::Nothing));
    one.send(b"last", &[]).unwrap();
    drop(one);
    assert_eq!(packet(&other).bytes, b"last");
    // Blocking: another test may fork and hold the end open for a moment.
    other.set_nonblocking(false).unwrap();
    assert!(matches!(other.receive().unwrap(), Received::Closed));
    assert_eq!(other.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn an_end_closed_with_messages_unread_is_an_end() {
    for sends in [false, true] {
        let (one, other) = Channel::pair().unwrap();
        other.send(b"never read", &[]).unwrap();
        one.send(b"last", &[]).unwrap();
        drop(one);
        if sends {
            assert_eq!(other.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(packet(&other).bytes, b"last");
        assert!(matches!(other.receive().unwrap(), Received::Closed));
    }
}

#[test]
fn an_empty_message_of_a_stranger_is_not_the_end() {
    let (one, other) = Channel::pair().unwrap();
    other.pass_credentials().unwrap();
    nix::sys::socket::send(one.as_raw_fd(), b"", MsgFlags::empty()).unwrap();
    let received = packet(&other);
    assert!(received.bytes.is_empty() && received.sender == Some(own_pid()));
}

#[test]
fn the_kernel_says_who_sent_it() {
    let (one, other) = Channel::pair().unwrap();
    one.send(b"before", &[]).unwrap();
    other.pass_credentials().unwrap();
    let stdin = Stdio::from(OwnedFd::from(one));
    let mut child = Command::new("sh").args(["-c", "printf forged >&0"]).stdin(stdin).spawn().unwrap();
    assert_eq!(packet(&other).sender, None);
    let received = packet(&other);
    assert_eq!(received.bytes, b"forged");
    assert_eq!(received.sender, i32::try_from(child.id()).ok());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_full_non_blocking_channel_would_block() {
    let (one, _other) = Channel::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    let full = (0..1000).find_map(|_| one.send(&[0; 4096], &[]).err()).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
}

/// Returns a descriptor whose last close waits for an hour: in the queue of a socket there is a TCP socket that
/// lingers. The second value keeps it so; dropping it ends the wait.
fn lingering() -> (OwnedFd, (UnixStream, TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 8192]).is_ok() {}
    let linger = libc::linger { l_onoff: 1, l_linger: 3600 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    let (queue, outside) = UnixStream::pair().unwrap();
    let raw = [stream.as_raw_fd()];
    let parts = [IoSlice::new(b"x")];
    sendmsg::<()>(outside.as_raw_fd(), &parts, &[ControlMessage::ScmRights(&raw)], MsgFlags::empty(), None).unwrap();
    (queue.into(), (outside, peer))
}

/// Does `step` in a thread; fails if that takes long.
fn soon<T: Send + 'static>(what: &str, step: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(step()));
    wait.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("{what}: blocked"))
}

#[test]
fn a_descriptor_that_is_refused_does_not_block_also_where_the_kernel_does_not_help() {
    for passes_credentials in [false, true] {
        let (one, other) = Channel::pair().unwrap();
        let other = Channel(rights::Socket::refusing_unaided(other.into()));
        if passes_credentials {
            other.pass_credentials().unwrap();
        }
        other.set_nonblocking(true).unwrap();
        assert!(matches!(other.receive().unwrap(), Received::Nothing));
        one.send(b"honest", &[]).unwrap();
        assert_eq!(packet(&other).bytes, b"honest");
        let (fd, _keeps) = lingering();
        one.send(b"x", &[fd.as_fd()]).unwrap();
        drop(fd);
        let (found, other) = soon("receive", move || (other.receive(), other));
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::InvalidData, "credentials {passes_credentials}");
        // The message stays in the queue.
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        soon("drop", move || drop(other));
    }
}

#[test]
fn the_end_is_told_on_an_end_that_refuses_descriptors_too() {
    let (one, other) = Channel::pair().unwrap();
    let other = Channel(rights::Socket::refusing_unaided(other.into()));
    other.send(b"never read", &[]).unwrap();
    one.send(b"last", &[]).unwrap();
    drop(one);
    assert_eq!(packet(&other).bytes, b"last");
    assert!(matches!(other.receive().unwrap(), Received::Closed));
}

#[test]
fn where_the_kernel_helps_a_message_with_descriptors_cannot_be_sent() {
    let (one, other) = Channel::pair().unwrap();
    let kernel_helps = rights::refuse(other.as_fd());
    let other = other.refuse_descriptors();
    let sent = one.send(b"x", &[one.as_fd()]);
    assert_eq!(sent.is_err(), kernel_helps, "{sent:?}");
    if kernel_helps {
        one.send(b"y", &[]).unwrap();
        assert_eq!(packet(&other).bytes, b"y");
    } else {
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}
