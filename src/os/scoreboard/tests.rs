//! What the scoreboard keeps, and what it refuses.

use std::fs::File;
use std::thread;

use super::*;

#[test]
fn a_worker_learns_once_what_has_become_of_its_handoffs() {
    let (board, fd) = Scoreboard::create(1).unwrap();
    let (giver, taker) = (board.slot(0).unwrap(), Scoreboard::attach(fd).unwrap().slot(0).unwrap());
    taker.settle_handoff(3, true);
    taker.settle_handoff(63, false);
    // What an application writes into the queue may name any number.
    taker.settle_handoff(64, true);
    assert_eq!(giver.settled_handoffs(), (1 << 3, 1 << 63));
    assert_eq!(giver.settled_handoffs(), (0, 0));
}

#[test]
fn the_master_sees_what_connections_do_until_the_slot_is_cleared() {
    let (board, fd) = Scoreboard::create(1).unwrap();
    let (writes, reads) = (board.slot(0).unwrap(), Scoreboard::attach(fd).unwrap().slot(0).unwrap());
    let counts = [1, 2, 3, 4, 5, 6, 7];
    writes.set_connections(&counts);
    assert_eq!(reads.connections(), counts);
    writes.clear();
    assert_eq!(reads.connections(), [0; ACTIVITIES]);
}

#[test]
fn the_others_see_whether_a_worker_is_open_until_the_slot_is_cleared() {
    let (board, fd) = Scoreboard::create(1).unwrap();
    let (writes, reads) = (board.slot(0).unwrap(), Scoreboard::attach(fd).unwrap().slot(0).unwrap());
    assert!(!reads.is_open());
    for is_open in [true, false, true] {
        writes.set_open(is_open);
        assert_eq!(reads.is_open(), is_open);
    }
    writes.clear();
    assert!(!reads.is_open());
}

#[test]
fn what_one_mapping_writes_the_other_reads() {
    let (master, fd) = Scoreboard::create(3).unwrap();
    let worker = Scoreboard::attach(fd).unwrap();
    assert_eq!(worker.slots(), 3);
    let (writes, reads) = (worker.slot(2).unwrap(), master.slot(2).unwrap());
    assert_eq!((reads.busy_since(), reads.requests(), reads.request_line()), (None, 0, String::new()));
    writes.begin(77, b"GET /polls/ HTTP/1.1");
    assert_eq!(reads.busy_since(), Some((77, 1)));
    assert_eq!(reads.request_line(), "GET /polls/ HTTP/1.1");
    assert_eq!(reads.extended(), 0);
    writes.extend(5);
    writes.extend(2);
    assert_eq!((reads.extended(), reads.busy_since(), reads.counts_from()), (7, Some((77, 1)), Some(84)));
    writes.end();
    assert_eq!((reads.busy_since(), reads.requests()), (None, 1));
    assert_eq!(reads.request_line(), "GET /polls/ HTTP/1.1");
    writes.begin(1, b"GET /a?b=c HTTP/1.1\r\n");
    assert_eq!(reads.method_and_path(), ("GET".to_owned(), "/a".to_owned()));
    writes.end();
    writes.begin(0, b"GET /");
    assert_eq!(reads.extended(), 0, "that was another request's");
    assert_eq!(reads.busy_since(), Some((1, 3)), "time 0 would say idle");
    assert_eq!(reads.request_line(), "GET /");
    writes.end();
    writes.wait(9);
    assert_eq!((reads.counts_from(), reads.busy_since()), (Some(9), None));
    writes.go_on();
    assert_eq!(reads.counts_from(), None);
    writes.wait(0);
    assert_eq!(reads.counts_from(), Some(1), "time 0 would say that it has it");
    writes.go_on();
    writes.turn(7);
    assert_eq!((reads.counts_from(), reads.is_waiting()), (Some(7), false));
    writes.wait(11);
    assert_eq!((reads.counts_from(), reads.is_waiting()), (Some(11), true));
    writes.go_on();
    writes.rest();
    assert_eq!(reads.counts_from(), None);
    writes.turn(7);
    writes.begin(8, b"GET /");
    writes.end();
    assert_eq!(reads.counts_from(), None, "the turn ended with a request");
    writes.enter(100);
    assert_eq!((reads.worked(130), reads.last_busy(130)), (30, 130));
    writes.leave(150);
    assert_eq!((reads.worked(900), reads.last_busy(900)), (50, 150));
    reads.clear();
    assert_eq!((reads.worked(900), reads.last_busy(900)), (0, 150), "of the process that had the slot before");
    assert_eq!((writes.busy_since(), writes.requests(), writes.request_line()), (None, 0, String::new()));
    assert_eq!(master.slot(1).unwrap().requests(), 0);
}

