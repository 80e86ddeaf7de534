//! The atomics of the lock-free parts, which loom replaces in their models, and the one way to lock
//! a mutex.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(not(all(test, outrace_loom)))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(all(test, outrace_loom))]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Locks a mutex, also after a thread panicked while it held the lock.
///
/// The caller must keep the value valid at each point where its critical section can panic. Every
/// lock of this crate is held for single insertions, removals and assignments, so this holds for
/// all of them.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
