//! Signals as bytes: a handler writes the signal's number to a pipe, a loop reads it there.
//!
//! The master registers by `signal-hook`. Zygote and workers share their process with `CPython`, and applications
//! change handlers; so they set theirs directly, check if these are still in place, and restore them.
//!
//! A handler belongs to one process. In one that the application forks off it acts as if there were none, until
//! [`reset_in_fork`] has removed it there. Signals without a meaning are not ignored but handled by doing nothing: exec
//! resets a handler, and would pass an ignored signal on to the program.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

/// The read end of a pipe on which signals arrive, a byte each.
pub struct Signals {
    pipe: OwnedFd,
}

/// The write end that [`note`] writes to; -1 until handlers are installed.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// The process whose handlers these are.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// The signals, a bit each, that handlers of this process write to the pipe.
static NOTED_ONES: AtomicU64 = AtomicU64::new(0);

/// The signals, a bit each, for which handlers of this process do nothing.
static DISREGARDED: AtomicU64 = AtomicU64::new(0);

/// True if a handler has run since [`Signals::next`] was last called.
static NOTED: AtomicBool = AtomicBool::new(false);

/// True if a signal that [`Signals::install`] asked for has arrived and is unread, or a message is on its way
/// ([`take_hurry`]). For callers that cannot wait until the pipe or the channel is looked at.
pub fn is_noted() -> bool {
    NOTED.load(Ordering::Relaxed)
}

impl Signals {
    /// Registers `signals` by signal-hook, beside existing handlers, and takes `sent` only from processes, as
    /// [`note_sent`] does. For the master.
    pub fn register(signals: &[i32], sent: &[Signal]) -> io::Result<Signals> {
        let (read, write) = pipe()?;
        let write = write.into_raw_fd();
        WRITE_END.store(write, Ordering::SeqCst);
        own();
        note_sent(sent)?;
        for &signal in signals {
            let byte = u8::try_from(signal).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            // SAFETY: the action only calls write(2), which is async-signal-safe, on a descriptor that stays open.
            unsafe { signal_hook::low_level::register(signal, move || write_byte(write, byte))? };
        }
        Ok(Signals { pipe: read })
    }

    /// Sets the process's handlers of `signals` to one that writes the signal's number. For zygote and workers.
    ///
    /// Called again after a fork it makes a pipe of the child's own.
    pub fn install(signals: &[Signal]) -> io::Result<Signals> {
        let (read, write) = pipe()?;
        let old = WRITE_END.swap(write.into_raw_fd(), Ordering::SeqCst);
        if old >= 0 {
            // SAFETY: the old write end was leaked into WRITE_END by an earlier call, and nothing else closes it.
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(old) });
        }
        own();
        for &signal in signals {
            set(signal)?;
        }
        Ok(Signals { pipe: read })
    }

    /// Returns both ends of the pipe.
    pub fn descriptors(&self) -> [i32; 2] {
        [self.pipe.as_raw_fd(), WRITE_END.load(Ordering::SeqCst)]
    }

    /// Returns the next signal that has arrived, or `None`. Never blocks.
    pub fn next(&self) -> Option<i32> {
        // Cleared before the look: signals that come after it set it again.
        NOTED.store(false, Ordering::SeqCst);
        let mut byte = [0u8; 1];
        match nix::unistd::read(&self.pipe, &mut byte) {
            Ok(1) => Some(i32::from(byte[0])),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> i32 {
        self.pipe.as_raw_fd()
    }
}

/// Restores every handler of `signals` that was replaced, and returns these signals.
pub fn restore(signals: &[Signal]) -> Vec<Signal> {
    signals.iter().copied().filter(|&signal| !stands(signal) && set(signal).is_ok()).collect()
}

/// Has `signals` do nothing in this process. Unlike ignored ones, they have their default action again in a program
/// that it executes.
pub fn disregard(signals: &[Signal]) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    for &signal in signals {
        // SAFETY: the handler calls getpid(2), and in another process than its own sigaction(2) and raise(3).
        unsafe { sigaction(signal, &action)? };
        remember(&DISREGARDED, &NOTED_ONES, signal);
    }
    Ok(())
}

/// Gives every signal its default action, and delivers only those that are not `held`, until [`release`] is called
/// after an exec. Async-signal-safe.
pub fn hold(held: &[Signal]) -> io::Result<()> {
    // SAFETY: all-zero is the default action without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=LAST {
        // SAFETY: reads `default`; fails for signals that have no other action, and for those of the C library.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    Ok(held.iter().copied().collect::<SigSet>().thread_set_mask()?)
}

/// Returns the signal that announces a message to a worker: a real-time one, beside that of `process::interrupt_signal`.
pub(super) fn hurry_signal() -> i32 {
    libc::SIGRTMIN() + 8
}

/// Has [`is_noted`] become true on the signal that a process of the server sends by `process::hurry`. It has no
/// other effect.
pub fn take_hurry() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(hurried), SaFlags::SA_RESTART, SigSet::empty());
    // nix names no real-time signals, so that the action crosses as libc's.
    let action: libc::sigaction = action.into();
    // SAFETY: the handler stores to a static.
    Errno::result(unsafe { libc::sigaction(hurry_signal(), &raw const action, std::ptr::null_mut()) })?;
    Ok(())
}

/// Delivers every signal to this thread.
pub fn release() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// Runs `step` while no signal is delivered to this thread; in both processes if `step` forks.
pub fn held_back<T>(step: impl FnOnce() -> T) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let done = step();
    before.thread_set_mask()?;
    Ok(done)
}

