//! What every worker is doing, in memory that the processes of one generation share: a memfd, a slot a worker. The worker
//! writes, the master reads. What a slot says is never trusted: it is a number to compare or a text to print, no index and
//! no length.
//!
//! | word | written by | says |
//! |---|---|---|
//! | `busy_since` | `begin`, `end` | since when a request runs (ns of `CLOCK_MONOTONIC`), 0 for none |
//! | `requests` | `begin` | how many requests were begun |
//! | `length`, `line` | `begin` | the head of the request line |
//! | `open` | `set_open` | whether the worker takes connections: it has a free thread |
//!
//! `begin` stores line, count and time in this order, time and count with release: who reads the same time before and after
//! the count has a pair that belongs together.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

/// The board of one generation, mapped into this process.
#[derive(Clone, Debug)]
pub struct Scoreboard(Arc<Map>);

/// One worker's slot. Keeps the board mapped.
#[derive(Clone, Debug)]
pub struct Slot {
    map: Arc<Map>,
    number: usize,
}

impl Scoreboard {
    /// Makes a board of `slots` idle slots, and the descriptor by which other processes [`Scoreboard::attach`] to it. Its
    /// size is sealed: no process can pull the memory from under another. Errors: `InvalidInput` unless `slots` is 1 to
    /// [`MAX_SLOTS`].
    pub fn create(slots: usize) -> io::Result<(Scoreboard, OwnedFd)> {
        if slots == 0 || slots > MAX_SLOTS {
            let text = format!("scoreboard: expected 1 to {MAX_SLOTS} slots, found {slots}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        // Without this flag Linux 6.3 and later complain in the kernel's log; older ones do not know it.
        let fd = match memfd_create(c"rwsgi scoreboard", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
            Err(Errno::EINVAL) => memfd_create(c"rwsgi scoreboard", flags)?,
            other => other?,
        };
        let size = i64::try_from(slots * size_of::<Words>()).map_err(io::Error::other)?;
        ftruncate(&fd, size)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals() | SealFlag::F_SEAL_SEAL))?;
        let board = Scoreboard::map(&fd, slots)?;
        Ok((board, fd))
    }

