//! Finds the channels that fit patterns such as `process:*`, by asking the server for its list
//! again and again.

use std::collections::HashSet;
use std::time::Duration;

use outrace::access::Pattern;
use outrace::client::{ChannelLister, ListError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::console::notice;

/// The time between two requests for the list.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// Returns whether a name is a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Yields each channel that fits one of the patterns once, as it appears. Dropping it ends the
/// requests.
pub(crate) struct Discovery {
    found: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Discovery {
    pub(crate) fn start(lister: ChannelLister, patterns: Vec<Pattern>) -> Self {
        let (sender, found) = mpsc::channel(64);
        Self {
            found,
            task: tokio::spawn(list_repeatedly(lister, patterns, sender)),
        }
    }

    /// Returns the next channel. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> String {
        match self.found.recv().await {
            Some(channel) => channel,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn list_repeatedly(
    lister: ChannelLister,
    patterns: Vec<Pattern>,
    sender: mpsc::Sender<String>,
) {
    let mut known = HashSet::new();
    let mut ticks = interval(LIST_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_reported = false;
    loop {
        ticks.tick().await;
        match lister.channels().await {
            Ok(channels) => {
                for channel in channels {
                    let channel = channel.as_str();
                    if patterns.iter().any(|pattern| pattern.matches(channel))
                        && known.insert(channel.to_owned())
                        && sender.send(channel.to_owned()).await.is_err()
                    {
                        return;
                    }
                }
            }
            // The watcher reports a lost connection. It does not report a server without a list.
            Err(ListError::Connection(_) | ListError::Timeout) => {}
            Err(error) => {
                if !std::mem::replace(&mut has_reported, true) {
                    notice!("cannot list the channels: {error}");
                }
            }
        }
    }
}