#[test]
fn there_is_no_slot_beyond_the_last() {
    let (board, _fd) = Scoreboard::create(2).unwrap();
    assert!(board.slot(1).is_some() && board.slot(2).is_none() && board.slot(usize::MAX).is_none());
}

#[test]
fn a_slot_outlives_its_board() {
    let (board, fd) = Scoreboard::create(1).unwrap();
    let slot = board.slot(0).unwrap();
    drop((board, fd));
    slot.begin(5, b"x");
    assert_eq!(slot.busy_since(), Some((5, 1)));
}

#[test]
fn a_request_line_is_cut_and_made_printable() {
    let (board, _fd) = Scoreboard::create(1).unwrap();
    let slot = board.slot(0).unwrap();
    slot.begin(1, b"GET /\x1b[2J\t\xff\x00~ ");
    assert_eq!(slot.request_line(), "GET /?[2J???~ ");
    slot.begin(1, b"\r\nGET / HTTP/1.1\r\nCookie: secret\r\n\r\n");
    assert_eq!(slot.request_line(), "GET / HTTP/1.1");
    slot.begin(1, &[b'a'; MAX_LINE + 9]);
    assert_eq!(slot.request_line(), "a".repeat(MAX_LINE));
}

#[test]
fn what_a_hostile_worker_writes_stays_bounded() {
    let (board, _fd) = Scoreboard::create(1).unwrap();
    let slot = board.slot(0).unwrap();
    let words = slot.words();
    for word in [&words.busy_since, &words.requests, &words.length].into_iter().chain(&words.line) {
        word.store(u64::MAX, Ordering::Relaxed);
    }
    assert_eq!(slot.busy_since(), Some((u64::MAX, u64::MAX)));
    assert_eq!(slot.request_line(), "?".repeat(MAX_LINE));
    slot.begin(3, b"x");
    assert_eq!(slot.busy_since(), Some((3, 0)));
}

#[test]
fn the_size_is_sealed() {
    let (_board, fd) = Scoreboard::create(2).unwrap();
    let size = fstat(&fd).unwrap().st_size;
    for other in [0, size - 1, size + 1] {
        assert_eq!(ftruncate(&fd, other), Err(Errno::EPERM));
    }
    assert_eq!(fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)), Err(Errno::EPERM));
    assert_eq!(fcntl(&fd, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
}

#[test]
fn only_a_board_can_be_attached() {
    let memfd = |size, seals| {
        let fd = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&fd, size).unwrap();
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        fd
    };
    let slot = i64::try_from(size_of::<Words>()).unwrap();
    let cases = [
        ("a device", File::open("/dev/null").unwrap().into()),
        ("may shrink", memfd(slot, SealFlag::F_SEAL_GROW)),
        ("may grow", memfd(slot, SealFlag::F_SEAL_SHRINK)),
        ("empty", memfd(0, seals())),
        ("part of a slot", memfd(slot + 1, seals())),
        ("too many slots", memfd(slot * (i64::try_from(MAX_SLOTS).unwrap() + 1), seals())),
    ];
    for (name, fd) in cases {
        assert_eq!(Scoreboard::attach(fd).unwrap_err().kind(), io::ErrorKind::InvalidData, "{name}");
    }
    for slots in [0, MAX_SLOTS + 1, usize::MAX] {
        assert_eq!(Scoreboard::create(slots).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn time_and_number_belong_together() {
    let (board, _fd) = Scoreboard::create(1).unwrap();
    let (writer, reader) = (board.slot(0).unwrap(), board.slot(0).unwrap());
    let worker = thread::spawn(move || {
        for number in 1..=200_000 {
            writer.begin(number * 10, b"GET / HTTP/1.1");
            writer.end();
        }
    });
    while !worker.is_finished() {
        if let Some((since, number)) = reader.busy_since() {
            assert_eq!(since, number * 10);
        }
    }
    worker.join().unwrap();
    assert_eq!(reader.requests(), 200_000);
}
