//! One connected client, as the hub sees it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::SystemTime;

use super::Channel;
use super::client_extensions::ClientExtensions;
use super::shared::HubShared;
use super::subscription::Subscription;
use crate::access::{Identity, PeerInfo};
use crate::encode::{Envelope, binary_frame, single, text_frame};
use crate::message::{ChannelName, Message, MessageType};
use crate::outbox::{Offered, Outbox, QueueLimits};
use crate::reason::CloseReason;
use crate::stats::Totals;
use crate::sync::{AtomicU64, Ordering, lock};

/// Identifies a client for the life of its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The form in which a client gets its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// WebSocket frames.
    WebSocket,
    /// One channel's text or events: an HTTP stream.
    Http,
    /// The messages of one channel, for a receiver in the same process.
    Local,
}

/// Whether a client is registered with its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not yet, or never: it stands for the sender of a request.
    Unregistered,
    Registered,
    /// It is in no channel, and joins none.
    Left,
}

/// One connected client: its identity, its subscriptions, and the counters of its messages.
///
/// The connect and disconnect callbacks get it, and [`Hub::clients`](crate::Hub::clients) lists all
/// of them. Its counters stay readable after the client has gone. Holding it does not keep the
/// connection open.
///
/// ```
/// let hub = outrace::Hub::builder()
///     .on_connect(|client| {
///         client.send_text("welcome");
///     })
///     .build()?;
/// for client in hub.clients() {
///     println!("{} has {} messages queued", client.id(), client.queued());
/// }
/// # Ok::<(), outrace::ConfigError>(())
/// ```
pub struct Client {
    id: ClientId,
    peer: PeerInfo,
    since: SystemTime,
    kind: ClientKind,
    /// Counts what is sent to this client alone. Weak: a client that is kept does not keep its
    /// hub's counters.
    totals: Weak<Totals>,
    /// The hub, for the layer above. Weak for the same reason.
    owner: Weak<dyn Any + Send + Sync>,
    pub(crate) outbox: Outbox,
    /// Touched when this client subscribes, unsubscribes or leaves, and when its subscriptions are
    /// listed; never on the way of a message.
    subscriptions: Mutex<BTreeMap<ChannelName, Arc<Subscription>>>,
    /// Held while the subscriptions change: the client and the program may change them at once.
    presence: Mutex<Presence>,
    extensions: ClientExtensions,
    skipped: AtomicU64,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        peer: PeerInfo,
        limits: QueueLimits,
        kind: ClientKind,
        totals: Weak<Totals>,
        owner: Weak<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            id,
            peer,
            since: SystemTime::now(),
            kind,
            totals,
            owner,
            outbox: Outbox::new(limits),
            subscriptions: Mutex::new(BTreeMap::new()),
            presence: Mutex::new(Presence::Unregistered),
            extensions: ClientExtensions::default(),
            skipped: AtomicU64::new(0),
        }
    }

    /// Returns the client's identifier within its hub.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Returns the address it connected from; `None` when the server that accepted it did not say.
    pub fn address(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    /// Returns the identity that the hub's authenticator found; `None` when the hub has none.
    pub fn identity(&self) -> Option<&Identity> {
        self.peer.identity.as_ref()
    }

    /// Returns the values that the application keeps for this client.
    pub fn extensions(&self) -> &ClientExtensions {
        &self.extensions
    }

    /// Returns the time at which it connected.
    pub fn connected_at(&self) -> SystemTime {
        self.since
    }

    /// Returns the channels it is subscribed to now, in the order of their names.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = ChannelName> + use<> {
        self.lock().keys().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Returns the number of messages handed to the kernel for this client.
    pub fn written(&self) -> u64 {
        self.outbox.written()
    }

    /// Returns the number of messages skipped for this client because its queue was full.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Returns the number of messages in its queue.
    pub fn queued(&self) -> usize {
        self.outbox.used().messages
    }

    /// Sends a text message to this client alone, unchanged: behind what waits in its queue, and
    /// within the queue's bounds. It may be longer than
    /// [`HubBuilder::max_outgoing_message`](crate::HubBuilder::max_outgoing_message).
    ///
    /// Returns false when the message was not accepted. That is the case when there was no room,
    /// which counts as skipped; when the client is gone; and for a stream over HTTP or a
    /// [`Receiver`](crate::Receiver), which carry the messages of one channel and nothing else.
    ///
    /// Never waits, and may be called from any thread. The messages of one caller keep their order.
    /// A message that a channel sends meanwhile may stand between them.
    pub fn send_text(&self, text: &str) -> bool {
        self.send(|| text_frame(text.as_bytes()))
    }

    /// Sends a binary message to this client alone. All else is as for [`Client::send_text`].
    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.send(|| binary_frame(bytes))
    }

    /// Sends a message to this client alone, as one that is published but without a number. It
    /// names the channel of [`Message::in_channel`], if that was set. All else is as for
    /// [`Client::send_text`].
    ///
    /// ```
    /// use outrace::{Hub, Message};
    ///
    /// let hub = Hub::builder()
    ///     .on_connect(|client| {
    ///         client.send_message(&Message::error("the server restarts at 12:00"));
    ///     })
    ///     .build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn send_message(&self, message: &Message) -> bool {
        self.send(|| single(&Envelope::new(None), message, &HubShared::timestamp()))
    }

    fn send(&self, frame: impl FnOnce() -> bytes::Bytes) -> bool {
        // A hub that is gone has no clients.
        let Some(totals) = self.totals.upgrade() else {
            return false;
        };
        if self.kind != ClientKind::WebSocket {
            return false;
        }
        let offered = if self.outbox.is_full() {
            Offered::NONE
        } else {
            self.outbox.offer_frame(frame())
        };
        self.count_single(&totals, offered)
    }

    /// Counts the outcome of a message for this client alone. Returns whether it was accepted.
    pub(crate) fn count_single(&self, totals: &Totals, offered: Offered) -> bool {
        match offered {
            Offered::Closed => totals.count_fan_out(1, 0, 1),
            Offered::Accepted { frames: 0, .. } => {
                totals.count_fan_out(1, 1, 0);
                self.count_skipped(1);
            }
            Offered::Accepted { .. } => {
                totals.count_fan_out(1, 0, 0);
                return true;
            }
        }
        false
    }

    /// Returns the form in which it gets its messages.
    pub(crate) fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Closes the connection with close code 1008, after what waits in its queue. Returns at once.
    /// The disconnect callback is called when the connection has ended.
    pub fn close(&self) {
        self.outbox.ask_to_close(CloseReason::Kicked);
    }

    /// Closes the connection because the client's credentials have expired.
    pub(crate) fn expire(&self) {
        self.outbox.ask_to_close(CloseReason::Expired);
    }

    /// Counts skipped messages. Relaxed: a counter for reports, which orders nothing.
    pub(crate) fn count_skipped(&self, messages: u64) {
        self.skipped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Returns the subscriptions that have something pending, which the caller then sees to. Linear
    /// in the client's subscriptions.
    pub(crate) fn take_pending(&self) -> Vec<Arc<Subscription>> {
        self.lock()
            .values()
            .filter(|subscription| subscription.take_pending())
            .cloned()
            .collect()
    }

    /// Returns the hub that the client was made by, unless it is gone.
    pub(crate) fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.owner.upgrade()
    }

    /// Locks the changes of the subscriptions. No callback may be called meanwhile.
    pub(crate) fn presence(&self) -> MutexGuard<'_, Presence> {
        lock(&self.presence)
    }

    /// Returns a mirror that the client has subscribed to and that has not caught up with its
    /// source.
    pub(crate) fn unsynced_channel(&self) -> Option<Arc<Channel>> {
        self.lock()
            .values()
            .map(|subscription| &subscription.channel)
            .find(|channel| channel.is_unsynced())
            .cloned()
    }

    /// Answers a ping.
    pub(crate) fn pong(&self, totals: &Totals) {
        let message = Message::new(MessageType::Pong);
        let frame = single(&Envelope::new(None), &message, &HubShared::timestamp());
        self.count_single(totals, self.outbox.offer_reserved(frame));
    }

    /// Locks the subscriptions. A panic while this lock was held leaves a map that is still whole:
    /// each change is one insertion or removal.
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Arc<Subscription>>> {
        lock(&self.subscriptions)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("address", &self.peer.address)
            .field("user", &self.peer.identity.as_ref().map(Identity::user))
            .field("written", &self.written())
            .field("skipped", &self.skipped())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
