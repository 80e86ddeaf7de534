//! One client: its upgrade, its subscriptions, and what it makes of each frame. Knows bytes, no epoll.

use crate::account::Account;
use crate::batch;
use crate::frame::{self, CLOSE, Cut, PING, TEXT, push_client_frame};
use crate::ledger::{Gap, Ledger, Welcome};
use crate::stamp::{self, LineShape};
use crate::tally::Tally;
use crate::workload::{Role, SubscribeOptions, Workload};
use memchr::memmem;
use serde::Deserialize;

/// The sample nonce of RFC 6455 and its answer: caches are none here, so a constant nonce is as good as a random one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Upgrading,
    /// Subscribed and pinged; the pong proves the subscriptions active.
    Joining,
    Live,
    /// Unsubscribed and pinged; after the pong no line may come.
    Leaving,
    Left,
    Closed,
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server's close frame, or its end of the stream.
    Closed(String),
    /// What the server sent can't be read on.
    Broken(String),
}

/// What a chunk of bytes came to.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Bytes that were whole frames; the rest waits for the next read.
    pub(crate) bytes: usize,
    /// Length of the frame that goes on after these bytes, as far as known.
    pub(crate) needed: usize,
    pub(crate) lines: u64,
    pub(crate) skipped: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) role: Role,
    pub(crate) state: State,
    /// Bytes to send, masked frames.
    pub(crate) outbox: Vec<u8>,
    pub(crate) accounts: Box<[Account]>,
    /// Of a client that asks for anything, as many as accounts; else none.
    pub(crate) ledgers: Box<[Ledger]>,
    wish: SubscribeOptions,
    /// Of this connection: subscriptions that were answered, and whether the ping was.
    welcomes: usize,
    /// Per subscription, lines known to have been published before it was asked for.
    published: Box<[u64]>,
    ponged: bool,
    first_channel: usize,
    channels: usize,
    hint: usize,
    ended_channels: usize,
    /// When this connection's subscriptions were proved: what was sent before is a replay, which has no latency.
    live_at: u64,
}

impl Client {
    pub(crate) fn new(number: usize, workload: &Workload) -> Client {
        let role = workload.role(number);
        let wish = workload.wish(number);
        let ledgers = if wish.any() { workload.per_client } else { 0 };
        Client {
            ledgers: vec![Ledger::new(wish.gaps); ledgers].into(),
            wish,
            welcomes: 0,
            published: vec![0; ledgers].into(),
            ponged: false,
            number,
            role,
            state: State::Closed,
            outbox: Vec::new(),
            accounts: vec![new_account(role); workload.per_client].into(),
            first_channel: workload.first_channel(number),
            channels: workload.channels,
            hint: 0,
            ended_channels: 0,
            live_at: 0,
        }
    }

    /// A new connection: the upgrade request is in the outbox.
    pub(crate) fn begin(&mut self, host: &str, path: &str, headers: &[String]) {
        self.state = State::Upgrading;
        if self.role == Role::Churner {
            self.accounts.fill(new_account(self.role));
        }
        (self.welcomes, self.ponged) = (0, false);
        self.ended_channels = 0;
        self.outbox.clear();
        self.outbox
            .extend_from_slice(upgrade_request(host, path, headers).as_bytes());
    }

    /// Asks to leave every channel, and for the proof that it is done.
    pub(crate) fn leave(&mut self, workload: &Workload) {
        for channel in workload.channels_of(self.number) {
            let name = workload.channel_name(channel);
            self.say(&format!("{{\"type\":\"unsubscribe\",\"data\":\"{name}\"}}"));
        }
        self.say("{\"type\":\"ping\"}");
        self.state = State::Leaving;
    }

    pub(crate) fn close(&mut self) {
        push_client_frame(&mut self.outbox, CLOSE, &1000u16.to_be_bytes());
    }

