//! Stage 6: one writer owns the socket's sending half.
//!
//! It takes all that waits and hands it to the kernel in as few vectored writes as possible. Pongs and close frames go through it too,
//! between two parcels, never within one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use super::socket::Socket;
use crate::channel::{Client, HubShared};
use crate::outbox::{Parcel, Used};

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
    /// Taken from the outbox and not yet fully written; still on the client's account.
    in_flight: VecDeque<Parcel>,
    /// How much of the first of them has been written.
    written: usize,
    /// Control frames, to go at the next boundary between parcels.
    control: Vec<u8>,
    /// What is in flight has been counted as discarded.
    abandoned: bool,
}

/// Why a flush stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// There is more, but others have to run first: poll again.
    Some,
    /// Everything is with the kernel, and a subscription is owed more: give it that, and poll again.
    Owed,
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
        self.abandoned = true;
        let mut begun = self.written > 0;
        self.in_flight
            .retain(|parcel| std::mem::take(&mut begun) || parcel.messages == 0);
    }

    /// Writes until nothing waits or the socket takes no more. In the end `All` leaves the outbox ready to wake the task for what comes next.
    pub(crate) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        client: &Client,
        core: &HubShared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Flushed>> {
        for _ in 0..WRITES_IN_A_ROW {
            if !self.gather(client) {
                // Nothing kept for a client that is idle.
                self.in_flight = VecDeque::new();
                if client.take_awaited() {
                    core.room.notify_waiters();
                }
                return Poll::Ready(Ok(if client.take_owed() {
                    Flushed::Owed
                } else {
                    Flushed::All
                }));
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            let mut bytes = 0;
            let mut skip = self.written;
            for parcel in self.in_flight.iter().take(MAX_SLICES) {
                slices[count] = IoSlice::new(&parcel.bytes[skip..]);
                bytes += parcel.bytes.len() - skip;
                count += 1;
                skip = 0;
                if bytes >= MAX_BYTES {
                    break;
                }
            }
            let start = Instant::now();
            let n = ready!(socket.poll_write(cx, &slices[..count]))?;
            let took = start.elapsed().as_nanos() as u64;
            core.ticker.pace.wrote(took);
            core.totals.count_write_time(took);
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n, client, core);
        }
        Poll::Ready(Ok(Flushed::Some))
    }

    /// Takes what waits; false when there is nothing to write, and then the outbox's next push wakes the task.
    fn gather(&mut self, client: &Client) -> bool {
        // One parcel of control frames at a time: the rest stays where it is bounded.
        if !self.control.is_empty()
            && self
                .in_flight
                .iter()
                .take(2)
                .all(|parcel| parcel.messages > 0)
        {
            let place = usize::from(self.written > 0);
            let frames = Bytes::from(std::mem::take(&mut self.control));
            self.in_flight.insert(
                place,
                Parcel {
                    bytes: frames,
                    messages: 0,
                },
            );
        }
        if !self.abandoned {
            client.outbox.take(&mut self.in_flight);
            if self.in_flight.is_empty() {
                client.outbox.take_or_sleep(&mut self.in_flight);
            }
        }
        !self.in_flight.is_empty()
    }

    /// Takes off what the kernel took.
    fn advance(&mut self, n: usize, client: &Client, core: &HubShared) {
        let mut end = self.written + n;
        let mut done = Used::default();
        while let Some(parcel) = self.in_flight.front()
            && end >= parcel.bytes.len()
        {
            end -= parcel.bytes.len();
            if parcel.messages > 0 {
                let weight = parcel.weight();
                done.messages += weight.messages;
                done.bytes += weight.bytes;
            }
            self.in_flight.pop_front();
        }
        self.written = end;
        if self.abandoned {
            done = Used::default();
        }
        if done.messages > 0 {
            client.outbox.release(done);
            client.count_written(done.messages as u64);
        }
        core.totals.count_write(done.messages as u64, n as u64);
    }
}
