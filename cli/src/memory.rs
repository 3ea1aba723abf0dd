//! Gives back to the system what is free: of the allocator, and of idle connections.

use std::ptr;

use rustix::mm::{Advice, madvise};
use slipwire_core::IdleRings;

/// Has memory be taken and given back in small pieces, before any is taken.
pub(crate) fn prepare() {
    return_large_blocks();
    // Or the first byte of a ring could cost two megabytes. Where the system does not know them
    // there is nothing to disable.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Blocks of this many bytes and more are mapped on their own, and unmapped when freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 128 << 10;

/// Keeps glibc from raising its threshold for mapped blocks each time that one is freed. It
/// would end at 32 MiB, and the rings of a connection that is over would stay on the heap,
/// resident, below whatever was allocated after them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt has no safe interface in any crate that is kept up")]
fn return_large_blocks() {
    // SAFETY: mallopt takes two numbers by value and is called before any other thread exists.
    // A refusal (0) leaves the default, which is slower to give memory back but correct.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) };
}

/// glibc gives small blocks back only from the end of its heap, where a single one that is in use
/// keeps all those before it: what thousands of connections took would stay after their end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim has no safe interface in any crate that is kept up")]
fn return_small_blocks() {
    // SAFETY: malloc_trim takes a number by value and only touches memory that is free. Its result
    // says whether there was any.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other allocators return blocks by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_large_blocks() {}

/// Other allocators return blocks by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_small_blocks() {}

/// Gives the pages of idle rings back to the system. They read as zeros until they are used again.
#[expect(unsafe_code, reason = "there is no safe way to change memory that others own")]
pub(crate) fn return_pages(rings: &IdleRings<'_>) {
    let page = rustix::param::page_size();
    for ring in rings.addresses() {
        let start = ring.start.next_multiple_of(page);
        let len = (ring.end - ring.end % page).saturating_sub(start);
        if len > 0 {
            let address = ptr::with_exposed_provenance_mut(start);
            // SAFETY: `rings` lends memory of which nothing is needed, and the pages lie within it.
            // What an allocator hands out is anonymous memory, which reads as zeros afterwards.
            // A refusal leaves it as it is.
            let _ = unsafe { madvise(address, len, Advice::LinuxDontNeed) };
        }
    }
}

/// Flows that are not worth the search for what is free after them.
const FEW: usize = 256;

/// Gives small blocks back after a flood.
#[derive(Debug, Default)]
pub(crate) struct Ebb {
    /// The most flows since the last time.
    peak: usize,
}

impl Ebb {
    /// Takes note of how many flows there are.
    pub(crate) fn note(&mut self, flows: usize) {
        if self.has_passed(flows) {
            return_small_blocks();
        }
    }

    /// Whether most of many flows are gone, said once.
    fn has_passed(&mut self, flows: usize) -> bool {
        self.peak = self.peak.max(flows);
        let has_passed = self.peak > FEW && flows <= self.peak / 8;
        if has_passed {
            self.peak = flows;
        }
        has_passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_searched_once_after_a_flood_and_never_in_everyday_life() {
        let mut ebb = Ebb::default();
        let passed: Vec<_> = [10, 250, 1, 8000, 2000, 1001, 1000, 999, 5, 0]
            .into_iter()
            .filter(|flows| ebb.has_passed(*flows))
            .collect();
        assert_eq!(passed, [1000, 5]);
    }
}
