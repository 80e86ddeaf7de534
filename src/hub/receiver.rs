//! A subscription within the process: the way of a client's subscription, without a socket.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use tokio::runtime::Handle;

use super::{Engine, Hub};
use crate::access::PeerInfo;
use crate::channel::{Client, ClientKind, Subscription};
use crate::encode::{Encoding, next_frame};
use crate::event::{Event, From};
use crate::message::{ChannelName, NameError};
use crate::outbox::{OutboxReader, Used};
use crate::protocol::{Since, SubscribeOptions};
use crate::reason::CloseReason;

/// The reason why [`Hub::subscribe`] returned no receiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The channel's name is not valid.
    #[error(transparent)]
    InvalidChannel(#[from] NameError),
    /// The channel does not exist, and as many others as
    /// [`HubBuilder::max_channels`](crate::HubBuilder::max_channels) allows do.
    #[error("the hub has as many channels as it may")]
    ChannelLimit,
    /// The hub is shutting down.
    #[error("the hub is shutting down")]
    Stopping,
    /// There is no tokio runtime, and the hub was not [started](Hub::start) in one.
    #[error("there is no tokio runtime: subscribe within one, or call Hub::start within one first")]
    NoRuntime,
}

/// Receives the messages of one channel within the process. Returned by [`Hub::subscribe`].
///
/// It is a [`Stream`] of [`Event`]s, and works in any executor. It ends when the hub shuts down,
/// after the events that wait. Dropping it ends the subscription.
///
/// # Lagging
/// The events wait in a queue with the bounds of a client's:
/// [`HubBuilder::queue`](crate::HubBuilder::queue) and
/// [`HubBuilder::queue_bytes`](crate::HubBuilder::queue_bytes). Messages that do not fit are
/// skipped for this receiver, and reported as an [`Event::Gap`] in their place. No publisher waits.
///
/// # Counting
/// A receiver counts as a client in [`Hub::stats`] and [`Hub::clients`]. It has no address, it gets
/// no broadcasts, and the callbacks for clients are not called for it. It keeps the hub alive.
pub struct Receiver {
    engine: Arc<Engine>,
    client: Arc<Client>,
    membership: Arc<Subscription>,
    channel: ChannelName,
    reader: OutboxReader,
    /// The frames of the current parcel that are still to be read.
    frames: Bytes,
    /// The weight of the current parcel, which counts against the queue until it is read.
    weight: Used,
}

impl Hub {
    /// Subscribes to a channel within the process.
    ///
    /// The receiver's first event is [`Event::Subscribed`]. It then gets the messages from `from`
    /// on, and each message that is published after this call.
    ///
    /// Rights do not apply: the caller is the program itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use outrace::{Event, From, Hub};
    ///
    /// let hub = Hub::builder().history(1000).build()?;
    /// hub.send_process_output("web", "listening on :3000")?;
    /// let mut live = hub.subscribe("process:web", From::Tail(100))?;
    /// hub.send_process_output("web", "GET / 200")?;
    ///
    /// let mut lines = Vec::new();
    /// while lines.len() < 2 {
    ///     match live.next().await {
    ///         Some(Event::Line { text, .. }) => lines.push(text),
    ///         Some(Event::Gap { count, .. }) => lines.push(format!("{count} lines skipped")),
    ///         Some(_) => {}
    ///         None => break,
    ///     }
    /// }
    /// assert_eq!(lines, ["listening on :3000", "GET / 200"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the name is not valid, the channel would be one too many, the hub is shutting down, or
    /// there is no tokio runtime, in which the hub's flush timer runs.
    pub fn subscribe(&self, channel: &str, from: From) -> Result<Receiver, SubscribeError> {
        let channel = ChannelName::parse(channel)?;
        let engine = self.engine();
        if engine.is_stopping() {
            return Err(SubscribeError::Stopping);
        }
        if Handle::try_current().is_err() && !engine.is_started() {
            return Err(SubscribeError::NoRuntime);
        }
        let client = engine.make_client(PeerInfo::default(), ClientKind::Local);
        let receiver = Receiver {
            engine: Arc::clone(engine),
            membership: engine.register(&client),
            client,
            channel: channel.clone(),
            reader: OutboxReader::default(),
            frames: Bytes::new(),
            weight: Used::default(),
        };
        let options = Some(options(from));
        // A receiver that is not returned is dropped, and leaves.
        engine
            .join(&receiver.client, channel, Encoding::Local, options, None)
            .map_err(|_| SubscribeError::ChannelLimit)?;
        Ok(receiver)
    }

