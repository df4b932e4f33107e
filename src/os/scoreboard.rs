//! The state of every worker, in memory that the processes of one generation share: a memfd, a slot a worker. The
//! worker writes, the master reads. What a slot says is never trusted: it is a number to compare or a text to print, no
//! index and no length.
//!
//! | word | written by | says |
//! |---|---|---|
//! | `busy_since` | `begin`, `end` | since when a request runs (ns of `CLOCK_MONOTONIC`), 0 for none |
//! | `requests` | `begin` | how many requests were begun |
//! | `length`, `line` | `begin` | the head of the request line |
//! | `open` | `set_open` | whether the worker takes connections |
//! | `entered`, `left`, `worked` | `enter`, `leave` | how busy the thread is; only where that is measured |
//! | `ident` | `set_ident` | the number by which Python knows the thread |
//! | `handoffs_taken`, `handoffs_left` | `settle_handoff`, by other workers | what has become of connections that were handed off |
//! | `connections` | `set_connections` | how many connections do what |
//! | `turning` | `turn`, `begin`, `rest` | since when the loop is at work, without a request |
//!
//! `begin` stores line, count and time in this order, time and count with release: a reader that finds the same time
//! before and after the count has a pair that belongs together.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// Makes a board of `slots` idle slots, and the descriptor by which other processes [`Scoreboard::attach`] to it.
    /// Its size is sealed: no process can pull the memory from under another. Errors: `InvalidInput` unless `slots` is
    /// 1 to [`MAX_SLOTS`].
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

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.0.slots
    }

    /// Returns the slot `number`, counted from 0; none beyond the last.
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
    /// The most connections that a worker may have handed off at a time: a bit each.
    pub const HANDOFFS: u32 = 64;

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
        words.turning.store(0, Ordering::Relaxed);
        // The thread is the only writer: a plain store, no locked addition.
        words.requests.store(words.requests.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        words.busy_since.store(now.max(1), Ordering::Release);
    }

    /// Notes that the request is over. The request line stays, as the last one.
    pub fn end(&self) {
        self.words().busy_since.store(0, Ordering::Release);
    }

    /// Notes that the running request waits for its client, which is not the application's time. [`Slot::resume`] ends
    /// that.
    pub fn pause(&self) -> Pause {
        Pause(self.words().busy_since.swap(0, Ordering::AcqRel))
    }

    /// Notes that the application runs again: its request counts as begun `waited` ns later than it did.
    pub fn resume(&self, pause: Pause, waited: u64) {
        if pause.0 != 0 {
            self.words().busy_since.store(pause.0.saturating_add(waited), Ordering::Release);
        }
    }

    /// Returns since when (ns of `CLOCK_MONOTONIC`) which request (its number in this slot) runs; none when idle, or
    /// when requests change so fast that no pair could be read.
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

    /// Lets the running request take `more` ns longer than others.
    pub fn extend(&self, more: u64) {
        let extended = &self.words().extended;
        // Threads that extend at once are rare; a worker that overflows it harms itself.
        extended.store(extended.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
    }

    /// Returns how many ns longer than others the running request may take.
    pub fn extended(&self) -> u64 {
        self.words().extended.load(Ordering::Relaxed)
    }

    /// Notes that the thread has something to do, and waits for the GIL since `now` (ns of `CLOCK_MONOTONIC`).
    pub fn wait(&self, now: u64) {
        self.words().waiting_since.store(now.max(1), Ordering::Release);
    }

    /// Notes that the thread has acquired the GIL.
    pub fn go_on(&self) {
        self.words().waiting_since.store(0, Ordering::Release);
    }

    /// Notes that the thread's loop begins a turn, which ends with the next one, with a request or with [`Slot::rest`].
    pub fn turn(&self, now: u64) {
        self.words().turning.store(now.max(1), Ordering::Release);
    }

    /// Notes that the thread has nothing to do.
    pub fn rest(&self) {
        self.words().turning.store(0, Ordering::Release);
    }

    /// Returns when the running request would have begun (ns of `CLOCK_MONOTONIC`), if it might take no longer than
    /// others; or since when the thread waits for the GIL, or is in one turn of its loop.
    pub fn counts_from(&self) -> Option<u64> {
        let busy = self.busy_since().map(|(since, _)| since.saturating_add(self.extended()));
        let words = self.words();
        let of = |word: &AtomicU64| Some(word.load(Ordering::Acquire)).filter(|since| *since != 0);
        busy.or_else(|| of(&words.waiting_since)).or_else(|| of(&words.turning))
    }

    /// True if the thread waits for the GIL.
    pub fn is_waiting(&self) -> bool {
        self.words().waiting_since.load(Ordering::Acquire) != 0
    }

    /// Notes that the thread enters the application, where it is measured how busy it is.
    pub fn enter(&self, now: u64) {
        self.words().entered.store(now.max(1), Ordering::Relaxed);
    }

    /// Notes that the thread comes back from the application.
    pub fn leave(&self, now: u64) {
        let words = self.words();
        let spent = now.saturating_sub(words.entered.load(Ordering::Relaxed));
        words.worked.store(words.worked.load(Ordering::Relaxed).wrapping_add(spent), Ordering::Relaxed);
        words.left.store(now, Ordering::Relaxed);
        words.entered.store(0, Ordering::Release);
    }

    /// Returns how many ns the thread has been in the application, by `now`.
    pub fn worked(&self, now: u64) -> u64 {
        let entered = self.words().entered.load(Ordering::Acquire);
        let running = if entered == 0 { 0 } else { now.saturating_sub(entered) };
        self.words().worked.load(Ordering::Relaxed).saturating_add(running)
    }

    /// Returns when the thread, or the one that had the slot before, was in the application last: `now` if it is.
    pub fn last_busy(&self, now: u64) -> u64 {
        let words = self.words();
        if words.entered.load(Ordering::Acquire) == 0 { words.left.load(Ordering::Relaxed) } else { now }
    }

    /// Returns the head of the running request's line, or of the last one: printable ASCII, `?` for the rest, at most
    /// [`MAX_LINE`] characters, no header fields. Read while it changes, it may mix two lines.
    pub fn request_line(&self) -> String {
        let words = self.words();
        let length = usize::try_from(words.length.load(Ordering::Relaxed)).map_or(MAX_LINE, |n| n.min(MAX_LINE));
        let bytes = words.line.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        // Writers hand over the whole head, which costs them no search for the line's end. The fields are not shown.
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let line = bytes.take(length).skip_while(is_end).take_while(|byte| !is_end(byte));
        line.map(|byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' }).collect()
    }

    /// Returns the method and the path of that line.
    pub fn method_and_path(&self) -> (String, String) {
        let line = self.request_line();
        let mut words = line.split(' ').map(|word| word.split('?').next().unwrap_or_default().to_owned());
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// Returns how many requests were begun in this slot.
    pub fn requests(&self) -> u64 {
        self.words().requests.load(Ordering::Relaxed)
    }

    /// Notes the number by which Python knows the thread.
    pub fn set_ident(&self, ident: u64) {
        self.words().ident.store(ident, Ordering::Relaxed);
    }

    /// Returns the number by which Python knows the thread; 0 before it was noted.
    pub fn ident(&self) -> u64 {
        self.words().ident.load(Ordering::Relaxed)
    }

    /// Tells the other workers whether this one takes connections.
    pub fn set_open(&self, is_open: bool) {
        // Of two workers that stop taking connections and then look at each other, at least one sees that the other
        // has.
        self.words().open.store(u64::from(is_open), Ordering::SeqCst);
    }

    /// True if the worker takes connections now. Of a worker that was killed this is its last word.
    pub fn is_open(&self) -> bool {
        self.words().open.load(Ordering::SeqCst) == 1
    }

    /// Tells the worker of this slot what has become of a connection that it has handed off under `number`: another
    /// worker has taken it over, or has left it.
    pub fn settle_handoff(&self, number: u32, is_taken: bool) {
        let words = self.words();
        let word = if is_taken { &words.handoffs_taken } else { &words.handoffs_left };
        word.fetch_or(1_u64.checked_shl(number).unwrap_or(0), Ordering::AcqRel);
    }

    /// Returns, once, the numbers of connections that other workers have taken over, and of those that they have left:
    /// a bit each. For the worker of this slot.
    pub fn settled_handoffs(&self) -> (u64, u64) {
        let words = self.words();
        (words.handoffs_taken.swap(0, Ordering::AcqRel), words.handoffs_left.swap(0, Ordering::AcqRel))
    }

    /// Notes how many connections do what: are silent, have an unfinished head, are idle, have more to be read, wait
    /// for a thread, are in the application, are written to; in this order.
    pub fn set_connections(&self, counts: &[u32; ACTIVITIES]) {
        for (word, count) in self.words().connections.iter().zip(counts) {
            word.store(*count, Ordering::Relaxed);
        }
    }

    /// Returns how many connections do what, as of the worker's last word.
    pub fn connections(&self) -> [u32; ACTIVITIES] {
        std::array::from_fn(|at| self.words().connections[at].load(Ordering::Relaxed))
    }

    /// Makes the slot as new, for the next worker in it.
    pub fn clear(&self) {
        let words = self.words();
        let of_request = [&words.busy_since, &words.requests, &words.length, &words.extended];
        // Except the moment when it was left, from which the master counts.
        for word in of_request.into_iter().chain([
            &words.open,
            &words.waiting_since,
            &words.turning,
            &words.entered,
            &words.worked,
            &words.ident,
            &words.handoffs_taken,
            &words.handoffs_left,
        ]) {
            word.store(0, Ordering::Release);
        }
        self.set_connections(&[0; ACTIVITIES]);
    }

    fn words(&self) -> &Words {
        debug_assert!(self.number < self.map.slots);
        // SAFETY: slots are handed out only with a number below map.slots, and `map` is alive as long as this slot.
        // Words are atomics, for which every value is valid, and are aligned, since the mapping starts on a page.
        unsafe { self.map.start.add(self.number).as_ref() }
    }
}

/// The begin of a request that waits for its client.
#[derive(Clone, Copy, Debug)]
pub struct Pause(u64);

/// A slot in memory: five cache lines and a bit, six with what aligns it, so that no two workers write to one line.
#[repr(C, align(64))]
struct Words {
    busy_since: AtomicU64,
    requests: AtomicU64,
    length: AtomicU64,
    open: AtomicU64,
    extended: AtomicU64,
    waiting_since: AtomicU64,
    turning: AtomicU64,
    entered: AtomicU64,
    left: AtomicU64,
    worked: AtomicU64,
    ident: AtomicU64,
    handoffs_taken: AtomicU64,
    handoffs_left: AtomicU64,
    connections: [AtomicU32; ACTIVITIES],
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
        // SAFETY: the mapping was made with this size, and there is no reference into it: each would hold an Arc of
        // this.
        let _ = unsafe { munmap(self.start.cast(), self.slots * size_of::<Words>()) };
    }
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW
}

/// The most slots of a board: 64 Ki workers and threads, 24 MiB. A bound on the claims of a broken peer, not a plan.
pub const MAX_SLOTS: usize = 65_536;

/// The number of activities of a connection.
pub const ACTIVITIES: usize = 7;

/// The most bytes of a request line that are kept: enough to know the page, a few stores on the hot path.
pub const MAX_LINE: usize = 200;

/// The second try succeeds unless a request ended and another began within a few loads; the third unless it did so
/// twice.
const TRIES: usize = 3;

#[cfg(test)]
mod tests;
