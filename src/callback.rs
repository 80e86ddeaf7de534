//! Calls into the application, which may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::own;

/// Calls a callback of the application. Returns `None` and logs an error if it panics.
///
/// `name` is the callback's name in the log.
pub(crate) fn catch_callback<T>(name: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    // What the application logs is no work of the engine.
    let _applications = own::suspend();
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(returned) => Some(returned),
        Err(_) => {
            tracing::error!(callback = name, "a callback of the application panicked");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_everything_else_is_returned() {
        assert_eq!(catch_callback("test", || 7), Some(7));
        assert_eq!(
            catch_callback("test", || -> u8 { panic!("on purpose") }),
            None
        );
    }
}
