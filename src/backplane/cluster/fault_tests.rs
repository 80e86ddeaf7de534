//! Hubs whose connection to the broker loses, repeats, reorders and damages messages.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrace_testkit::{Account, BrokerKind, BrokerServer, JsonClient, bounded, eventually};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::broker::{
    Appended, Broker, BrokerCounters, BrokerError, Call, Created, Incoming, Key, Replaced, Topic,
};
use super::names::Token;
use super::{Cluster, ClusterBuilder};
use crate::backplane::{Backplane, Directory, Node, Report};
use crate::sync::lock;
use crate::{Hub, Lines};

const C: &str = "process:web";

/// What is to go wrong between a node and its broker.
#[derive(Default)]
struct Faults {
    /// Messages are lost, repeated, reordered and damaged.
    any: AtomicBool,
    /// No block arrives.
    no_blocks: AtomicBool,
    /// Blocks reach this node and are not stored, as when a broker dies in between.
    unstored: Mutex<Option<Arc<Faults>>>,
    /// What arrives later.
    held: Mutex<VecDeque<Incoming>>,
}

/// A broker whose messages arrive with faults, as long as switches say so.
struct FaultyBroker {
    inner: Arc<dyn Broker>,
    faults: Arc<Faults>,
    random: Mutex<u64>,
}

impl FaultyBroker {
    /// Returns a random number below `bound`.
    fn random(&self, bound: u64) -> u64 {
        let mut state = lock(&self.random);
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) % bound
    }

    async fn next_faulty(&self) -> Incoming {
        loop {
            // What was held comes after what came meanwhile.
            if (!self.faults.any.load(Ordering::Relaxed) || self.random(2) == 0)
                && let Some(held) = lock(&self.faults.held).pop_front()
            {
                return held;
            }
            let incoming = self.inner.next().await;
            let Incoming::Message { topic, payload } = &incoming else {
                return incoming;
            };
            let is_block = matches!(topic, Topic::Blocks(_));
            if is_block && self.faults.no_blocks.load(Ordering::Relaxed) {
                continue;
            }
            if !self.faults.any.load(Ordering::Relaxed) {
                return incoming;
            }
            match self.random(10) {
                0 => {}
                1 => lock(&self.faults.held).push_back(incoming),
                2 => {
                    lock(&self.faults.held).push_back(incoming.clone());
                    return incoming;
                }
                3 => {
                    let mut damaged = payload.to_vec();
                    let at = self.random(damaged.len() as u64) as usize;
                    damaged[at] ^= 1 << self.random(8);
                    return Incoming::Message {
                        topic: topic.clone(),
                        payload: damaged.into(),
                    };
                }
                _ => return incoming,
            }
        }
    }
}

impl Broker for FaultyBroker {
    fn publish<'a>(&'a self, topic: &'a Topic, bytes: Bytes) -> Call<'a, Result<(), BrokerError>> {
        self.inner.publish(topic, bytes)
    }
    fn subscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        self.inner.subscribe(topic)
    }
    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        self.inner.unsubscribe(topic)
    }
    fn next(&self) -> Call<'_, Incoming> {
        Box::pin(self.next_faulty())
    }
    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> Call<'a, Result<Created, BrokerError>> {
        self.inner.create(key, value)
    }
    fn replace<'a>(
        &'a self,
        key: &'a Key,
        value: Bytes,
        revision: u64,
    ) -> Call<'a, Result<Replaced, BrokerError>> {
        self.inner.replace(key, value, revision)
    }
    fn read<'a>(&'a self, key: &'a Key) -> Call<'a, Result<Option<(Bytes, u64)>, BrokerError>> {
        self.inner.read(key)
    }
    fn remove<'a>(&'a self, key: &'a Key, revision: u64) -> Call<'a, Result<(), BrokerError>> {
        self.inner.remove(key, revision)
    }
    fn append<'a>(
        &'a self,
        token: &'a Token,
        payload: Bytes,
        expected: u64,
    ) -> Call<'a, Result<Appended, BrokerError>> {
        let unstored = lock(&self.faults.unstored).clone();
        if let Some(elsewhere) = unstored {
            let topic = Topic::Blocks(token.clone());
            lock(&elsewhere.held).push_back(Incoming::Message { topic, payload });
            return Box::pin(async { Err(BrokerError::Unknown) });
        }
        self.inner.append(token, payload, expected)
    }
    fn last_stored<'a>(
        &'a self,
        token: &'a Token,
    ) -> Call<'a, Result<Option<(u64, Bytes)>, BrokerError>> {
        self.inner.last_stored(token)
    }
    fn stored<'a>(
        &'a self,
        token: &'a Token,
        from: u64,
        max_bytes: usize,
    ) -> Call<'a, Result<Vec<(u64, Bytes)>, BrokerError>> {
        self.inner.stored(token, from, max_bytes)
    }
    fn is_persistent(&self) -> Call<'_, Result<bool, BrokerError>> {
        self.inner.is_persistent()
    }
    fn counters(&self) -> BrokerCounters {
        self.inner.counters()
    }
    fn close(&self) -> Call<'_, ()> {
        self.inner.close()
    }
}

