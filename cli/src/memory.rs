//! Tells the allocator to give large blocks back to the system.

/// Blocks of this many bytes and more are mapped on their own, and unmapped when freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 128 << 10;

/// Keeps glibc from raising its threshold for mapped blocks each time that one is freed. It
/// would end at 32 MiB, and the rings of a connection that is over would stay on the heap,
/// resident, below whatever was allocated after them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt has no safe interface in any crate that is kept up")]
pub(crate) fn return_large_blocks() {
    // SAFETY: mallopt takes two numbers by value and is called before any other thread exists.
    // A refusal (0) leaves the default, which is slower to give memory back but correct.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) };
}

/// Other allocators return large blocks by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_large_blocks() {}
