//! A cluster of hubs with servers and clients.

use std::ops::RangeInclusive;
use std::time::Duration;

use outrace::backplane::BackplaneStats;
use outrace::backplane::cluster::{Cluster, ClusterBuilder};
use outrace::{Hub, Lines, Publisher};
use outrace_testkit::{Account, BrokerKind, BrokerServer, JsonClient, bounded, eventually, http};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The channel of most tests.
pub(crate) const C: &str = "process:web";

/// How long a lease holds in tests that wait for its end.
pub(crate) const SHORT_LEASE: Duration = Duration::from_secs(2);

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
pub(crate) async fn run(kind: BrokerKind, test: impl AsyncFnOnce(BrokerServer)) {
    if std::env::var_os("OUTRACE_TEST_LOG").is_some() {
        // It fails for each test but the first.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .try_init();
    }
    bounded(async {
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
    server: JoinHandle<()>,
}

impl Member {
    /// Starts a hub that keeps the last messages of each channel.
    pub(crate) async fn start(broker: &BrokerServer, name: &str) -> Self {
        Self::start_with(broker, name, |cluster| cluster).await
    }

    /// As [`Member::start`], with leases that end soon.
    pub(crate) async fn start_with_short_lease(broker: &BrokerServer, name: &str) -> Self {
        Self::start_with(broker, name, |cluster| cluster.lease(SHORT_LEASE)).await
    }

    /// As [`Member::start`], with other settings.
    pub(crate) async fn start_with(
        broker: &BrokerServer,
        name: &str,
        settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        let cluster = settings(Cluster::builder(&broker.url()).node(name));
        let hub = Hub::builder()
            .history(1 << 17)
            .history_bytes(256 << 20)
            .queue(1 << 17)
            .queue_bytes(256 << 20)
            .backplane(cluster.build().unwrap())
            .build()
            .unwrap();
        hub.start();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let served = outrace::server::serve(listener, hub.clone(), std::future::pending());
        let server = tokio::spawn(async move {
            served.await.unwrap();
        });
        Self { hub, url, server }
    }

    /// Ends the hub as a kill of its process would: the other nodes hear nothing of it. Its
    /// clients have to be gone.
    pub(crate) async fn kill(self) {
        self.server.abort();
        let _ = self.server.await;
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
        eventually(|| self.backplane().nodes == nodes).await;
    }

    /// Waits until this node is the home of this many channels.
    pub(crate) async fn is_home(&self, channels: usize) {
        eventually(|| self.backplane().homes == channels).await;
    }

    /// Returns the list of channels that the node's server gives.
    pub(crate) async fn channels(&self) -> Vec<Value> {
        let address = self.url.trim_start_matches("ws://").trim_end_matches("/ws");
        let address = address.parse().unwrap();
        let got = tokio::task::spawn_blocking(move || http::get(address, "/api/channels"));
        got.await.unwrap().json().as_array().unwrap().clone()
    }

    pub(crate) fn backplane(&self) -> BackplaneStats {
        self.hub.stats().backplane.unwrap()
    }
}

/// Publishes lines with these numbers.
pub(crate) fn publish(publisher: &Publisher, numbers: RangeInclusive<u64>) {
    let lines: Lines = numbers.map(|seq| seq.to_string()).collect();
    publisher.send_lines(lines);
}

/// Publishes lines with these numbers, about 2,000 a second.
pub(crate) async fn publish_slowly(publisher: &Publisher, numbers: RangeInclusive<u64>) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    for first in numbers.clone().step_by(10) {
        tick.tick().await;
        publish(publisher, first..=(first + 9).min(*numbers.end()));
    }
}

/// Asserts that each line received has its own number as its text.
pub(crate) fn assert_numbered(account: &Account) {
    for (seq, line) in &account.lines {
        assert_eq!(&seq.to_string(), line);
    }
}

/// The accounts of one subscription over several numberings.
pub(crate) struct Numberings(pub(crate) Vec<Account>);

impl Numberings {
    pub(crate) fn new(first: Account) -> Self {
        Self(vec![first])
    }

    /// Returns the account of the present numbering.
    pub(crate) fn present(&self) -> &Account {
        self.0.last().unwrap()
    }

    /// Takes the next message. A further answer to the subscription begins another account.
    pub(crate) async fn take(&mut self, client: &mut JsonClient) {
        let message = client.message().await;
        if message["type"] == "subscribed" {
            let number = |key: &str| message["data"][key].as_u64().unwrap();
            self.0.push(Account {
                epoch: message["data"]["epoch"].as_str().unwrap().to_owned(),
                began_after: number("seq"),
                next: number("seq") + 1,
                replayed: number("replayed"),
                lost: number("lost"),
                ..Account::default()
            });
        } else {
            self.0.last_mut().unwrap().take(&message);
        }
    }

    /// Reads until this line.
    pub(crate) async fn read_to_line(&mut self, client: &mut JsonClient, line: &str) {
        while self
            .present()
            .lines
            .last()
            .is_none_or(|(_, last)| last != line)
        {
            self.take(client).await;
        }
    }

    /// Returns all lines received.
    pub(crate) fn lines(&self) -> Vec<&str> {
        let lines = self.0.iter().flat_map(|account| &account.lines);
        lines.map(|(_, line)| line.as_str()).collect()
    }
}