/// A node over a broker with faults.
struct FaultyCluster {
    cluster: Cluster,
    faults: Arc<Faults>,
    seed: u64,
}

impl Backplane for FaultyCluster {
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        self.cluster.directory()
    }
    fn report(&self) -> Option<Arc<dyn Report>> {
        self.cluster.report()
    }
    fn shares(&self) -> bool {
        true
    }
    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let inner = self.cluster.open().unwrap();
            let broker = FaultyBroker {
                inner,
                faults: self.faults,
                random: Mutex::new(self.seed),
            };
            self.cluster.run_over(Arc::new(broker), node).await;
        })
    }
}

/// Starts a hub over a broker with faults. Returns it, its URL and its server.
async fn member(
    cluster: ClusterBuilder,
    faults: &Arc<Faults>,
    seed: u64,
) -> (Hub, String, JoinHandle<()>) {
    let hub = Hub::builder()
        .history(1 << 16)
        .history_bytes(64 << 20)
        .queue(1 << 16)
        .backplane(FaultyCluster {
            cluster: cluster.build().unwrap(),
            faults: Arc::clone(faults),
            seed,
        })
        .build()
        .unwrap();
    hub.start();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let served = crate::server::serve(listener, hub.clone(), std::future::pending());
    let server = tokio::spawn(async move {
        served.await.unwrap();
    });
    (hub, url, server)
}

/// Publishes on the home and elsewhere while messages are lost, repeated, reordered and damaged,
/// and accounts for every message on both nodes.
async fn every_message_arrives_or_is_told(kind: BrokerKind, seed: u64) {
    let Some(broker) = BrokerServer::start(kind).await else {
        return;
    };
    let [at_a, at_b] = [(), ()].map(|()| Arc::<Faults>::default());
    let cluster = |name| Cluster::builder(&broker.url()).node(name);
    let (a, a_url, _a) = member(cluster("a"), &at_a, seed).await;
    let (b, b_url, _b) = member(cluster("b"), &at_b, seed + 1000).await;
    let at_home = a.publisher(C).unwrap();
    at_home.send_line("a:0");
    eventually(|| a.stats().backplane.unwrap().homes == 1).await;
    eventually(|| b.stats().backplane.unwrap().nodes == 2).await;
    let mut viewers = Vec::new();
    for url in [&a_url, &b_url] {
        let mut client = JsonClient::connect(url).await;
        let options = json!({"gaps": true, "tail": 10, "batch": true});
        client.subscribe(C, options).await;
        let account = Account::open(&mut client).await;
        viewers.push((client, account));
    }
    let set_faults = |any| {
        for faults in [&at_a, &at_b] {
            faults.any.store(any, Ordering::Relaxed);
        }
    };
    set_faults(true);
    let elsewhere = b.publisher(C).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let lines = |name: &str, first: u64| -> Lines {
        (first..first + 5)
            .map(|number| format!("{name}:{number}"))
            .collect()
    };
    for round in 0..400 {
        tick.tick().await;
        at_home.send_lines(lines("a", 1 + round * 5));
        elsewhere.send_lines(lines("b", round * 5));
    }
    set_faults(false);
    let last = 1 + 400 * 10;
    let mut received = Vec::new();
    for (mut client, mut account) in viewers {
        account.read_to(&mut client, last).await;
        assert_eq!(
            account.received + account.skipped,
            last - account.began_after
        );
        received.push(account);
    }
    outrace_testkit::assert_agreement(&received);
    // What was asked for three times in vain is told.
    let skipped = received.iter().map(|account| account.skipped).sum::<u64>();
    assert!(skipped < last / 20, "{skipped}");
    let [at_a, at_b] = [a, b].map(|hub| hub.stats().backplane.unwrap());
    assert!(at_b.damaged > 0 && at_b.repaired > 0, "{at_b:?}");
    assert_eq!((at_a.homes, at_b.homes, at_b.forwarded), (1, 0, 2000));
}

#[tokio::test]
async fn every_message_arrives_whatever_nats_loses_repeats_reorders_and_damages() {
    for seed in 1..4 {
        bounded(every_message_arrives_or_is_told(BrokerKind::Nats, seed)).await;
    }
}

#[tokio::test]
async fn every_message_arrives_whatever_redis_loses_repeats_reorders_and_damages() {
    for seed in 11..14 {
        bounded(every_message_arrives_or_is_told(BrokerKind::Redis, seed)).await;
    }
}

