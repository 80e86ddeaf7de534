//! One client: its upgrade, its subscriptions, and how it handles each frame.
//!
//! It takes and produces bytes, and does no I/O.

mod messages;

use super::account::LineAccount;
use super::ledger::Ledger;
use super::server_message::excerpt;
use crate::measure::tally::ReceiverTally;
use crate::wire::batch::{BATCH_PREFIX, BatchLines, MangledBatch, first_seq};
use crate::wire::frame::{CLOSE, ParsedFrame, TEXT, parse_frame, push_client_frame};
use crate::wire::line_template::LineTemplate;
use crate::wire::stamp::{Stamp, find_stamp};
use crate::wire::upgrade::{check_upgrade_response, upgrade_request};
use crate::workload::{ClientRole, SubscribeOptions, Workload};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    Upgrading,
    /// The client has subscribed and sent a ping. The pong confirms the subscriptions.
    Joining,
    Live,
    /// The client has unsubscribed and sent a ping. No line may arrive after the pong.
    Leaving,
    Left,
    Closed,
}

/// The reason why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The server sent a close frame or ended the stream.
    Closed(String),
    /// The server sent something after which nothing can be read.
    Invalid(String),
}

/// The data that a client needs to receive bytes.
pub(crate) struct ReceiveContext<'a> {
    /// The time of the read.
    pub(crate) now_ns: u64,
    pub(crate) template: &'a LineTemplate,
    pub(crate) workload: &'a Workload,
    pub(crate) tally: &'a mut ReceiverTally,
}

/// The content of the bytes of one read.
#[derive(Debug, Default)]
pub(crate) struct ReadSummary {
    /// The bytes of complete frames. The rest has to precede the next read.
    pub(crate) bytes: usize,
    /// The length in bytes of the incomplete frame after them, as far as known.
    pub(crate) needed_bytes: usize,
    pub(crate) lines: u64,
    pub(crate) skipped: u64,
}

pub(crate) struct LoadClient {
    pub(crate) number: usize,
    pub(crate) role: ClientRole,
    pub(crate) state: ClientState,
    /// The masked frames to send.
    pub(crate) outbox: Vec<u8>,
    /// One account per channel of the client.
    pub(crate) accounts: Box<[LineAccount]>,
    /// One ledger per channel. There are none if the client subscribes without options.
    pub(crate) ledgers: Box<[Ledger]>,
    subscribe_options: SubscribeOptions,
    /// The subscriptions of this connection that the server has answered.
    subscribed_replies: usize,
    /// True if the ping after the subscriptions of this connection was answered.
    ponged: bool,
    /// Per channel, the lines known to have been published before this connection subscribed.
    published: Box<[u64]>,
    first_channel: usize,
    channels: usize,
    /// The position of the previous stamp in its frame.
    stamp_hint: usize,
    ended_channels: usize,
    /// The time at which the subscriptions of this connection were confirmed. Lines that were sent
    /// before are a replay and have no latency.
    live_at_ns: u64,
}

impl LoadClient {
    pub(crate) fn new(number: usize, workload: &Workload) -> LoadClient {
        let role = workload.role(number);
        let subscribe_options = workload.subscribe_options_of(number);
        let ledgers = if subscribe_options.any() {
            workload.channels_per_client
        } else {
            0
        };
        LoadClient {
            ledgers: vec![Ledger::new(subscribe_options.gaps); ledgers].into(),
            subscribe_options,
            subscribed_replies: 0,
            published: vec![0; ledgers].into(),
            ponged: false,
            number,
            role,
            state: ClientState::Closed,
            outbox: Vec::new(),
            accounts: vec![new_account(role); workload.channels_per_client].into(),
            first_channel: workload.first_channel(number),
            channels: workload.channels,
            stamp_hint: 0,
            ended_channels: 0,
            live_at_ns: 0,
        }
    }

