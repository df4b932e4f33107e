//! What a thread asks of the kernel where others want its CPU.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// Asks that the calling thread, once it has a CPU, keeps it for so long while others want it, 100 us to 100 ms; who has
/// asked for less gets it at once. Linux before 6.12 knows no such wish and grants none (sched(7), `sched_setattr(2)`).
pub fn ask_for_time_slice(slice: Duration) -> io::Result<()> {
    let wish = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).expect("a few bytes"),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: nice()?,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes as the structure says that it has.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) })?;
    Ok(())
}

/// What a wish for a time slice would otherwise set anew.
fn nice() -> io::Result<i32> {
    Errno::clear();
    // SAFETY: two numbers. -1 is a value, too.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    match Errno::last_raw() {
        0 => Ok(nice),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// From here on the calling thread takes no CPU from who has one when it wakes up (sched(7), `SCHED_BATCH`).
pub fn interrupt_nobody() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is read and outlives the call.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy, nice and slice of the calling thread, as the kernel has them.
    fn scheduling() -> (u32, i32, u64) {
        // SAFETY: numbers alone; the kernel fills as many bytes as it is told.
        unsafe {
            let mut found: libc::sched_attr = std::mem::zeroed();
            let size = size_of::<libc::sched_attr>();
            assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0), 0);
            (found.sched_policy, found.sched_nice, found.sched_runtime)
        }
    }

    #[test]
    fn a_thread_has_the_time_slice_that_it_asks_for_and_is_as_nice_as_before() {
        // SAFETY: a number.
        assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 7) }, 0);
        ask_for_time_slice(Duration::from_millis(8)).unwrap();
        let (policy, nice, slice) = scheduling();
        assert_eq!((policy, nice), (0, 7));
        // Kernels that know no such wish tell of none.
        assert!(slice == 8_000_000 || slice == 0, "{slice}");
        interrupt_nobody().unwrap();
        let (policy, nice, _) = scheduling();
        assert_eq!((policy, nice), (libc::SCHED_BATCH.unsigned_abs(), 7));
    }
}
