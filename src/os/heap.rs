//! The heap of this process: a reserve for what must not fail, allocations that may, and giving memory back.
//!
//! Rust ends the process when an allocation fails. Where the address space is limited (`limit_as`), a worker holds
//! a reserve that the heap gets then, so that it can refuse requests, close connections and log. It takes no memory
//! before.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::TryReserveError;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The system's heap, with the reserve behind it.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: everything is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { or_reserve(layout.size(), || System.alloc(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { or_reserve(layout.size(), || System.alloc_zeroed(layout)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise; a failure leaves the block as it was.
        unsafe { or_reserve(size, || System.realloc(block, layout, size)) }
    }
}

/// Allocates `size` bytes, after a failure with the reserve.
#[inline]
fn or_reserve(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let block = allocate();
    if block.is_null() && size <= MOST_OF_RESERVE && !MAY_FAIL.get() && release_reserve() { allocate() } else { block }
}

/// Reserves room for `more` elements, without the reserve of the heap: the caller can do without.
pub fn try_reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), TryReserveError> {
    let before = MAY_FAIL.replace(true);
    let reserved = vec.try_reserve(more);
    MAY_FAIL.set(before);
    reserved
}

/// The same, and no more than that.
pub fn try_reserve_exact<T>(vec: &mut Vec<T>, more: usize) -> Result<(), TryReserveError> {
    let before = MAY_FAIL.replace(true);
    let reserved = vec.try_reserve_exact(more);
    MAY_FAIL.set(before);
    reserved
}

/// Holds the reserve from here on, in this process alone. False if there is no memory for it.
pub fn hold_reserve() -> bool {
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let reserve = unsafe { libc::mmap(ptr::null_mut(), RESERVE, read_write, private, -1, 0) };
    if reserve == libc::MAP_FAILED {
        return false;
    }
    let before = HELD.swap(reserve, Ordering::AcqRel);
    unmap(before);
    SHORT.store(false, Ordering::Relaxed);
    true
}

/// True if the reserve was used and is not held again: memory is short.
pub fn is_short() -> bool {
    SHORT.load(Ordering::Relaxed)
}

#[cold]
fn release_reserve() -> bool {
    let reserve = HELD.swap(ptr::null_mut(), Ordering::AcqRel);
    if !reserve.is_null() {
        SHORT.store(true, Ordering::Relaxed);
    }
    unmap(reserve)
}

fn unmap(reserve: *mut libc::c_void) -> bool {
    // SAFETY: the mapping was taken out of its place, so that nothing else knows it; no byte of it was ever used.
    !reserve.is_null() && unsafe { libc::munmap(reserve, RESERVE) } == 0
}

/// Gives what was freed back to the kernel. The allocator keeps pages that lie between others, and what
/// [`keep_freed`] has it keep. Takes milliseconds after a large burst.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, and locks the heap itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps up to 8 MiB of what was freed for the next allocation. glibc's own limits follow the sizes of blocks that were
/// freed: where several bodies of 1 MiB come at a time, it gives the pages of each back to the kernel, and has them
/// zeroed again for the next one. Variables of the environment ([`KEPT_BY`]) are the user's word, and come before this.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes no pointer.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Variables by which users choose how much glibc keeps (mallopt(3)).
pub const KEPT_BY: [&str; 3] = ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"];
/// Blocks of this size and more go back to the kernel as soon as they are freed.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 4 << 20;
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 8 << 20;
/// Enough for the refusals and the log lines of a turn.
const RESERVE: usize = 8 << 20;
/// Larger allocations fail: the reserve would not last.
const MOST_OF_RESERVE: usize = 1 << 20;
/// The reserve, if it is held.
static HELD: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());
static SHORT: AtomicBool = AtomicBool::new(false);
thread_local! {
    /// True while an allocation of this thread may fail.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_used_once_and_held_again() {
        assert!(hold_reserve() && !is_short());
        let fails_once = Cell::new(true);
        let allocate = || if fails_once.replace(false) { ptr::null_mut() } else { ptr::dangling_mut() };
        MAY_FAIL.set(true);
        assert!(or_reserve(10, allocate).is_null() && !is_short());
        MAY_FAIL.set(false);
        fails_once.set(true);
        assert!(!or_reserve(10, allocate).is_null() && is_short());
        fails_once.set(true);
        assert!(or_reserve(10, allocate).is_null());
        assert!(hold_reserve() && !is_short());
        fails_once.set(true);
        assert!(or_reserve(MOST_OF_RESERVE + 1, allocate).is_null() && !is_short());
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert!(try_reserve(&mut Vec::<u8>::new(), usize::MAX / 4).is_err());
        assert!(try_reserve_exact(&mut vec![0_u8], 100).is_ok());
    }
}
