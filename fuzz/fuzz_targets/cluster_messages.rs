//! What the nodes of a cluster send each other, and what they keep at the broker.
//!
//! Decoding never panics. What was decoded is the same after it was encoded and decoded again. A
//! mirror takes the messages of any block that decodes, and its subscribers get each of them.
#![no_main]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::backplane::{Backplane, Mirror, Node, NumberedRun};
use outrace::internals::{
    Audience, ClusterPayload, SubscribeOptions, cluster_envelope, flush, recode_records,
};
use outrace::{ChannelName, Hub};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const MAX_MESSAGE: usize = 65_536;

#[derive(Arbitrary, Debug)]
enum Received<'a> {
    /// Any bytes.
    Payload(&'a [u8]),
    /// Any message in an intact envelope.
    Message { kind: u8, body: &'a [u8] },
    /// A block with an intact header and any messages.
    Block {
        term: u32,
        first_seq: u32,
        count: u8,
        unix_ms: i32,
        body: &'a [u8],
    },
    /// A block with any head.
    Head { head: &'a [u8], body: &'a [u8] },
    /// A value that the broker keeps.
    Record(&'a [u8]),
}

const BLOCK: u8 = 1;

fuzz_target!(|received: Received<'_>| match received {
    Received::Payload(payload) => check(payload),
    Received::Message { kind, body } => check(&cluster_envelope(kind % 19, &[], body)),
    Received::Block {
        term,
        first_seq,
        count,
        unix_ms,
        body,
    } => {
        let mut head = vec![1, b'e'];
        // The sign of the time is the lowest bit of its number.
        let unix_ms = u64::from(unix_ms.unsigned_abs()) << 1;
        for number in [term.into(), first_seq.into(), count.into(), unix_ms] {
            put_number(&mut head, number);
        }
        check(&cluster_envelope(BLOCK, &head, body));
    }
    Received::Head { head, body } if head.len() < 60_000 => {
        check(&cluster_envelope(BLOCK, head, body));
    }
    Received::Head { .. } => {}
    Received::Record(value) => recode_records(value),
});

/// Decodes a payload, encodes what it holds, and decodes that.
fn check(payload: &[u8]) {
    let Some(decoded) = ClusterPayload::decode(payload, MAX_MESSAGE) else {
        return;
    };
    let (first_seq, told) = decoded.told();
    let mut again = Vec::new();
    let mut next = None;
    for payload in decoded.encode() {
        let part = ClusterPayload::decode(&payload, MAX_MESSAGE).expect("encoded here");
        let (first, messages) = part.told();
        assert_eq!(first, next.unwrap_or(first_seq));
        next = Some(first + messages.len() as u64);
        again.extend(messages);
    }
    assert_eq!(again, told);
    if let Some((epoch, run)) = decoded.into_numbered() {
        STAGE.with_borrow_mut(|stage| {
            stage
                .get_or_insert_with(Stage::new)
                .show(&epoch, run, told.len());
        });
    }
}

/// Appends an integer as the format has it.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// A mirror with subscribers of each kind.
struct Stage {
    runtime: Runtime,
    hub: Hub,
    mirror: Mirror,
    audiences: Vec<Audience>,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O starts");
        let (given, node) = oneshot::channel();
        let (hub, audiences, node) = runtime.block_on(async {
            let hub = Hub::builder()
                .history(100)
                .backplane(Lent(given))
                .build()
                .expect("the options are valid");
            hub.start();
            let audiences = [(false, false), (true, false), (true, true)]
                .map(|(detail, batch)| {
                    let options = SubscribeOptions {
                        gaps: true,
                        detail,
                        batch,
                        ..SubscribeOptions::default()
                    };
                    Audience::join_with(&hub, &["c"], 1, Some(options))
                })
                .into();
            let node = node.await.expect("the backplane runs");
            (hub, audiences, node)
        });
        let channel = ChannelName::parse("c").expect("the name is valid");
        let mirror = node.mirror(&channel).expect("the hub has room");
        mirror.set_synced(true);
        Self {
            runtime,
            hub,
            mirror,
            audiences,
        }
    }

    /// Gives the mirror the messages of a block, and lets the subscribers take them.
    fn show(&mut self, epoch: &str, run: NumberedRun, messages: usize) {
        let Self {
            runtime,
            hub,
            mirror,
            audiences,
        } = self;
        runtime.block_on(async {
            mirror.renumber(epoch, run.first_seq() - 1);
            flush(hub);
            for audience in &*audiences {
                audience.drain();
            }
            let last_seq = run.last_seq();
            mirror.publish(run);
            flush(hub);
            assert_eq!(mirror.numbering(), (epoch.to_owned(), last_seq));
            for (index, audience) in audiences.iter().enumerate() {
                let (drained, _) = audience.drain();
                assert!(drained > 0, "no message of {messages} came to {index}");
            }
        });
    }
}

/// A backplane that hands out its node.
struct Lent(oneshot::Sender<Node>);

impl Backplane for Lent {
    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _ = self.0.send(node);
            std::future::pending().await
        })
    }
}
