//! Tells the engine's own work from that of the application, so that a log that is published does
//! not publish its own publication.
//!
//! A connection that writes a line may log: the TLS library does. If that record were published,
//! the connection would write it, and log again.

use std::cell::Cell;

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// The nature of this thread's work, until this is dropped. Then it is what it was before.
pub(crate) struct Work {
    before: bool,
}

/// Begins work of the engine.
pub(crate) fn begin() -> Work {
    Work {
        before: IS_OWN.replace(true),
    }
}

/// Begins work of the application, in a callback.
pub(crate) fn suspend() -> Work {
    Work {
        before: IS_OWN.replace(false),
    }
}

/// Returns whether this thread does work of the engine.
#[cfg(any(test, feature = "tracing", feature = "log"))]
pub(crate) fn is_own() -> bool {
    IS_OWN.get()
}

/// Returns whether a record with this target is the engine's.
#[cfg(any(test, feature = "tracing", feature = "log"))]
pub(crate) fn is_own_target(target: &str) -> bool {
    target
        .strip_prefix("outrace")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl Drop for Work {
    fn drop(&mut self) {
        IS_OWN.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_within_the_engines_work_is_work_of_the_application() {
        assert!(!is_own());
        let _own = begin();
        assert!(is_own());
        let callback = suspend();
        assert!(!is_own());
        drop(callback);
        assert!(is_own());
    }

    #[test]
    fn the_engines_targets_are_known() {
        for (target, is_own) in [
            ("outrace", true),
            ("outrace::connection::task", true),
            ("outrace_app", false),
            ("app::outrace", false),
        ] {
            assert_eq!(is_own_target(target), is_own, "{target}");
        }
    }
}
