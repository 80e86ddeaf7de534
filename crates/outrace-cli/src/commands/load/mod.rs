//! `outrace load`: measures a server.

mod cluster;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use outrace_load::{
    BaselineOptions, FloorOptions, LoadError, LoadMode, LoadOptions, Program, Rate, SlowReaders,
    SubscribeOptions, System, Workload, WorkloadError, serve_baseline, serve_floor,
};

use self::cluster::ClusterArgs;
use crate::console::notice;
use crate::failure::Failure;
use crate::flags::values::{bytes, duration};
use crate::output::{Output, OutputWriter};

/// The shortest soak. Less time is not enough for all that a soak mixes.
const MIN_SOAK: Duration = Duration::from_secs(1);
const MAX_SOAK: Duration = Duration::from_secs(24 * 60 * 60);

/// Measure a server with many WebSocket clients that check every line
///
/// Without --url, it starts the engine as a child process and feeds it lines through the pipe that
/// `outrace pipe` reads. It measures the CPU time of the engine apart from that of the generator.
/// The exit code is 1 if a line arrived twice, out of order or changed, or if published, received
/// and skipped lines do not add up.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Load this server instead of a child: ws://HOST:PORT/PATH. It is fed by POST /api/actions
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Start and load the engine itself (the default)
    #[arg(long = "self", conflicts_with = "url")]
    own: bool,

    /// Send this header with every request to --url, as "Name: value"; may be repeated
    #[arg(long = "header", value_name = "HEADER", requires = "url")]
    headers: Vec<String>,

    /// Number of clients that stay for the whole run
    #[arg(short = 'n', long, default_value_t = 100)]
    subscribers: usize,

    /// Number of channels, with one publisher each
    #[arg(long, default_value_t = 1)]
    channels: usize,

    /// Number of channels to which each client subscribes
    #[arg(long, value_name = "N", default_value_t = 1)]
    per_client: usize,

    /// Lines per second over all channels, or "max". Several rates, separated by commas, run one
    /// after the other
    #[arg(
        short,
        long,
        value_name = "LINES|max",
        default_value = "10000",
        value_delimiter = ','
    )]
    rate: Vec<RateArg>,

    /// Feed as fast as every client keeps up with: at most this many lines are on their way to the
    /// slowest client
    #[arg(long, value_name = "LINES", conflicts_with = "rate")]
    window: Option<u64>,

    /// Bytes of a line without its end; at least 35, the length of the stamp
    #[arg(short = 'b', long, value_name = "BYTES", default_value_t = 100)]
    line_bytes: usize,

    /// Lines that are due at the same moment
    #[arg(long, value_name = "LINES", default_value_t = 1)]
    burst: u64,

    /// Measured time in seconds
    #[arg(short, long, default_value_t = 5.0)]
    seconds: f64,

    /// Time before that in seconds, whose lines are checked and counted but not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,

    /// Number of subscribers that never read while lines flow
    #[arg(long, value_name = "N", default_value_t = 0)]
    stalled: usize,

    /// Number of subscribers that read slowly, and the bytes that each reads per second, as 5:10000
    #[arg(long, value_name = "N:BYTES", value_parser = parse_slow)]
    slow: Option<SlowReaders>,

    /// Number of additional clients that join and leave all the time
    #[arg(long, value_name = "N", default_value_t = 0)]
    churn: usize,

    /// Time for which such a client stays
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    churn_stay: Duration,

    /// Run the server on core 0 and the generator on core 1
    #[arg(long)]
    pin: bool,

    /// Number of receiver threads
    #[arg(long, default_value_t = 1)]
    threads: usize,

    /// Run the same against another server too, in turns
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        group = "beside",
        conflicts_with = "url"
    )]
    against: Option<Against>,

    /// With --against relay or --simulate, the number of relays in a row
    #[arg(long, value_name = "N", default_value_t = 1)]
    relay_levels: usize,

    /// Measure only the servers of --against or --cluster, and not the engine alone
    #[arg(long, requires = "beside")]
    without_engine: bool,

    /// Measure each system so many times, and report medians
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// Messages that may wait for one client, in the engine and in the baseline
    #[arg(long, value_name = "MESSAGES")]
    queue: Option<usize>,

    /// Bytes that may wait for one client, in the engine, such as 4194304, 512k or 4m
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    queue_bytes: Option<usize>,

    /// Longest flush interval of the engine, such as 10ms or 500us
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_flush_interval: Option<Duration>,

    /// Messages of a channel that the engine keeps; 0 keeps none
    #[arg(long, value_name = "MESSAGES", conflicts_with = "url")]
    history: Option<usize>,

    /// Let clients ask for announcements of skipped lines, and check them. Clients that come and go
    /// ask for the lines that they missed
    #[arg(long)]
    gaps: bool,

    /// Let clients ask for runs of lines in one message
    #[arg(long)]
    batch: bool,

    /// Prove that no line is lost without a notice: clients of all kinds receive floods and have to
    /// account for every line
    #[arg(
        long,
        conflicts_with_all = ["url", "against", "rate", "window", "suite", "report"]
    )]
    verify: bool,

    /// Load one engine in all ways at once for so long, such as 10m: clients of all kinds, bursts,
    /// resets, protocol violations, streams, actions. The exit code is 1 if a figure drifts
    /// (memory, latency, CPU, descriptors) or does not add up
    #[arg(
        long,
        value_name = "TIME",
        value_parser = soak_time,
        conflicts_with_all = [
            "url", "against", "rate", "window", "suite", "report", "verify", "seconds", "warmup",
        ]
    )]
    soak: Option<Duration>,

    /// Bytes that the floor writes at once; the default is what the engine wrote in the same run
    #[arg(long, value_name = "BYTES")]
    floor_block: Option<usize>,

    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Run the table of workloads that the documentation shows, and print it as Markdown
    #[arg(long, conflicts_with_all = ["url", "against", "rate", "window"])]
    suite: bool,

    /// Run only these rows of the suite, as a,c,h
    #[arg(
        long,
        value_name = "LETTERS",
        value_delimiter = ',',
        requires = "suite"
    )]
    only: Vec<char>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// A server written by hand: tokio-tungstenite and an mpsc channel per client
    Baseline,
    /// Bare writes of prepared bytes, which show the cost of the kernel alone
    Floor,
    /// Both
    Both,
    /// A relay of the engine, with the clients at the relay
    Relay,
}

