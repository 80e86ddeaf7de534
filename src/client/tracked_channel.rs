//! A watcher's position in the numbering of one channel, and the requests that depend on it.
//!
//! Pure: no I/O, no clock.

use serde_json::json;

use crate::message::ChannelName;

use super::event::Event;

/// The options that a watcher subscribes with, beyond the plain protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct WatchOptions {
    pub(super) tail: Option<u64>,
    pub(super) batch: bool,
    /// Whether to resume after a break and to be told of gaps.
    pub(super) resume: bool,
    pub(super) detail: bool,
    pub(super) partial: bool,
}

/// The server's confirmation of a subscription.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Confirmation {
    epoch: String,
    seq: u64,
    replayed: u64,
    lost: u64,
}

/// A watched channel. Its position lasts across connections.
#[derive(Debug)]
pub(super) struct TrackedChannel {
    name: ChannelName,
    /// The place from which to watch the channel at first. `None` for its present end, or for the
    /// tail that the options ask for.
    origin: Option<Position>,
    /// `None` until the server has numbered the channel.
    position: Option<Position>,
    /// The position before the last confirmation.
    before_confirmation: Option<Position>,
    /// The number in the position before the last message.
    seq_before: u64,
    /// Whether the server has confirmed the subscription on this connection. Only then the messages
    /// are counted.
    is_confirmed: bool,
    /// The number of the next message of the range that is being sent again.
    next_in_replay: Option<u64>,
    /// The number of ranges that were requested on this connection and are not complete.
    pending_ranges: usize,
}

/// The last message that was received or reported as skipped.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) seq: u64,
}

impl TrackedChannel {
    pub(super) fn new(name: ChannelName) -> Self {
        Self::beginning_at(name, None)
    }

    /// Does the same as [`TrackedChannel::new`], but watches from a place in the numbering.
    pub(super) fn beginning_at(name: ChannelName, origin: Option<Position>) -> Self {
        Self {
            name,
            origin,
            position: None,
            before_confirmation: None,
            seq_before: 0,
            is_confirmed: false,
            next_in_replay: None,
            pending_ranges: 0,
        }
    }

    pub(super) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Continues at a position of an earlier watcher.
    pub(super) fn resume_at(&mut self, position: Position) {
        self.position = Some(position);
    }

    /// Returns the position, or the place from which to watch.
    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref().or(self.origin.as_ref())
    }

    /// Returns the position before the last confirmation.
    pub(super) fn before_confirmation(&self) -> Option<&Position> {
        self.before_confirmation.as_ref()
    }

    /// Returns the position before the message with this number. A message of a range that is sent
    /// again has not moved the position.
    pub(super) fn position_before(&self, seq: u64) -> Option<Position> {
        let position = self.position.as_ref()?;
        let seq = match self.next_in_replay {
            Some(_) => position.seq,
            None => seq.saturating_sub(1),
        };
        Some(Position {
            epoch: position.epoch.clone(),
            seq,
        })
    }

    /// Returns the position before the last message.
    pub(super) fn position_before_message(&self) -> Option<Position> {
        self.position_before(self.seq_before.saturating_add(1))
    }

    pub(super) fn pending_ranges(&self) -> usize {
        self.pending_ranges
    }

    /// Forgets what belongs to the connection. The position stays.
    pub(super) fn disconnect(&mut self) {
        self.is_confirmed = false;
        self.next_in_replay = None;
        self.pending_ranges = 0;
    }

    /// Returns the message that subscribes. It resumes from the position, if there is one.
    pub(super) fn subscribe_request(&self, options: WatchOptions) -> String {
        // The early servers of this protocol read the channel from `data`.
        let channel = self.name.as_str();
        let mut request = json!({"type": "subscribe", "channel": channel, "data": channel});
        // Without any option the field is left out, as in the plain protocol.
        let since = match &self.position {
            Some(position) if options.resume => Some(position),
            _ => self.origin.as_ref(),
        };
        let has_flag = options.resume || options.batch || options.detail || options.partial;
        if has_flag || options.tail.is_some() || since.is_some() {
            let mut fields = json!({});
            if options.resume {
                fields["gaps"] = true.into();
            }
            if options.batch {
                fields["batch"] = true.into();
            }
            if options.detail {
                fields["detail"] = true.into();
            }
            if options.partial {
                fields["partial"] = true.into();
            }
            if let Some(Position { epoch, seq }) = since {
                fields["since"] = json!({"epoch": epoch, "seq": seq});
            } else if let Some(tail) = options.tail {
                fields["tail"] = tail.into();
            }
            request["options"] = fields;
        }
        request.to_string()
    }

    /// Returns the message that asks for a range again, and counts the range as pending.
    ///
    /// Returns `None` if the channel has no numbering on this connection, or if the range is empty
    /// or begins at 0.
    pub(super) fn range_request(&mut self, from: u64, to: u64) -> Option<String> {
        let position = self
            .position
            .as_ref()
            .filter(|_| self.is_confirmed && from >= 1 && from <= to)?;
        self.pending_ranges += 1;
        let channel = self.name.as_str();
        let range = json!({"epoch": position.epoch, "from": from, "to": to});
        let request = json!({
            "type": "subscribe",
            "channel": channel,
            "data": channel,
            "options": {"range": range},
        });
        Some(request.to_string())
    }

    /// Takes over the server's numbering. Messages are counted from now on.
    pub(super) fn confirm(&mut self, confirmation: Confirmation) -> Event {
        let channel = self.name.clone();
        let Confirmation {
            epoch,
            seq,
            replayed,
            lost,
        } = confirmation;
        self.is_confirmed = true;
        self.next_in_replay = None;
        self.before_confirmation = self.position.clone().or(self.origin.take());
        self.seq_before = seq;
        let event = match &self.position {
            None => Event::Subscribed {
                channel,
                epoch: epoch.clone(),
                seq,
                replayed,
                lost,
            },
            Some(before) => Event::Reconnected {
                channel,
                epoch_changed: before.epoch != epoch,
                lost,
                replayed,
            },
        };
        self.position = Some(Position { epoch, seq });
        event
    }

    /// Counts `messages` and returns the number of the first one. A number that the server `told`
    /// takes precedence over the count.
    ///
    /// Messages of a range that is being sent again do not move the position.
    pub(super) fn count(&mut self, messages: u64, told: Option<u64>) -> Option<u64> {
        let position = self.position.as_mut().filter(|_| self.is_confirmed)?;
        if let Some(next) = &mut self.next_in_replay {
            let first = told.unwrap_or(*next);
            *next = first.saturating_add(messages);
            return Some(first);
        }
        let first = told.unwrap_or(position.seq + 1);
        self.seq_before = position.seq;
        position.seq = (first - 1).saturating_add(messages);
        Some(first)
    }

    /// The messages that follow belong to a range that begins at `from`.
    pub(super) fn start_replay(&mut self, from: u64) {
        self.next_in_replay = Some(from);
    }

    /// The range is complete.
    pub(super) fn finish_replay(&mut self) {
        self.next_in_replay = None;
        self.pending_ranges = self.pending_ranges.saturating_sub(1);
    }
}
