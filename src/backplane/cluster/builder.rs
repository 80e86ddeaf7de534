//! The settings of a cluster's node.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::broker::{Broker, BrokerError, BrokerSettings, Incoming, Storing};
use super::clock::LeaseClock;
use super::counters::Counters;
use super::names::{NodeId, Prefix};
#[cfg(feature = "nats")]
use super::nats::{Nats, NatsAddress, NatsAddressError};
use super::node_task::NodeTask;
use super::outgoing::Outgoing;
use super::peers::{ClusterDirectory, Peers};
#[cfg(feature = "redis")]
use super::redis::RedisBroker;
use super::wire::Wire;
use crate::backplane::{Backplane, Directory, Node, Report};

/// The prefix of all subjects and keys, unless another one is set.
const DEFAULT_PREFIX: &str = "outrace";
/// The most bytes of a prefix.
const MAX_PREFIX: usize = 64;
/// The most bytes of a node's name.
const MAX_NODE: usize = 64;
/// The shortest time that messages can be stored for.
const MIN_DURABLE: Duration = Duration::from_secs(60);
/// How long [`Cluster::check`] waits for the broker.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that messages can be stored for.
const MAX_DURABLE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes a hub a node of a cluster. Given to
/// [`HubBuilder::backplane`](crate::HubBuilder::backplane). See the [module](super).
pub struct Cluster {
    id: NodeId,
    broker: BrokerAddress,
    settings: Settings,
    directory: Arc<ClusterDirectory>,
    counters: Arc<Counters>,
}

/// The settings of a [`Cluster`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClusterBuilder {
    url: String,
    node: Option<String>,
    prefix: String,
    durable: Option<Duration>,
    credentials_file: Option<PathBuf>,
    lease: Duration,
}

/// The error for settings of a [`Cluster`] that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The URL is not one of a broker. The text does not show its password.
    #[error("not a usable broker URL: {0}")]
    Url(String),
    /// The URL needs a feature that is not compiled in.
    #[error("{scheme}:// needs the feature `{feature}`, which this build does not have")]
    Feature {
        /// The scheme of the URL.
        scheme: String,
        /// The name of the feature.
        feature: &'static str,
    },
    /// The prefix has another length or other characters than a prefix may have.
    #[error("the prefix has to have 1 to {MAX_PREFIX} bytes of A-Z a-z 0-9 _ -")]
    Prefix,
    /// The name of the node has another length or other characters than a name may have.
    #[error("the node's name has to have 1 to {MAX_NODE} bytes of A-Z a-z 0-9 _ . -")]
    Node,
    /// The age of stored messages is out of its range.
    #[error("messages are stored for 1 minute to 365 days")]
    Durable,
    /// The credentials cannot be read, or the broker has no use for such a file.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
    /// The broker cannot be reached, or refuses the node.
    #[error("the broker cannot be used: {0}")]
    Broker(String),
    /// The broker does not store messages safely enough for [`ClusterBuilder::durable`].
    #[error("the broker cannot keep messages: {0}")]
    NotDurable(String),
}

/// Where the broker is.
enum BrokerAddress {
    #[cfg(feature = "nats")]
    Nats(NatsAddress),
    #[cfg(feature = "redis")]
    Redis(String),
}

/// The checked settings.
#[derive(Clone)]
struct Settings {
    prefix: Prefix,
    durable: Option<Duration>,
    lease: Duration,
}

impl Cluster {
    /// Returns a builder for a node of the cluster at the broker with this URL.
    ///
    /// | URL | broker | feature |
    /// |---|---|---|
    /// | `nats://[USER:PASSWORD@]HOST[:PORT]` | NATS; several addresses with commas | `nats` |
    /// | `tls://…` | NATS over TLS | `nats`, `tls` |
    /// | `redis://[USER:PASSWORD@]HOST[:PORT]`, `unix:///PATH` | Redis | `redis` |
    /// | `rediss://…` | Redis over TLS | `redis`, `tls` |
    pub fn builder(url: &str) -> ClusterBuilder {
        ClusterBuilder {
            url: url.to_owned(),
            node: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            durable: None,
            credentials_file: None,
            lease: Duration::from_secs(10),
        }
    }

    /// Begins to connect. Must be called within a tokio runtime.
    pub(super) fn open(&self) -> Result<Arc<dyn Broker>, ClusterError> {
        let mut settings = BrokerSettings::new(self.settings.prefix.clone(), self.id.clone());
        settings.session_ttl = self.settings.lease;
        settings.storing = self
            .settings
            .durable
            .map(|age| Storing { max_age: Some(age) });
        Ok(match &self.broker {
            #[cfg(feature = "nats")]
            BrokerAddress::Nats(address) => Arc::new(Nats::open(address.clone(), settings)),
            #[cfg(feature = "redis")]
            BrokerAddress::Redis(url) => {
                let broker = RedisBroker::open(url, settings);
                Arc::new(broker.map_err(|error| ClusterError::Url(error.to_string()))?)
            }
        })
    }

