//! What the threads of a worker are doing: who is in the application, who sleeps where, who was called. Numbers and
//! places; it wakes nobody.

/// All threads of a worker that call the application.
#[derive(Debug)]
pub(crate) struct ThreadStates {
    places: Vec<Place>,
    /// Threads that look after the connections.
    attending: usize,
    /// Threads in the application.
    calling: usize,
    /// Threads that sleep until they are called, the last one on top: its caches are the warmest.
    parked: Vec<usize>,
    /// Threads that were called, or have work, and are not here yet; they wait for the interpreter.
    summoned: usize,
    /// Threads that sleep until the kernel has something: one, or none.
    asleep: usize,
    /// When a thread last went into the application, in ns of the monotonic clock.
    pub(crate) left: u64,
    /// When a thread last set out for the interpreter, in ns of the monotonic clock.
    pub(crate) summoned_at: u64,
    /// The helper sleeps until it is told that a thread has left.
    pub(crate) helper_rests: bool,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has not begun, or has ended.
    Away,
    /// With the connections.
    Attending,
    /// In the application; this is its number in the process.
    Calling(i32),
    /// Asleep until it is called.
    Parked,
    /// On its way: it waits for the interpreter.
    Summoned,
    /// Asleep until the kernel has something.
    Asleep,
}

impl ThreadStates {
    pub(crate) fn new(threads: usize) -> ThreadStates {
        ThreadStates {
            places: vec![Place::Away; threads],
            attending: 0,
            calling: 0,
            parked: Vec::new(),
            summoned: 0,
            asleep: 0,
            left: 0,
            summoned_at: 0,
            helper_rests: false,
        }
    }

    /// The thread `number` is somewhere else now.
    pub(crate) fn moves(&mut self, number: usize, to: Place) {
        let from = std::mem::replace(&mut self.places[number], to);
        match from {
            Place::Away => {}
            Place::Attending => self.attending -= 1,
            Place::Calling(_) => self.calling -= 1,
            Place::Parked => self.parked.retain(|&parked| parked != number),
            Place::Summoned => self.summoned -= 1,
            Place::Asleep => self.asleep -= 1,
        }
        match to {
            Place::Away => {}
            Place::Attending => self.attending += 1,
            Place::Calling(_) => self.calling += 1,
            Place::Parked => self.parked.push(number),
            Place::Summoned => self.summoned += 1,
            Place::Asleep => self.asleep += 1,
        }
    }

    /// The thread `number` sets out for the interpreter now. Until it has that it looks after nothing.
    pub(crate) fn sets_out(&mut self, number: usize, now: u64) {
        self.moves(number, Place::Summoned);
        self.summoned_at = now;
    }

    /// Does anybody look after the connections, or wake up when there is something to do?
    pub(crate) fn is_attended(&self) -> bool {
        self.attending > 0 || self.asleep > 0
    }

    /// Sleeps nobody until the kernel has something?
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep == 0
    }

    /// Does somebody sleep until the kernel has something, and nobody else attend?
    pub(crate) fn all_sleep(&self) -> bool {
        self.attending == 0 && self.asleep > 0
    }

    /// How many threads are in the application.
    pub(crate) fn calling(&self) -> usize {
        self.calling
    }

    /// When a thread last went into the application, in milliseconds of the monotonic clock.
    pub(crate) fn left_at(&self) -> u64 {
        self.left / 1_000_000
    }

    /// The threads that are in the application, by their numbers in the process.
    pub(crate) fn callers(&self) -> impl Iterator<Item = i32> {
        self.places.iter().filter_map(|place| if let Place::Calling(thread) = place { Some(*thread) } else { None })
    }

    /// Is this thread in the application?
    pub(crate) fn is_calling(&self, number: usize) -> bool {
        matches!(self.places[number], Place::Calling(_))
    }

    /// Is a thread on its way?
    pub(crate) fn is_summoned(&self) -> bool {
        self.summoned > 0
    }

    /// A thread that could be called.
    pub(crate) fn idle(&self) -> Option<usize> {
        self.parked.last().copied()
    }

    /// Has every thread been away for `long` ns, counted from the last that left?
    pub(crate) fn is_neglected(&self, now: u64, long: u64) -> bool {
        self.calling > 0 && self.attending == 0 && now.saturating_sub(self.left) >= long
    }
}
