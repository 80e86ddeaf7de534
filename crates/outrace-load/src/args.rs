//! The command line of `outrace load`.

use crate::duration::duration;
use crate::workload::{Rate, Slow, SubscribeOptions, Workload};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measure a server: many WebSocket clients that check every line
///
/// Without --url, starts the engine as a child process, feeds it lines through the pipe that `outrace pipe` reads,
/// and measures its CPU apart from the generator's. Exits with 1 if a line came twice, out of order or changed, or if
/// published, received and skipped do not add up.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Load this server instead of an own child: ws://HOST:PORT/PATH; it is fed by POST /api/actions
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Start and load the engine itself (the default)
    #[arg(long = "self", conflicts_with = "url")]
    pub(crate) own: bool,

    /// A header of every request to --url, as "Name: value"; may be repeated
    #[arg(long = "header", value_name = "HEADER", requires = "url")]
    pub(crate) headers: Vec<String>,

    /// Clients that stay for the whole run
    #[arg(short = 'n', long, default_value_t = 100)]
    pub(crate) subscribers: usize,

    /// Channels, one publisher each
    #[arg(long, default_value_t = 1)]
    pub(crate) channels: usize,

    /// Channels that each client subscribes to
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) per_client: usize,

    /// Lines per second over all channels, or "max"; several, separated by commas, are run one after the other
    #[arg(
        short,
        long,
        value_name = "LINES|max",
        default_value = "10000",
        value_delimiter = ','
    )]
    pub(crate) rate: Vec<RateArg>,

    /// As fast as every client keeps up with: at most this many lines on their way to the slowest client
    #[arg(long, value_name = "LINES", conflicts_with = "rate")]
    pub(crate) window: Option<u64>,

    /// Bytes of a line, without its end; at least 35, the stamp
    #[arg(short = 'b', long, value_name = "BYTES", default_value_t = 100)]
    pub(crate) line_bytes: usize,

    /// Lines that are due at the same moment
    #[arg(long, value_name = "LINES", default_value_t = 1)]
    pub(crate) burst: u64,

    /// Seconds that are measured
    #[arg(short, long, default_value_t = 5.0)]
    pub(crate) seconds: f64,

    /// Seconds before that, whose lines are checked and counted but not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warmup: f64,

    /// Of the subscribers, how many never read while lines flow
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) stalled: usize,

    /// Of the subscribers, how many read only so many bytes a second, as 5:10000
    #[arg(long, value_name = "N:BYTES", value_parser = parse_slow)]
    pub(crate) slow: Option<Slow>,

    /// Further clients that join and leave all the time
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) churn: usize,

    /// How long such a client stays
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) churn_stay: Duration,

    /// The server on core 0, the generator on core 1
    #[arg(long)]
    pub(crate) pin: bool,

    /// Receiver threads
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,

    /// Run the same against another server too, in turns
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "url")]
    pub(crate) against: Option<Against>,

    /// Measure only what --against names, not the engine
    #[arg(long, requires = "against")]
    pub(crate) without_engine: bool,

    /// How often each system is measured; figures are medians
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,

    /// Messages that may wait for one client, in engine and baseline
    #[arg(long, value_name = "MESSAGES")]
    pub(crate) queue: Option<usize>,

    /// Bytes that may wait for one client, in the engine
    #[arg(long, value_name = "BYTES")]
    pub(crate) queue_bytes: Option<usize>,

    /// The engine's longest flush interval, such as 10ms or 500us
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_flush_interval: Option<Duration>,

    /// Messages of a channel that the engine keeps; 0 keeps none
    #[arg(long, value_name = "MESSAGES", conflicts_with = "url")]
    pub(crate) history: Option<usize>,

    /// Clients ask to be told where lines were skipped, and check that; those that come and go ask for what they missed
    #[arg(long)]
    pub(crate) gaps: bool,

    /// Clients ask for runs of lines in one message
    #[arg(long)]
    pub(crate) batch: bool,

    /// Prove that nothing is lost in silence: floods with clients of all kinds, which must account for every line
    #[arg(long, conflicts_with_all = ["url", "against", "rate", "window", "suite", "report"])]
    pub(crate) verify: bool,

    /// Load one engine with everything at once for so long, such as 10m: clients of all kinds, bursts, resets, broken protocol, streams, actions.
    /// Exits with 1 if anything drifts (memory, latency, CPU, descriptors) or does not add up
    #[arg(
        long,
        value_name = "TIME",
        value_parser = soak_time,
        conflicts_with_all = ["url", "against", "rate", "window", "suite", "report", "verify", "seconds", "warmup"]
    )]
    pub(crate) soak: Option<Duration>,

    /// What the floor writes at once; by default what the engine wrote in the same run
    #[arg(long, value_name = "BYTES")]
    pub(crate) floor_block: Option<usize>,

    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,

    /// Run the table of workloads that the documentation shows, and print it as Markdown
    #[arg(long, conflicts_with_all = ["url", "against", "rate", "window"])]
    pub(crate) suite: bool,

    /// Of the suite, only these, as a,c,h
    #[arg(
        long,
        value_name = "LETTERS",
        value_delimiter = ',',
        requires = "suite"
    )]
    pub(crate) only: Vec<char>,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    /// A server as one writes it by hand: tokio-tungstenite and an mpsc channel per client
    Baseline,
    /// Bare writes of ready bytes: what the kernel alone costs
    Floor,
    /// Both
    Both,
}

