//! The timer that wakes a reader to show an unfinished line.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The timer for [`LinePublisher::partial_due`](super::LinePublisher::partial_due), which is
/// awaited beside the next read.
///
/// A flood of reads leaves an unfinished line behind each of them, and a timer for each would cost
/// more than the read. This one stays as it is until it has fired, which may be too early, and is
/// set again only then.
#[derive(Debug)]
pub struct PartialTimer {
    sleep: Pin<Box<Sleep>>,
    is_armed: bool,
}

impl PartialTimer {
    /// Creates a timer that does not fire.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn new() -> Self {
        Self {
            sleep: Box::pin(sleep(Duration::ZERO)),
            is_armed: false,
        }
    }

    /// Sets the timer, unless it is set. Does nothing without an instant.
    pub fn arm(&mut self, due: Option<Instant>) {
        if let Some(due) = due
            && !self.is_armed
        {
            self.sleep.as_mut().reset(due);
            self.is_armed = true;
        }
    }

    /// Waits until the timer fires. Never completes if it is not set.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn fired(&mut self) {
        if !self.is_armed {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.is_armed = false;
    }
}

impl Default for PartialTimer {
    fn default() -> Self {
        Self::new()
    }
}
