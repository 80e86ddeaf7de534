//! The policy of not skipping: a publisher that can wait does so while a subscriber has no room,
//! within a bound.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::ingest::Waiting;
use super::{Channel, Client, ClientId, Publisher};
use crate::message::Lines;
use crate::outbox::Used;
use crate::sync::{AtomicBool, Ordering, lock};

/// The longest time between two looks at the subscribers' queues while one of them is waited for. A
/// client reports an empty queue at once, but room in a queue that is not empty is found by
/// looking.
const MAX_ROOM_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The most bytes that a byte of a line becomes: a control character is `\u0000`.
const MAX_ESCAPED_BYTES: usize = 6;

/// Publishes lines, and waits for subscribers without room instead of skipping lines for them,
/// within a bound.
///
/// Lines are published in pieces of at most half a client's queue. Before each piece, the publisher
/// waits until every subscriber of the channel has room for it. A subscriber that has had no room
/// for as long as the limit is no longer waited for: lines are skipped for it as without this
/// policy, until its queue has drained to half. So a client that does not read delays the publisher
/// for at most the limit, once for each time it stalls.
///
/// Where the channel's home is another server or not known yet, lines wait for it within a bound.
/// The publisher waits for room there in the same way: for at most the limit, once for each time
/// that the home is not reached. After that the lines that find no room are counted as refused.
///
/// Publishers that do not wait, on this channel or on others with the same subscribers, may take
/// the room that was found. A subscriber that still replays the history is waited for like one
/// without room.
///
/// Clones share one policy: a subscriber that one clone has given up is not waited for by the
/// others.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::{Hub, Lines, Lossless};
/// use std::time::Duration;
///
/// let hub = Hub::new();
/// let lossless = Lossless::new(hub.publisher("process:build")?, Duration::from_secs(30));
/// let mut lines = Lines::split("one\ntwo\n");
/// lossless.send_lines(&mut lines).await;
/// assert!(lines.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Lossless {
    publisher: Publisher,
    limit: Duration,
    stalls: Arc<Stalls>,
}

/// The state that the clones of a policy share.
#[derive(Debug, Default)]
struct Stalls {
    /// Subscribers that had no room at the last look. Locked only by publishers that wait.
    blocked: Mutex<HashMap<ClientId, Stall>>,
    given_up: AtomicBool,
    /// Room among what waits for the channel's home was waited for in vain. Relaxed: it saves a
    /// wait, and orders nothing.
    is_homeless: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
enum Stall {
    /// It has had no room since this instant.
    Since(Instant),
    /// It was waited for in vain, and is waited for no longer.
    Over,
}

/// The outcome of a look at the subscribers.
enum Room {
    /// Every subscriber that is waited for has room.
    Found,
    /// No room until one of these clients drains its queue. The instant is the earliest deadline
    /// for giving up.
    Blocked(Vec<Arc<Client>>, Instant),
}

impl Lossless {
    /// Makes the policy for one publisher. `limit` is the longest wait for a subscriber that does
    /// not read.
    pub fn new(publisher: Publisher, limit: Duration) -> Self {
        Self {
            publisher,
            limit,
            stalls: Arc::default(),
        }
    }

    /// Returns the publisher that the lines go through. Messages sent by it directly do not wait.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Ends the policy: no further call waits, and the waits under way end. For a publisher that
    /// has to end.
    pub fn give_up(&self) {
        // Release, paired with the load in `look`. The waits under way see it at their next look.
        self.stalls.given_up.store(true, Ordering::Release);
        self.publisher.target().shared.room.notify_waiters();
    }

    /// Publishes lines, and waits for room before each piece of them. Leaves `lines` empty.
    ///
    /// # Cancel safety
    /// When the future is dropped, `lines` holds the lines that were not published yet. No line is
    /// lost.
    pub async fn send_lines(&self, lines: &mut Lines) {
        if lines.is_empty() {
            return;
        }
        let channel = self.publisher.target();
        let mut left = Unpublished {
            // Cut first, so that there is room for each piece of a long line.
            run: channel.profile.size_bound.cut(std::mem::take(lines)),
            lines,
            next: 0,
        };
        while left.next < left.run.len() {
            let end = self.piece_end(&left.run, left.next);
            let piece = left.run.slice(left.next..end);
            let weight = Waiting {
                messages: piece.len(),
                bytes: piece.byte_len(),
            };
            self.room(weight).await;
            left.next = end;
            self.publisher.send_lines(piece);
        }
    }

    /// Returns the end of the lines from `start` on that are published at once.
    fn piece_end(&self, lines: &Lines, start: usize) -> usize {
        let channel = self.publisher.target();
        let limits = channel.shared.config.limits();
        let most = lines.len().min(start + (limits.messages / 2).max(1));
        let mut end = start;
        let mut weight = 0;
        for len in lines.line_lens().skip(start).take(most - start) {
            weight += weight_of(channel, len);
            if weight > limits.bytes / 2 && end > start {
                break;
            }
            end += 1;
        }
        end
    }

    /// Waits until every subscriber has room for a piece, or has been waited for long enough. The
    /// room is not reserved for the caller.
    async fn room(&self, piece: Waiting) {
        self.room_for_home(piece).await;
        let channel = self.publisher.target();
        loop {
            let mut freed = pin!(channel.shared.room.notified());
            // Before the look, so that room which is made after it is not missed.
            freed.as_mut().enable();
            let Room::Blocked(clients, until) = self.look(piece) else {
                return;
            };
            let now = Instant::now();
            for client in &clients {
                client.outbox.await_room();
            }
            let wait = until
                .saturating_duration_since(now)
                .min(MAX_ROOM_POLL_INTERVAL);
            let _ = tokio::time::timeout(wait, freed).await;
        }
    }

