//! What a thread asks of the kernel where others want its CPU.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// Asks that the calling thread, once it has a CPU, keeps it for so long while others want it, 100 us to 100 ms. Linux
/// before 6.12 grants no such wish (Documentation/scheduler/sched-eevdf.rst). A thread that somebody has given another
/// policy than the usual ones keeps that, and asks for nothing.
pub fn ask_for_time_slice(slice: Duration) -> io::Result<()> {
    let mut found = attributes()?;
    if [libc::SCHED_OTHER, libc::SCHED_BATCH].map(libc::c_int::unsigned_abs).contains(&found.sched_policy) {
        found.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the kernel reads as many bytes as the structure says that it has.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const found, 0) })?;
    }
    Ok(())
}

/// From here on the calling thread takes no CPU from who has one when it wakes up (sched(7), `SCHED_BATCH`), unless
/// somebody has given it another policy than the usual one.
pub fn interrupt_nobody() -> io::Result<()> {
    if attributes()?.sched_policy == libc::SCHED_OTHER.unsigned_abs() {
        let priority = libc::sched_param { sched_priority: 0 };
        // SAFETY: the structure is read and outlives the call.
        Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) })?;
    }
    Ok(())
}

/// Policy, nice, slice and the like of the calling thread (`sched_getattr(2)`).
fn attributes() -> io::Result<libc::sched_attr> {
    // SAFETY: a structure of numbers, of which zero is one.
    let mut found: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel fills at most as many bytes as it is told.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs in a thread of its own: a test's own thread may be the next test's.
    fn in_a_thread(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(body).join().unwrap();
    }

    #[test]
    fn a_thread_has_the_time_slice_that_it_asks_for_and_is_as_nice_as_before() {
        in_a_thread(|| {
            // SAFETY: a number.
            assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 7) }, 0);
            ask_for_time_slice(Duration::from_millis(8)).unwrap();
            let found = attributes().unwrap();
            assert_eq!((found.sched_policy, found.sched_nice), (libc::SCHED_OTHER.unsigned_abs(), 7));
            // Kernels that know no such wish tell of none.
            assert!(found.sched_runtime == 8_000_000 || found.sched_runtime == 0, "{}", found.sched_runtime);
            interrupt_nobody().unwrap();
            let found = attributes().unwrap();
            assert_eq!((found.sched_policy, found.sched_nice), (libc::SCHED_BATCH.unsigned_abs(), 7));
            ask_for_time_slice(Duration::from_millis(8)).unwrap();
            assert_eq!(attributes().unwrap().sched_policy, libc::SCHED_BATCH.unsigned_abs());
        });
    }

    #[test]
    fn a_policy_that_somebody_has_chosen_stays() {
        in_a_thread(|| {
            let priority = libc::sched_param { sched_priority: 0 };
            // SAFETY: the structure is read and outlives the call.
            assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) }, 0);
            ask_for_time_slice(Duration::from_millis(8)).unwrap();
            interrupt_nobody().unwrap();
            assert_eq!(attributes().unwrap().sched_policy, libc::SCHED_IDLE.unsigned_abs());
        });
    }
}
