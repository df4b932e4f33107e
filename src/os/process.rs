//! Processes: starting the zygote, forking a worker off it, reaping, signalling, ending with the parent.
//!
//! No child returns into its parent's stack: `start` ends in exec, and the sides of `fork_away` are told apart by its
//! return value in processes that share nothing further.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::identity::{Identity, Refused};
use super::std_streams;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdout};

/// The descriptor on which a started role finds its channel.
pub const CHANNEL_FD: i32 = 3;

/// Bytes of command line that a role is started with so that its title has room: gunicorn's titles stay below this.
const TITLE_ROOM: usize = 120;

/// The way in which a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By `exit` or by returning, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "code {code}"),
            Exit::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "{}", signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// A process to start: this program again, in a hidden role.
pub struct Role<'a> {
    /// The program's own file, opened at the start of the master.
    pub program: BorrowedFd<'a>,
    /// The word that selects the role.
    pub word: &'a str,
    /// The end of the channel that becomes [`CHANNEL_FD`] of the new process.
    pub channel: BorrowedFd<'a>,
    /// Variables that are set or replaced in the new process's environment.
    pub environment: &'a [(String, String)],
    /// Variables that are removed from the new process's environment, unless `environment` sets them.
    pub hidden: &'a [&'a str],
    /// The user and group of the new process. It becomes them before the program is executed, so that no part of it,
    /// its loader or its environment runs with more rights.
    pub identity: Option<&'a Identity>,
}

/// Starts a role by fork and exec, without ignored signals, and with some held until it is ready; every descriptor except 0 to 2 and the channel is closed
/// by its CLOEXEC flag.
pub fn start(role: &Role<'_>) -> io::Result<Pid> {
    // Another number than the channel's, which the child takes before it executes the program.
    let program = fcntl(role.program, FcntlArg::F_DUPFD_CLOEXEC(CHANNEL_FD + 1))?;
    // SAFETY: fcntl made this descriptor, and nothing else knows it.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0("rwsgi: zygote").arg(role.word).arg(" ".repeat(TITLE_ROOM));
    // The service manager's variables are for the master; an application that starts programs would pass them on.
    for name in role.hidden {
        command.env_remove(name);
    }
    command.envs(role.environment.iter().map(|(k, v)| (OsStr::new(k), OsStr::new(v))));
    if std_streams::is_silent() {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some([stdout, stderr]) = std_streams::kept() {
            command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        }
    }
    let channel = role.channel.as_raw_fd();
    let identity = role.identity.cloned().filter(Identity::is_change);
    let prepare = move || {
        super::signal::hold(FOR_LATER)?;
        hand_over_channel(channel)?;
        identity.as_ref().map_or(Ok(()), Identity::take)
    };
    // SAFETY: between fork and exec only dup2, fcntl, sigaction and the calls of credentials(7) are made, which are
    // async-signal-safe, and nothing is allocated: the groups were looked up before.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn().map_err(|error| explained(error, role.identity))?;
    // The pid is below 2^22 (PID_MAX_LIMIT).
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("a pid fits an i32")))
}

/// Names the step of a start that was refused: a change of user or group is `EPERM`, executing the program is `EACCES`.
fn explained(error: io::Error, identity: Option<&Identity>) -> io::Error {
    let is_change = identity.is_some_and(Identity::is_change);
    match error.raw_os_error() {
        Some(libc::EPERM) if is_change => io::Error::new(error.kind(), Refused(error)),
        Some(libc::EACCES) if is_change => {
            let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
            let text = format!(
                "{}: expected a program that the application's user may execute, found one that it may not\n\
                 hint: chmod o+rx {}",
                program.display(),
                program.display()
            );
            io::Error::new(error.kind(), text)
        }
        _ => error,
    }
}

/// Runs `step` with standard output of the processes that it starts led to standard error.
pub fn with_stdout_apart<T>(step: impl FnOnce() -> T) -> io::Result<T> {
    let own = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdout(io::stderr())?;
    let done = step();
    dup2_stdout(own)?;
    Ok(done)
}

fn hand_over_channel(channel: i32) -> io::Result<()> {
    if channel == CHANNEL_FD {
        // dup2 onto itself would leave CLOEXEC set.
        // SAFETY: fcntl on a descriptor number reads no memory.
        Errno::result(unsafe { libc::fcntl(channel, libc::F_SETFD, 0) })?;
    } else {
        // SAFETY: dup2 on descriptor numbers reads no memory.
        Errno::result(unsafe { libc::dup2(channel, CHANNEL_FD) })?;
    }
    Ok(())
}