/// Makes the calling process the owner of the handlers. Async-signal-safe.
pub(super) fn own() {
    OWNER.store(nix::unistd::getpid().as_raw(), Ordering::SeqCst);
}

/// Does what this process's handler of `signal` does. For handlers of the application that call the one before them.
pub fn handle(signal: i32) {
    let bit = bit(signal);
    if !is_owner() {
        act_by_default(signal);
    } else if NOTED_ONES.load(Ordering::SeqCst) & bit != 0 {
        write_noted(signal);
    } else if DISREGARDED.load(Ordering::SeqCst) & bit == 0 {
        act_by_default(signal);
    }
}

/// Removes the handlers in a process that the application has forked, except those of signals that Python ignores.
/// Async-signal-safe.
pub(super) fn reset_in_fork() {
    // SAFETY: all-zero is the default action without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in (1..32).filter(|signal| !IGNORED_BY_PYTHON.contains(signal) && is_ours(*signal)) {
        // SAFETY: reads `default`.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}

/// Writes `signals` to the installed pipe when a process sends them, and passes over those of the kernel: a terminal
/// that changes its size sends WINCH to the processes that run in it.
pub fn note_sent(signals: &[Signal]) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigAction(note_if_sent), SaFlags::SA_SIGINFO, SigSet::empty());
    for &signal in signals {
        // SAFETY: the handler reads one field of its argument, and calls what `note` calls.
        unsafe { sigaction(signal, &action)? };
        remember(&NOTED_ONES, &DISREGARDED, signal);
    }
    Ok(())
}

/// Logs that a signal reached a process for which it means nothing.
pub fn pass_over(signal: i32) {
    let name = Signal::try_from(signal).map_or("unknown", |signal| signal.as_str().trim_start_matches("SIG"));
    tracing::warn!(signal = name, "a signal for the master, ignored here");
}

extern "C" fn note_if_sent(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo_t. Codes above 0 are its own (sigaction(2)).
    if unsafe { (*info).si_code } <= 0 || !is_owner() {
        note(signal);
    }
}

fn set(signal: Signal) -> io::Result<()> {
    // No SA_RESTART: a sleeping epoll_wait is to return, so that Python's own handlers get their turn.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    // SAFETY: `note` calls getpid(2) and write(2), and in another process than its own sigaction(2) and raise(3).
    unsafe { sigaction(signal, &action)? };
    remember(&NOTED_ONES, &DISREGARDED, signal);
    Ok(())
}

fn remember(here: &AtomicU64, not_there: &AtomicU64, signal: Signal) {
    here.fetch_or(bit(signal as i32), Ordering::SeqCst);
    not_there.fetch_and(!bit(signal as i32), Ordering::SeqCst);
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal).ok().and_then(|signal| 1_u64.checked_shl(signal)).unwrap_or(0)
}

fn stands(signal: Signal) -> bool {
    let ours: extern "C" fn(i32) = note;
    action_of(signal as i32) == Some(ours as usize)
}

/// True if the handler of `signal` is one of this file's.
fn is_ours(signal: i32) -> bool {
    let plain: [extern "C" fn(i32); 2] = [note, nothing];
    let with_info: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = note_if_sent;
    action_of(signal)
        .is_some_and(|action| action == with_info as usize || plain.iter().any(|ours| action == *ours as usize))
}

fn action_of(signal: i32) -> Option<usize> {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only reads the current one into `now`.
    let read = unsafe { libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) };
    // SAFETY: sigaction returned 0, so it filled `now`.
    (read == 0).then(|| unsafe { now.assume_init() }.sa_sigaction)
}

extern "C" fn note(signal: i32) {
    if is_owner() {
        write_noted(signal);
    } else {
        act_by_default(signal);
    }
}

extern "C" fn nothing(signal: i32) {
    if !is_owner() && !IGNORED_BY_PYTHON.contains(&signal) {
        act_by_default(signal);
    }
}

extern "C" fn hurried(_: i32) {
    NOTED.store(true, Ordering::SeqCst);
}

fn is_owner() -> bool {
    // SAFETY: getpid only asks the kernel.
    unsafe { libc::getpid() == OWNER.load(Ordering::SeqCst) }
}

/// Does with the process what the kernel does where a signal has no handler. Async-signal-safe.
fn act_by_default(signal: i32) {
    // SAFETY: all-zero is the default action without flags. Within the signal's own handler it takes effect on return.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Tells the reader of the installed pipe that `signal` came; the handlers' only act. Async-signal-safe.
pub(super) fn write_noted(signal: i32) {
    NOTED.store(true, Ordering::SeqCst);
    write_byte(WRITE_END.load(Ordering::SeqCst), u8::try_from(signal).unwrap_or(0));
}

/// Writes one byte and leaves errno as it was. A full pipe drops the byte: enough wake-ups are waiting in it.
fn write_byte(fd: i32, byte: u8) {
    let errno = Errno::last_raw();
    // SAFETY: a plain write of one byte from the stack; a bad descriptor gives EBADF.
    unsafe { libc::write(fd, std::ptr::from_ref(&byte).cast(), 1) };
    Errno::set_raw(errno);
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// Signals that `CPython` ignores from its start on: a write that is refused is an error then.
const IGNORED_BY_PYTHON: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];
/// The last signal (signal(7)).
const LAST: i32 = 64;
