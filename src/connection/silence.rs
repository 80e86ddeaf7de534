//! The time in which a stream has sent nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The silence of a stream, which has a limit.
pub(super) struct Silence {
    limit: Duration,
    end: Pin<Box<Sleep>>,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        let end = Box::pin(tokio::time::sleep(limit));
        Self { limit, end }
    }

    /// Begins anew: something is being sent.
    pub(super) fn begin(&mut self) {
        self.end.as_mut().reset(Instant::now() + self.limit);
    }

    /// Completes when the silence has reached its limit, and begins it anew.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.end.as_mut().poll(cx));
        self.begin();
        Poll::Ready(())
    }
}