/// Keeps descriptors from the processes that are started later; numbers that are not open are passed over.
pub fn close_on_exec(descriptors: std::ops::Range<i32>) {
    for fd in descriptors {
        // SAFETY: F_SETFD on a descriptor number reads no memory.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Takes the channel of a process that [`start`] made. Call it once, in such a process.
pub fn inherited_channel() -> OwnedFd {
    // SAFETY: `start` put the channel there, and nothing else in this process knows the descriptor.
    let channel = unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) };
    // SAFETY: F_SETFD on a descriptor number reads no memory.
    unsafe { libc::fcntl(CHANNEL_FD, libc::F_SETFD, libc::FD_CLOEXEC) };
    channel
}

/// Returns the number of CPUs that this process may use, by affinity and cgroup quota; 1 if it is not known.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns a random number of the kernel (getrandom(2)).
pub fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is writable for its length; getrandom(2) never cuts such a short read.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}

/// The side of [`fork_away`] on which this process is.
pub enum Side {
    /// The process that called, with the pid of the new process. That is not its child: it belongs to the nearest
    /// subreaper.
    Caller(Pid),
    /// The new process.
    New,
}

/// Forks twice and lets the middle process end, so that the new process is adopted by the nearest subreaper.
///
/// The caller must have one thread; the middle process runs nothing but the second fork.
pub fn fork_away() -> io::Result<Side> {
    // A pipe by which the middle process reports the new one's pid, or the error as a negative number. Its exit status
    // may be lost: the application may ignore SIGCHLD, or reap it.
    let (told, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the caller has one thread (the zygote's rule), or others that hooks have started in Python; these hold no
    // lock of Rust code while the calling thread holds the GIL, so the child may run any code.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Child => {
            // SAFETY: as above; the middle process has one thread.
            let said = match unsafe { nix::unistd::fork() } {
                Ok(ForkResult::Child) => return Ok(Side::New),
                Ok(ForkResult::Parent { child }) => child.as_raw(),
                Err(errno) => -(errno as i32),
            };
            let written = nix::unistd::write(&tell, &said.to_ne_bytes());
            exit_now(written.err().map_or(0, |errno| errno as i32))
        }
        ForkResult::Parent { child } => {
            drop(tell);
            while waitpid(child, None) == Err(Errno::EINTR) {}
            let mut said = [0; 4];
            match nix::unistd::read(&told, &mut said)? {
                4 => match i32::from_ne_bytes(said) {
                    pid @ 1.. => Ok(Side::Caller(Pid::from_raw(pid))),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                },
                _ => Err(io::Error::other("the middle process ended before it forked")),
            }
        }
    }
}

/// Waits until this process's parent is `parent`. Returns `false` if it is not within `limit`.
///
/// The kernel moves an orphan after it closed the dead parent's files, so there is nothing to wait on but the id.
pub fn wait_for_parent(parent: Pid, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while nix::unistd::getppid() != parent {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    true
}

/// Ends this process at once, without atexit handlers or destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes orphans below this process its children (prctl(2), `PR_SET_CHILD_SUBREAPER`).
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Has the kernel send `signal` to this process when its parent dies. A change of user clears that: set it again.
pub fn die_with_parent(signal: Signal) -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(signal)?)
}

/// A change of a child's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended; the most resident memory that it had, in bytes.
    Ended(Exit, u64),
    /// A signal has stopped it.
    Stopped,
    /// It runs again.
    Continued,
}

impl Change {
    fn of(status: i32, peak: u64) -> Option<Change> {
        if libc::WIFEXITED(status) {
            Some(Change::Ended(Exit::Code(libc::WEXITSTATUS(status)), peak))
        } else if libc::WIFSIGNALED(status) {
            Some(Change::Ended(Exit::Signal(libc::WTERMSIG(status)), peak))
        } else if libc::WIFSTOPPED(status) {
            Some(Change::Stopped)
        } else {
            libc::WIFCONTINUED(status).then_some(Change::Continued)
        }
    }
}

/// Reaps the next child whose state has changed, or returns `None`.
///
/// Calls libc: nix has no name for real-time signals, and would hide the end of a child that one of them has killed.
pub fn reap() -> Option<(Pid, Change)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel fills it; all of it are integers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
        // SAFETY: wait4(2) writes an integer and the usage, and touches no other memory.
        let pid = unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) };
        if pid == 0 || (pid < 0 && Errno::last() != Errno::EINTR) {
            return None;
        }
        let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
        if let Some(change) = Change::of(status, peak).filter(|_| pid > 0) {
            return Some((Pid::from_raw(pid), change));
        }
    }
}

