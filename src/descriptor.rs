//! The registration of descriptors with the runtime: a task waits until one is readable.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor that can be polled, such as a timerfd or a pipe.
///
/// The descriptor should be non-blocking: its readiness may be stale.
///
/// # Errors
/// Returns the system's error, for example when the descriptor cannot be polled.
///
/// # Panics
/// Panics outside a tokio runtime with I/O enabled.
pub(crate) fn register_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE)
}

/// Registers a descriptor for writing, as [`register_readable`] does for reading.
#[cfg(feature = "process")]
pub(crate) fn register_writable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::WRITABLE)
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` has one open descriptor until it is dropped. The `AsyncFd` owns it, and
    // this crate never replaces it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(registered?)
}
