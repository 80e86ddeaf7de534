//! A cluster of hubs with servers and clients.

use std::time::Duration;

use outrace::backplane::cluster::Cluster;
use outrace::{Hub, Lines, Publisher};
use outrace_testkit::{Account, BrokerServer, JsonClient, serve};
use serde_json::Value;

/// The channel of most tests.
pub(crate) const C: &str = "process:web";

/// How long a lease holds in these tests.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Makes a test of each function, for each broker.
macro_rules! over_each_broker {
    ($($test:ident),* $(,)?) => {
        mod nats {
            $(#[tokio::test]
            async fn $test() {
                $crate::kit::run(outrace_testkit::BrokerKind::Nats, super::$test).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $test() {
                $crate::kit::run(outrace_testkit::BrokerKind::Redis, super::$test).await;
            })*
        }
    };
}
pub(crate) use over_each_broker;

/// Runs a test with a broker of its own.
pub(crate) async fn run(kind: outrace_testkit::BrokerKind, test: impl AsyncFnOnce(BrokerServer)) {
    outrace_testkit::bounded(async {
        if let Some(broker) = BrokerServer::start(kind).await {
            test(broker).await;
        }
    })
    .await;
}

/// A hub of the cluster, and its server.
pub(crate) struct Member {
    pub(crate) hub: Hub,
    pub(crate) url: String,
}

impl Member {
    /// Starts a hub that keeps the last messages of each channel.
    pub(crate) async fn start(broker: &BrokerServer, name: &str) -> Self {
        Self::start_with(broker, name, |cluster| cluster).await
    }

    /// As [`Member::start`], with other settings.
    pub(crate) async fn start_with(
        broker: &BrokerServer,
        name: &str,
        settings: impl FnOnce(
            outrace::backplane::cluster::ClusterBuilder,
        ) -> outrace::backplane::cluster::ClusterBuilder,
    ) -> Self {
        let cluster = Cluster::builder(&broker.url()).node(name).lease(LEASE);
        let hub = Hub::builder()
            .history(1 << 16)
            .history_bytes(256 << 20)
            .queue(1 << 16)
            .backplane(settings(cluster).build().unwrap())
            .build()
            .unwrap();
        hub.start();
        let url = serve(&hub).await;
        Self { hub, url }
    }

    /// Subscribes with options, and opens the account of the subscription.
    pub(crate) async fn subscribed(&self, channel: &str, options: Value) -> (JsonClient, Account) {
        let mut client = JsonClient::connect(&self.url).await;
        client.subscribe(channel, options).await;
        let account = Account::open(&mut client).await;
        (client, account)
    }

    pub(crate) fn publisher(&self, channel: &str) -> Publisher {
        self.hub.publisher(channel).unwrap()
    }

    /// Waits until `nodes` nodes hear each other.
    pub(crate) async fn hears(&self, nodes: usize) {
        outrace_testkit::eventually(|| self.backplane().nodes == nodes).await;
    }

    pub(crate) fn backplane(&self) -> outrace::backplane::BackplaneStats {
        self.hub.stats().backplane.unwrap()
    }
}

/// Publishes the lines `from..=to`, each with its number.
pub(crate) fn publish(publisher: &Publisher, numbers: std::ops::RangeInclusive<u64>) {
    let lines: Lines = numbers.map(|seq| seq.to_string()).collect();
    publisher.send_lines(lines);
}

/// Asserts that each line received has its own number as its text.
pub(crate) fn assert_numbered(account: &Account) {
    for (seq, line) in &account.lines {
        assert_eq!(&seq.to_string(), line);
    }
}
