//! One connected client, as the hub sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::SystemTime;

use super::shared::HubShared;
use super::subscription::Subscription;
use crate::access::{Identity, PeerInfo};
use crate::encode::{binary_frame, text_frame};
use crate::message::ChannelName;
use crate::outbox::{Limits, Offered, Outbox};
use crate::reason::CloseReason;
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence, lock};

/// Names a client for the life of its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What goes out to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// WebSocket frames.
    WebSocket,
    /// One channel's text or events: an HTTP stream.
    Http,
}

/// One connected client: who it is, what it is subscribed to, what it was sent and spared.
///
/// Handed to the connect and disconnect callbacks and found through [`Hub::clients`](crate::Hub::clients). Holding one keeps its
/// counters readable after the client has gone; it does not keep the connection open.
pub struct Client {
    id: ClientId,
    visitor: PeerInfo,
    since: SystemTime,
    speaks: ClientKind,
    /// Where what is sent to it alone is counted. Weak: who keeps a client does not keep its hub.
    core: Weak<HubShared>,
    pub(crate) outbox: Outbox,
    /// Touched when this client subscribes, unsubscribes or leaves, and by who lists its subscriptions; never on the way of a message.
    subscriptions: Mutex<BTreeMap<ChannelName, Arc<Subscription>>>,
    written: AtomicU64,
    skipped: AtomicU64,
    /// Some subscription is owed something that had no room.
    owed: AtomicBool,
    /// A publisher waits for room in its queue.
    awaited: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        visitor: PeerInfo,
        limits: Limits,
        speaks: ClientKind,
        core: Weak<HubShared>,
    ) -> Self {
        Self {
            id,
            visitor,
            since: SystemTime::now(),
            speaks,
            core,
            outbox: Outbox::new(limits),
            subscriptions: Mutex::new(BTreeMap::new()),
            written: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            owed: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        }
    }

    /// The client's name within its hub.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Where it connected from; `None` when the server that accepted it did not say.
    pub fn address(&self) -> Option<SocketAddr> {
        self.visitor.address
    }

    /// Who it is, as the hub's authenticator found; `None` when the hub has none.
    pub fn identity(&self) -> Option<&Identity> {
        self.visitor.identity.as_ref()
    }

    /// When it connected.
    pub fn connected_at(&self) -> SystemTime {
        self.since
    }

    /// The channels it is subscribed to now, in the order of their names.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = ChannelName> + use<> {
        self.lock().keys().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Messages handed to the kernel for this client.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Messages this client was spared because its queue was full.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Messages that wait in its queue.
    pub fn queued(&self) -> usize {
        self.outbox.used().messages
    }

    /// Sends this client alone a text message, as it is: behind what waits in its queue, and within its bounds. False when there was no room, which counts
    /// as skipped, when it is gone, and for a stream over HTTP, which carries the lines of one channel and nothing else.
    ///
    /// Never waits, and may be called from any thread. The messages of one caller keep their order; a message that a channel sends meanwhile may stand between them.
    pub fn send_text(&self, text: &str) -> bool {
        self.send(|| text_frame(text.as_bytes()))
    }

    /// As [`Client::send_text`], a binary message.
    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.send(|| binary_frame(bytes))
    }

    fn send(&self, frame: impl FnOnce() -> bytes::Bytes) -> bool {
        // A hub that is gone has no clients.
        let Some(core) = self.core.upgrade() else {
            return false;
        };
        if self.speaks == ClientKind::Http {
            return false;
        }
        let offered = if self.outbox.is_full() {
            Offered::Accepted {
                frames: 0,
                woke: false,
            }
        } else {
            self.outbox.offer_frame(frame())
        };
        self.count_single(&core, offered)
    }

    /// Counts what became of a message for this client alone; answers whether it was accepted.
    pub(crate) fn count_single(&self, core: &HubShared, offered: Offered) -> bool {
        match offered {
            Offered::Closed => core.totals.count_fan_out(1, 0, 1),
            Offered::Accepted { frames: 0, .. } => {
                core.totals.count_fan_out(1, 1, 0);
                self.count_skipped(1);
            }
            Offered::Accepted { .. } => {
                core.totals.count_fan_out(1, 0, 0);
                return true;
            }
        }
        false
    }

    /// What goes out to it.
    pub(crate) fn speaks(&self) -> ClientKind {
        self.speaks
    }

    /// Closes the connection with close code 1008, after what waits for it. Returns at once; the disconnect callback tells when it has
    /// happened.
    pub fn close(&self) {
        self.outbox.ask_to_close(CloseReason::Kicked);
    }

    /// Closes the connection, since what the client had shown of who it is has expired.
    pub(crate) fn expire(&self) {
        self.outbox.ask_to_close(CloseReason::Expired);
    }

    /// Relaxed, here and below: counters, read for reports; they order nothing.
    pub(crate) fn count_written(&self, messages: u64) {
        self.written.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn count_skipped(&self, messages: u64) {
        self.skipped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Asks the writer to come back when it has written everything. The sealer looks for room once more after this.
    ///
    /// SeqCst fences, here and in [`Client::take_owed`]: either the sealer's second look sees the room that the writer made, or the writer's look
    /// sees the request.
    pub(super) fn owe(&self) {
        // Release, paired with the swap in `take_owed`: who takes this sees which subscription it is.
        self.owed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Whether something is owed; for the writer, after it gave back the room of all it wrote.
    pub(crate) fn take_owed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.owed.load(Ordering::Relaxed) && self.owed.swap(false, Ordering::AcqRel)
    }

    /// Asks the writer to tell when it has written everything. Relaxed: who asks looks again before long.
    pub(crate) fn await_room(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked for that; for the writer. A load, as a rule.
    pub(crate) fn take_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// The subscriptions to which something is owed. Linear in the client's subscriptions.
    pub(crate) fn owed_subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lock()
            .values()
            .filter(|subscription| subscription.take_owed())
            .cloned()
            .collect()
    }

    /// A panic while this lock was held leaves a map that is still whole: each change is one insertion or removal.
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Arc<Subscription>>> {
        lock(&self.subscriptions)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("address", &self.visitor.address)
            .field("user", &self.visitor.identity.as_ref().map(Identity::user))
            .field("written", &self.written())
            .field("skipped", &self.skipped())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use bytes::Bytes;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::outbox::Used;

    /// The queue of a client is full when the sealer has a gap to tell, while its writer gives the room back and looks whether anything is owed: either the
    /// gap is told, or the writer comes back for it.
    #[test]
    fn loom_who_is_owed_something_finds_the_room_or_is_called_for_it() {
        loom::model(|| {
            let limits = Limits {
                messages: 1,
                bytes: 1000,
            };
            let client = Arc::new(Client::new(
                ClientId(1),
                PeerInfo::default(),
                limits,
                ClientKind::WebSocket,
                Weak::new(),
            ));
            let offer = |client: &Client| {
                matches!(
                    client.outbox.offer_frame(Bytes::from_static(b"x")),
                    Offered::Accepted { frames: 1, .. }
                )
            };
            assert!(offer(&client));
            let writer = {
                let client = Arc::clone(&client);
                thread::spawn(move || {
                    client.outbox.release(Used {
                        messages: 1,
                        bytes: 1,
                    });
                    client.take_owed()
                })
            };
            let told = offer(&client) || {
                client.owe();
                // As a sealer that looks whether there is room before it encodes anything.
                !client.outbox.is_full() && offer(&client)
            };
            let called = writer.join().unwrap();
            assert!(
                told || called,
                "the gap stays untold until something else happens"
            );
        });
    }
}