    /// Runs the node over a broker that is connected or connects by itself.
    pub(super) async fn run_over(self, broker: Arc<dyn Broker>, node: Node) {
        let is_durable = self.settings.durable.is_some();
        let orders = self.directory.begin(node.clone(), self.id.name());
        let wire = Wire::new(
            self.id,
            Arc::new(Outgoing::default()),
            self.counters,
            node.max_outgoing_message(),
            node.history() as u64,
        );
        let peers = Peers::new(self.directory, self.settings.lease);
        let clock = LeaseClock::new(self.settings.lease);
        let task = NodeTask::new(node, broker, wire, clock, peers, is_durable);
        task.run(orders).await;
    }

    /// Connects once, and checks that the broker does what the settings ask for. For a program
    /// that is to end with an error instead of trying to connect for ever.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached within 5 s, or if it does not keep
    /// messages although [`ClusterBuilder::durable`] is set.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it changes nothing.
    pub async fn check(&self) -> Result<(), ClusterError> {
        let broker = self.open()?;
        let checked = timeout(CHECK_TIMEOUT, async {
            while !matches!(broker.next().await, Incoming::Connected { .. }) {}
            broker.is_persistent().await
        });
        let checked = checked.await;
        broker.close().await;
        match checked {
            Err(_) => Err(ClusterError::Broker("it cannot be reached".to_owned())),
            Ok(Err(BrokerError::Unsupported(lack))) if self.settings.durable.is_some() => {
                Err(ClusterError::NotDurable(lack))
            }
            Ok(Err(error)) => Err(ClusterError::Broker(error.to_string())),
            Ok(Ok(false)) if self.settings.durable.is_some() => {
                let reason = "it keeps its data in memory alone";
                Err(ClusterError::NotDurable(reason.to_owned()))
            }
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Returns the name of this node.
    pub fn node(&self) -> String {
        self.id.name()
    }
}

impl Backplane for Cluster {
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        let directory: Arc<dyn Directory> = Arc::<ClusterDirectory>::clone(&self.directory);
        Some(directory)
    }

    fn report(&self) -> Option<Arc<dyn Report>> {
        let report: Arc<dyn Report> = Arc::<Counters>::clone(&self.counters);
        Some(report)
    }

    fn shares(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match self.open() {
                Ok(broker) => self.run_over(broker, node).await,
                Err(error) => tracing::error!(%error, "the broker cannot be used"),
            }
        })
    }
}

impl ClusterBuilder {
    /// Sets the name of the node, which no other node of the cluster may have. By default it is
    /// the host's name and a random part.
    ///
    /// The lists of channels show it. It has 1 to 64 bytes of `[A-Za-z0-9_.-]`.
    pub fn node(mut self, name: &str) -> Self {
        self.node = Some(name.to_owned());
        self
    }

    /// Sets the prefix of all subjects and keys at the broker: `outrace` by default. Nodes with
    /// different prefixes are in different clusters.
    ///
    /// It has 1 to 64 bytes of `[A-Za-z0-9_-]`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Has the broker store all messages for this time, from 1 minute to 365 days. By default it
    /// stores none.
    ///
    /// The numbering of a channel then outlives its home: a node that becomes its home goes on
    /// with the same epoch. All nodes of a cluster should have the same setting.
    ///
    /// A home that dies may have shown messages to its own viewers that were not stored. The next
    /// home does not know of them, and gives their numbers again.
    ///
    /// What is stored is as safe as the broker makes it. NATS syncs its files up to 2 minutes
    /// after it acknowledged a message, and Redis with `appendfsync everysec` up to 1 s after. A
    /// power failure may lose that much.
    pub fn durable(mut self, age: Duration) -> Self {
        self.durable = Some(age);
        self
    }

    /// Authenticates at NATS with this file of credentials (`.creds`).
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// Sets how long a lease holds. For tests: 10 s otherwise.
    #[doc(hidden)]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Checks the settings. The node connects when its hub starts.
    ///
    /// # Errors
    /// Returns an error if a setting cannot be used, or needs a feature that is not compiled in.
    pub fn build(self) -> Result<Cluster, ClusterError> {
        let prefix = Prefix::parse(&self.prefix).map_err(|_| ClusterError::Prefix)?;
        let node = self.node.unwrap_or_else(default_node);
        let id = NodeId::start(&node).map_err(|_| ClusterError::Node)?;
        let durable = self.durable;
        if durable.is_some_and(|age| !(MIN_DURABLE..=MAX_DURABLE).contains(&age)) {
            return Err(ClusterError::Durable);
        }
        Ok(Cluster {
            id,
            broker: address(&self.url, self.credentials_file)?,
            settings: Settings {
                prefix,
                durable,
                lease: self.lease,
            },
            directory: Arc::new(ClusterDirectory::new()),
            counters: Arc::new(Counters::new()),
        })
    }
}

