//! Operations of clients and publishers, checked against a naive model. Every message is delivered
//! exactly once and in order, or counted as skipped. Gaps are exact.
//!
//! Every message of a channel carries its number, from 1. For a client without options and a hub
//! that seals at once, the model predicts each parcel: it is a list with a bound. For a client with
//! options, the deliveries are checked against the rules of the wire, whenever the hub seals.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::internals::{ClientCommand as Command, Peer, Range, Since, SubscribeOptions, flush};
use outrace::{CloseReason, Hub, Lines, Message, Publisher};
use serde_json::Value;
use tokio::runtime::Runtime;

const CHANNELS: [&str; 2] = ["process:a", "b"];
const MAX_VIEWERS: usize = 4;
/// The messages beyond the queue's bound that only statuses, errors and control messages may use.
const RESERVE_MESSAGES: usize = 16;

#[derive(Arbitrary, Debug)]
struct Program {
    queue: u8,
    history: u8,
    /// Whether the hub seals only when it is flushed. Otherwise it seals at once.
    paced: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Connect,
    /// Subscribes without options.
    Subscribe {
        viewer: u8,
        channel: bool,
    },
    SubscribeWith {
        viewer: u8,
        channel: bool,
        gaps: bool,
        batch: bool,
        detail: bool,
        partial: bool,
        tail: Option<u8>,
        since: Option<(bool, u8)>,
    },
    /// Asks for messages again.
    Range {
        viewer: u8,
        channel: bool,
        gaps: bool,
        from: u8,
        more: u8,
        known: bool,
    },
    Unsubscribe {
        viewer: u8,
        channel: bool,
    },
    Ping {
        viewer: u8,
    },
    Refused {
        viewer: u8,
    },
    Publish {
        channel: bool,
        method: PublishMethod,
        messages: u8,
    },
    /// Shows an unfinished line, or that there is none.
    Partial {
        channel: bool,
        text: u8,
    },
    Broadcast,
    /// A viewer reads this many parcels. Without it, the viewer stalls.
    Write {
        viewer: u8,
        parcels: u8,
    },
    WriteAll {
        viewer: u8,
    },
    Disconnect {
        viewer: u8,
    },
    Flush,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum PublishMethod {
    Run,
    EachByHandle,
    EachByName,
    /// Error messages, which may use the reserve.
    Errors,
}

/// A message to a viewer.
#[derive(Debug, PartialEq)]
enum Delivery {
    Message {
        channel: usize,
        number: u64,
        /// The number that the message tells.
        told: Option<u64>,
    },
    Partial {
        channel: usize,
        text: String,
    },
    Notice,
    Pong,
    SubscribeRefusal,
    Control {
        kind: String,
        channel: usize,
        data: Value,
    },
}

/// One subscription, from its begin to its end.
#[derive(Debug, Default)]
struct SubscriptionModel {
    /// The number of the last message before it.
    joined: u64,
    /// The number of the last message when it ended.
    left: Option<u64>,
    options: Option<SubscribeOptions>,
    /// The unfinished line that it was shown last.
    partial: String,
    /// Whether the server has confirmed it. One without options counts as confirmed from the start.
    confirmed: bool,
    /// The number of the last message that it got or that a gap covered.
    position: u64,
    /// The numbers of the present replay: the first, the next and the last.
    replay: Option<(u64, u64, u64)>,
    /// The messages that it got or that gaps covered, outside of replays.
    received: u64,
}

/// A client and what the model knows of it.
struct Viewer {
    peer: Peer,
    /// Whether it never had options, so that the model predicts what it gets.
    is_plain: bool,
    subscriptions: [VecDeque<SubscriptionModel>; CHANNELS.len()],
    /// The parcels that wait for a plain viewer, if the hub seals at once.
    waiting: VecDeque<Vec<Delivery>>,
    skipped: u64,
    /// The number of messages that were meant for a plain viewer.
    meant: u64,
    /// The number of messages that it got.
    got: u64,
}

struct World {
    hub: Hub,
    queue: usize,
    paced: bool,
    publishers: [Publisher; CHANNELS.len()],
    published: [u64; CHANNELS.len()],
    epochs: [Option<String>; CHANNELS.len()],
    viewers: Vec<Viewer>,
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built"),
    );
}

