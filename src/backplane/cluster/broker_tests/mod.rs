//! What every broker has to do, tested with real ones.

mod connection;
mod messages;
mod persistence;
mod records;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrace_testkit::{BrokerKind, BrokerServer, bounded};

use super::broker::{
    Appended, Broker, BrokerError, BrokerSettings, Created, Incoming, Key, Replaced, Storing, Topic,
};
use super::names::{NodeId, Prefix, Token};

/// Names of channels with everything that means something to a broker.
const ODD_NAMES: [&[u8]; 7] = [
    b"a..b:c.",
    b"*",
    b">",
    b"$KV.x y\r\n\t",
    b"[^a]?{tag}\\\"'%41=2E",
    "\u{e9}\u{1f600}".as_bytes(),
    &[0, 1, 0xff, b'/', b'=', b'-', b'_'],
];

/// Runs each test of the list with each broker.
macro_rules! with_every_broker {
    ($($test:ident)*) => {
        #[cfg(feature = "nats")]
        mod with_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let kind = outrace_testkit::BrokerKind::Nats;
                $crate::backplane::cluster::broker_tests::run(kind, super::$test).await;
            })*
        }
        #[cfg(feature = "redis")]
        mod with_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let kind = outrace_testkit::BrokerKind::Redis;
                $crate::backplane::cluster::broker_tests::run(kind, super::$test).await;
            })*
        }
    };
}
use with_every_broker;

async fn run(kind: BrokerKind, test: impl AsyncFnOnce(BrokerServer)) {
    bounded(async {
        if let Some(server) = BrokerServer::start(kind).await {
            test(server).await;
        }
    })
    .await;
}

/// The settings of a node that stores blocks for ever.
fn settings(node: &str) -> BrokerSettings {
    BrokerSettings {
        storing: Some(Storing::default()),
        ..BrokerSettings::new(Prefix::default(), node_id(node))
    }
}

/// Opens a connection, which need not be there yet.
fn open(server: &BrokerServer, settings: BrokerSettings) -> Arc<dyn Broker> {
    open_url(&server.url(), settings)
}

fn open_url(url: &str, settings: BrokerSettings) -> Arc<dyn Broker> {
    #[cfg(feature = "nats")]
    if url.starts_with("nats") {
        let address = super::nats::NatsAddress::parse(url).unwrap();
        return Arc::new(super::nats::Nats::open(address, settings));
    }
    #[cfg(feature = "redis")]
    if url.starts_with("redis") {
        return Arc::new(super::redis::RedisBroker::open(url, settings).unwrap());
    }
    panic!("no broker for {url}");
}

/// Opens a connection and waits for it.
async fn connect(server: &BrokerServer, node: &str) -> Arc<dyn Broker> {
    connect_with(server, settings(node)).await
}

async fn connect_with(server: &BrokerServer, settings: BrokerSettings) -> Arc<dyn Broker> {
    let broker = open(server, settings);
    assert_eq!(broker.next().await, Incoming::Connected { first: true });
    broker
}

fn token(name: impl AsRef<[u8]>) -> Token {
    Token::escape(name.as_ref()).unwrap()
}

fn node_id(name: &str) -> NodeId {
    NodeId::new(name, 7).unwrap()
}

fn blocks_of(name: &str) -> Topic {
    Topic::Blocks(token(name))
}

/// Returns the next event, which has to be a message.
async fn message(broker: &Arc<dyn Broker>) -> (Topic, Bytes) {
    match broker.next().await {
        Incoming::Message { topic, payload } => (topic, payload),
        other => panic!("{other:?} instead of a message"),
    }
}

/// Waits until the connection was lost and is back.
async fn reconnected(broker: &Arc<dyn Broker>) {
    assert_eq!(broker.next().await, Incoming::Disconnected);
    assert_eq!(broker.next().await, Incoming::Connected { first: false });
}

/// Between two looks at a state that no event announces.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
