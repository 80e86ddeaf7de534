//! The settings of a cluster's node.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use crate::backplane::{Backplane, Node};

/// The prefix of all subjects and keys, unless another one is set.
const DEFAULT_PREFIX: &str = "outrace";
/// The most bytes of a prefix.
const MAX_PREFIX: usize = 64;
/// The most bytes of a node's name.
const MAX_NODE: usize = 64;
/// The shortest time that messages can be stored for.
const MIN_DURABLE: Duration = Duration::from_secs(60);
/// The longest time that messages can be stored for.
const MAX_DURABLE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes a hub a node of a cluster. Given to
/// [`HubBuilder::backplane`](crate::HubBuilder::backplane). See the [module](self).
pub struct Cluster {
    pub(super) settings: Settings,
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
    root_certificates: Option<Vec<u8>>,
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
    /// The root certificates cannot be read.
    #[error("the root certificates cannot be used: {0}")]
    RootCertificates(String),
    /// The broker cannot be reached, or refuses the node.
    #[error("the broker cannot be used: {0}")]
    Broker(String),
    /// The broker does not store messages safely enough for [`ClusterBuilder::durable`].
    #[error("the broker cannot keep messages: {0}")]
    NotDurable(String),
}

/// What a URL's scheme names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokerKind {
    Nats,
    Redis,
}

/// The checked settings.
#[derive(Clone)]
#[allow(dead_code, reason = "the node's task reads them")]
pub(super) struct Settings {
    pub(super) kind: BrokerKind,
    pub(super) url: String,
    pub(super) node: String,
    pub(super) prefix: String,
    pub(super) durable: Option<Duration>,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) root_certificates: Option<Vec<u8>>,
    pub(super) lease: Duration,
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
            root_certificates: None,
            lease: Duration::from_secs(10),
        }
    }

    /// Returns the name of this node.
    pub fn node(&self) -> &str {
        &self.settings.node
    }
}

impl Backplane for Cluster {
    fn run(self: Box<Self>, _node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
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

    /// Trusts the root certificates in this PEM instead of the system's. Needs the feature `tls`.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
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
        let kind = broker_kind(&self.url)?;
        if !is_name(&self.prefix, MAX_PREFIX, "_-") {
            return Err(ClusterError::Prefix);
        }
        let node = self.node.unwrap_or_else(default_node);
        if !is_name(&node, MAX_NODE, "_.-") {
            return Err(ClusterError::Node);
        }
        let durable = self.durable;
        if durable.is_some_and(|age| !(MIN_DURABLE..=MAX_DURABLE).contains(&age)) {
            return Err(ClusterError::Durable);
        }
        if let Some(path) = &self.credentials_file {
            if kind != BrokerKind::Nats {
                let reason = "Redis takes its user and password from the URL";
                return Err(ClusterError::Credentials(reason.to_owned()));
            }
            std::fs::File::open(path).map_err(|error| {
                ClusterError::Credentials(format!("{}: {error}", path.display()))
            })?;
        }
        Ok(Cluster {
            settings: Settings {
                kind,
                url: self.url,
                node,
                prefix: self.prefix,
                durable,
                credentials_file: self.credentials_file,
                root_certificates: self.root_certificates,
                lease: self.lease,
            },
        })
    }
}

/// Picks the broker by the URL's scheme.
fn broker_kind(url: &str) -> Result<BrokerKind, ClusterError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let reason = "it begins with nats://, tls://, redis://, rediss:// or unix://";
        return Err(ClusterError::Url(reason.to_owned()));
    };
    if rest.is_empty() {
        return Err(ClusterError::Url("it names no address".to_owned()));
    }
    let (kind, has_broker, feature) = match scheme {
        "nats" | "tls" => (BrokerKind::Nats, cfg!(feature = "nats"), "nats"),
        "redis" | "rediss" | "unix" => (BrokerKind::Redis, cfg!(feature = "redis"), "redis"),
        _ => {
            let reason = "the scheme is none of nats, tls, redis, rediss and unix";
            return Err(ClusterError::Url(reason.to_owned()));
        }
    };
    let missing = if !has_broker {
        Some(feature)
    } else if matches!(scheme, "tls" | "rediss") && !cfg!(feature = "tls") {
        Some("tls")
    } else {
        None
    };
    match missing {
        Some(feature) => Err(ClusterError::Feature {
            scheme: scheme.to_owned(),
            feature,
        }),
        None => Ok(kind),
    }
}

fn is_name(name: &str, max_bytes: usize, marks: &str) -> bool {
    (1..=max_bytes).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
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
            .field("node", &self.settings.node)
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
        assert!(is_name(&one, MAX_NODE, "_.-"), "{one}");
        assert_ne!(one, other);
    }

    #[cfg(not(all(feature = "nats", feature = "tls")))]
    #[test]
    fn a_missing_feature_is_named() {
        let error = Cluster::builder("tls://host").build().unwrap_err();
        assert!(matches!(error, ClusterError::Feature { .. }), "{error}");
    }
}
