//! The logs through real pipes and files. Nothing here sleeps: a reader reads until it has what it waits for.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, pipe};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use tracing_subscriber::layer::SubscriberExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, write};
use serde_json::Value;

use super::*;

/// Makes a writer that is never dropped, as in the program, with its error log in a pipe.
fn writer() -> (&'static Writer, BufReader<PipeReader>, OwnedFd) {
    let (reader, end) = pipe().unwrap();
    let end = OwnedFd::from(end);
    let writer: &'static Writer = Box::leak(Box::new(Writer::new()));
    writer.choose(Level::Debug, Format::Text);
    writer.set_error(end.try_clone().unwrap()).unwrap();
    (writer, BufReader::new(reader), end)
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// Returns the part of a line after `[time] [pid] `.
pub(super) fn rest(line: &str) -> &str {
    line.splitn(3, "] ").nth(2).unwrap()
}

/// Fills a pipe to the last byte; returns the number of bytes.
fn fill(end: &impl AsFd) -> usize {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
    fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    let mut filled = 0;
    for size in [4096, 1] {
        while let Ok(n) = write(end, &vec![b'.'; size]) {
            filled += n;
        }
    }
    fcntl(end, FcntlArg::F_SETFL(flags)).unwrap();
    filled
}

fn empty(reader: &mut impl Read, filled: usize) {
    reader.read_exact(&mut vec![0; filled]).unwrap();
}

fn access(writer: &'static Writer) -> (AccessLog, BufReader<PipeReader>, PipeWriter) {
    let (reader, end) = pipe().unwrap();
    let sink = sink::Sink::new(end.try_clone().unwrap().into(), "access log");
    (AccessLog::with(writer, sink), BufReader::new(reader), end)
}

#[test]
fn events_below_the_level_are_not_written() {
    let (writer, mut reader, end) = writer();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(ErrorLog::new(writer)), || {
        for level in [Level::Debug, Level::Warning, Level::Critical] {
            writer.choose(level, Format::Text);
            tracing::callsite::rebuild_interest_cache();
            tracing::trace!("never");
            tracing::debug!(n = 1, "d");
            tracing::info!(text = "a b", "i");
            tracing::warn!(shown = %"c", debugged = ?Some(1), "w");
            tracing::error!(error = &io::Error::other("why") as &dyn std::error::Error, "e");
            tracing::error!(target: CRITICAL, ok = true, part = -0.5, whole = 2.0, "c");
        }
    });
    writer.choose(Level::Debug, Format::Text);
    writer.set_error(File::open("/dev/null").unwrap().into()).unwrap();
    drop(end);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let found: Vec<&str> = text.lines().map(rest).collect();
    let (debug, info) = ("[DEBUG] d n=1", "[INFO] i text=\"a b\"");
    let (warning, error) = ("[WARNING] w shown=c debugged=Some(1)", "[ERROR] e error=why");
    let critical = "[CRITICAL] c ok=true part=-0.5 whole=2";
    assert_eq!(found, [debug, info, warning, error, critical, warning, error, critical, critical]);
}

#[test]
fn without_the_thread_a_full_pipe_costs_the_line_and_not_the_time() {
    let (writer, mut reader, end) = writer();
    let filled = fill(&end);
    writer.error("lost\n");
    writer.error("lost with\na second line\n");
    empty(&mut reader, filled);
    writer.error("kept\n");
    assert_eq!(rest(&line(&mut reader)), "[WARNING] log lines dropped n=3\n");
    assert_eq!(line(&mut reader), "kept\n");
}

#[test]
fn a_torn_line_is_ended_before_the_next() {
    let (writer, mut reader, end) = writer();
    let filled = fill(&end);
    let page = 4096;
    // Reads past the buffer, which would read ahead.
    empty(reader.get_mut(), page);
    let long = format!("{}\n", "x".repeat(2 * page));
    writer.error(&long);
    empty(reader.get_mut(), filled - page);
    writer.error("next\n");
    assert_eq!(line(&mut reader), format!("{}\n", "x".repeat(page)));
    assert_eq!(rest(&line(&mut reader)), "[WARNING] log lines dropped n=1\n");
    assert_eq!(line(&mut reader), "next\n");
}