fuzz_target!(|program: Program| {
    RUNTIME.with_borrow(|runtime| {
        let entered = runtime.enter();
        World::new(&program).run(program.steps);
        drop(entered);
        // These turns let the hub's task end.
        runtime.block_on(async {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        });
    });
});

impl World {
    fn new(program: &Program) -> Self {
        let queue = 1 + usize::from(program.queue % 32);
        let interval = if program.paced {
            Duration::from_secs(10)
        } else {
            Duration::ZERO
        };
        let hub = Hub::builder()
            .queue(queue)
            .max_flush_interval(interval)
            .history(usize::from(program.history % 64))
            .history_bytes(1 << 20)
            .build()
            .expect("the settings are valid");
        Self {
            publishers: CHANNELS.map(|channel| hub.publisher(channel).expect("the name is valid")),
            hub,
            queue,
            paced: program.paced,
            published: Default::default(),
            epochs: Default::default(),
            viewers: Vec::new(),
        }
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps.into_iter().take(400) {
            self.step(step);
            self.disconnect_overflowed();
        }
        self.finish();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect => {
                if self.viewers.len() < MAX_VIEWERS {
                    self.viewers.push(Viewer::new(Peer::connect(&self.hub)));
                }
            }
            Step::Subscribe { viewer, channel } => {
                let channel = usize::from(channel);
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.viewers[viewer].subscribe(channel, None, None);
                // A repeated subscription without options changes nothing.
                if !self.viewers[viewer].is_subscribed(channel) {
                    self.begin(viewer, channel, None);
                }
            }
            Step::SubscribeWith {
                viewer,
                channel,
                gaps,
                batch,
                detail,
                partial,
                tail,
                since,
            } => {
                let channel = usize::from(channel);
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                let since = since.map(|(known, seq)| Since {
                    epoch: self.epoch(channel, known),
                    seq: seq.into(),
                });
                let options = SubscribeOptions {
                    gaps,
                    batch,
                    detail,
                    partial,
                    tail: tail.map(u64::from),
                    since,
                    range: None,
                };
                self.end(viewer, channel);
                self.viewers[viewer].subscribe(channel, Some(options.clone()), None);
                self.begin(viewer, channel, Some(options));
            }
            Step::Range {
                viewer,
                channel,
                gaps,
                from,
                more,
                known,
            } => {
                let channel = usize::from(channel);
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                let from = u64::from(from) + 1;
                let epoch = self.epoch(channel, known);
                let range = Range {
                    epoch,
                    from,
                    to: from + u64::from(more),
                };
                let options = SubscribeOptions {
                    gaps,
                    ..SubscribeOptions::default()
                };
                let is_tracked = self.viewers[viewer]
                    .live(channel)
                    .is_some_and(|subscription| subscription.options.is_some());
                if !is_tracked {
                    self.end(viewer, channel);
                }
                self.viewers[viewer].subscribe(channel, Some(options.clone()), Some(range));
                if !is_tracked {
                    self.begin(viewer, channel, Some(options));
                }
            }
            Step::Unsubscribe { viewer, channel } => {
                let channel = usize::from(channel);
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.end(viewer, channel);
                self.viewers[viewer].peer.command(Command::Unsubscribe {
                    channel: CHANNELS[channel].into(),
                });
            }
            Step::Ping { viewer } => {
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.viewers[viewer].peer.command(Command::Ping);
                self.viewers[viewer].offer(self.queue + RESERVE_MESSAGES, vec![Delivery::Pong]);
            }
            Step::Refused { viewer } => {
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.viewers[viewer].peer.command(Command::Subscribe {
                    channel: "no name".into(),
                    options: Ok(None),
                });
                self.viewers[viewer].offer(
                    self.queue + RESERVE_MESSAGES,
                    vec![Delivery::SubscribeRefusal],
                );
            }
            Step::Publish {
                channel,
                method,
                messages,
            } => self.publish(usize::from(channel), method, messages % 40),
            Step::Partial { channel, text } => {
                let channel = usize::from(channel);
                let text = if text == 0 {
                    String::new()
                } else {
                    text.to_string()
                };
                self.publishers[channel].show_partial(text.as_bytes());
                let watchers = self.viewers.iter().filter(|viewer| {
                    viewer
                        .live(channel)
                        .is_some_and(SubscriptionModel::is_shown_partials)
                });
                assert_eq!(
                    self.publishers[channel].shows_partial(),
                    watchers.count() > 0
                );
            }
            Step::Broadcast => {
                let clients = self
                    .hub
                    .send_event("notice", &7)
                    .expect("a number can be serialized");
                assert_eq!(clients, self.viewers.len());
                for viewer in &mut self.viewers {
                    viewer.offer(self.queue, vec![Delivery::Notice]);
                }
            }
            Step::Write { viewer, parcels } => {
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.read(viewer, usize::from(parcels % 8));
            }
            Step::WriteAll { viewer } => {
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                self.read(viewer, usize::MAX);
            }
            Step::Disconnect { viewer } => {
                let Some(viewer) = self.pick(viewer) else {
                    return;
                };
                // Unsealed messages would count for no viewer.
                flush(&self.hub);
                self.viewers
                    .swap_remove(viewer)
                    .peer
                    .disconnect(CloseReason::PeerGone);
            }
            Step::Flush => flush(&self.hub),
        }
    }

    fn pick(&self, viewer: u8) -> Option<usize> {
        usize::from(viewer).checked_rem(self.viewers.len())
    }

    fn epoch(&self, channel: usize, known: bool) -> String {
        self.epochs[channel]
            .clone()
            .filter(|_| known)
            .unwrap_or_else(|| "another".to_owned())
    }

    fn publish(&mut self, channel: usize, method: PublishMethod, messages: u8) {
        let first = self.published[channel] + 1;
        let last = self.published[channel] + u64::from(messages);
        let subscribers = self
            .viewers
            .iter()
            .filter(|viewer| viewer.is_subscribed(channel))
            .count();
        let (publisher, name) = (&self.publishers[channel], CHANNELS[channel]);
        let sent = |number| Delivery::Message {
            channel,
            number,
            told: None,
        };
        if matches!(method, PublishMethod::Run) {
            let numbers: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
            assert_eq!(
                publisher.send_lines(numbers.iter().collect::<Lines>()),
                subscribers
            );
            self.published[channel] = last;
            for viewer in self
                .viewers
                .iter_mut()
                .filter(|viewer| viewer.is_subscribed(channel))
            {
                viewer.offer(self.queue, (first..=last).map(sent).collect());
            }
            return;
        }
        for number in first..=last {
            let text = number.to_string();
            let (reached, bound) = match method {
                PublishMethod::Run | PublishMethod::EachByHandle => {
                    (publisher.send_line(text), self.queue)
                }
                PublishMethod::EachByName => (
                    self.hub
                        .send_to_channel(name, Message::output(text))
                        .expect("the name is valid"),
                    self.queue,
                ),
                PublishMethod::Errors => (
                    self.hub
                        .send_to_channel(name, Message::error(text))
                        .expect("the name is valid"),
                    self.queue + RESERVE_MESSAGES,
                ),
            };
            assert_eq!(reached, subscribers);
            self.published[channel] = number;
            for viewer in self
                .viewers
                .iter_mut()
                .filter(|viewer| viewer.is_subscribed(channel))
            {
                viewer.offer(bound, vec![sent(number)]);
            }
        }
    }

    /// Begins a subscription in the model.
    fn begin(&mut self, viewer: usize, channel: usize, options: Option<SubscribeOptions>) {
        let joined = self.published[channel];
        let viewer = &mut self.viewers[viewer];
        viewer.is_plain &= options.is_none();
        let confirmed = options.is_none();
        viewer.subscriptions[channel].push_back(SubscriptionModel {
            joined,
            options,
            confirmed,
            position: joined,
            ..SubscriptionModel::default()
        });
    }

    /// Ends the subscription of a viewer in the model, if there is one.
    fn end(&mut self, viewer: usize, channel: usize) {
        // Unsealed messages would not be delivered to it any more.
        flush(&self.hub);
        if !self.viewers[viewer].is_subscribed(channel) {
            return;
        }
        // The confirmation must come first. Otherwise it could belong to the next subscription.
        while !self.viewers[viewer]
            .live(channel)
            .is_some_and(|subscription| subscription.confirmed)
        {
            assert!(
                self.read(viewer, usize::MAX) > 0,
                "the subscription is never confirmed"
            );
        }
        let published = self.published[channel];
        let viewer = &mut self.viewers[viewer];
        viewer.subscriptions[channel]
            .back_mut()
            .expect("it is subscribed")
            .left = Some(published);
    }

    /// Disconnects the viewers whose queue had no room for a broadcast.
    fn disconnect_overflowed(&mut self) {
        for viewer in (0..self.viewers.len()).rev() {
            if self.viewers[viewer].peer.close_asked().is_none() {
                continue;
            }
            assert_eq!(
                self.viewers[viewer].peer.close_asked(),
                Some(CloseReason::Overflow)
            );
            assert!(self.viewers[viewer].peer.client().skipped() > 0);
            self.read(viewer, usize::MAX);
            self.viewers
                .swap_remove(viewer)
                .peer
                .disconnect(CloseReason::Overflow);
        }
    }

    /// Lets a viewer read up to this many parcels. Returns how many there were.
    fn read(&mut self, viewer: usize, parcels: usize) -> usize {
        let parcels = self.viewers[viewer].peer.write(parcels);
        for parcel in &parcels {
            let sent = decode(parcel);
            let viewer = &mut self.viewers[viewer];
            viewer.got += sent.len() as u64;
            if viewer.is_plain && !self.paced {
                assert_eq!(
                    viewer.waiting.pop_front().as_ref(),
                    Some(&sent),
                    "the parcel that the model expects"
                );
            }
            for sent in sent {
                match sent {
                    Delivery::Message {
                        channel,
                        number,
                        told,
                    } => {
                        assert!(
                            told.is_none_or(|told| told == number),
                            "{told:?} of {number}"
                        );
                        viewer.message(channel, number, self.published[channel])
                    }
                    Delivery::Partial { channel, text } => viewer.partial(channel, text),
                    Delivery::Control {
                        kind,
                        channel,
                        data,
                    } => {
                        if let Some(epoch) = data["epoch"].as_str() {
                            let known =
                                self.epochs[channel].get_or_insert_with(|| epoch.to_owned());
                            assert_eq!(
                                known, epoch,
                                "one numbering while a publisher holds the channel"
                            );
                        }
                        viewer.control(channel, &kind, &data, self.published[channel]);
                    }
                    Delivery::Notice | Delivery::Pong | Delivery::SubscribeRefusal => {}
                }
            }
        }
        parcels.len()
    }

    /// Lets all viewers read to the end, and checks the totals.
    fn finish(mut self) {
        loop {
            flush(&self.hub);
            self.disconnect_overflowed();
            let read: usize = (0..self.viewers.len())
                .map(|viewer| self.read(viewer, usize::MAX))
                .sum();
            if read == 0 {
                break;
            }
        }
        for viewer in &self.viewers {
            viewer.check_at_rest(self.published, self.paced);
        }
        let stats = self.hub.stats();
        assert_eq!(
            stats.offered,
            stats.written + stats.skipped + stats.discarded,
            "{stats:?}"
        );
        for viewer in self.viewers.drain(..) {
            viewer.peer.disconnect(CloseReason::PeerClosed);
        }
        flush(&self.hub);
        let stats = self.hub.stats();
        assert_eq!(
            (
                stats.clients,
                stats.channels,
                stats.subscribers,
                stats.queued
            ),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        assert_eq!(
            stats.offered,
            stats.written + stats.skipped + stats.discarded,
            "{stats:?}"
        );
        assert_eq!(stats.connected, stats.closed.values().sum::<u64>());
    }
}

