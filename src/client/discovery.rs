//! Finds the channels that fit the patterns of a watcher, in the server's list.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, Sleep, sleep};

use crate::access::Pattern;
use crate::message::ChannelName;

use super::endpoint::Endpoint;
use super::error::ListError;
use super::lister::{ChannelList, ChannelLister, ListedChannel};
use super::tracked_channel::{Position, TrackedChannel};

/// The time between two requests for the list, if the server answers each at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two requests, if the server waits for a channel to appear.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The most channels that patterns find. A server closes a connection on which more than 2,048
/// messages come at once, and each subscription is one.
const MAX_CHANNELS: usize = 2000;

type Listing = Pin<Box<dyn Future<Output = Result<ChannelList, ListError>> + Send>>;

/// The patterns of a watcher, and the requests for the list.
///
/// The first list is asked for before the watcher connects. The channels in it existed already. A
/// channel that is first seen in a later list appeared while it was watched for, so it is watched
/// from its first message.
pub(super) struct Discovery {
    patterns: Vec<Pattern>,
    known: HashSet<ChannelName>,
    /// Whether the channels that existed already are known.
    is_underway: bool,
    /// Whether the present failure to list was reported.
    has_reported: bool,
    /// Whether more channels fit than are watched, and whether that was reported.
    excess: Excess,
    /// The version of the last list. `None` if there is none, or the server names none.
    version: Option<HeaderValue>,
    request: Request,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Excess {
    None,
    Found,
    Reported,
}

/// The state of the requests on the present connection.
enum Request {
    /// The next request is due.
    Due,
    UnderWay(Instant, Listing),
    Waiting(Pin<Box<Sleep>>),
}

impl Discovery {
    /// Returns `None` if there are no patterns.
    pub(super) fn new(patterns: Vec<Pattern>) -> Option<Self> {
        (!patterns.is_empty()).then(|| Self {
            patterns,
            known: HashSet::new(),
            is_underway: false,
            has_reported: false,
            excess: Excess::None,
            version: None,
            request: Request::Due,
        })
    }

    /// Returns whether the channels that existed already are known.
    pub(super) fn is_underway(&self) -> bool {
        self.is_underway
    }

    /// Takes every channel found from now on as one that appeared meanwhile. To be called when no
    /// server listened: it had no channels yet.
    pub(super) fn begin(&mut self) {
        self.is_underway = true;
    }

    /// Never finds this channel.
    pub(super) fn ignore(&mut self, channel: &ChannelName) {
        self.known.insert(channel.clone());
    }

    /// Asks for the list at once, on a new connection.
    pub(super) fn connected(&mut self) {
        self.request = Request::Due;
    }

    /// Takes a list. Returns the channels in it that fit a pattern and are new, each with the place
    /// from which to watch it.
    ///
    /// A channel that existed already is watched from the place in the list, so that nothing is
    /// lost until the subscription arrives. With `has_tail` it begins with its tail instead.
    ///
    /// # Errors
    /// Returns a failure that has to be reported.
    pub(super) fn take(
        &mut self,
        list: Result<ChannelList, ListError>,
        has_tail: bool,
    ) -> Result<Vec<TrackedChannel>, ListError> {
        self.version = None;
        let ChannelList { channels, version } = match list {
            Ok(list) => list,
            // The connection of the watcher reports these.
            Err(ListError::Connection(_) | ListError::Timeout) => return Ok(Vec::new()),
            Err(_) if self.has_reported => return Ok(Vec::new()),
            Err(error) => {
                self.has_reported = true;
                return Err(error);
            }
        };
        self.has_reported = false;
        self.version = version;
        let is_new = std::mem::replace(&mut self.is_underway, true);
        let mut found = Vec::new();
        for ListedChannel {
            channel,
            epoch,
            seq,
        } in channels
        {
            let fits = self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(channel.as_str()));
            if !fits || self.known.contains(&channel) {
                continue;
            }
            if self.known.len() >= MAX_CHANNELS {
                if self.excess == Excess::None {
                    self.excess = Excess::Found;
                }
                break;
            }
            self.known.insert(channel.clone());
            let seq = if is_new { 0 } else { seq };
            let origin = epoch
                .filter(|_| is_new || !has_tail)
                .map(|epoch| Position { epoch, seq });
            found.push(TrackedChannel::beginning_at(channel, origin));
        }
        Ok(found)
    }

    /// Returns the number of channels that are watched, once, if more than that fit.
    pub(super) fn excess(&mut self) -> Option<usize> {
        if self.excess != Excess::Found {
            return None;
        }
        self.excess = Excess::Reported;
        Some(self.known.len())
    }

    /// Is ready with each list. Asks for the next one after an interval.
    pub(super) fn poll_list(
        &mut self,
        cx: &mut Context<'_>,
        endpoint: &Endpoint,
    ) -> Poll<Result<ChannelList, ListError>> {
        loop {
            match &mut self.request {
                Request::Due => {
                    let lister = ChannelLister::new(endpoint.clone());
                    let after = self.version.clone();
                    let listing = Box::pin(async move { lister.list(after).await });
                    self.request = Request::UnderWay(Instant::now(), listing);
                }
                Request::UnderWay(begun, listing) => {
                    let list = ready!(listing.as_mut().poll(cx));
                    // A server that answers at once without a change did not wait.
                    let waits = list.as_ref().is_ok_and(|list| {
                        let is_changed = list.version.is_some() && list.version != self.version;
                        is_changed || begun.elapsed() >= POLL_INTERVAL
                    });
                    let pause = if waits { MIN_INTERVAL } else { POLL_INTERVAL };
                    self.request = Request::Waiting(Box::pin(sleep(pause)));
                    return Poll::Ready(list);
                }
                Request::Waiting(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.request = Request::Due;
                }
            }
        }
    }
}
