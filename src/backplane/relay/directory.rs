//! The channels of the upstream server.

use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::backplane::{Directory, Node};
use crate::client::{ChannelLister, Endpoint};
use crate::message::{ChannelName, Status, StatusReport};
use crate::stats::ChannelStats;

/// How long a list is good for, so that many callers cost the server one request.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The shortest time between two requests for the next list.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The time after which a server that did not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Asks the upstream server for its channels when somebody asks for them here.
#[derive(Debug)]
pub(super) struct UpstreamDirectory {
    lister: ChannelLister,
    node: String,
    /// The last list, and when it came. An async mutex: callers wait for one request.
    last: Mutex<Option<(Instant, Vec<ChannelStats>)>>,
}

/// A channel in the server's list.
#[derive(Deserialize)]
struct ListedChannel {
    channel: String,
    #[serde(default)]
    subscribers: usize,
    #[serde(default)]
    published: u64,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    kept_bytes: usize,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    status: Option<ListedStatus>,
    #[serde(default)]
    node: Option<String>,
}

#[derive(Deserialize)]
struct ListedStatus {
    status: String,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
}

impl UpstreamDirectory {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let node = endpoint.authority();
        Self {
            lister: ChannelLister::new(endpoint),
            node,
            last: Mutex::const_new(None),
        }
    }

    /// Returns the channels of the server, or those of the last list if it cannot be asked.
    async fn list(&self) -> Vec<ChannelStats> {
        let mut last = self.last.lock().await;
        if let Some((at, channels)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return channels.clone();
        }
        let before = last.take().map(|(_, channels)| channels);
        let channels = match self.lister.fetch_list(None).await {
            Ok((_, body)) => self.read(&body),
            Err(error) => {
                tracing::debug!(%error, "the upstream server does not list its channels");
                before.unwrap_or_default()
            }
        };
        *last = Some((Instant::now(), channels.clone()));
        channels
    }

    /// Tells the hub whenever a channel has appeared at the server.
    ///
    /// A server that cannot hold a request back is asked in intervals.
    pub(super) async fn follow(&self, node: &Node) {
        let mut version = None;
        loop {
            match self.lister.fetch_list(version.clone()).await {
                Ok((next, _)) => {
                    if next.is_none() || next != version {
                        node.list_changed();
                    }
                    let interval = if next.is_some() {
                        MIN_INTERVAL
                    } else {
                        MAX_AGE
                    };
                    version = next;
                    sleep(interval).await;
                }
                Err(_) => {
                    version = None;
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    fn read(&self, body: &[u8]) -> Vec<ChannelStats> {
        let listed: Vec<ListedChannel> = serde_json::from_slice(body).unwrap_or_default();
        listed
            .into_iter()
            .filter_map(|listed| {
                Some(ChannelStats {
                    channel: ChannelName::parse(&listed.channel).ok()?,
                    subscribers: listed.subscribers,
                    published: listed.published,
                    epoch: listed.epoch,
                    seq: listed.seq,
                    kept_bytes: listed.kept_bytes,
                    skipped: listed.skipped,
                    dropped: listed.dropped,
                    status: listed.status.map(|status| StatusReport {
                        status: Status::from(status.status),
                        code: status.exit_code,
                    }),
                    node: Some(listed.node.unwrap_or_else(|| self.node.clone())),
                })
            })
            .collect()
    }
}

impl Directory for UpstreamDirectory {
    fn channels(&self) -> Pin<Box<dyn Future<Output = Vec<ChannelStats>> + Send + '_>> {
        Box::pin(self.list())
    }
}