/// Picks the broker by the URL's scheme, and checks the rest of it.
fn address(url: &str, credentials: Option<PathBuf>) -> Result<BrokerAddress, ClusterError> {
    match broker_kind(url)? {
        #[cfg(feature = "nats")]
        BrokerKind::Nats => {
            let refused = |error: NatsAddressError| ClusterError::Url(error.to_string());
            let mut address = NatsAddress::parse(url).map_err(refused)?;
            if let Some(path) = credentials {
                std::fs::File::open(&path).map_err(|error| {
                    ClusterError::Credentials(format!("{}: {error}", path.display()))
                })?;
                address = address
                    .with_credentials_file(path)
                    .map_err(|error| ClusterError::Credentials(error.to_string()))?;
            }
            Ok(BrokerAddress::Nats(address))
        }
        #[cfg(feature = "redis")]
        BrokerKind::Redis if credentials.is_some() => {
            let reason = "Redis takes its user and password from the URL";
            Err(ClusterError::Credentials(reason.to_owned()))
        }
        #[cfg(feature = "redis")]
        BrokerKind::Redis => {
            RedisBroker::check(url).map_err(|error| ClusterError::Url(error.to_string()))?;
            Ok(BrokerAddress::Redis(url.to_owned()))
        }
    }
}

/// What a URL's scheme names, among the brokers that are compiled in.
#[derive(Clone, Copy)]
enum BrokerKind {
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "redis")]
    Redis,
}

fn broker_kind(url: &str) -> Result<BrokerKind, ClusterError> {
    let refused = |reason: &str| Err(ClusterError::Url(reason.to_owned()));
    let Some((scheme, rest)) = url.split_once("://") else {
        return refused("it begins with nats://, tls://, redis://, rediss:// or unix://");
    };
    if rest.is_empty() {
        return refused("it names no address");
    }
    let missing = |feature| {
        Err(ClusterError::Feature {
            scheme: scheme.to_owned(),
            feature,
        })
    };
    match scheme {
        "tls" | "rediss" if !cfg!(feature = "tls") => missing("tls"),
        #[cfg(feature = "nats")]
        "nats" | "tls" => Ok(BrokerKind::Nats),
        #[cfg(not(feature = "nats"))]
        "nats" | "tls" => missing("nats"),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "unix" => Ok(BrokerKind::Redis),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "unix" => missing("redis"),
        _ => refused("the scheme is none of nats, tls, redis, rediss and unix"),
    }
}

/// Returns the host's name and a random part.
fn default_node() -> String {
    let host: String = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .take(MAX_NODE - 9)
        .collect();
    // The keys of a `RandomState` are random, so the hash of anything is.
    let random = RandomState::new().hash_one(SystemTime::now()) as u32;
    format!("{host}-{random:08x}")
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.id)
            .field("prefix", &self.settings.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_refused_without_naming_the_password() {
        for url in ["", "host", "http://u:secret@host", "nats://"] {
            let error = Cluster::builder(url).build().unwrap_err();
            assert!(matches!(error, ClusterError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn names_and_ages_are_checked() {
        let builder = || Cluster::builder("redis://u:secret@localhost");
        for prefix in ["", "a.b", "a b", &"x".repeat(65)] {
            let refused = builder().prefix(prefix).build();
            assert!(matches!(refused, Err(ClusterError::Prefix)), "{prefix}");
        }
        for node in ["", "a:b", "ü", &"x".repeat(65)] {
            let refused = builder().node(node).build();
            assert!(matches!(refused, Err(ClusterError::Node)), "{node}");
        }
        for age in [Duration::ZERO, MAX_DURABLE + Duration::from_secs(1)] {
            let refused = builder().durable(age).build();
            assert!(matches!(refused, Err(ClusterError::Durable)), "{age:?}");
        }
        let refused = builder().credentials_file("/no/file").build();
        assert!(matches!(refused, Err(ClusterError::Credentials(_))));
        let cluster = builder().node("web.1").build().unwrap();
        assert_eq!(cluster.node(), "web.1");
        assert!(!format!("{cluster:?}").contains("secret"));
    }

    #[test]
    fn nodes_without_a_name_have_different_names() {
        let (one, other) = (default_node(), default_node());
        assert!(NodeId::start(&one).is_ok(), "{one}");
        assert_ne!(one, other);
    }

    #[cfg(not(all(feature = "nats", feature = "tls")))]
    #[test]
    fn a_missing_feature_is_named() {
        let error = Cluster::builder("tls://host").build().unwrap_err();
        assert!(matches!(error, ClusterError::Feature { .. }), "{error}");
    }
}