/// Returns the resident memory of a process, in bytes (proc(5), `/proc/pid/statm`); `None` if the process is gone.
pub fn resident_bytes(pid: Pid) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// True if a process is stopped by a signal or a debugger (proc(5), `/proc/pid/stat`); `None` where that cannot be
/// seen.
pub fn is_stopped(pid: Pid) -> Option<bool> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may contain anything, also brackets and blanks.
    let state = line.rsplit_once(')')?.1.trim_start().chars().next()?;
    Some(matches!(state, 'T' | 't'))
}

/// True if `pid` is a child of this process, alive or not yet reaped.
pub fn is_child(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    pid.as_raw() > 1 && waitid(Id::Pid(pid), flags).is_ok()
}

/// Signals a child, and no other process: until it is reaped, no other process gets its pid. A child that has just
/// ended is not an error.
pub fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    if !is_child(pid) {
        return Ok(());
    }
    match nix::sys::signal::kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the signal on which the engine's faulthandler writes the Python stacks of all threads: a real-time one,
/// which neither the C library nor an application is likely to use.
pub fn trace_signal() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Returns the signal that ends the wait of a worker's main thread when its request has taken too long: a real-time
/// one, beside those on which stacks are written.
pub fn interrupt_signal() -> i32 {
    libc::SIGRTMIN() + 7
}

/// Has a child write its Python stacks to its error log, even if it is stuck.
pub fn trace(pid: Pid) {
    if is_child(pid) {
        // SAFETY: kill reads no memory.
        unsafe { libc::kill(pid.as_raw(), trace_signal()) };
    }
}

/// Announces a message to a child that is a worker.
pub fn hurry(pid: Pid) {
    if is_child(pid) {
        // SAFETY: kill reads no memory.
        unsafe { libc::kill(pid.as_raw(), super::signal::hurry_signal()) };
    }
}

/// Has the kernel kill this process `delay` after its parent has died, even if the application is busy. Until then a
/// SIGTERM's byte in [`super::signal::Signals`] asks it to end by itself.
pub fn end_with_parent(delay: Duration) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigevent, filled in below.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: both pointers are to locals that outlive the call.
    Errno::result(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
    LAST_WORD.store(timer, Ordering::SeqCst);
    LAST_WORD_MS.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    let action = SigAction::new(SigHandler::Handler(orphaned), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler calls timer_settime and write only, which are async-signal-safe.
    unsafe { sigaction(ORPHANED, &action)? };
    die_with_parent(ORPHANED)
}

/// Undoes [`end_with_parent`] in a process that this one has forked. Async-signal-safe.
pub(super) fn forget_parent() {
    // The id of a timer may be null.
    if LAST_WORD_MS.load(Ordering::SeqCst) != 0 {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code.
        let _ = unsafe { sigaction(ORPHANED, &default) };
    }
}

/// Signals that a new process takes only once it has handlers: those to the master that `pkill` sends to all processes
/// of its name, and Ctrl-C.
const FOR_LATER: &[Signal] =
    &[Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGINT];
/// The signal that tells a worker that its master died. Hardware sends it only to init.
const ORPHANED: Signal = Signal::SIGPWR;
/// The timer that [`end_with_parent`] made; a timer is not inherited by a fork, so a child arms none.
static LAST_WORD: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
static LAST_WORD_MS: AtomicU64 = AtomicU64::new(0);

extern "C" fn orphaned(_: i32) {
    let delay = LAST_WORD_MS.load(Ordering::SeqCst);
    // SAFETY: all-zero is a valid itimerspec.
    let mut when: libc::itimerspec = unsafe { std::mem::zeroed() };
    when.it_value.tv_sec = libc::time_t::try_from(delay / 1000).unwrap_or(libc::time_t::MAX);
    when.it_value.tv_nsec = libc::c_long::try_from(delay % 1000 * 1_000_000).unwrap_or(0);
    // SAFETY: the id came from timer_create in this process; the handler is set after it was stored.
    unsafe { libc::timer_settime(LAST_WORD.load(Ordering::SeqCst), 0, &raw const when, std::ptr::null_mut()) };
    super::signal::write_noted(libc::SIGTERM);
}