impl Viewer {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            is_plain: true,
            subscriptions: Default::default(),
            waiting: VecDeque::new(),
            skipped: 0,
            meant: 0,
            got: 0,
        }
    }

    fn subscribe(&self, channel: usize, options: Option<SubscribeOptions>, range: Option<Range>) {
        let options = options.map(|options| SubscribeOptions { range, ..options });
        self.peer.command(Command::Subscribe {
            channel: CHANNELS[channel].into(),
            options: Ok(options),
        });
    }

    fn live(&self, channel: usize) -> Option<&SubscriptionModel> {
        self.subscriptions[channel]
            .back()
            .filter(|subscription| subscription.left.is_none())
    }

    fn is_subscribed(&self, channel: usize) -> bool {
        self.live(channel).is_some()
    }

    /// Offers a run to the model's queue. The messages that fit wait as one parcel.
    fn offer(&mut self, bound: usize, mut run: Vec<Delivery>) {
        self.meant += run.len() as u64;
        let room = bound.saturating_sub(self.waiting.iter().map(Vec::len).sum());
        self.skipped += run.len().saturating_sub(room) as u64;
        run.truncate(room);
        if !run.is_empty() {
            self.waiting.push_back(run);
        }
    }

    fn message(&mut self, channel: usize, number: u64, published: u64) {
        let subscriptions = &mut self.subscriptions[channel];
        loop {
            let subscription = subscriptions
                .front_mut()
                .expect("a message belongs to a subscription");
            if subscription.takes(number, published) {
                return;
            }
            let over = subscription.left.is_some_and(|left| number > left);
            assert!(
                over && subscriptions.len() > 1,
                "message {number} of {published} for {subscriptions:?}"
            );
            subscriptions.pop_front();
            let next = subscriptions.front().expect("more than one");
            assert!(
                next.options.is_none(),
                "a subscription with options is confirmed first: {subscriptions:?}"
            );
        }
    }

    fn control(&mut self, channel: usize, kind: &str, data: &Value, published: u64) {
        let subscriptions = &mut self.subscriptions[channel];
        if kind == "subscribed" {
            while subscriptions
                .front()
                .is_some_and(|subscription| subscription.confirmed)
            {
                let over = subscriptions.pop_front().expect("there is one");
                assert!(over.left.is_some(), "confirmed twice: {over:?}");
            }
        }
        let subscription = subscriptions
            .front_mut()
            .unwrap_or_else(|| panic!("{kind} for no subscription"));
        subscription.control(kind, data, published);
    }

    /// Takes an unfinished line. It belongs to a subscription that asked for it.
    fn partial(&mut self, channel: usize, text: String) {
        let subscription = self.subscriptions[channel]
            .iter_mut()
            .find(|subscription| subscription.confirmed && subscription.is_shown_partials())
            .unwrap_or_else(|| panic!("{text:?} for a subscription that did not ask for it"));
        assert!(
            !(text.is_empty() && subscription.partial.is_empty()),
            "there was none before: {subscription:?}"
        );
        subscription.partial = text;
    }

    fn check_at_rest(&self, published: [u64; CHANNELS.len()], paced: bool) {
        let client = self.peer.client();
        if self.is_plain {
            assert_eq!(
                self.got + client.skipped(),
                self.meant,
                "exactly once, or counted"
            );
            assert_eq!(client.written(), self.got);
            if !paced {
                assert_eq!(client.skipped(), self.skipped);
            }
        }
        for (channel, published) in published.into_iter().enumerate() {
            let Some(subscription) = self.live(channel) else {
                continue;
            };
            assert!(
                subscription.confirmed && subscription.replay.is_none(),
                "{subscription:?}"
            );
            if subscription
                .options
                .as_ref()
                .is_some_and(|options| options.gaps)
            {
                assert_eq!(
                    subscription.position, published,
                    "messages and gaps cover everything: {subscription:?}"
                );
            }
        }
    }
}

