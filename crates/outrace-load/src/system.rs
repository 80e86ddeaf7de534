//! What is measured: the engine, the hand-written baseline, the kernel's floor, or a server somewhere else. Knows how
//! each is started and what each can tell of itself.

use crate::http::Http;
use crate::target::Target;
use crate::workload::{Rate, Workload};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    Engine,
    Baseline,
    Floor,
    Remote,
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            System::Engine => "engine",
            System::Baseline => "baseline",
            System::Floor => "floor",
            System::Remote => "server",
        })
    }
}

impl System {
    /// How this program is started again as that server.
    pub(crate) fn command(self, workload: &Workload, block_bytes: usize) -> Vec<String> {
        let mut args = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                args.push(name.to_owned());
                args.push(value);
            }
        };
        let text = |n: Option<usize>| n.map(|n| n.to_string());
        let name = match (self, workload.channels) {
            (System::Engine | System::Remote, 1) => {
                option("--id", Some("load".to_owned()));
                "pipe"
            }
            (System::Engine | System::Remote, _) => "load-server",
            (System::Baseline, _) => "load-baseline",
            (System::Floor, _) => "load-floor",
        };
        match self {
            System::Engine | System::Remote => {
                option("--listen", Some("127.0.0.1:0".to_owned()));
                option("--queue", text(workload.queue));
                option("--queue-bytes", text(workload.queue_bytes));
                option("--history", text(workload.history));
                option(
                    "--max-flush-interval",
                    workload
                        .max_flush_interval
                        .map(|time| format!("{}us", time.as_micros())),
                );
            }
            System::Baseline => {
                option("--queue", text(workload.queue));
                if workload.channels > 1 {
                    args.push("--framed".to_owned());
                }
            }
            System::Floor => {
                option("--clients", Some(workload.subscribers.to_string()));
                option("--line-bytes", Some(workload.line_bytes.to_string()));
                option("--block-bytes", Some(block_bytes.to_string()));
                if let Rate::Lines(rate) = workload.rate {
                    option("--rate", Some(rate.to_string()));
                }
            }
        }
        args.insert(0, name.to_owned());
        args
    }

    /// The reason why it can't run this workload.
    pub(crate) fn check(self, workload: &Workload) -> Result<(), String> {
        let odd = workload.channels > 1
            || workload.stalled > 0
            || workload.slow.is_some()
            || workload.churn > 0;
        if self == System::Floor && odd {
            return Err("the floor writes the same block to every client: it has one channel and no stalled, slow or \
                        churning clients, so leave out --against floor or those"
                .to_owned());
        }
        if matches!(self, System::Baseline | System::Floor) && (workload.mix || workload.wish.any())
        {
            return Err(format!(
                "the {self} knows no gaps and no batches: leave out --against, or --gaps and --batch"
            ));
        }
        Ok(())
    }
}

/// What a server says of itself: `GET /api/stats`, since it began.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OwnFigures {
    /// Lines x clients it left out.
    pub(crate) skipped: Option<u64>,
    pub(crate) writes: Option<u64>,
    pub(crate) written_bytes: Option<u64>,
}

impl OwnFigures {
    /// Nothing where there is no such endpoint.
    pub(crate) fn ask(target: &Target) -> OwnFigures {
        let answer =
            Http::connect(target).and_then(|mut http| http.request("GET", "/api/stats", b""));
        match answer {
            Ok((200, body)) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => OwnFigures::default(),
        }
    }

    pub(crate) fn bytes_per_write_since(&self, earlier: &OwnFigures) -> Option<f64> {
        let writes = self.writes?.checked_sub(earlier.writes?)?;
        let bytes = self.written_bytes?.checked_sub(earlier.written_bytes?)?;
        (writes > 0).then(|| bytes as f64 / writes as f64)
    }
}

/// Skips by channel: `GET /api/channels`, nothing where it does not exist.
pub(crate) fn skipped_by_channel(target: &Target) -> HashMap<String, u64> {
    #[derive(Deserialize)]
    struct Channel {
        channel: String,
        skipped: u64,
    }
    let answer =
        Http::connect(target).and_then(|mut http| http.request("GET", "/api/channels", b""));
    let channels: Vec<Channel> = match answer {
        Ok((200, body)) => serde_json::from_slice(&body).unwrap_or_default(),
        _ => Vec::new(),
    };
    channels
        .into_iter()
        .map(|channel| (channel.channel, channel.skipped))
        .collect()
}
