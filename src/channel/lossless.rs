//! The policy of not skipping: a publisher that can wait does so while a subscriber has no room, within a bound.

use std::collections::HashMap;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::ingest::Waiting;
use super::{Channel, Client, ClientId, Publisher};
use crate::message::Lines;
use crate::outbox::Used;
use crate::sync::{AtomicBool, Ordering, lock};

/// Room that appears before all is written is found at the latest after this, and only while somebody is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// What a byte of a line becomes at most: a control character is `\u0000`.
const MAX_ESCAPED: usize = 6;

/// Publishes lines and waits for subscribers that have no room, instead of having them skipped, within a bound.
///
/// Before each piece of at most half a client's queue it waits until every subscriber of the channel has room for it. A subscriber
/// that has had none for as long as the limit is waited for no more: it is skipped as ever, and told where it asked to be, until its queue has
/// drained to half. So one that does not read holds the publisher up for at most the limit, once for each time it stalls.
///
/// Publishers that do not wait, on this channel or on others with the same subscribers, may take the room that was found; who subscribes with a
/// backlog to be replayed is waited for like one that has no room.
///
/// Clones are one policy: who has been waited for in vain by one is not waited for by the other.
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
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Subscribers that had no room when they were last looked at. Touched only by those who wait.
    blocked: Mutex<HashMap<ClientId, Stall>>,
    given_up: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
enum Stall {
    /// It has had no room since then.
    Since(Instant),
    /// It was waited for in vain.
    Over,
}

/// What became of a look at the subscribers.
enum Room {
    There,
    /// Not before these, whom the first of them is to be waited for until the time given, have written something.
    Blocked(Vec<Arc<Client>>, Instant),
}

impl Lossless {
    /// The policy for one publisher; `limit` is the longest wait for a subscriber that does not read.
    pub fn new(publisher: Publisher, limit: Duration) -> Self {
        Self {
            publisher,
            limit,
            shared: Arc::default(),
        }
    }

    /// The publisher the lines go through. What is published by itself waits for nobody.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Waits for nobody from now on, and ends the waits under way: for a publisher that has to end.
    pub fn give_up(&self) {
        // Release, paired with the load in `look`; the waits under way see it at their next look.
        self.shared.given_up.store(true, Ordering::Release);
        self.publisher.target().core.room.notify_waiters();
    }

    /// Publishes lines, and waits for room before each piece of them. Leaves none behind.
    ///
    /// # Cancel safety
    /// When the future is dropped, `lines` are those that were not published yet, and nothing else is lost.
    pub async fn send_lines(&self, lines: &mut Lines) {
        if lines.is_empty() {
            return;
        }
        let (text, spans) = std::mem::take(lines).into_parts();
        let mut left = Left {
            lines,
            text,
            next: 0,
            spans,
        };
        while left.next < left.spans.len() {
            let piece = self.piece(&left.spans, left.next);
            let weight = Waiting {
                messages: piece.len(),
                bytes: left.spans[piece.clone()]
                    .iter()
                    .map(|&(start, end)| (end - start) as usize)
                    .sum(),
            };
            self.room(weight).await;
            left.next = piece.end;
            self.publisher.send_lines(Lines::from_parts(
                left.text.clone(),
                left.spans[piece].to_vec(),
            ));
        }
    }

    /// As many lines as are published at once.
    fn piece(&self, spans: &[(u32, u32)], start: usize) -> Range<usize> {
        let channel = self.publisher.target();
        let limits = channel.core.config.limits();
        let most = spans.len().min(start + (limits.messages / 2).max(1));
        let mut end = start + 1;
        let mut weight = weight_of(channel, spans[start]);
        while end < most {
            weight += weight_of(channel, spans[end]);
            if weight > limits.bytes / 2 {
                break;
            }
            end += 1;
        }
        start..end
    }

    /// Waits until every subscriber has room for so much, or has been waited for long enough. Nothing is kept for the caller.
    async fn room(&self, piece: Waiting) {
        let channel = self.publisher.target();
        loop {
            let mut freed = pin!(channel.core.room.notified());
            // Before the look: what is freed after it is not missed.
            freed.as_mut().enable();
            let Room::Blocked(clients, until) = self.look(piece) else {
                return;
            };
            let now = Instant::now();
            for client in &clients {
                client.await_room();
            }
            let wait = until.saturating_duration_since(now).min(LOOK);
            let _ = tokio::time::timeout(wait, freed).await;
        }
    }

    /// Looks at every subscriber. Linear in them.
    fn look(&self, piece: Waiting) -> Room {
        let channel = self.publisher.target();
        // Acquire, paired with `give_up`.
        if self.shared.given_up.load(Ordering::Acquire) {
            return Room::There;
        }
        // This first: what leaves it is in the queues by the time those are looked at.
        let mut waiting = channel.ingest.waiting();
        let fits = |used: Used, waiting: Waiting| {
            let limits = channel.core.config.limits();
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
            let has_room = fits(used, waiting) && !subscription.is_owed();
            let stalls = stalls.get_or_insert_with(|| self.stalls());
            let stall = stalls.get(&client.id()).copied();
            match stall {
                None if has_room => continue,
                Some(Stall::Since(_)) if has_room => continue,
                // Drained to half, it has another chance.
                Some(Stall::Over) if is_half_empty(channel, used) && !subscription.is_owed() => {
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
                tracing::debug!(client = %client.id(), "not waited for any longer");
                blocked.insert(client.id(), Stall::Over);
                continue;
            }
            blocked.insert(client.id(), Stall::Since(since));
            let end = since + self.limit;
            until = Some(until.map_or(end, |until| until.min(end)));
            clients.push(Arc::clone(client));
        }
        // Those that have room again, or are gone, are forgotten.
        if let Some(mut stalls) = stalls
            && !(stalls.is_empty() && blocked.is_empty())
        {
            *stalls = blocked;
        }
        drop(snapshot);
        let Some(until) = until else {
            return Room::There;
        };
        if channel.ingest.waiting().messages > 0 {
            // They are not woken by what is not sealed.
            channel.seal();
        }
        Room::Blocked(clients, until)
    }

    fn stalls(&self) -> MutexGuard<'_, HashMap<ClientId, Stall>> {
        // A panic while it was held leaves a map of hints.
        lock(&self.shared.blocked)
    }
}

/// What has not been published yet goes back to the caller, also when the future is dropped.
struct Left<'a> {
    lines: &'a mut Lines,
    text: bytes::Bytes,
    spans: Vec<(u32, u32)>,
    next: usize,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if self.next < self.spans.len() {
            *self.lines = Lines::from_parts(
                std::mem::take(&mut self.text),
                self.spans.split_off(self.next),
            );
        }
    }
}

fn is_half_empty(channel: &Channel, used: Used) -> bool {
    let limits = channel.core.config.limits();
    used.messages <= limits.messages / 2 && used.bytes <= limits.bytes / 2
}

/// What a message's envelope takes at most.
fn envelope(channel: &Channel) -> usize {
    160 + 2 * channel.known_name().as_str().len()
}

fn weight(channel: &Channel, waiting: Waiting) -> usize {
    waiting.messages * envelope(channel) + waiting.bytes * MAX_ESCAPED
}

fn weight_of(channel: &Channel, (start, end): (u32, u32)) -> usize {
    weight(
        channel,
        Waiting {
            messages: 1,
            bytes: (end - start) as usize,
        },
    )
}