impl SubscriptionModel {
    fn is_shown_partials(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.partial)
    }

    /// Takes a message and returns true if it belongs to this subscription. Panics if the message
    /// is wrong there.
    fn takes(&mut self, number: u64, published: u64) -> bool {
        let last = self.left.unwrap_or(published);
        if !self.confirmed || number > last {
            return false;
        }
        let gaps = self.options.as_ref().is_some_and(|options| options.gaps);
        if let Some((_, next, to)) = &mut self.replay {
            assert!(
                number <= *to
                    && if gaps {
                        number == *next
                    } else {
                        number >= *next
                    },
                "{number} in {self:?}"
            );
            *next = number + 1;
            return true;
        }
        assert!(
            number > self.position && (!gaps || number == self.position + 1),
            "{number} after {self:?}"
        );
        assert!(
            self.options.is_some() || number > self.joined,
            "{number} is from before {self:?}"
        );
        self.position = number;
        self.received += 1;
        true
    }

    fn control(&mut self, kind: &str, data: &Value, published: u64) {
        let number = |key: &str| {
            data[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {data}"))
        };
        let options = self
            .options
            .as_ref()
            .expect("only a subscription with options gets control messages");
        match kind {
            "subscribed" => {
                assert!(!self.confirmed);
                let (seq, replayed, lost) = (number("seq"), number("replayed"), number("lost"));
                assert!(
                    self.joined <= seq + replayed && seq + replayed <= published,
                    "{data} for {self:?}"
                );
                if options.tail.is_none() && options.since.is_none() {
                    assert_eq!((replayed, lost), (0, 0), "{data} for {self:?}");
                }
                if let (Some(tail), None) = (options.tail, &options.since) {
                    assert!(replayed <= tail && lost == 0, "{data} for {self:?}");
                }
                if let Some(since) = options
                    .since
                    .as_ref()
                    .filter(|since| data["epoch"] == since.epoch)
                {
                    let known = since.seq.min(seq + replayed);
                    assert_eq!(seq, known + lost, "{data} for {self:?}");
                }
                (self.confirmed, self.position) = (true, seq);
            }
            "gap" => {
                assert!(self.confirmed && options.gaps);
                let (from, to) = (number("from"), number("to"));
                assert!(from <= to && to - from + 1 == number("count"), "{data}");
                match &mut self.replay {
                    Some((_, next, last)) => {
                        assert!(from == *next && to <= *last, "{data} in {self:?}");
                        *next = to + 1;
                    }
                    None => {
                        assert!(
                            from == self.position + 1 && to <= published,
                            "{data} for {self:?}"
                        );
                        self.position = to;
                        self.received += to - from + 1;
                    }
                }
            }
            "replay" => {
                let (from, to) = (number("from"), number("to"));
                assert!(
                    self.confirmed
                        && self.replay.is_none()
                        && to + 1 >= from
                        && to <= published.max(from - 1),
                    "{data}"
                );
                self.replay = Some((from, from, to));
            }
            "replayed" => {
                let (from, next, to) = self.replay.take().expect("a replay has begun");
                assert_eq!((number("from"), number("to")), (from, to));
                assert!(
                    next == to + 1 || (!options.gaps && next <= to + 1),
                    "{data} at {next}"
                );
            }
            kind => panic!("{kind} is unknown"),
        }
    }
}

