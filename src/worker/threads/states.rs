//! The states of a worker's threads. Numbers and states; it wakes no thread.

/// The states of all threads of a worker that call the application, and of the I/O thread beside them.
#[derive(Debug)]
pub(super) struct ThreadStates {
    states: Vec<ThreadState>,
    /// Number of threads that attend to the connections.
    attending: usize,
    /// Number of threads in the application.
    calling: usize,
    /// Threads that are parked, the last one on top: its caches are the warmest.
    parked: Vec<usize>,
    /// Number of threads that were woken, or have work, and wait for the GIL.
    waking: usize,
    /// Number of threads that sleep in epoll_wait: one, or none.
    asleep: usize,
    /// The moment when a thread last began a call, in ns of the monotonic clock.
    called_at: u64,
    /// The moment when a thread was last woken, in ns of the monotonic clock.
    waking_at: u64,
    /// True while the I/O thread sleeps until a thread begins a call.
    io_thread_rests: bool,
}

/// The state of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// It has not begun, or has ended.
    Away,
    /// It attends to the connections.
    Attending,
    /// It is in the application; this is its number in the process.
    Calling(i32),
    /// It sleeps until it is woken.
    Parked,
    /// It waits for the GIL.
    Waking,
    /// It sleeps in epoll_wait.
    Asleep,
}

impl ThreadStates {
    pub(super) fn new(threads: usize) -> ThreadStates {
        ThreadStates {
            states: vec![ThreadState::Away; threads],
            attending: 0,
            calling: 0,
            parked: Vec::new(),
            waking: 0,
            asleep: 0,
            called_at: 0,
            waking_at: 0,
            io_thread_rests: false,
        }
    }

    /// Sets what the thread `number` does.
    pub(super) fn set(&mut self, number: usize, to: ThreadState) {
        let from = std::mem::replace(&mut self.states[number], to);
        match from {
            ThreadState::Away => {}
            ThreadState::Attending => self.attending -= 1,
            ThreadState::Calling(_) => self.calling -= 1,
            ThreadState::Parked => self.parked.retain(|&parked| parked != number),
            ThreadState::Waking => self.waking -= 1,
            ThreadState::Asleep => self.asleep -= 1,
        }
        match to {
            ThreadState::Away => {}
            ThreadState::Attending => self.attending += 1,
            ThreadState::Calling(_) => self.calling += 1,
            ThreadState::Parked => self.parked.push(number),
            ThreadState::Waking => self.waking += 1,
            ThreadState::Asleep => self.asleep += 1,
        }
    }

    /// Notes that the thread `number` waits for the GIL since `now`. Until it has that it attends to nothing.
    pub(super) fn set_waking(&mut self, number: usize, now: u64) {
        self.set(number, ThreadState::Waking);
        self.waking_at = now;
    }

    /// Notes that the thread `number` begins a call at `now`. True if the I/O thread rests, and is to be woken; it is
    /// taken to be woken then.
    pub(super) fn set_calling(&mut self, number: usize, thread: i32, now: u64) -> bool {
        self.set(number, ThreadState::Calling(thread));
        self.called_at = now;
        std::mem::take(&mut self.io_thread_rests)
    }

    /// Notes whether the I/O thread sleeps until a thread begins a call.
    pub(super) fn set_io_thread_rests(&mut self, rests: bool) {
        self.io_thread_rests = rests;
    }

    /// True if a thread attends to the connections, or wakes up when there is something to do.
    pub(super) fn is_attended(&self) -> bool {
        self.attending > 0 || self.asleep > 0
    }

    /// True if no thread is blocked in epoll_wait.
    pub(super) fn may_sleep(&self) -> bool {
        self.asleep == 0
    }

    /// True if a thread is blocked in epoll_wait, and no other one attends.
    pub(super) fn all_sleep(&self) -> bool {
        self.attending == 0 && self.asleep > 0
    }

    /// Returns how many threads are in the application.
    pub(super) fn calling(&self) -> usize {
        self.calling
    }

    /// Returns when a thread last began a call, in ns of the monotonic clock.
    pub(super) fn called_at(&self) -> u64 {
        self.called_at
    }

    /// Returns when a thread was last woken, in ns of the monotonic clock; none if none waits for the GIL.
    pub(super) fn waking_since(&self) -> Option<u64> {
        (self.waking > 0).then_some(self.waking_at)
    }

    /// Returns the threads that are in the application, by their numbers in the process.
    pub(super) fn callers(&self) -> impl Iterator<Item = i32> {
        let number = |state: &ThreadState| if let ThreadState::Calling(thread) = state { Some(*thread) } else { None };
        self.states.iter().filter_map(number)
    }

    /// True if the thread `number` is in the application.
    pub(super) fn is_calling(&self, number: usize) -> bool {
        matches!(self.states[number], ThreadState::Calling(_))
    }

    /// Returns a thread that could be woken.
    pub(super) fn parked(&self) -> Option<usize> {
        self.parked.last().copied()
    }

    /// True if no thread has attended for `long` ns, counted from the last call.
    pub(super) fn is_neglected(&self, now: u64, long: u64) -> bool {
        self.calling > 0 && self.attending == 0 && now.saturating_sub(self.called_at) >= long
    }
}
