//! Which channels there are, asked of the server again and again: for patterns such as `process:*`, which are no channels to it.

use std::collections::HashSet;
use std::time::Duration;

use outrace::access::Pattern;
use outrace::client::{ChannelLister, ListError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How often to ask.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whether a channel's name is a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// The channels that fit some pattern, each told once, as they appear. Ends its asking when it is dropped.
pub(crate) struct Discovery {
    found: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Discovery {
    pub(crate) fn start(lister: ChannelLister, patterns: Vec<Pattern>) -> Self {
        let (tell, found) = mpsc::channel(64);
        Self {
            found,
            task: tokio::spawn(ask(lister, patterns, tell)),
        }
    }

    /// The next channel. Nothing is lost by dropping the future.
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

async fn ask(lister: ChannelLister, patterns: Vec<Pattern>, tell: mpsc::Sender<String>) {
    let mut known = HashSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        ticks.tick().await;
        match lister.channels().await {
            Ok(channels) => {
                for channel in channels {
                    let channel = channel.as_str();
                    if patterns.iter().any(|pattern| pattern.matches(channel))
                        && known.insert(channel.to_owned())
                        && tell.send(channel.to_owned()).await.is_err()
                    {
                        return;
                    }
                }
            }
            // That there is no connection is told by who watches; that there is one without a list is not.
            Err(ListError::Connection(_) | ListError::Timeout) => {}
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    eprintln!("outrace: cannot list the channels: {error}");
                }
            }
        }
    }
}