/// Returns the messages in a parcel of frames.
fn decode(mut parcel: &[u8]) -> Vec<Delivery> {
    let mut sent = Vec::new();
    while let Some((&[first, len], rest)) = parcel.split_first_chunk() {
        assert_eq!(first, 0x81);
        let (len, rest) = match len {
            126 => {
                let (len, rest) = rest.split_first_chunk().expect("a whole header");
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            len => (usize::from(len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        parcel = rest;
        let message: Value = serde_json::from_slice(payload).expect("JSON");
        let kind = message["type"].as_str().expect("a type");
        let channel = message["channel"].as_str().map(|name| {
            CHANNELS
                .iter()
                .position(|channel| *channel == name)
                .expect("one of the channels")
        });
        let number = |data: &Value| data.as_str().expect("a text").parse().expect("a number");
        match (kind, channel) {
            ("pong", None) => sent.push(Delivery::Pong),
            ("event", None) => sent.push(Delivery::Notice),
            ("error", None) => sent.push(Delivery::SubscribeRefusal),
            ("process_output" | "error", Some(channel)) => {
                sent.push(Delivery::Message {
                    channel,
                    number: number(&message["data"]),
                    told: message["seq"].as_u64(),
                });
            }
            ("process_output_batch", Some(channel)) => {
                let numbers: Vec<u64> = message["data"]
                    .as_array()
                    .expect("lines")
                    .iter()
                    .map(number)
                    .collect();
                assert_eq!(
                    message["seq"].as_u64(),
                    numbers.first().copied(),
                    "{message}"
                );
                sent.extend(numbers.into_iter().map(|number| Delivery::Message {
                    channel,
                    number,
                    told: None,
                }));
            }
            ("process_partial", Some(channel)) => {
                let text = message["data"].as_str().expect("a text").to_owned();
                sent.push(Delivery::Partial { channel, text });
            }
            (kind, Some(channel)) => {
                let (kind, data) = (kind.to_owned(), message["data"].clone());
                sent.push(Delivery::Control {
                    kind,
                    channel,
                    data,
                });
            }
            _ => panic!("{message}"),
        }
    }
    sent
}
