//! The line that a process is still writing, for the subscriptions that asked to see it.
//!
//! Only the latest text counts. It has no number, is never kept, and is shown at most once an
//! interval. No line passes here, so a mutex guards it.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::Channel;
use super::clock::Clock;
use crate::encode::{self, Envelope};
use crate::sync::{AtomicUsize, Ordering, lock};

/// The shortest time between two texts of one channel, in nanoseconds: ten a second.
const INTERVAL: u64 = 100_000_000;

/// The unfinished line of one channel.
#[derive(Debug, Default)]
pub(super) struct PartialLine {
    /// The number of subscriptions that are shown it.
    watchers: AtomicUsize,
    /// `None` while there was never one.
    latest: Mutex<Option<Box<Latest>>>,
}

#[derive(Debug, Default)]
struct Latest {
    text: Bytes,
    /// The text as a frame, once a subscriber needed it.
    frame: Option<Bytes>,
    /// The time from which on it may be shown again, in nanoseconds since the hub began.
    next_at: u64,
    /// Whether it is due to be shown, now or at `next_at`.
    is_due: bool,
}

/// The time at which a new text is to be shown.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// In nanoseconds since the hub began.
    At(u64),
}

impl PartialLine {
    /// Returns whether a subscription is shown the line. Acquire, paired with the AcqRel of
    /// `watch`; see `set`.
    fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }

    /// Counts a subscription that is shown the line, before its join is pushed.
    fn watch(&self) {
        self.watchers.fetch_add(1, Ordering::AcqRel);
    }

    fn unwatch(&self) {
        self.watchers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Sets the text. Returns when it is to be shown; `None` when nothing has to be done.
    ///
    /// The watchers are counted under the lock: a sealer that handles a join either finds this text
    /// here, or had the lock before. In the latter case the joining subscription is counted here.
    fn set(&self, text: &[u8], now: u64) -> Option<Due> {
        let mut latest = lock(&self.latest);
        let latest = match &mut *latest {
            None if text.is_empty() => return None,
            latest => latest.get_or_insert_default(),
        };
        if latest.text == text {
            return None;
        }
        latest.text = Bytes::copy_from_slice(text);
        latest.frame = None;
        if latest.is_due || !self.is_watched() {
            return None;
        }
        latest.is_due = true;
        Some(if latest.next_at <= now {
            Due::Now
        } else {
            Due::At(latest.next_at)
        })
    }

    /// Notes that the latest text is being shown at `now`.
    pub(super) fn shown(&self, now: u64) {
        if let Some(latest) = &mut *lock(&self.latest) {
            latest.is_due = false;
            latest.next_at = now.saturating_add(INTERVAL);
        }
    }

    /// Returns the latest text. Returns `None` when there was never one.
    pub(super) fn text(&self) -> Option<Bytes> {
        lock(&self.latest)
            .as_ref()
            .map(|latest| latest.text.clone())
    }

    /// Returns the frame of the latest text, and whether the text is empty. Returns `None` when
    /// there was never one.
    pub(super) fn frame(&self, envelope: &Envelope) -> Option<(Bytes, bool)> {
        let mut latest = lock(&self.latest);
        let latest = latest.as_mut()?;
        let text = &latest.text;
        let frame = latest
            .frame
            .get_or_insert_with(|| encode::partial(envelope, text, &super::HubShared::timestamp()));
        Some((frame.clone(), text.is_empty()))
    }
}

impl Channel {
    /// Returns whether a subscription is shown the unfinished line.
    pub(super) fn shows_partial(&self) -> bool {
        self.partial.is_watched()
    }

    /// Counts a subscription that is shown the unfinished line, before its join is pushed.
    pub(super) fn watch_partial(&self) {
        self.partial.watch();
    }

    /// Counts off a subscription that was shown the unfinished line.
    pub(super) fn unwatch_partial(&self) {
        self.partial.unwatch();
    }

    /// Shows the unfinished line: now, or when its interval has passed.
    pub(super) fn show_partial(self: &Arc<Self>, text: &[u8]) {
        let text = visible(text);
        let text = &text[..self.profile.size_bound.prefix(text)];
        match self.partial.set(text, self.shared.clock.now()) {
            None => {}
            Some(Due::Now) => self.push_partial(),
            Some(Due::At(at)) => self.shared.partial_clock.add(at, self),
        }
    }
}

/// Returns what a terminal shows of an unfinished line: a `\r` begins it anew. One at the end does
/// so only with the next text.
fn visible(text: &[u8]) -> &[u8] {
    let len = text.iter().rposition(|&byte| byte != b'\r');
    let text = &text[..len.map_or(0, |last| last + 1)];
    let start = text.iter().rposition(|&byte| byte == b'\r');
    &text[start.map_or(0, |cr| cr + 1)..]
}

/// The channels whose unfinished line is to be shown later.
#[derive(Debug)]
pub(super) struct PartialClock {
    clock: Arc<Clock>,
    /// Each channel is here at most once. The times are in nanoseconds since the hub began.
    later: Mutex<Vec<(u64, Weak<Channel>)>>,
    added: Notify,
}

impl PartialClock {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            later: Mutex::default(),
            added: Notify::new(),
        }
    }

    fn add(&self, at: u64, channel: &Arc<Channel>) {
        lock(&self.later).push((at, Arc::downgrade(channel)));
        self.added.notify_one();
    }

    /// Shows each line when it is due. Never completes.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves what is not due yet to the next one.
    pub(super) async fn run(&self) {
        loop {
            let added = self.added.notified();
            match self.show_due() {
                None => added.await,
                Some(wait) => _ = tokio::time::timeout(wait, added).await,
            }
        }
    }

    /// Shows the lines that are due. Returns the time until the next one is.
    fn show_due(&self) -> Option<Duration> {
        let now = self.clock.now();
        let mut due = Vec::new();
        let next = {
            let mut later = lock(&self.later);
            later.retain(|(at, channel)| {
                let is_later = *at > now;
                if !is_later {
                    due.push(channel.clone());
                }
                is_later
            });
            later.iter().map(|&(at, _)| at).min()
        };
        for channel in due.iter().filter_map(Weak::upgrade) {
            channel.push_partial();
        }
        next.map(|at| Duration::from_nanos(at - now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_begins_the_text_anew() {
        for (text, shown) in [
            (&b"10%"[..], &b"10%"[..]),
            (b"10%\r20%", b"20%"),
            (b"10%\r20%\r", b"20%"),
            (b"\r\r30%", b"30%"),
            (b"\r", b""),
            (b"", b""),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn the_latest_text_wins_and_is_shown_once_an_interval() {
        let partial = PartialLine::default();
        assert_eq!(partial.set(b"", 0), None);
        assert_eq!(partial.set(b"nobody sees it", 0), None);
        partial.watch();
        assert_eq!(partial.set(b"a", 0), Some(Due::Now));
        assert_eq!(partial.set(b"ab", 1), None, "it is due already");
        partial.shown(5);
        assert_eq!(partial.set(b"ab", 6), None, "it is the same");
        assert_eq!(partial.set(b"abc", 6), Some(Due::At(5 + INTERVAL)));
        assert_eq!(partial.set(b"", 7), None);
        partial.shown(5 + INTERVAL);
        assert_eq!(partial.set(b"d", 5 + 2 * INTERVAL), Some(Due::Now));
        partial.unwatch();
        partial.shown(5 + 2 * INTERVAL);
        assert_eq!(partial.set(b"de", u64::MAX), None, "nobody sees it");
    }
}