#[test]
fn a_full_disk_and_a_gone_reader_are_survived_and_reported_later() {
    for threaded in [false, true] {
        let (writer, _reader, _end) = writer();
        if threaded {
            writer.start().unwrap();
        }
        // A socket shut down, not a pipe closed: another test may fork and hold the pipe's end open for a moment.
        let (gone, end) = UnixStream::pair().unwrap();
        gone.shutdown(Shutdown::Both).unwrap();
        writer.set_error(end.into()).unwrap();
        writer.error("no process reads this\n");
        assert!(writer.flush(LONG));
        writer.set_error(OpenOptions::new().write(true).open("/dev/full").unwrap().into()).unwrap();
        writer.error("no space for this\n");
        assert!(writer.flush(LONG));
        let (reader, other) = pipe().unwrap();
        writer.set_error(other.into()).unwrap();
        writer.error("room\n");
        assert!(writer.flush(LONG));
        let mut reader = BufReader::new(reader);
        let mut found = [line(&mut reader), line(&mut reader)];
        // The thread learns only by writing that there is room.
        found.sort_by_key(|line| line == "room\n");
        assert_eq!(rest(&found[0]), "[WARNING] log lines dropped n=2\n");
        assert_eq!(found[1], "room\n");
    }
}

#[test]
fn the_thread_writes_everything_in_order() {
    let (writer, reader, _end) = writer();
    writer.start().unwrap();
    writer.start().unwrap();
    let reading = std::thread::spawn(|| reader.lines().take(5000).map(Result::unwrap).collect::<Vec<_>>());
    for n in 0..5000 {
        writer.error(&format!("{n}\n"));
    }
    assert!(writer.flush(LONG));
    let expected: Vec<String> = (0..5000).map(|n: u32| n.to_string()).collect();
    assert_eq!(reading.join().unwrap(), expected);
}

#[test]
fn with_a_reader_that_stands_still_the_queue_stays_bounded() {
    let (writer, mut reader, end) = writer();
    let filled = fill(&end);
    writer.start().unwrap();
    let text = format!("{}\n", "x".repeat(1023));
    let pushed = 4000;
    for _ in 0..pushed {
        writer.error(&text);
    }
    assert!(!writer.flush(Duration::from_millis(1)));
    empty(&mut reader, filled);
    let (mut kept, mut dropped) = (0, 0);
    while kept + dropped < pushed {
        let found = line(&mut reader);
        if found == text {
            kept += 1;
        } else {
            let count = rest(&found).strip_prefix("[WARNING] log lines dropped n=").unwrap();
            dropped += count.trim_end().parse::<i32>().unwrap();
        }
    }
    // One queue of 1 MiB, and at most another on its way.
    assert!((1024..=2048).contains(&kept), "kept {kept}");
    assert!(writer.flush(LONG));
}

#[test]
fn a_log_that_is_stuck_does_not_hold_up_the_other() {
    let (writer, mut reader, end) = writer();
    let (access, mut access_reader, access_end) = access(writer);
    let filled = fill(&access_end);
    writer.start().unwrap();
    access.append(b"GET /");
    access.hand_over();
    for n in 0..3 {
        writer.error(&format!("{n}\n"));
        assert_eq!(line(&mut reader), format!("{n}\n"));
    }
    empty(&mut access_reader, filled);
    assert_eq!(line(&mut access_reader), "GET /\n");
    drop(end);
}

#[test]
fn access_lines_go_in_batches() {
    let (writer, _errors, _end) = writer();
    let (access, mut reader, _access_end) = access(writer);
    writer.start().unwrap();
    access.hand_over();
    access.append(b"one");
    access.append(b"two");
    assert!(writer.flush(LONG), "what is not handed over is not waited for");
    access.hand_over();
    assert_eq!((line(&mut reader), line(&mut reader)), ("one\n".into(), "two\n".into()));
    let long = [b'x'; 1023];
    for _ in 0..64 {
        access.append(&long);
    }
    for _ in 0..64 {
        assert_eq!(line(&mut reader).len(), 1024, "a batch of 64 KiB is handed over by itself");
    }
}

