//! One client: its upgrade, its subscriptions, and what it makes of each frame. Knows bytes, no epoll.

use super::account::Account;
use super::frame::{self, CLOSE, Cut, PING, TEXT, push_client_frame};
use super::stamp::{self, LineShape};
use super::tally::Tally;
use super::workload::{Role, Workload};
use memchr::memmem;

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
    first_channel: usize,
    channels: usize,
    hint: usize,
    ended_channels: usize,
}

impl Client {
    pub(crate) fn new(number: usize, workload: &Workload) -> Client {
        let role = workload.role(number);
        Client {
            number,
            role,
            state: State::Closed,
            outbox: Vec::new(),
            accounts: vec![new_account(role); workload.per_client].into(),
            first_channel: workload.first_channel(number),
            channels: workload.channels,
            hint: 0,
            ended_channels: 0,
        }
    }

    /// A new connection: the upgrade request is in the outbox.
    pub(crate) fn begin(&mut self, host: &str, path: &str, headers: &[String]) {
        self.state = State::Upgrading;
        self.accounts.fill(new_account(self.role));
        self.ended_channels = 0;
        self.outbox.clear();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        );
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.outbox.extend_from_slice(request.as_bytes());
    }

    /// Asks to leave every channel, and for the proof that it is done.
    pub(crate) fn leave(&mut self, workload: &Workload) {
        self.command("unsubscribe", workload);
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
        self.accounts.iter().map(|account| account.received() + account.skipped()).sum()
    }

    fn command(&mut self, kind: &str, workload: &Workload) {
        for channel in workload.channels_of(self.number) {
            let name = workload.channel_name(channel);
            let message = format!("{{\"type\":\"{kind}\",\"data\":\"{name}\"}}");
            push_client_frame(&mut self.outbox, TEXT, message.as_bytes());
        }
        push_client_frame(&mut self.outbox, TEXT, b"{\"type\":\"ping\"}");
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
            self.command("subscribe", workload);
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
                match stamp::find(frame.payload, &mut self.hint) {
                    Some(stamp) if shape.follows(frame.payload, self.hint) => {
                        taken.skipped += self.line(stamp, now, tally, &mut taken.lines);
                    }
                    _ => self.message(frame.payload, tally)?,
                }
            } else {
                self.other(frame.opcode, frame.payload)?;
            }
        }
    }

    #[inline]
    fn line(&mut self, stamp: stamp::Stamp, now: u64, tally: &mut Tally, lines: &mut u64) -> u64 {
        let slot = Workload::slot(self.first_channel, usize::from(stamp.publisher), self.channels);
        let Some(account) = self.accounts.get_mut(slot) else {
            let number = self.number;
            tally.fault(|| {
                format!(
                    "client {number} got a line of publisher {}, whose channel it never subscribed to",
                    stamp.publisher
                )
            });
            return 0;
        };
        let skipped = match account.receive(stamp.sequence) {
            Ok(skipped) => skipped,
            Err(fault) => {
                let number = self.number;
                tally.fault(|| format!("client {number}, publisher {}: {fault}", stamp.publisher));
                return 0;
            }
        };
        if self.state == State::Left {
            let number = self.number;
            tally
                .fault(|| format!("client {number} got a line after the proof that it had left the channel"));
        }
        if self.role == Role::Reader {
            tally.latency(stamp.sent, now);
        }
        *lines += 1;
        skipped
    }

    /// Everything but a stamped line: rare.
    #[cold]
    fn message(&mut self, payload: &[u8], tally: &mut Tally) -> Result<(), End> {
        let number = self.number;
        let shown = || String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        let kind = memmem::find(payload, b"\"type\":\"").map(|at| &payload[at + 8..]);
        let is = |name: &[u8]| kind.is_some_and(|k| k.starts_with(name) && k.get(name.len()) == Some(&b'"'));
        if is(b"pong") {
            self.state = match self.state {
                State::Joining => State::Live,
                State::Leaving => State::Left,
                other => other,
            };
        } else if is(b"process_status") {
            if [&b"exited"[..], b"crashed", b"stopped"].iter().any(|s| memmem::find(payload, s).is_some()) {
                self.ended_channels += 1;
            }
        } else if is(b"error") {
            if self.state == State::Joining {
                return Err(End::Broken(format!("the server refused a subscription: {}", shown())));
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
                push_client_frame(&mut self.outbox, CLOSE, payload.get(..2).unwrap_or_default());
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                return Err(End::Closed(format!("close code {code} {reason}").trim_end().to_owned()));
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
                _ => Err(End::Broken("the answer to the upgrade has no end".to_owned())),
            };
        };
        let head = &bytes[..end];
        let line =
            String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(End::Broken(format!("the server answered the upgrade with \"{line}\"")));
        }
        if memmem::find(head, ACCEPT).is_none() {
            return Err(End::Broken(
                "the server accepted the upgrade with a wrong Sec-WebSocket-Accept".to_owned(),
            ));
        }
        Ok(Some(end + 4))
    }
}

fn new_account(role: Role) -> Account {
    if role == Role::Churner { Account::from_the_middle() } else { Account::from_the_start() }
}

#[cfg(test)]
mod tests {
    use super::super::frame::push_server_text;
    use super::super::stamp::Stamp;
    use super::*;
    use proptest::prelude::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn push_line(out: &mut Vec<u8>, shape: &LineShape, publisher: u16, sequence: u64) {
        let mut line = shape.line();
        Stamp { publisher, sequence, sent: 5 }.write(&mut line);
        let line = String::from_utf8(line).unwrap();
        let json = format!(
            "{{\"type\":\"process_output\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":\"{line}\",\"timestamp\":\"t\"}}"
        );
        push_server_text(out, json.as_bytes());
    }

    fn push_status(out: &mut Vec<u8>) {
        push_server_text(out, br#"{"type":"process_status","data":{"status":"exited","exitCode":0}}"#);
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

    #[test]
    fn a_line_of_a_channel_never_subscribed_to_is_a_fault() {
        let workload = Workload { channels: 10, per_client: 2, ..Workload::default() };
        let shape = LineShape::new(workload.line_bytes);
        let (mut client, mut stream) = joined(&workload);
        push_line(&mut stream, &shape, 1, 0);
        push_line(&mut stream, &shape, 2, 0);
        let mut tally = Tally::new();
        assert_eq!(feed(&mut client, &stream, &[4_096], &workload, &mut tally), Ok((1, 0)));
        assert!(tally.faults[0].contains("publisher 2"), "{:?}", tally.faults);
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
        assert_eq!(feed(&mut client, &stream, &[100], &workload, &mut tally), Ok((1, 0)));
        assert!(tally.faults[0].contains("came twice"), "{:?}", tally.faults);
        assert!(tally.faults[1].contains("not fed"), "{:?}", tally.faults);
    }

    #[test]
    fn a_refused_upgrade_says_what_the_server_said() {
        let workload = Workload::default();
        let mut client = Client::new(0, &workload);
        client.begin("h", "/ws", &[]);
        let end = feed(&mut client, b"HTTP/1.1 403 Forbidden\r\n\r\n", &[100], &workload, &mut Tally::new());
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
        feed(&mut client, &stream.clone(), &[4_096], &workload, &mut Tally::new()).unwrap();
        client.outbox.clear();
        stream = vec![0x89, 2, b'h', b'i'];
        feed(&mut client, &stream, &[1], &workload, &mut Tally::new()).unwrap();
        assert_eq!(client.outbox[..2], [0x8a, 0x82]);
    }
}