    /// Maps a board that another process made. `InvalidData` unless it is a memfd of whole slots with sealed size.
    pub fn attach(fd: OwnedFd) -> io::Result<Scoreboard> {
        let found = fcntl(&fd, FcntlArg::F_GET_SEALS).map_or(SealFlag::empty(), SealFlag::from_bits_retain);
        if !found.contains(seals()) {
            let text = "scoreboard: expected a memfd of sealed size, found another file";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let size = usize::try_from(fstat(&fd)?.st_size).unwrap_or(0);
        let slots = size / size_of::<Words>();
        if slots == 0 || slots > MAX_SLOTS || size % size_of::<Words>() != 0 {
            let text = format!(
                "scoreboard: expected 1 to {MAX_SLOTS} slots of {} bytes, found {size} bytes",
                size_of::<Words>()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let board = Scoreboard::map(&fd, slots);
        // The mapping needs no descriptor.
        drop(fd);
        board
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.0.slots
    }

    /// The slot `number`, counted from 0; none beyond the last.
    pub fn slot(&self, number: usize) -> Option<Slot> {
        (number < self.0.slots).then(|| Slot { map: Arc::clone(&self.0), number })
    }

    fn map(fd: impl AsFd, slots: usize) -> io::Result<Scoreboard> {
        let size = std::num::NonZeroUsize::new(slots * size_of::<Words>()).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file is `size` bytes long and sealed against
        // shrinking, so no access within it can fault.
        let start = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Scoreboard(Arc::new(Map { start: start.cast(), slots })))
    }
}

impl Slot {
    /// Notes that a request begins: `now` in ns of `CLOCK_MONOTONIC`, and the request line, of which the first
    /// [`MAX_LINE`] bytes are kept. Only the slot's own thread may call this.
    pub fn begin(&self, now: u64, request_line: &[u8]) {
        let words = self.words();
        let kept = &request_line[..request_line.len().min(MAX_LINE)];
        let mut line = words.line.iter();
        let mut eights = kept.chunks_exact(8);
        for (bytes, word) in eights.by_ref().zip(line.by_ref()) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        if let (rest @ [_, ..], Some(word)) = (eights.remainder(), line.next()) {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
        words.length.store(kept.len() as u64, Ordering::Relaxed);
        words.extended.store(0, Ordering::Relaxed);
        // The thread is the only writer: a plain store, no locked addition.
        words.requests.store(words.requests.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        words.busy_since.store(now.max(1), Ordering::Release);
    }

    /// Notes that the request is over. The request line stays, as the last one.
    pub fn end(&self) {
        self.words().busy_since.store(0, Ordering::Release);
    }

    /// The running request waits for its client, which is not the application's time. [`Slot::resume`] ends that.
    pub fn pause(&self) -> Pause {
        Pause(self.words().busy_since.swap(0, Ordering::AcqRel))
    }

    /// The application runs again: its request began `waited` ns later than it did.
    pub fn resume(&self, pause: Pause, waited: u64) {
        if pause.0 != 0 {
            self.words().busy_since.store(pause.0.saturating_add(waited), Ordering::Release);
        }
    }

    /// Since when (ns of `CLOCK_MONOTONIC`) which request (its number in this slot) runs; none when idle, or when requests
    /// change so fast that no pair could be read.
    pub fn busy_since(&self) -> Option<(u64, u64)> {
        let words = self.words();
        for _ in 0..TRIES {
            let since = words.busy_since.load(Ordering::Acquire);
            let number = words.requests.load(Ordering::Acquire);
            if since == words.busy_since.load(Ordering::Acquire) {
                return (since != 0).then_some((since, number));
            }
        }
        None
    }

    /// The running request may take so many ns longer than others.
    pub fn extend(&self, more: u64) {
        let extended = &self.words().extended;
        // Whoever extends is rarely alone in it; a worker that overflows it harms itself.
        extended.store(extended.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
    }

    /// How many ns longer than others the running request may take.
    pub fn extended(&self) -> u64 {
        self.words().extended.load(Ordering::Relaxed)
    }

    /// The thread has something to do, and waits for its interpreter since `now` (ns of `CLOCK_MONOTONIC`).
    pub fn wait(&self, now: u64) {
        self.words().waiting_since.store(now.max(1), Ordering::Release);
    }

    /// It has it.
    pub fn go_on(&self) {
        self.words().waiting_since.store(0, Ordering::Release);
    }

    /// When the running request would have begun (ns of `CLOCK_MONOTONIC`), if it might take no longer than others; or since
    /// when the thread waits for its interpreter.
    pub fn counts_from(&self) -> Option<u64> {
        let busy = self.busy_since().map(|(since, _)| since.saturating_add(self.extended()));
        busy.or_else(|| Some(self.words().waiting_since.load(Ordering::Acquire)).filter(|since| *since != 0))
    }

    /// The head of the running request's line, or of the last one: printable ASCII, `?` for the rest, at most
    /// [`MAX_LINE`] characters, no header fields. Read while it changes, it may mix two lines.
    pub fn request_line(&self) -> String {
        let words = self.words();
        let length = usize::try_from(words.length.load(Ordering::Relaxed)).map_or(MAX_LINE, |n| n.min(MAX_LINE));
        let bytes = words.line.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        // Writers hand over the whole head, which costs them no search for the line's end. The fields are nobody's business.
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let line = bytes.take(length).skip_while(is_end).take_while(|byte| !is_end(byte));
        line.map(|byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' }).collect()
    }

    /// How many requests were begun in this slot.
    pub fn requests(&self) -> u64 {
        self.words().requests.load(Ordering::Relaxed)
    }

    /// Says to the other workers whether this one has a thread for further connections.
    pub fn set_open(&self, open: bool) {
        self.words().open.store(u64::from(open), Ordering::Release);
    }

    /// Does the worker take connections? Of one that was killed this is what it said last.
    pub fn is_open(&self) -> bool {
        self.words().open.load(Ordering::Acquire) == 1
    }

    /// Makes the slot as new, for the next worker in it.
    pub fn clear(&self) {
        let words = self.words();
        for word in
            [&words.busy_since, &words.requests, &words.length, &words.open, &words.extended, &words.waiting_since]
        {
            word.store(0, Ordering::Release);
        }
    }

    fn words(&self) -> &Words {
        debug_assert!(self.number < self.map.slots);
        // SAFETY: slots are handed out only with a number below map.slots, and `map` is alive as long as this slot. Words
        // are atomics, for which every value is valid, and are aligned, since the mapping starts on a page.
        unsafe { self.map.start.add(self.number).as_ref() }
    }
}

/// Since when the request ran that waits.
#[derive(Clone, Copy, Debug)]
pub struct Pause(u64);

/// A slot in memory: three cache lines and a bit, four with what aligns it, so that no two workers write to one line.
#[repr(C, align(64))]
struct Words {
    busy_since: AtomicU64,
    requests: AtomicU64,
    length: AtomicU64,
    open: AtomicU64,
    extended: AtomicU64,
    waiting_since: AtomicU64,
    line: [AtomicU64; MAX_LINE / 8],
}

#[derive(Debug)]
struct Map {
    start: NonNull<Words>,
    slots: usize,
}

// SAFETY: the memory is atomics only, and `start` is read-only after it was made.
unsafe impl Send for Map {}
// SAFETY: as for Send.
unsafe impl Sync for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and nobody has a reference into it: each would hold an Arc of this.
        let _ = unsafe { munmap(self.start.cast(), self.slots * size_of::<Words>()) };
    }
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW
}

/// The most slots of a board: 64 Ki workers and threads, 16 MiB. A bound for what a broken peer may say, not a plan.
pub const MAX_SLOTS: usize = 65_536;

/// How much of a request line is kept, in bytes: enough to know the page, a few stores on the hot path.
pub const MAX_LINE: usize = 200;

/// The second try succeeds unless a request ended and another began within a few loads; the third unless it did so twice.
const TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use super::*;

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
        writes.begin(0, b"GET /");
        assert_eq!(reads.extended(), 0, "that was another request's");
        assert_eq!(reads.busy_since(), Some((1, 2)), "time 0 would say idle");
        assert_eq!(reads.request_line(), "GET /");
        writes.end();
        writes.wait(9);
        assert_eq!((reads.counts_from(), reads.busy_since()), (Some(9), None));
        writes.go_on();
        assert_eq!(reads.counts_from(), None);
        writes.wait(0);
        assert_eq!(reads.counts_from(), Some(1), "time 0 would say that it has it");
        assert!(!reads.is_open());
        writes.set_open(true);
        assert!(reads.is_open());
        reads.clear();
        assert!(!writes.is_open());
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
}