    /// Returns the last messages of a channel that the history keeps, at most `messages` of them,
    /// the oldest first. Everything that was published before this call is seen.
    ///
    /// There are none if the channel does not exist, its name is not valid, or the hub keeps no
    /// [history](crate::HubBuilder::history). [`Hub::subscribe`] with [`From::Tail`] goes on live
    /// without a seam.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = outrace::Hub::builder().history(1000).build()?;
    /// hub.send_process_output("web", "listening on :3000")?;
    /// let past: Vec<outrace::Event> = hub.history("process:web", 100);
    /// assert_eq!(past[0].text(), Some("listening on :3000"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn history(&self, channel: &str, messages: u64) -> Vec<Event> {
        let engine = self.engine();
        let Some(found) = engine.registry.find(channel) else {
            return Vec::new();
        };
        let Some(name) = found.name().filter(|_| messages > 0) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for mut frames in found.past(messages) {
            let frames = std::iter::from_fn(|| next_frame(&mut frames));
            events.extend(frames.map(|frame| Event::of(name.clone(), frame)));
        }
        events
    }
}

fn options(from: From) -> SubscribeOptions {
    let (tail, since) = match from {
        From::Now => (None, None),
        From::Tail(messages) => (Some(messages), None),
        From::Oldest => (Some(u64::MAX), None),
        From::After { epoch, seq } => (None, Some(Since { epoch, seq })),
    };
    SubscribeOptions {
        gaps: true,
        tail,
        since,
        ..SubscribeOptions::default()
    }
}

impl Receiver {
    /// Returns the channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Returns the number of messages that were skipped so far because the queue was full. Each of
    /// them is or will be reported in an [`Event::Gap`].
    pub fn skipped(&self) -> u64 {
        self.client.skipped()
    }

    /// Waits for the next event. Returns `None` when the hub has shut down.
    ///
    /// # Cancel safety
    /// This method is cancel safe. No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns the next event if it can be had without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(frame) = next_frame(&mut self.frames) {
                return Poll::Ready(Some(Event::of(self.channel.clone(), frame)));
            }
            self.settle();
            self.client.outbox.register(cx);
            if !self.take_parcel() {
                return if self.client.outbox.close_asked().is_some() {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            }
        }
    }

    /// Accounts for the parcel that has been read, if there is one.
    fn settle(&mut self) {
        self.frames = Bytes::new();
        let read = std::mem::take(&mut self.weight);
        if read.messages > 0 {
            self.reader.release(&self.client.outbox, read);
            let recorder = &self.engine.shared().recorder;
            recorder.written(read.messages, read.bytes);
        }
    }

    /// Takes the next parcel. Without one, the outbox will wake the registered task.
    fn take_parcel(&mut self) -> bool {
        if !self.reader.take_or_sleep(&self.client.outbox) {
            let drained = self.reader.drained(&self.client.outbox);
            if drained.awaited {
                self.engine.shared().room.notify_waiters();
            }
            if drained.pending {
                self.engine.resume(&self.client);
                self.reader.take_or_sleep(&self.client.outbox);
            }
        }
        let Some(parcel) = self.reader.pop() else {
            return false;
        };
        self.weight = parcel.weight();
        self.frames = parcel.bytes;
        true
    }
}

impl Stream for Receiver {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let reason = self.client.outbox.close_asked();
        self.engine
            .end_local(&self.membership, reason.unwrap_or(CloseReason::PeerClosed));
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("channel", &self.channel)
            .field("queued", &self.client.queued())
            .field("skipped", &self.skipped())
            .finish_non_exhaustive()
    }
}