/// The options of the hidden command `load-baseline`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BaselineArgs {
    /// Messages that may wait for one client
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// Lines are `processId<TAB>line`
    #[arg(long)]
    framed: bool,
    /// Process of lines that do not name theirs
    #[arg(long, default_value = "load")]
    id: String,
}

/// The options of the hidden command `load-floor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloorArgs {
    /// Number of clients to wait for
    #[arg(long)]
    clients: usize,
    /// Bytes of a line
    #[arg(long)]
    line_bytes: usize,
    /// Bytes per write, rounded to whole frames
    #[arg(long)]
    block_bytes: usize,
    /// Lines per second; without a rate, as fast as the clients read
    #[arg(long)]
    rate: Option<u64>,
}

/// A rate as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RateArg(Rate);

impl FromStr for RateArg {
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

fn parse_slow(text: &str) -> Result<SlowReaders, String> {
    let parsed = text.split_once(':').and_then(|(clients, bytes)| {
        Some(SlowReaders {
            clients: clients.parse().ok()?,
            bytes_per_second: bytes.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| "slow readers are given as N:BYTES, as in 5:10000".to_owned())
}

fn soak_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if (MIN_SOAK..=MAX_SOAK).contains(&time) {
        Ok(time)
    } else {
        Err("a soak takes at least 1s and at most 24h".to_owned())
    }
}

impl LoadArgs {
    fn into_options(self, program: Program) -> LoadOptions {
        LoadOptions {
            program,
            mode: self.mode(),
            workload: self.workload(),
            verified: match self.cluster.is_given() {
                true => System::Cluster,
                false => System::Engine,
            },
            rounds: self.rounds,
            floor_block_bytes: self.floor_block,
            json: self.json,
            report: self.report,
            show_progress: !self.quiet,
        }
    }

    fn mode(&self) -> LoadMode {
        let rates = self.rates();
        if let Some(mode) = self.cluster.mode() {
            mode
        } else if let Some(duration) = self.soak {
            LoadMode::Soak { duration }
        } else if self.verify {
            LoadMode::Verify
        } else if self.suite {
            LoadMode::Suite {
                only: self.only.clone(),
            }
        } else if let Some(url) = &self.url {
            LoadMode::Remote {
                url: url.clone(),
                headers: self.headers.clone(),
                rates,
            }
        } else {
            LoadMode::Compare {
                systems: self.systems(),
                rates,
            }
        }
    }

    fn systems(&self) -> Vec<System> {
        let mut systems = Vec::new();
        if !self.without_engine {
            systems.push(System::Engine);
        }
        if matches!(self.against, Some(Against::Baseline | Against::Both)) {
            systems.push(System::Baseline);
        }
        if matches!(self.against, Some(Against::Floor | Against::Both)) {
            systems.push(System::Floor);
        }
        if self.against == Some(Against::Relay) {
            systems.push(System::Relay);
        }
        if self.cluster.is_given() {
            systems.push(System::Cluster);
        }
        systems
    }

    fn workload(&self) -> Workload {
        Workload {
            subscribers: self.subscribers,
            channels: self.channels,
            channels_per_client: self.per_client,
            line_bytes: self.line_bytes,
            burst_lines: self.burst,
            relay_levels: self.relay_levels,
            cluster: self.cluster.layout(),
            seconds: self.seconds,
            warmup_seconds: self.warmup,
            stalled: self.stalled,
            slow: self.slow,
            churn: self.churn,
            churn_stay: self.churn_stay,
            pin: self.pin,
            queue_messages: self.queue,
            queue_bytes: self.queue_bytes,
            max_flush_interval: self.max_flush_interval,
            history_messages: self.history,
            subscribe_options: SubscribeOptions {
                gaps: self.gaps,
                batch: self.batch,
            },
            threads: self.threads,
            // The modes without a choice of rates take the first one.
            rate: self.rates().first().copied().unwrap_or(Rate::Max),
            ..Workload::default()
        }
    }

    fn rates(&self) -> Vec<Rate> {
        match self.window {
            Some(lines) => vec![Rate::Window(lines)],
            None => self.rate.iter().map(|rate| rate.0).collect(),
        }
    }
}

/// Runs the load generator. Prints the report to standard output and the faults to standard error.
pub(crate) fn run(args: LoadArgs) -> Result<u8, Failure> {
    let program = Program::current().map_err(|error| {
        Failure::new(
            1,
            format!("could not find this program's own file: {error}"),
        )
    })?;
    let options = args.into_options(program);
    let report = match outrace_load::run(&options, &mut OutputWriter) {
        Ok(report) => report,
        Err(LoadError::Workload(error)) => return Err(Failure::usage(with_flags(&error))),
        // Nobody reads the report. The program ends as others in a pipe do.
        Err(LoadError::Output(_)) if Output::stdout().is_closed() => return Ok(1),
        Err(error) => return Err(Failure::new(1, error.to_string())),
    };
    for failure in &report.failures {
        notice!("{failure}");
    }
    Ok(u8::from(!report.passed()))
}

/// Serves as the baseline, a child of `load`.
pub(crate) fn run_baseline(args: BaselineArgs) -> Result<u8, Failure> {
    serve_baseline(&BaselineOptions {
        queue_messages: args.queue,
        framed: args.framed,
        process_id: args.id,
    })
    .map(|()| 0)
    .map_err(|error| Failure::new(1, error.to_string()))
}

/// Serves as the floor, a child of `load`.
pub(crate) fn run_floor(args: &FloorArgs) -> Result<u8, Failure> {
    serve_floor(&FloorOptions {
        clients: args.clients,
        line_bytes: args.line_bytes,
        block_bytes: args.block_bytes,
        lines_per_second: args.rate,
    })
    .map(|()| 0)
    .map_err(|error| Failure::new(1, error.to_string()))
}

/// Returns the error with flags instead of the names of fields, which it has in backticks.
fn with_flags(error: &WorkloadError) -> String {
    let text = error.to_string();
    let parts = text.split('`').enumerate().map(|(i, part)| match part {
        part if i % 2 == 0 => part.to_owned(),
        "channels_per_client" => "--per-client".to_owned(),
        "burst_lines" => "--burst".to_owned(),
        "warmup_seconds" => "--warmup".to_owned(),
        "nodes" => "--cluster".to_owned(),
        field => format!("--{}", field.replace('_', "-")),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser, Debug)]
    struct Arguments {
        #[command(flatten)]
        load: LoadArgs,
    }

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
            Ok(SlowReaders {
                clients: 5,
                bytes_per_second: 10_000
            })
        );
        assert!(parse_slow("5").is_err());
    }

    #[test]
    fn a_workload_that_cannot_be_run_is_refused_by_its_flag() {
        let command = Arguments::command();
        for (args, flag) in [
            (&["-n", "0"][..], "--subscribers"),
            (&["--line-bytes", "20"], "--line-bytes"),
            (&["--per-client", "2"], "--per-client"),
            (&["--stalled", "101"], "--stalled"),
            (&["--burst", "0"], "--burst"),
            (&["--seconds", "NaN"], "--seconds"),
            (&["--warmup", "3601"], "--warmup"),
        ] {
            let line = std::iter::once(&"load").chain(args);
            let load = Arguments::try_parse_from(line).unwrap().load;
            let refusal = with_flags(&load.workload().check().unwrap_err());
            assert!(
                refusal.contains(flag) && !refusal.contains('`'),
                "{refusal}"
            );
            assert!(!refusal.contains('\n'));
            for named in refusal
                .split(' ')
                .filter_map(|word| word.strip_prefix("--"))
            {
                let named = named.trim_matches(|c: char| !c.is_ascii_lowercase() && c != '-');
                let known = command
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(named));
                assert!(known, "--{named} of {refusal:?} is no flag");
            }
        }
    }

    #[test]
    fn the_engine_is_measured_unless_told_otherwise() {
        let systems = |args: &[&str]| {
            let line = std::iter::once(&"load").chain(args);
            Arguments::try_parse_from(line).unwrap().load.systems()
        };
        assert_eq!(systems(&[]), [System::Engine]);
        assert_eq!(
            systems(&["--against", "both"]),
            [System::Engine, System::Baseline, System::Floor]
        );
        assert_eq!(
            systems(&["--against", "floor", "--without-engine"]),
            [System::Floor]
        );
    }
}
