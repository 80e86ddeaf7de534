//! The end of a connection: flush, close frame, and the wait for the peer's.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::heartbeat::HeartbeatAction;
use super::phase::Phase;
use super::task::Connection;
use super::writer::FlushOutcome;
use crate::encode::{close_frame, ping_frame};
use crate::reason::CloseReason;

/// The number of bytes that a lingering connection still reads. Beyond that it is dropped.
const MAX_LINGERING_BYTES: usize = 1024 * 1024;

impl Connection {
    /// Removes the client from its channels and begins to close the connection.
    pub(super) fn begin_close(&mut self, reason: CloseReason) {
        self.hub.leave_all(&self.membership);
        let timeout = if reason.flushes() {
            self.hub.config().flush_timeout
        } else {
            self.discard();
            self.hub.config().close_timeout
        };
        self.phase = Phase::Closing {
            reason,
            close_frame_queued: false,
        };
        self.deadline = Instant::now() + timeout;
    }

    /// Discards what waits for the client, and counts it. A partly written parcel is counted too,
    /// but is still written to its end.
    fn discard(&mut self) {
        self.writer.abandon();
        let discarded = self.client.outbox.discard() as u64;
        self.hub.totals().count_discarded(discarded);
    }

    pub(super) fn poll_closing(
        &mut self,
        reason: CloseReason,
        close_frame_queued: bool,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        match self
            .writer
            .poll_flush(&mut self.socket, &self.client, self.hub.shared(), cx)
        {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(reason),
            Poll::Ready(Ok(FlushOutcome::Yielded)) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // A client that has left every channel gets nothing that is pending there.
            Poll::Ready(Ok(FlushOutcome::Complete | FlushOutcome::MorePending)) => {}
        }
        if !close_frame_queued {
            // Nothing may follow the close frame, but a seal that began before this client left may
            // still offer its block.
            self.discard();
            if let Some(code) = reason.code() {
                self.writer.push_control(&close_frame(code, reason.name()));
            }
            self.phase = Phase::Closing {
                reason,
                close_frame_queued: true,
            };
            return Poll::Pending;
        }
        match self.socket.poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(reason),
            Poll::Ready(Ok(())) => {
                self.deadline = Instant::now() + self.hub.config().close_timeout;
                self.phase = Phase::Lingering {
                    reason,
                    read_bytes: 0,
                };
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_lingering(
        &mut self,
        reason: CloseReason,
        read_bytes: usize,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        let mut dropped = [0; 4096];
        match self.socket.poll_read(cx, &mut dropped) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(n)) if n > 0 && read_bytes + n <= MAX_LINGERING_BYTES => {
                self.phase = Phase::Lingering {
                    reason,
                    read_bytes: read_bytes + n,
                };
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(reason),
        }
    }

    /// Does what is due now that the deadline has passed. Returns the reason if the connection ends
    /// with this.
    pub(super) fn handle_deadline(&mut self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing { reason, .. } | Phase::Lingering { reason, .. } => Some(reason),
            Phase::Open => {
                let now = Instant::now();
                if self
                    .write_deadline()
                    .is_some_and(|deadline| now >= deadline)
                {
                    self.begin_close(CloseReason::WriteTimeout);
                    return None;
                }
                let config = self.hub.config();
                let (interval, timeout) = (config.ping_interval, config.idle_timeout);
                match self.heartbeat.check(now, interval, timeout) {
                    HeartbeatAction::TimedOut => self.begin_close(CloseReason::HeartbeatTimeout),
                    HeartbeatAction::SendPing => self.writer.push_control(&ping_frame(b"")),
                    HeartbeatAction::Wait => {}
                }
                if self.phase == Phase::Open {
                    self.deadline = self.next_beat();
                }
                None
            }
        }
    }
}