    /// Waits until there is room for a piece among what waits for the channel's home.
    async fn room_for_home(&self, piece: Waiting) {
        let channel = self.publisher.target();
        let Some(sharing) = &channel.shared.sharing else {
            return;
        };
        let end = Instant::now() + self.limit;
        loop {
            let freed = sharing.budget.freed();
            if channel.is_mirror() && channel.ingest.waiting().messages > 0 {
                // What is not sealed does not count there yet.
                channel.seal();
            }
            if !channel.is_mirror() || sharing.budget.has_room(piece.bytes, 0) {
                self.stalls.is_homeless.store(false, Ordering::Relaxed);
                return;
            }
            // Acquire, paired with `give_up`.
            if self.stalls.given_up.load(Ordering::Acquire)
                || self.stalls.is_homeless.load(Ordering::Relaxed)
            {
                return;
            }
            let now = Instant::now();
            if now >= end {
                tracing::debug!("no longer waiting for the home of a channel");
                self.stalls.is_homeless.store(true, Ordering::Relaxed);
                return;
            }
            let wait = (end - now).min(MAX_ROOM_POLL_INTERVAL);
            let _ = tokio::time::timeout(wait, freed).await;
        }
    }

    /// Looks at the queue of every subscriber. Linear in subscribers.
    fn look(&self, piece: Waiting) -> Room {
        let channel = self.publisher.target();
        // Acquire, paired with `give_up`.
        if self.stalls.given_up.load(Ordering::Acquire) {
            return Room::Found;
        }
        // The channel's queue first: messages that leave it are in the subscribers' queues by the
        // time those are looked at.
        let mut waiting = channel.ingest.waiting();
        let fits = |used: Used, waiting: Waiting| {
            let limits = channel.shared.config.limits();
            let bytes = used.bytes + weight(channel, waiting) + weight(channel, piece);
            (used.messages == 0 && waiting.messages == 0)
                || (used.messages + waiting.messages + piece.messages <= limits.messages
                    && bytes <= limits.bytes)
        };
        if waiting.messages > 0 && !fits(Used::default(), waiting) {
            channel.seal();
            waiting = channel.ingest.waiting();
        }
        let snapshot = channel.subscribers.load();
        let mut clients = Vec::new();
        let mut until: Option<Instant> = None;
        let mut stalls: Option<MutexGuard<'_, _>> = None;
        let mut blocked = HashMap::new();
        for subscription in snapshot
            .iter()
            .filter(|s| !s.has_left() && !s.client.outbox.is_closed())
        {
            let client = &subscription.client;
            let used = client.outbox.used();
            let has_room = fits(used, waiting) && !subscription.is_pending();
            let stalls = stalls.get_or_insert_with(|| self.stalls());
            let stall = stalls.get(&client.id()).copied();
            match stall {
                None if has_room => continue,
                Some(Stall::Since(_)) if has_room => continue,
                // It has drained to half, and is waited for again.
                Some(Stall::Over) if is_half_empty(channel, used) && !subscription.is_pending() => {
                    continue;
                }
                Some(Stall::Over) => {
                    blocked.insert(client.id(), Stall::Over);
                    continue;
                }
                _ => {}
            }
            let now = Instant::now();
            let since = match stall {
                Some(Stall::Since(since)) => since,
                _ => now,
            };
            if now.saturating_duration_since(since) >= self.limit {
                tracing::debug!(client = %client.id(), "no longer waiting for a slow subscriber");
                blocked.insert(client.id(), Stall::Over);
                continue;
            }
            blocked.insert(client.id(), Stall::Since(since));
            let end = since + self.limit;
            until = Some(until.map_or(end, |until| until.min(end)));
            clients.push(Arc::clone(client));
        }
        // Subscribers that have room again, or are gone, are forgotten.
        if let Some(mut stalls) = stalls
            && !(stalls.is_empty() && blocked.is_empty())
        {
            *stalls = blocked;
        }
        drop(snapshot);
        let Some(until) = until else {
            return Room::Found;
        };
        if channel.ingest.waiting().messages > 0 {
            // Messages that are not sealed wake no writer.
            channel.seal();
        }
        Room::Blocked(clients, until)
    }

    fn stalls(&self) -> MutexGuard<'_, HashMap<ClientId, Stall>> {
        // A panic while it was held leaves a map of hints.
        lock(&self.stalls.blocked)
    }
}

/// Lines that are not published yet. They go back to the caller, also when the future is dropped.
struct Unpublished<'a> {
    lines: &'a mut Lines,
    run: Lines,
    next: usize,
}

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        if self.next < self.run.len() {
            *self.lines = self.run.slice(self.next..self.run.len());
        }
    }
}

fn is_half_empty(channel: &Channel, used: Used) -> bool {
    let limits = channel.shared.config.limits();
    used.messages <= limits.messages / 2 && used.bytes <= limits.bytes / 2
}

/// Returns the most bytes that a message's envelope takes.
fn envelope_bytes(channel: &Channel) -> usize {
    160 + 2 * channel.profile.name().as_str().len()
}

fn weight(channel: &Channel, waiting: Waiting) -> usize {
    waiting.messages * envelope_bytes(channel) + waiting.bytes * MAX_ESCAPED_BYTES
}

fn weight_of(channel: &Channel, bytes: usize) -> usize {
    weight(channel, Waiting { messages: 1, bytes })
}
