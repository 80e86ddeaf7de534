//! One channel that a relay takes from its upstream server.

use serde_json::json;
use tokio::time::Instant;

use super::decode::{Content, Subscribed, Upstream, What};
use crate::backplane::{Counters, Mirror, NumberedRun, Seam, Step};
use crate::message::ChannelName;

/// A channel on its way from the upstream server to the mirror.
#[derive(Debug)]
pub(super) struct RelayedChannel {
    name: ChannelName,
    mirror: Mirror,
    /// The numbering, once the server has told it.
    numbering: Option<Numbering>,
    /// The answer to the subscription came on this connection.
    is_subscribed: bool,
    /// The number with which the mirror has caught up.
    synced_at: Option<u64>,
    /// When the last subscriber left.
    pub(super) unwatched_since: Option<Instant>,
    /// When subscribers are answered although the server has not been heard.
    pub(super) answer_by: Option<Instant>,
}

#[derive(Debug)]
struct Numbering {
    epoch: String,
    seam: Seam,
    /// The number of the last message that the mirror has or has skipped.
    delivered: u64,
    /// The number of the next live message.
    next_live: u64,
    /// The number of the next message of the range that is being sent again.
    next_in_replay: Option<u64>,
}

impl RelayedChannel {
    pub(super) fn new(name: ChannelName, mirror: Mirror, answer_by: Instant) -> Self {
        Self {
            name,
            mirror,
            numbering: None,
            is_subscribed: false,
            synced_at: None,
            unwatched_since: None,
            answer_by: Some(answer_by),
        }
    }

    pub(super) fn name(&self) -> &ChannelName {
        &self.name
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Returns the message that subscribes at the server, and goes on where the mirror ends.
    /// `history` is the number of messages that the mirror keeps.
    pub(super) fn subscribe_request(&self, history: usize) -> String {
        let mut options = json!({"gaps": true, "batch": true, "detail": true, "partial": true});
        match &self.numbering {
            Some(Numbering { epoch, seam, .. }) => {
                options["since"] = json!({"epoch": epoch, "seq": seam.last()});
            }
            None => options["tail"] = history.into(),
        }
        json!({"type": "subscribe", "channel": self.name.as_str(), "options": options}).to_string()
    }

    /// Returns the message that unsubscribes at the server.
    pub(super) fn unsubscribe_request(&self) -> String {
        json!({"type": "unsubscribe", "channel": self.name.as_str()}).to_string()
    }

    /// Takes a message of the server. Appends the requests that it leads to.
    pub(super) fn take(
        &mut self,
        upstream: Upstream,
        requests: &mut Vec<String>,
        counters: &Counters,
    ) {
        let mut steps = Vec::new();
        match upstream {
            Upstream::Subscribed(subscribed) => self.subscribed(subscribed, &mut steps),
            // Without a numbering nothing can be placed. The server answers before it sends more.
            _ if !self.is_subscribed => return,
            Upstream::Gap { to } => {
                if let Some(numbering) = &mut self.numbering {
                    match &mut numbering.next_in_replay {
                        // A part of an answer that the server does not have any more.
                        Some(next) => *next = to.saturating_add(1),
                        None => {
                            numbering.next_live = to.saturating_add(1);
                            numbering.seam.missing(to, &mut steps);
                        }
                    }
                }
            }
            Upstream::Replay { from } => {
                if let Some(numbering) = &mut self.numbering {
                    numbering.next_in_replay = Some(from);
                }
            }
            Upstream::Replayed => {
                if let Some(numbering) = &mut self.numbering {
                    numbering.next_in_replay = None;
                    numbering.seam.answered(&mut steps);
                }
            }
            Upstream::Partial(text) => self.mirror.show_partial(text.as_bytes()),
            Upstream::Content(content) => self.content(content, &mut steps, counters),
        }
        self.carry_out(steps, requests, counters);
    }

    fn subscribed(&mut self, subscribed: Subscribed, steps: &mut Vec<Step>) {
        let Subscribed {
            epoch,
            seq,
            replayed,
        } = subscribed;
        self.is_subscribed = true;
        match &mut self.numbering {
            Some(numbering) if numbering.epoch == epoch => {
                numbering.next_in_replay = None;
                numbering.next_live = seq + 1;
                // What was asked for on an earlier connection is not answered any more.
                numbering.seam.give_up(steps);
                // What the server does not keep any more cannot be had.
                numbering.seam.lost(seq, steps);
            }
            _ => {
                // Subscriptions are told of it once its history is here.
                self.mirror.set_synced(false);
                self.mirror.renumber(&epoch, seq);
                self.numbering = Some(Numbering {
                    epoch,
                    seam: Seam::new(seq),
                    delivered: seq,
                    next_live: seq + 1,
                    next_in_replay: None,
                });
            }
        }
        self.synced_at = Some(seq + replayed);
    }

    fn content(&mut self, content: Content, steps: &mut Vec<Step>, counters: &Counters) {
        let Some(numbering) = &mut self.numbering else {
            return;
        };
        let next = match &mut numbering.next_in_replay {
            Some(next) => {
                counters.count_repaired(content.messages());
                next
            }
            None => &mut numbering.next_live,
        };
        let first = content.seq.unwrap_or(*next);
        *next = first.saturating_add(content.messages());
        let run = match content.what {
            What::Lines(lines) => NumberedRun::lines(first, content.unix_ms, lines),
            What::Message(message) => NumberedRun::message(first, content.unix_ms, *message),
        };
        numbering.seam.offer(run, steps);
    }

    fn carry_out(&mut self, steps: Vec<Step>, requests: &mut Vec<String>, counters: &Counters) {
        let Some(numbering) = &mut self.numbering else {
            return;
        };
        for step in steps {
            match step {
                Step::Publish(run) => {
                    numbering.delivered = run.last_seq();
                    self.mirror.publish(run);
                }
                Step::SkipTo(seq) => {
                    counters.count_lost(seq.saturating_sub(numbering.delivered));
                    numbering.delivered = seq;
                    self.mirror.skip_to(seq);
                }
                Step::Ask(from, to) => {
                    requests.push(range_request(&self.name, &numbering.epoch, from, to));
                }
            }
        }
        if self
            .synced_at
            .is_some_and(|seq| numbering.seam.last() >= seq)
        {
            self.synced_at = None;
            self.answer();
        }
    }

    /// Lets the subscribers have what the mirror has.
    pub(super) fn answer(&mut self) {
        self.answer_by = None;
        self.mirror.set_synced(true);
    }

    /// Keeps new subscribers waiting until the mirror has caught up again.
    pub(super) fn hold_back(&mut self) {
        self.mirror.set_synced(false);
    }

    /// Forgets what belongs to a connection that has ended.
    pub(super) fn disconnected(&mut self) {
        self.is_subscribed = false;
        self.synced_at = None;
        if let Some(numbering) = &mut self.numbering {
            numbering.next_in_replay = None;
        }
    }
}

/// Returns the message that asks for a range again.
fn range_request(name: &ChannelName, epoch: &str, from: u64, to: u64) -> String {
    let range = json!({"epoch": epoch, "from": from, "to": to});
    let options = json!({"range": range});
    json!({"type": "subscribe", "channel": name.as_str(), "options": options}).to_string()
}
