//! The body of a stream over HTTP, which is a client of the hub.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::http_stream::Carrier;
use super::silence::Silence;
use crate::channel::{Client, Subscription};
use crate::encode::{Encoding, LINE_START};
use crate::hub::{ConnectionSlot, Engine};
use crate::outbox::{OutboxReader, Parcel, Used};
use crate::reason::CloseReason;

/// The body of a [`Hub::text_stream`](crate::Hub::text_stream) or a
/// [`Hub::event_stream`](crate::Hub::event_stream), or the text of a refusal.
///
/// It is an `http_body::Body` that never fails, and counts as a client of the hub until it is
/// dropped. Its lines wait in a queue with the bounds of a client's. Those that do not fit, because
/// the peer reads too slowly, are skipped and reported as a gap.
#[must_use = "the stream ends when its body is dropped"]
pub struct StreamBody(pub(super) Content);

pub(super) enum Content {
    /// `None` once it is sent.
    Refusal(Option<Bytes>),
    Stream(Box<ChannelStream>),
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Refusal(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Stream(stream) => stream
                .poll_bytes(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Refusal(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Refusal(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Content::Refusal(_) => "refusal",
            Content::Stream(_) => "stream",
        };
        f.debug_tuple("StreamBody").field(&kind).finish()
    }
}

/// Replaces [`LINE_START`] by the end of the line before, if that has none.
fn on_its_line(bytes: Bytes, is_within_line: bool) -> Bytes {
    match bytes.split_first() {
        Some((&LINE_START, text)) if is_within_line => [b"\n", text].concat().into(),
        Some((&LINE_START, _)) => bytes.slice(1..),
        _ => bytes,
    }
}

/// A response body that is a client of the hub.
pub(super) struct ChannelStream {
    pub(super) client: Arc<Client>,
    pub(super) membership: Arc<Subscription>,
    /// Parcels taken from the outbox. They still count against the client's queue.
    pub(super) reader: OutboxReader,
    /// The weight of the parcel that the HTTP connection is writing. It polls again after it has
    /// written the parcel.
    pub(super) given: Used,
    pub(super) encoding: Encoding,
    pub(super) silence: Option<Silence>,
    /// Whether the last line is a piece of a longer one, so that its text has no end yet.
    pub(super) is_within_line: bool,
    /// The connection, when the accept loop of this crate serves it.
    pub(super) carrier: Option<Box<dyn Carrier>>,
    /// Completes when the client's identity expires. `None` if it does not expire.
    pub(super) expiry: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    pub(super) slot: ConnectionSlot,
}

impl ChannelStream {
    fn hub(&self) -> &Arc<Engine> {
        self.slot.engine()
    }

    /// Accounts for the parcel that has been written, if there is one.
    fn settle(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.messages > 0 {
            self.reader.release(&self.client.outbox, given);
            self.hub()
                .shared()
                .recorder
                .written(given.messages, given.bytes);
        }
    }

    /// Tells the account of the connection whether it has something to write. Costs an uncontended
    /// lock where there is a timeout for writing, and nothing elsewhere.
    fn note_writing(&self, writes: bool) {
        if let Some(carrier) = &self.carrier
            && self.hub().config().write_timeout.is_some()
        {
            carrier.note_writing(writes);
        }
    }

    /// Returns the next parcel. Without one, the outbox will wake the registered task.
    fn next(&mut self) -> Option<Parcel> {
        if !self.reader.take_or_sleep(&self.client.outbox) {
            let drained = self.reader.drained(&self.client.outbox);
            if drained.awaited {
                self.hub().shared().room.notify_waiters();
            }
            if drained.pending {
                self.hub().resume(&self.client);
                self.reader.take_or_sleep(&self.client.outbox);
            }
        }
        self.reader.pop()
    }

    /// Returns the next bytes of the body, or `None` at its end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.settle();
        self.note_writing(false);
        self.client.outbox.register(cx);
        if self
            .expiry
            .as_mut()
            .is_some_and(|expiry| expiry.as_mut().poll(cx).is_ready())
        {
            self.expiry = None;
            self.client.expire();
        }
        while let Some(parcel) = self.next() {
            self.given = parcel.weight();
            if !parcel.bytes.is_empty() {
                if let Some(silence) = &mut self.silence {
                    silence.begin();
                }
                let bytes = on_its_line(parcel.bytes, self.is_within_line);
                self.is_within_line = !bytes.ends_with(b"\n");
                self.note_writing(true);
                return Poll::Ready(Some(bytes));
            }
            // The message has no text form.
            self.settle();
        }
        if self.client.outbox.close_asked().is_some() {
            return Poll::Ready(None);
        }
        let Some(silence) = self.silence.as_mut().filter(|_| !self.is_within_line) else {
            return Poll::Pending;
        };
        ready!(silence.poll_end(cx));
        let something: &[u8] = match self.encoding {
            Encoding::Events => b":\n\n",
            _ => b"\n",
        };
        Poll::Ready(Some(Bytes::from_static(something)))
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.settle();
        let reason = self
            .client
            .outbox
            .close_asked()
            .unwrap_or(CloseReason::PeerGone);
        self.hub().unregister(&self.membership, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    /// `BodyExt::boxed` of http-body-util and `Body::new` of others need that.
    const _: () = {
        const fn is_shared_between_threads<T: Send + Sync + Unpin>() {}
        is_shared_between_threads::<StreamBody>();
    };

    #[test]
    fn a_gap_within_a_cut_line_stands_on_a_line_of_its_own() {
        let name = ChannelName::parse("c").expect("valid");
        let now = crate::encode::Timestamp::from_unix_millis(0);
        let gap = crate::encode::gap(Encoding::Text, &name, 1, 3, &now);
        assert_eq!(on_its_line(gap.clone(), false), "… 3 lines skipped …\n");
        assert_eq!(on_its_line(gap, true), "\n… 3 lines skipped …\n");
        let line = Bytes::from("… 3 lines skipped …\n");
        assert_eq!(on_its_line(line.clone(), true), line, "a line of a process");
    }
}