    /// Whether every channel's last message, the exit status, has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_channels >= self.accounts.len()
    }

    /// Lines received and lines noticed missing, of all channels.
    pub(crate) fn progress(&self) -> u64 {
        if self.wish.gaps {
            return self.ledgers.iter().map(Ledger::done).sum();
        }
        self.accounts
            .iter()
            .map(|account| account.received() + account.skipped())
            .sum()
    }

    /// Subscribes, from where it left off if it was there before and cares.
    fn subscribe(&mut self, workload: &Workload) {
        let SubscribeOptions { gaps, batch } = self.wish;
        for (slot, channel) in workload.channels_of(self.number).enumerate() {
            let name = workload.channel_name(channel);
            let since = self.ledgers.get(slot).and_then(Ledger::since).map_or_else(
                String::new,
                |(epoch, seq)| {
                    format!(
                        ",\"since\":{{\"epoch\":{},\"seq\":{seq}}}",
                        serde_json::Value::from(epoch)
                    )
                },
            );
            let message = if self.wish.any() {
                format!(
                    "{{\"type\":\"subscribe\",\"channel\":\"{name}\",\"options\":{{\"gaps\":{gaps},\"batch\":{batch}{since}}}}}"
                )
            } else {
                format!("{{\"type\":\"subscribe\",\"data\":\"{name}\"}}")
            };
            self.say(&message);
        }
        self.say("{\"type\":\"ping\"}");
    }

    fn say(&mut self, message: &str) {
        push_client_frame(&mut self.outbox, TEXT, message.as_bytes());
    }

    /// Takes what was read at `now`. The answers it calls for are in the outbox afterwards.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        now: u64,
        shape: &LineShape,
        workload: &Workload,
        tally: &mut Tally,
    ) -> Result<Taken, End> {
        let mut taken = Taken::default();
        if self.state == State::Upgrading {
            match self.upgrade(bytes)? {
                Some(head) => taken.bytes = head,
                None => return Ok(taken),
            }
            for (known, channel) in self
                .published
                .iter_mut()
                .zip(workload.channels_of(self.number))
            {
                *known = tally.published.get(channel).copied().unwrap_or(0);
            }
            self.subscribe(workload);
            self.state = State::Joining;
        }
        loop {
            let frame = match frame::cut(&bytes[taken.bytes..]) {
                Cut::Frame(frame) => frame,
                Cut::Partial(needed) => {
                    taken.needed = needed;
                    return Ok(taken);
                }
                Cut::Broken(why) => return Err(End::Broken(format!("the server sent {why}"))),
            };
            taken.bytes += frame.len;
            if frame.opcode == TEXT {
                if self.wish.batch && frame.payload.starts_with(batch::HEAD) {
                    self.batch(frame.payload, now, shape, tally, &mut taken);
                    continue;
                }
                match stamp::find(frame.payload, &mut self.hint) {
                    Some(stamp) if shape.follows(frame.payload, self.hint) => {
                        self.line(stamp, now, tally, &mut taken);
                    }
                    _ => self.message(frame.payload, now, workload, tally, &mut taken)?,
                }
            } else {
                self.other(frame.opcode, frame.payload)?;
            }
        }
    }

    #[inline]
    fn line(&mut self, stamp: stamp::Stamp, now: u64, tally: &mut Tally, taken: &mut Taken) {
        let slot = Workload::slot(
            self.first_channel,
            usize::from(stamp.publisher),
            self.channels,
        );
        let Some(account) = self.accounts.get_mut(slot) else {
            let number = self.number;
            tally.fault(|| {
                format!(
                    "client {number} got a line of publisher {}, whose channel it never subscribed to",
                    stamp.publisher
                )
            });
            return;
        };
        let skipped = match account.receive(stamp.sequence) {
            Ok(skipped) => skipped,
            Err(fault) => {
                let number = self.number;
                tally.fault(|| format!("client {number}, publisher {}: {fault}", stamp.publisher));
                return;
            }
        };
        if let Some(ledger) = self.ledgers.get_mut(slot) {
            if let Err(fault) = ledger.line(stamp.sequence) {
                let number = self.number;
                tally.fault(|| format!("client {number}, publisher {}: {fault}", stamp.publisher));
            }
            tally.seen(stamp.publisher, stamp.sequence);
        }
        if self.state == State::Left {
            let number = self.number;
            tally.fault(|| {
                format!("client {number} got a line after the proof that it had left the channel")
            });
        }
        if self.role == Role::Reader && stamp.sent >= self.live_at {
            tally.latency(stamp.sent, now);
        }
        taken.lines += 1;
        // Who is told of gaps counts what was told.
        taken.skipped += if self.wish.gaps { 0 } else { skipped };
    }

    /// A run of lines.
    fn batch(
        &mut self,
        payload: &[u8],
        now: u64,
        shape: &LineShape,
        tally: &mut Tally,
        taken: &mut Taken,
    ) {
        let number = self.number;
        let mangled = || {
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
            format!(
                "client {number} got a batch with a line that was not fed, or that was changed on its way: {shown}"
            )
        };
        let (Some(mut lines), Some(seq)) = (batch::Lines::of(payload, shape), batch::seq(payload))
        else {
            return tally.fault(mangled);
        };
        let mut first: Option<(u16, u64)> = None;
        let mut count = 0;
        loop {
            let stamp = match lines.next() {
                Ok(Some(stamp)) => stamp,
                Ok(None) => break,
                Err(batch::Mangled) => return tally.fault(mangled),
            };
            self.line(stamp, now, tally, taken);
            let (publisher, sequence) = *first.get_or_insert((stamp.publisher, stamp.sequence));
            if (stamp.publisher, stamp.sequence) != (publisher, sequence + count) {
                tally.fault(|| {
                    format!(
                        "client {number}, publisher {publisher}: a batch from line {sequence} on has a hole"
                    )
                });
            }
            count += 1;
        }
        let Some((publisher, sequence)) = first else {
            return;
        };
        let slot = Workload::slot(self.first_channel, usize::from(publisher), self.channels);
        if let Some(Err(fault)) = self
            .ledgers
            .get(slot)
            .map(|ledger| ledger.batch(sequence, seq))
        {
            tally.fault(|| format!("client {number}, publisher {publisher}: {fault}"));
        }
    }

    /// A `subscribed`, a `gap` or a status, whose channel's ledger has it.
    fn announced(
        &mut self,
        payload: &[u8],
        workload: &Workload,
        tally: &mut Tally,
        taken: &mut Taken,
    ) {
        let number = self.number;
        let judged = serde_json::from_slice::<Announcement>(payload)
            .map_err(|e| e.to_string())
            .and_then(|told| {
                let slot = workload
                    .channels_of(number)
                    .position(|channel| workload.channel_name(channel) == told.channel);
                let slot = slot.ok_or_else(|| format!("never subscribed to {}", told.channel))?;
                let ledger = self.ledgers.get_mut(slot).ok_or("never asked for it")?;
                match told.kind.as_str() {
                    "subscribed" => {
                        self.welcomes += 1;
                        let published = self.published.get(slot).copied().unwrap_or(0);
                        let welcome: Welcome =
                            serde_json::from_value(told.data).map_err(|e| e.to_string())?;
                        let lost = ledger.welcome(&welcome, published)?;
                        Ok(lost)
                    }
                    "gap" => {
                        let gap: Gap =
                            serde_json::from_value(told.data).map_err(|e| e.to_string())?;
                        ledger.gap(gap)
                    }
                    _ if is_last(payload) => {
                        ledger.end();
                        Ok(0)
                    }
                    _ => ledger.status().map(|()| 0),
                }
            });
        match judged {
            Ok(missing) => taken.skipped += if self.wish.gaps { missing } else { 0 },
            Err(fault) => tally.fault(|| {
                let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
                format!("client {number}: {fault}: {shown}")
            }),
        }
    }

    /// Joined once every subscription that asks for something was answered, and the ping after them.
    fn greeted(&mut self, now: u64) {
        if self.state == State::Joining && self.ponged && self.welcomes >= self.ledgers.len() {
            self.state = State::Live;
            self.live_at = now;
        }
    }

    /// Everything but a stamped line: rare.
    #[cold]
    fn message(
        &mut self,
        payload: &[u8],
        now: u64,
        workload: &Workload,
        tally: &mut Tally,
        taken: &mut Taken,
    ) -> Result<(), End> {
        let number = self.number;
        let shown = || String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        let kind = memmem::find(payload, b"\"type\":\"").map(|at| &payload[at + 8..]);
        let is = |name: &[u8]| {
            kind.is_some_and(|k| k.starts_with(name) && k.get(name.len()) == Some(&b'"'))
        };
        if is(b"pong") {
            self.ponged = true;
            if self.state == State::Leaving {
                self.state = State::Left;
            }
            self.greeted(now);
        } else if is(b"subscribed") || is(b"gap") {
            self.announced(payload, workload, tally, taken);
            self.greeted(now);
        } else if is(b"process_status") {
            self.ended_channels += usize::from(is_last(payload));
            if self.wish.any() {
                self.announced(payload, workload, tally, taken);
            }
        } else if is(b"error") {
            if self.state == State::Joining {
                return Err(End::Broken(format!(
                    "the server refused a subscription: {}",
                    shown()
                )));
            }
            tally.fault(|| format!("client {number} got an error message: {}", shown()));
        } else if is(b"process_output") {
            tally.fault(|| {
                format!(
                    "client {number} got a line that was not fed, or that was changed on its way: {}",
                    shown()
                )
            });
        }
        Ok(())
    }

    #[cold]
    fn other(&mut self, opcode: u8, payload: &[u8]) -> Result<(), End> {
        match opcode {
            PING => push_client_frame(&mut self.outbox, frame::PONG, payload),
            CLOSE => {
                push_client_frame(
                    &mut self.outbox,
                    CLOSE,
                    payload.get(..2).unwrap_or_default(),
                );
                let code = payload
                    .first_chunk()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                return Err(End::Closed(
                    format!("close code {code} {reason}").trim_end().to_owned(),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Length of the response head, when it is whole and says yes.
    fn upgrade(&self, bytes: &[u8]) -> Result<Option<usize>, End> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return match bytes.len() {
                0..=16_384 => Ok(None),
                _ => Err(End::Broken(
                    "the answer to the upgrade has no end".to_owned(),
                )),
            };
        };
        let head = &bytes[..end];
        let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default())
            .into_owned();
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(End::Broken(format!(
                "the server answered the upgrade with \"{line}\""
            )));
        }
        if memmem::find(head, ACCEPT).is_none() {
            return Err(End::Broken(
                "the server accepted the upgrade with a wrong Sec-WebSocket-Accept".to_owned(),
            ));
        }
        Ok(Some(end + 4))
    }
}

