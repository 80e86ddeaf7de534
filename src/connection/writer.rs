//! Stage 6 of a line's path: the writer owns the socket's sending half.
//!
//! It takes everything that waits in the outbox and passes it to the kernel in as few vectored
//! writes as possible. Pongs and close frames are sent through it too, between two parcels and
//! never within one.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Instant as TaskInstant;

use super::socket::Socket;
use crate::channel::{Client, HubShared};
use crate::outbox::OutboxReader;

/// The maximum number of parcels in one write.
const MAX_SLICES: usize = 64;
/// The approximate maximum size of one write. Larger writes would delay the writers of other
/// clients.
const MAX_WRITE_BYTES: usize = 256 * 1024;
/// The number of writes before the task lets other tasks run.
const MAX_WRITES_IN_A_ROW: usize = 4;
/// The size of control frames that may wait for a socket that takes none. The pings of a peer that
/// does not read are not answered beyond that.
const MAX_CONTROL_BYTES: usize = 4096;

/// The writer of one connection.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Parcels taken from the outbox and not yet written in full.
    reader: OutboxReader,
    /// Control frames that are sent at the next boundary between parcels.
    control: Vec<u8>,
    /// When the socket first took nothing of what waits. `None` while it takes something.
    blocked_since: Option<TaskInstant>,
}

/// The result of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlushOutcome {
    /// The kernel has taken everything.
    Complete,
    /// More waits, but other tasks have to run first. The caller polls again.
    Yielded,
    /// The kernel has taken everything, and a subscription has more pending. The caller has it
    /// delivered and polls again.
    MorePending,
}

impl Writer {
    /// Queues a control frame (RFC 6455 section 5.5). Drops a pong for which there is no room.
    pub(crate) fn push_control(&mut self, frame: &[u8]) {
        const PONG: u8 = 0x8a;
        if frame.first() == Some(&PONG) && self.control.len() + frame.len() > MAX_CONTROL_BYTES {
            return;
        }
        self.control.extend_from_slice(frame);
    }

    /// Drops every parcel of which nothing is written yet. A partly written parcel is finished, but
    /// no longer counted: the caller counts it as discarded. Control frames stay, because the
    /// answer to the peer's close frame may be among them.
    pub(crate) fn abandon(&mut self) {
        self.reader.abandon();
    }

    /// Returns since when the socket has taken nothing although something waits.
    pub(crate) fn blocked_since(&self) -> Option<TaskInstant> {
        self.blocked_since
    }

    /// Writes until nothing waits or the socket takes no more. After [`FlushOutcome::Complete`] the
    /// next push to the outbox wakes the task.
    pub(crate) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        client: &Client,
        shared: &HubShared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<FlushOutcome>> {
        for _ in 0..MAX_WRITES_IN_A_ROW {
            if !self.gather(client) {
                let drained = self.reader.drained(&client.outbox);
                if drained.awaited {
                    shared.room.notify_waiters();
                }
                return Poll::Ready(Ok(if drained.pending {
                    FlushOutcome::MorePending
                } else {
                    FlushOutcome::Complete
                }));
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.reader.fill(&mut slices, MAX_WRITE_BYTES);
            let start = Instant::now();
            let Poll::Ready(n) = socket.poll_write(cx, &slices[..count]) else {
                self.blocked_since.get_or_insert_with(TaskInstant::now);
                return Poll::Pending;
            };
            let n = n?;
            self.blocked_since = None;
            shared
                .recorder
                .write_took(start.elapsed().as_nanos() as u64);
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let released = self.reader.advance(&client.outbox, n);
            shared.recorder.written(released.messages, n);
        }
        Poll::Ready(Ok(FlushOutcome::Yielded))
    }

    /// Collects the parcels that wait. Returns false if there are none: then the next push to the
    /// outbox wakes the task.
    fn gather(&mut self, client: &Client) -> bool {
        // One parcel of control frames at a time: the others stay in `control`, which is bounded.
        if !self.control.is_empty() {
            self.reader.insert_control(&mut self.control);
        }
        self.reader.take_or_sleep(&client.outbox)
    }
}
