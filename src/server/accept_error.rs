//! The errors of accepting and of serving HTTP, and what they mean for the accept loop.

use std::io;

use crate::descriptor_limit;
use crate::reason::RefusalReason;

/// Returns the refusal that an HTTP error amounts to, if it is one.
pub(super) fn refusal_of(error: &hyper::Error, has_begun: bool) -> Option<RefusalReason> {
    if error.is_parse_too_large() {
        Some(RefusalReason::HeaderSize)
    } else if error.is_timeout() && !has_begun {
        // After the first request, the same timeout closes an idle connection and refuses nothing.
        Some(RefusalReason::HeaderTimeout)
    } else {
        None
    }
}

/// Whether an error of `accept` concerns the accepted connection and not the listener.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Whether the process or the system has no descriptor left, or no memory for a socket.
pub(super) fn is_of_descriptors(error: &io::Error) -> bool {
    descriptor_limit::is_reached(error) || descriptor_limit::is_memory_reached(error)
}