/// What asks for a WebSocket.
pub(crate) fn upgrade_request(host: &str, path: &str, headers: &[String]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// What ledgers are told, as on the wire.
#[derive(Deserialize)]
struct Announcement {
    #[serde(rename = "type")]
    kind: String,
    channel: String,
    data: serde_json::Value,
}

/// Whether a status is a process's last.
fn is_last(status: &[u8]) -> bool {
    [&b"exited"[..], b"crashed", b"stopped"]
        .iter()
        .any(|s| memmem::find(status, s).is_some())
}

fn new_account(role: Role) -> Account {
    if role == Role::Churner {
        Account::from_the_middle()
    } else {
        Account::from_the_start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::push_server_text;
    use crate::stamp::Stamp;
    use proptest::prelude::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn push_line(out: &mut Vec<u8>, shape: &LineShape, publisher: u16, sequence: u64) {
        let mut line = shape.line();
        Stamp {
            publisher,
            sequence,
            sent: 5,
        }
        .write(&mut line);
        let line = String::from_utf8(line).unwrap();
        let json = format!(
            "{{\"type\":\"process_output\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":\"{line}\",\"timestamp\":\"t\"}}"
        );
        push_server_text(out, json.as_bytes());
    }

    fn push_status(out: &mut Vec<u8>) {
        push_server_text(
            out,
            br#"{"type":"process_status","data":{"status":"exited","exitCode":0}}"#,
        );
    }

    /// Feeds `stream` cut at `cuts`, as the receiver does.
    fn feed(
        client: &mut Client,
        stream: &[u8],
        cuts: &[usize],
        workload: &Workload,
        tally: &mut Tally,
    ) -> Result<(u64, u64), End> {
        let shape = LineShape::new(workload.line_bytes);
        let (mut lines, mut skipped) = (0, 0);
        let mut kept = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let n = (*cuts.next().unwrap()).clamp(1, rest.len());
            kept.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            let taken = client.take(&kept, 10, &shape, workload, tally)?;
            kept.drain(..taken.bytes);
            lines += taken.lines;
            skipped += taken.skipped;
        }
        Ok((lines, skipped))
    }

    fn joined(workload: &Workload) -> (Client, Vec<u8>) {
        let mut client = Client::new(0, workload);
        client.begin("h", "/ws", &[]);
        let mut stream = HEAD.to_vec();
        push_server_text(&mut stream, br#"{"type":"pong","timestamp":"t"}"#);
        (client, stream)
    }

    proptest! {
        #[test]
        fn every_line_is_counted_however_the_bytes_are_cut(
            kept in prop::collection::vec(any::<bool>(), 0..60),
            cuts in prop::collection::vec(1usize..700, 1..20),
            line_bytes in 35usize..300,
        ) {
            let workload = Workload { line_bytes, ..Workload::default() };
            let shape = LineShape::new(line_bytes);
            let (mut client, mut stream) = joined(&workload);
            for (sequence, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
                push_line(&mut stream, &shape, 0, sequence as u64);
            }
            push_status(&mut stream);
            let mut tally = Tally::new();
            let (lines, skipped) = feed(&mut client, &stream, &cuts, &workload, &mut tally).unwrap();
            let received = kept.iter().filter(|kept| **kept).count() as u64;
            let last = kept.iter().rposition(|kept| *kept).map_or(0, |at| at as u64 + 1);
            prop_assert_eq!((lines, skipped), (received, last - received));
            prop_assert!(client.has_ended());
            prop_assert_eq!(client.state, State::Live);
            prop_assert_eq!(tally.faults, Vec::<String>::new());
        }
    }

    fn asking(wish: SubscribeOptions) -> (Workload, Client, Vec<u8>) {
        let workload = Workload {
            wish,
            ..Workload::default()
        };
        let (mut client, stream) = joined(&workload);
        feed(&mut client, &stream, &[9], &workload, &mut Tally::new()).unwrap();
        assert_eq!(
            client.state,
            State::Joining,
            "the pong alone does not prove a subscription with options"
        );
        let mut welcome = Vec::new();
        push_server_text(
            &mut welcome,
            br#"{"type":"subscribed","channel":"process:load","data":{"epoch":"e","seq":5,"replayed":0,"lost":0},"timestamp":"t"}"#,
        );
        feed(&mut client, &welcome, &[9], &workload, &mut Tally::new()).unwrap();
        assert_eq!(client.state, State::Live);
        (workload, client, Vec::new())
    }

    fn push_gap(out: &mut Vec<u8>, from: u64, to: u64) {
        let count = to + 1 - from;
        let json = format!(
            "{{\"type\":\"gap\",\"channel\":\"process:load\",\"data\":{{\"from\":{from},\"to\":{to},\"count\":{count}}},\"timestamp\":\"t\"}}"
        );
        push_server_text(out, json.as_bytes());
    }

    fn push_batch(out: &mut Vec<u8>, shape: &LineShape, lines: std::ops::Range<u64>, seq: u64) {
        let quoted: Vec<String> = lines
            .map(|sequence| {
                let mut line = shape.line();
                Stamp {
                    publisher: 0,
                    sequence,
                    sent: 5,
                }
                .write(&mut line);
                format!("\"{}\"", String::from_utf8(line).unwrap())
            })
            .collect();
        let json = format!(
            "{{\"type\":\"process_output_batch\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":[{}],\"seq\":{seq},\"timestamp\":\"t\"}}",
            quoted.join(",")
        );
        push_server_text(out, json.as_bytes());
    }

    proptest! {
        #[test]
        fn gaps_and_lines_and_batches_add_up_however_the_bytes_are_cut(
            runs in prop::collection::vec((any::<bool>(), 1u64..9), 0..20),
            cuts in prop::collection::vec(1usize..900, 1..20),
            batch in any::<bool>(),
        ) {
            let (workload, mut client, mut stream) = asking(SubscribeOptions { gaps: true, batch });
            let shape = LineShape::new(workload.line_bytes);
            let (mut at, mut received, mut skipped) = (0, 0, 0);
            // Neighbours of one kind are one gap, as a server tells it.
            let mut hole = 0;
            for (comes, lines) in runs.into_iter().chain([(true, 1)]) {
                if !comes {
                    hole += lines;
                    continue;
                }
                if hole > 0 {
                    push_gap(&mut stream, 6 + at, 5 + at + hole);
                    at += hole;
                    skipped += std::mem::take(&mut hole);
                }
                if batch {
                    push_batch(&mut stream, &shape, at..at + lines, 6 + at);
                } else {
                    (at..at + lines).for_each(|sequence| push_line(&mut stream, &shape, 0, sequence));
                }
                at += lines;
                received += lines;
            }
            let mut tally = Tally::new();
            let taken = feed(&mut client, &stream, &cuts, &workload, &mut tally).unwrap();
            prop_assert_eq!(&tally.faults, &Vec::<String>::new());
            prop_assert_eq!(taken, (received, skipped));
            prop_assert_eq!(client.progress(), at);
            prop_assert_eq!(client.ledgers[0].close(at, received, skipped), Ok(()));
        }
    }

    #[test]
    fn a_hole_without_a_gap_and_a_batch_with_a_hole_are_faults() {
        let shape = LineShape::new(Workload::default().line_bytes);
        let (workload, mut client, mut stream) = asking(SubscribeOptions {
            gaps: true,
            batch: false,
        });
        push_line(&mut stream, &shape, 0, 0);
        push_line(&mut stream, &shape, 0, 2);
        let mut tally = Tally::new();
        feed(&mut client, &stream, &[50], &workload, &mut tally).unwrap();
        assert!(
            tally.faults[0].contains("without a gap"),
            "{:?}",
            tally.faults
        );

        let (workload, mut client, mut stream) = asking(SubscribeOptions {
            gaps: false,
            batch: true,
        });
        push_batch(&mut stream, &shape, 0..3, 6);
        push_batch(&mut stream, &shape, 3..5, 8);
        let mut tally = Tally::new();
        feed(&mut client, &stream, &[50], &workload, &mut tally).unwrap();
        assert_eq!(tally.fault_count, 1, "{:?}", tally.faults);
        assert!(
            tally.faults[0].contains("begins with message 8"),
            "{:?}",
            tally.faults
        );
    }

    #[test]
    fn who_counts_gaps_resumes_where_it_left_off() {
        let shape = LineShape::new(Workload::default().line_bytes);
        let (workload, mut client, mut stream) = asking(SubscribeOptions {
            gaps: true,
            batch: false,
        });
        push_line(&mut stream, &shape, 0, 0);
        feed(&mut client, &stream, &[50], &workload, &mut Tally::new()).unwrap();
        client.begin("h", "/ws", &[]);
        client.outbox.clear();
        feed(&mut client, HEAD, &[4_096], &workload, &mut Tally::new()).unwrap();
        // A short frame has its length in the second byte, a longer one in the two after it.
        let header = if client.outbox[1] & 0x7f < 126 { 2 } else { 4 };
        let (mask, masked) = client.outbox[header..].split_at(4);
        let asked: Vec<u8> = masked
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        let asked = String::from_utf8_lossy(&asked);
        assert!(
            asked.contains(r#""since":{"epoch":"e","seq":6}"#),
            "{asked}"
        );
    }

    #[test]
    fn a_line_of_a_channel_never_subscribed_to_is_a_fault() {
        let workload = Workload {
            channels: 10,
            per_client: 2,
            ..Workload::default()
        };
        let shape = LineShape::new(workload.line_bytes);
        let (mut client, mut stream) = joined(&workload);
        push_line(&mut stream, &shape, 1, 0);
        push_line(&mut stream, &shape, 2, 0);
        let mut tally = Tally::new();
        assert_eq!(
            feed(&mut client, &stream, &[4_096], &workload, &mut tally),
            Ok((1, 0))
        );
        assert!(
            tally.faults[0].contains("publisher 2"),
            "{:?}",
            tally.faults
        );
    }

    #[test]
    fn a_changed_line_and_a_repeated_one_are_faults() {
        let workload = Workload::default();
        let shape = LineShape::new(workload.line_bytes);
        let (mut client, mut stream) = joined(&workload);
        push_line(&mut stream, &shape, 0, 0);
        push_line(&mut stream, &shape, 0, 0);
        push_line(&mut stream, &LineShape::new(101), 0, 1);
        let mut tally = Tally::new();
        assert_eq!(
            feed(&mut client, &stream, &[100], &workload, &mut tally),
            Ok((1, 0))
        );
        assert!(tally.faults[0].contains("came twice"), "{:?}", tally.faults);
        assert!(tally.faults[1].contains("not fed"), "{:?}", tally.faults);
    }

    #[test]
    fn a_refused_upgrade_says_what_the_server_said() {
        let workload = Workload::default();
        let mut client = Client::new(0, &workload);
        client.begin("h", "/ws", &[]);
        let end = feed(
            &mut client,
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            &[100],
            &workload,
            &mut Tally::new(),
        );
        assert!(matches!(end, Err(End::Broken(why)) if why.contains("403 Forbidden")));
    }

    #[test]
    fn a_close_frame_ends_the_connection_with_its_code() {
        let workload = Workload::default();
        let (mut client, mut stream) = joined(&workload);
        stream.extend_from_slice(&[0x88, 2, 0x03, 0xf5]);
        let end = feed(&mut client, &stream, &[7], &workload, &mut Tally::new());
        assert_eq!(end, Err(End::Closed("close code 1013".to_owned())));
    }

    #[test]
    fn a_servers_ping_is_answered() {
        let workload = Workload::default();
        let (mut client, mut stream) = joined(&workload);
        feed(
            &mut client,
            &stream.clone(),
            &[4_096],
            &workload,
            &mut Tally::new(),
        )
        .unwrap();
        client.outbox.clear();
        stream = vec![0x89, 2, b'h', b'i'];
        feed(&mut client, &stream, &[1], &workload, &mut Tally::new()).unwrap();
        assert_eq!(client.outbox[..2], [0x8a, 0x82]);
    }
}
