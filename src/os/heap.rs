//! The heap of this process: freed memory goes back to the kernel when that is asked for.
#![allow(unsafe_code)]

/// Gives what was freed back to the kernel. The allocator keeps pages that lie between others, and large blocks up to
/// 32 MiB once some were freed (mallopt(3), `M_MMAP_THRESHOLD`). Takes milliseconds after a large burst.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, and locks the heap itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