    /// Begins a new connection. Puts the upgrade request into the outbox.
    pub(crate) fn begin(&mut self, host: &str, path: &str, headers: &[String]) {
        self.state = ClientState::Upgrading;
        if self.role == ClientRole::Churner {
            self.accounts.fill(new_account(self.role));
        }
        (self.subscribed_replies, self.ponged) = (0, false);
        self.ended_channels = 0;
        self.outbox.clear();
        self.outbox
            .extend_from_slice(upgrade_request(host, path, headers).as_bytes());
    }

    /// Unsubscribes from every channel and sends a ping, whose pong confirms it.
    pub(crate) fn leave(&mut self, workload: &Workload) {
        for channel in workload.channels_of(self.number) {
            let name = workload.channel_name(channel);
            self.send(&format!("{{\"type\":\"unsubscribe\",\"data\":\"{name}\"}}"));
        }
        self.send("{\"type\":\"ping\"}");
        self.state = ClientState::Leaving;
    }

    pub(crate) fn close(&mut self) {
        push_client_frame(&mut self.outbox, CLOSE, &1000u16.to_be_bytes());
    }

    /// Returns whether the exit status, the last message, of every channel has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_channels >= self.accounts.len()
    }

    /// Returns the lines of all channels that were received or noticed missing.
    pub(crate) fn progress(&self) -> u64 {
        if self.subscribe_options.gaps {
            return self.ledgers.iter().map(Ledger::done).sum();
        }
        self.accounts
            .iter()
            .map(|account| account.received() + account.skipped())
            .sum()
    }

    /// Subscribes to every channel. With gaps, the client resumes where it left off.
    fn subscribe(&mut self, workload: &Workload) {
        let SubscribeOptions { gaps, batch } = self.subscribe_options;
        for (index, channel) in workload.channels_of(self.number).enumerate() {
            let name = workload.channel_name(channel);
            let ledger = self.ledgers.get(index);
            let since = match ledger.and_then(Ledger::resume_point) {
                Some((epoch, seq)) => {
                    let epoch = serde_json::Value::from(epoch);
                    format!(",\"since\":{{\"epoch\":{epoch},\"seq\":{seq}}}")
                }
                None => String::new(),
            };
            let message = if self.subscribe_options.any() {
                format!(
                    "{{\"type\":\"subscribe\",\"channel\":\"{name}\",\
                     \"options\":{{\"gaps\":{gaps},\"batch\":{batch}{since}}}}}"
                )
            } else {
                format!("{{\"type\":\"subscribe\",\"data\":\"{name}\"}}")
            };
            self.send(&message);
        }
        self.send("{\"type\":\"ping\"}");
    }

    fn send(&mut self, message: &str) {
        push_client_frame(&mut self.outbox, TEXT, message.as_bytes());
    }

    /// Receives the bytes of a read, preceded by the rest of the previous one.
    ///
    /// The replies that they require are in the outbox afterwards.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        context: &mut ReceiveContext<'_>,
    ) -> Result<ReadSummary, ConnectionEnd> {
        let mut summary = ReadSummary::default();
        if self.state == ClientState::Upgrading {
            match check_upgrade_response(bytes) {
                Ok(Some(head)) => summary.bytes = head,
                Ok(None) => return Ok(summary),
                Err(error) => return Err(ConnectionEnd::Invalid(error.to_string())),
            }
            let channels = context.workload.channels_of(self.number);
            for (published, channel) in self.published.iter_mut().zip(channels) {
                *published = context.tally.published.get(channel).copied().unwrap_or(0);
            }
            self.subscribe(context.workload);
            self.state = ClientState::Joining;
        }
        loop {
            let frame = match parse_frame(&bytes[summary.bytes..]) {
                ParsedFrame::Frame(frame) => frame,
                ParsedFrame::Partial(needed) => {
                    summary.needed_bytes = needed;
                    return Ok(summary);
                }
                ParsedFrame::Invalid(why) => {
                    return Err(ConnectionEnd::Invalid(format!("the server sent {why}")));
                }
            };
            summary.bytes += frame.len;
            if frame.opcode == TEXT {
                if self.subscribe_options.batch && frame.payload.starts_with(BATCH_PREFIX) {
                    self.batch(frame.payload, context, &mut summary);
                    continue;
                }
                match find_stamp(frame.payload, &mut self.stamp_hint) {
                    Some(stamp) if context.template.matches(frame.payload, self.stamp_hint) => {
                        self.line(stamp, context.now_ns, context.tally, &mut summary);
                    }
                    _ => self.message(frame.payload, context, &mut summary)?,
                }
            } else {
                self.control_frame(frame.opcode, frame.payload)?;
            }
        }
    }

    #[inline]
    fn line(
        &mut self,
        stamp: Stamp,
        now_ns: u64,
        tally: &mut ReceiverTally,
        summary: &mut ReadSummary,
    ) {
        let number = self.number;
        let Stamp {
            publisher,
            sequence,
            sent_ns,
        } = stamp;
        let index =
            Workload::channel_index(self.first_channel, usize::from(publisher), self.channels);
        let Some(account) = self.accounts.get_mut(index) else {
            tally.fault(|| {
                format!(
                    "client {number} got a line of publisher {publisher}, \
                     whose channel it never subscribed to"
                )
            });
            return;
        };
        let skipped = match account.receive(sequence) {
            Ok(skipped) => skipped,
            Err(fault) => {
                tally.fault(|| format!("client {number}, publisher {publisher}: {fault}"));
                return;
            }
        };
        if let Some(ledger) = self.ledgers.get_mut(index) {
            if let Err(fault) = ledger.line(sequence) {
                tally.fault(|| format!("client {number}, publisher {publisher}: {fault}"));
            }
            tally.note_published(publisher, sequence);
        }
        if self.state == ClientState::Left {
            tally.fault(|| {
                format!(
                    "client {number} got a line after the confirmation that it had left the channel"
                )
            });
        }
        if self.role == ClientRole::Reader && sent_ns >= self.live_at_ns {
            tally.add_latency(sent_ns, now_ns);
        }
        summary.lines += 1;
        // With gaps, the announced lines are counted instead.
        summary.skipped += if self.subscribe_options.gaps {
            0
        } else {
            skipped
        };
    }

    fn batch(
        &mut self,
        payload: &[u8],
        context: &mut ReceiveContext<'_>,
        summary: &mut ReadSummary,
    ) {
        let number = self.number;
        let mangled = || {
            format!(
                "client {number} got a batch with a line that was not fed, \
                 or that was changed on its way: {}",
                excerpt(payload)
            )
        };
        let (Some(mut lines), Some(stated)) = (
            BatchLines::parse(payload, context.template),
            first_seq(payload),
        ) else {
            return context.tally.fault(mangled);
        };
        let mut first: Option<(u16, u64)> = None;
        let mut count = 0;
        loop {
            let stamp = match lines.next() {
                Ok(Some(stamp)) => stamp,
                Ok(None) => break,
                Err(MangledBatch) => return context.tally.fault(mangled),
            };
            self.line(stamp, context.now_ns, context.tally, summary);
            let (publisher, sequence) = *first.get_or_insert((stamp.publisher, stamp.sequence));
            if (stamp.publisher, stamp.sequence) != (publisher, sequence + count) {
                context.tally.fault(|| {
                    format!(
                        "client {number}, publisher {publisher}: \
                         a batch from line {sequence} on has a hole"
                    )
                });
            }
            count += 1;
        }
        let Some((publisher, sequence)) = first else {
            return;
        };
        let index =
            Workload::channel_index(self.first_channel, usize::from(publisher), self.channels);
        let Some(ledger) = self.ledgers.get(index) else {
            return;
        };
        if let Err(fault) = ledger.batch(sequence, stated) {
            context
                .tally
                .fault(|| format!("client {number}, publisher {publisher}: {fault}"));
        }
    }
}

fn new_account(role: ClientRole) -> LineAccount {
    if role == ClientRole::Churner {
        LineAccount::from_the_middle()
    } else {
        LineAccount::from_the_start()
    }
}

#[cfg(test)]
mod tests;
