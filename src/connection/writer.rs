//! Stage 6: one writer owns the socket's sending half.
//!
//! It takes all that waits and hands it to the kernel in as few vectored writes as possible. Pongs and close frames go through it too,
//! between two parcels, never within one.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::socket::Socket;
use crate::channel::{Client, HubShared};
use crate::outbox::OutboxReader;

/// The most parcels one write takes.
const MAX_SLICES: usize = 64;
/// About the most bytes one write takes: more would keep other clients' writers waiting.
const MAX_BYTES: usize = 256 * 1024;
/// Writes before the task lets others run.
const WRITES_IN_A_ROW: usize = 4;
/// Control frames that may wait for a socket that takes none; a peer that pings on without reading is answered no further.
const MAX_CONTROL_BYTES: usize = 4096;

/// What is being written to one client.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// What is taken from the outbox and not yet fully written.
    reader: OutboxReader,
    /// Control frames, to go at the next boundary between parcels.
    control: Vec<u8>,
}

/// Why a flush stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// There is more, but others have to run first: poll again.
    Some,
    /// Everything is with the kernel, and a subscription has more pending: give it that, and poll again.
    Pending,
}

impl Writer {
    /// Queues a control frame (RFC 6455 section 5.5).
    pub(crate) fn push_control(&mut self, frame: &[u8]) {
        const PONG: u8 = 0x8a;
        if frame.first() == Some(&PONG) && self.control.len() + frame.len() > MAX_CONTROL_BYTES {
            return;
        }
        self.control.extend_from_slice(frame);
    }

    /// Drops what has not begun to be written, and counts nothing of the rest: the account was closed. Control frames stay: the answer to the peer's
    /// close frame may be among them.
    pub(crate) fn abandon(&mut self) {
        self.reader.abandon();
    }

    /// Writes until nothing waits or the socket takes no more. In the end `All` leaves the outbox ready to wake the task for what comes next.
    pub(crate) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        client: &Client,
        shared: &HubShared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Flushed>> {
        for _ in 0..WRITES_IN_A_ROW {
            if !self.gather(client) {
                let drained = self.reader.drained(&client.outbox);
                if drained.awaited {
                    shared.room.notify_waiters();
                }
                return Poll::Ready(Ok(if drained.pending {
                    Flushed::Pending
                } else {
                    Flushed::All
                }));
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.reader.fill(&mut slices, MAX_BYTES);
            let start = Instant::now();
            let n = ready!(socket.poll_write(cx, &slices[..count]))?;
            shared
                .recorder
                .write_took(start.elapsed().as_nanos() as u64);
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let released = self.reader.advance(&client.outbox, n);
            shared.recorder.written(released.messages, n);
        }
        Poll::Ready(Ok(Flushed::Some))
    }

    /// Takes what waits; false when there is nothing to write, and then the outbox's next push wakes the task.
    fn gather(&mut self, client: &Client) -> bool {
        // One parcel of control frames at a time: the rest stays where it is bounded.
        if !self.control.is_empty() {
            self.reader.insert_control(&mut self.control);
        }
        self.reader.take_or_sleep(&client.outbox)
    }
}