#[test]
fn lost_access_lines_are_reported_in_the_error_log() {
    let (writer, mut reader, _end) = writer();
    let (access, mut access_reader, access_end) = access(writer);
    let filled = fill(&access_end);
    access.append(b"a");
    access.append(b"b");
    access.hand_over();
    empty(&mut access_reader, filled);
    access.append(b"c");
    access.hand_over();
    assert_eq!(line(&mut access_reader), "c\n");
    assert_eq!(rest(&line(&mut reader)), "[WARNING] access log lines dropped n=2\n");
}

#[test]
fn lines_that_a_stuck_log_loses_are_reported_while_it_is_stuck_and_at_the_end() {
    let (writer, mut reader, _end) = writer();
    let (access, _access_reader, access_end) = access(writer);
    fill(&access_end);
    writer.start().unwrap();
    let long = [b'x'; 1023];
    let pushed = 4000;
    for _ in 0..pushed {
        access.append(&long);
    }
    access.hand_over();
    let dropped = |line: &str| {
        let count = rest(line).strip_prefix("[WARNING] access log lines dropped n=").unwrap();
        count.trim_end().parse::<u32>().unwrap()
    };
    let mut reported = dropped(&line(&mut reader));
    assert!(!writer.flush(Duration::from_millis(1)));
    while reported < pushed {
        reported += dropped(&line(&mut reader));
    }
    assert_eq!(reported, pushed);
}

#[test]
fn without_the_thread_a_stuck_log_is_reported_at_once() {
    let (writer, mut reader, _end) = writer();
    let (access, _access_reader, access_end) = access(writer);
    fill(&access_end);
    for _ in 0..3 {
        access.append(b"lost");
        access.hand_over();
    }
    assert_eq!(rest(&line(&mut reader)), "[WARNING] access log lines dropped n=1\n");
    writer.report_lost();
    assert_eq!(rest(&line(&mut reader)), "[WARNING] access log lines dropped n=2\n");
}

#[test]
#[allow(unsafe_code)]
fn a_forked_child_writes_by_itself_even_if_a_lock_was_held() {
    let (writer, mut reader, end) = writer();
    writer.start().unwrap();
    let held = writer.lock();
    // SAFETY: the child calls what allocates, which glibc allows after a fork, and ends by _exit or the alarm.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            nix::unistd::alarm::set(10);
            writer.error("from the child\n");
            let flushed = writer.flush(LONG);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!flushed)) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            drop(held);
            assert_eq!(line(&mut reader), "from the child\n");
        }
    }
    drop(end);
}

#[test]
fn a_log_file_is_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    for text in ["first", "second"] {
        let (writer, _reader, _end) = writer();
        let Destination::Fd(fd) = Destination::at(&path).unwrap() else { panic!("expected a file") };
        assert_eq!(fcntl(&fd, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        let access = AccessLog::with(writer, sink::Sink::new(fd, "access log"));
        access.append(text.as_bytes());
        access.hand_over();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    directory.close().unwrap();
    assert_eq!(Destination::at(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(matches!(Destination::at(Path::new("/dev/stderr")).unwrap(), Destination::Stderr));
}

/// Tests the process's own log, in one test; other tests may log meanwhile.
#[test]
fn init_can_be_called_again() {
    let next = |level, format| {
        let (reader, end) = pipe().unwrap();
        assert!(end.as_raw_fd() > 2);
        init(level, format, Destination::Fd(end.into())).unwrap();
        BufReader::new(reader)
    };
    let mut first = next(Level::Info, Format::Text);
    tracing::debug!("init test hidden");
    tracing::info!("init test text");
    let mut second = next(Level::Debug, Format::Json);
    tracing::debug!("init test json");
    init(Level::Error, Format::Text, Destination::Fd(File::create("/dev/null").unwrap().into())).unwrap();
    let ours = |reader: &mut BufReader<PipeReader>| {
        let lines = reader.lines().map(Result::unwrap);
        lines.filter(|line| line.contains("init test")).collect::<Vec<_>>()
    };
    assert_eq!(ours(&mut first).iter().map(|line| rest(line)).collect::<Vec<_>>(), ["[INFO] init test text"]);
    let json = ours(&mut second);
    assert_eq!(serde_json::from_str::<Value>(&json[0]).unwrap()["level"], "DEBUG");
    assert_eq!(json.len(), 1);
}

/// A limit that none of these waits should reach.
const LONG: Duration = Duration::from_secs(20);