/// A rate as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateArg(pub(crate) Rate);

impl std::str::FromStr for RateArg {
    type Err = String;

    fn from_str(text: &str) -> Result<RateArg, String> {
        match text {
            "max" => Ok(RateArg(Rate::Max)),
            lines => match lines.replace('_', "").parse() {
                Ok(lines) => Ok(RateArg(Rate::Lines(lines))),
                Err(_) => Err("a rate is a number of lines per second, or \"max\"".to_owned()),
            },
        }
    }
}

fn parse_slow(text: &str) -> Result<Slow, String> {
    let parsed = text.split_once(':').and_then(|(clients, bytes)| {
        Some(Slow {
            clients: clients.parse().ok()?,
            bytes_per_second: bytes.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| "slow readers are given as N:BYTES, as in 5:10000".to_owned())
}

/// Below a second there is no time for what a soak mixes.
fn soak_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if (1..=86_400).contains(&time.as_secs()) => Ok(time),
        _ => Err("a soak takes at least 1s and at most 24h".to_owned()),
    }
}

impl LoadArgs {
    /// One workload per rate, each checked.
    pub(crate) fn workloads(&self) -> Result<Vec<Workload>, String> {
        let rates = match self.window {
            Some(window) => vec![Rate::Window(window)],
            None => self.rate.iter().map(|rate| rate.0).collect(),
        };
        rates.into_iter().map(|rate| self.workload(rate)).collect()
    }

    fn workload(&self, rate: Rate) -> Result<Workload, String> {
        let workload = Workload {
            name: format!("{rate} x {} x {} bytes", self.subscribers, self.line_bytes),
            subscribers: self.subscribers,
            channels: self.channels,
            per_client: self.per_client,
            rate,
            line_bytes: self.line_bytes,
            burst: self.burst,
            seconds: self.seconds,
            warmup: self.warmup,
            stalled: self.stalled,
            slow: self.slow,
            churn: self.churn,
            churn_stay: self.churn_stay,
            stall: None,
            comes_back: false,
            pin: self.pin,
            queue: self.queue,
            queue_bytes: self.queue_bytes,
            max_flush_interval: self.max_flush_interval,
            history: self.history,
            wish: SubscribeOptions {
                gaps: self.gaps,
                batch: self.batch,
            },
            mix: false,
            threads: self.threads,
        };
        workload.check().map(|()| workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_max() {
        let parse = |text: &str| text.parse::<RateArg>().map(|rate| rate.0);
        assert_eq!(parse("40_000"), Ok(Rate::Lines(40_000)));
        assert_eq!(parse("max"), Ok(Rate::Max));
        assert!(parse("fast").is_err());
    }

    #[test]
    fn a_soak_takes_from_a_second_to_a_day() {
        assert_eq!(soak_time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(soak_time("24h"), Ok(Duration::from_secs(86_400)));
        assert!(
            soak_time("999ms").is_err() && soak_time("25h").is_err() && soak_time("long").is_err()
        );
    }

    #[test]
    fn slow_readers_are_a_number_and_a_speed() {
        assert_eq!(
            parse_slow("5:10000"),
            Ok(Slow {
                clients: 5,
                bytes_per_second: 10_000
            })
        );
        assert!(parse_slow("5").is_err());
    }
}