/// A mirror that got none of the last blocks asks for them before their home is gone.
async fn the_last_messages_of_a_node_that_shuts_down_arrive(kind: BrokerKind) {
    let Some(broker) = BrokerServer::start(kind).await else {
        return;
    };
    let [at_a, at_b] = [(), ()].map(|()| Arc::<Faults>::default());
    let cluster = |name| Cluster::builder(&broker.url()).node(name);
    let (a, _, _a) = member(cluster("a"), &at_a, 1).await;
    let (b, b_url, _b) = member(cluster("b"), &at_b, 2).await;
    let publisher = a.publisher(C).unwrap();
    publisher.send_line("1");
    eventually(|| a.stats().backplane.unwrap().homes == 1).await;
    eventually(|| b.stats().backplane.unwrap().nodes == 2).await;
    let mut client = JsonClient::connect(&b_url).await;
    client.subscribe(C, json!({"gaps": true, "tail": 10})).await;
    let mut account = Account::open(&mut client).await;
    account.read_to(&mut client, 1).await;
    at_b.no_blocks.store(true, Ordering::Relaxed);
    publisher.send_lines((2..=50).map(|number: u64| number.to_string()).collect());
    publisher.send_status("exited", 0);
    a.shutdown().await;
    account.read_to(&mut client, 51).await;
    assert_eq!((account.received, account.skipped), (51, 0));
}

#[tokio::test]
async fn the_last_messages_of_a_node_that_shuts_down_arrive_over_nats() {
    bounded(the_last_messages_of_a_node_that_shuts_down_arrive(
        BrokerKind::Nats,
    ))
    .await;
}

#[tokio::test]
async fn the_last_messages_of_a_node_that_shuts_down_arrive_over_redis() {
    bounded(the_last_messages_of_a_node_that_shuts_down_arrive(
        BrokerKind::Redis,
    ))
    .await;
}

/// A block reaches a mirror and not the store, and its home dies. The next home does not know of
/// it, and its messages get the same numbers.
async fn numbers_that_a_mirror_has_passed_are_not_given_again(kind: BrokerKind) {
    let Some(broker) = BrokerServer::start(kind).await else {
        return;
    };
    let [at_a, at_b, at_c] = [(), (), ()].map(|()| Arc::<Faults>::default());
    let cluster = |name| {
        Cluster::builder(&broker.url())
            .node(name)
            .durable(Duration::from_secs(3600))
            .lease(Duration::from_secs(2))
    };
    let (a, _, server) = member(cluster("a"), &at_a, 1).await;
    let (b, b_url, _b) = member(cluster("b"), &at_b, 2).await;
    let (c, c_url, _c) = member(cluster("c"), &at_c, 3).await;
    let publisher = a.publisher(C).unwrap();
    publisher.send_lines((1..=100).map(|number: u64| number.to_string()).collect());
    eventually(|| a.stats().backplane.unwrap().exported == 100).await;
    for hub in [&b, &c] {
        eventually(|| hub.stats().backplane.unwrap().nodes == 3).await;
    }
    let mut client = JsonClient::connect(&b_url).await;
    client
        .subscribe(C, json!({"gaps": true, "tail": 1000}))
        .await;
    let mut account = Account::open(&mut client).await;
    account.read_to(&mut client, 100).await;
    *lock(&at_a.unstored) = Some(Arc::clone(&at_b));
    publisher.send_lines((101..=110).map(|number: u64| number.to_string()).collect());
    account.read_to(&mut client, 110).await;
    drop(publisher);
    drop(a);
    server.abort();
    let _ = server.await;
    let next = c.publisher(C).unwrap();
    next.send_lines((0..5).map(|number: u64| format!("new:{number}")).collect());
    // Or else they are dropped as messages that the mirror has, and this hangs.
    account.read_to(&mut client, 115).await;
    assert_eq!((account.received, account.skipped), (115, 0));
    let expected: Vec<_> = (111..=115)
        .map(|seq: u64| (seq, format!("new:{}", seq - 111)))
        .collect();
    assert_eq!(account.lines[110..], expected);
    let mut client = JsonClient::connect(&c_url).await;
    client
        .subscribe(C, json!({"gaps": true, "tail": 1000}))
        .await;
    let later = Account::open(&mut client).await;
    assert_eq!(later.epoch, account.epoch);
}

#[tokio::test]
async fn numbers_that_a_mirror_has_passed_are_not_given_again_over_nats() {
    bounded(numbers_that_a_mirror_has_passed_are_not_given_again(
        BrokerKind::Nats,
    ))
    .await;
}

#[tokio::test]
async fn numbers_that_a_mirror_has_passed_are_not_given_again_over_redis() {
    bounded(numbers_that_a_mirror_has_passed_are_not_given_again(
        BrokerKind::Redis,
    ))
    .await;
}
