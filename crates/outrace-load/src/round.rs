//! One round: start the server, let the clients join, feed, drain, compare the books.

use crate::account::Account;
use crate::clock::{self, MILLISECOND, SECOND};
use crate::control::{Control, Phase};
use crate::feeder::{self, Fed, Feeder, Sink};
use crate::ledger::Announced;
use crate::outcome::{Late, Latency, MemoryUse, Outcome, moments, percentiles};
use crate::progress::Progress;
use crate::receiver::{self, Gathered};
use crate::server_process::{ServerProcess, Usage};
use crate::system::{self, OwnFigures, System};
use crate::tally::{Tally, empty_histogram};
use crate::target::Target;
use crate::watch::{Scene, Watch};
use crate::workload::{Role, Workload};
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the last lines may take to all clients.
const DRAIN_TIMEOUT: u64 = 15 * SECOND;

/// Without a server's own count: the lines are over when none came for this long.
const QUIET: u64 = 700 * MILLISECOND;

/// From the order to feed to the first line, so that everyone is ready.
const RUN_UP: u64 = 20 * MILLISECOND;

/// Which server, and for one that is not a child, where.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) system: System,
    pub(crate) remote: Option<Target>,
    /// What the floor writes at once.
    pub(crate) block_bytes: usize,
}

/// What is read from the server when the measured time begins and ends.
struct Reading {
    server: Option<Usage>,
    memory: u64,
    generator: Usage,
    figures: OwnFigures,
}

/// A server's own count of what it skipped, where it has one.
struct Skips {
    total: Option<u64>,
    by_channel: HashMap<String, u64>,
}

/// What feeding came to.
struct Feeding {
    /// What keeps the server's input open.
    input: Option<Sink>,
    lines: u64,
    unsent: u64,
    late: Histogram<u64>,
    first: Reading,
    last: Reading,
}

pub(crate) fn run(
    workload: &Workload,
    subject: &Subject,
    progress: &Progress,
    watch: &mut dyn Watch,
) -> Result<Outcome, String> {
    subject.system.check(workload)?;
    let workload = Arc::new(workload.clone());
    let mut server = match subject.remote {
        Some(_) => None,
        None => {
            let command = subject.system.command(&workload, subject.block_bytes);
            Some(ServerProcess::start(&command, workload.pin)?)
        }
    };
    let target = match (&server, &subject.remote) {
        (Some(server), _) => server.target.clone(),
        (None, Some(target)) => target.clone(),
        (None, None) => {
            return Err("there is no server to load: give --url or leave out --remote".to_owned());
        }
    };
    let mut round = Round {
        control: Arc::new(Control::new(workload.subscribers, workload.clients())),
        target: Arc::new(target),
        subject,
        progress,
        receivers: Vec::new(),
        workload,
    };
    let before = server.as_ref().map_or(0, |server| server.memory().resident);
    let began = clock::now();
    for index in 0..round.workload.threads {
        let thread = receiver::start(
            Arc::clone(&round.target),
            Arc::clone(&round.workload),
            Arc::clone(&round.control),
            index,
        );
        round
            .receivers
            .push(thread.map_err(|e| format!("could not start a receiver: {e}"))?);
    }
    let measured = round.measure(&mut server, before, began, watch);
    round.control.enter(Phase::Stop);
    let gathered: Result<Vec<Gathered>, String> = round
        .receivers
        .drain(..)
        .map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a receiver thread panicked".to_owned()))
        })
        .collect();
    // A receiver that gave up says more than what came of it elsewhere.
    let gathered = gathered?;
    let measured = measured?;
    Ok(measured.outcome(
        &round.workload,
        subject.system,
        gathered,
        began,
        round.control.visits(),
    ))
}

struct Round<'a> {
    workload: Arc<Workload>,
    control: Arc<Control>,
    target: Arc<Target>,
    subject: &'a Subject,
    progress: &'a Progress,
    receivers: Vec<JoinHandle<Result<Gathered, String>>>,
}

/// Everything that is known before the receivers hand back what they have.
struct Measured {
    feeding: Feeding,
    memory: Option<MemoryUse>,
    /// What the server itself counted as skipped in this round.
    skips: Skips,
    faults: Vec<String>,
}

impl Round<'_> {
    fn measure(
        &self,
        server: &mut Option<ServerProcess>,
        before: u64,
        began: u64,
        watch: &mut dyn Watch,
    ) -> Result<Measured, String> {
        self.wait_for_joins(server, began)?;
        watch.joined(&self.scene(server))?;
        let with_clients = server.as_ref().map_or(0, |server| server.memory().resident);
        // A server that is not a child may have skipped lines of other runs.
        let skips_before = self.skips();
        let mut feeding = self.feed(server, watch)?;
        watch.fed(&self.scene(server));
        let mut faults = Vec::new();
        self.control.enter(Phase::Drain);
        if let Err(why) = self.drain(feeding.lines, skips_before.total) {
            faults.push(why);
        }
        watch.drained(&self.scene(server));
        let skips = self.skips().since(skips_before);
        let peak = server.as_ref().map(|server| server.memory().peak);
        self.control.enter(Phase::Ending);
        if let Some(server) = server {
            feeding.input = None;
            if let Err(why) = self.wait_for_the_end(server) {
                faults.push(why);
            }
        }
        let memory = peak.map(|peak| MemoryUse {
            before_clients: before,
            with_clients,
            at_start: feeding.first.memory,
            at_end: feeding.last.memory,
            peak,
        });
        Ok(Measured {
            feeding,
            memory,
            skips,
            faults,
        })
    }

    fn wait_for_joins(&self, server: &mut Option<ServerProcess>, began: u64) -> Result<(), String> {
        let clients = self.workload.clients() as u64;
        while self.control.joined() < clients {
            std::thread::sleep(Duration::from_millis(1));
            self.check(server)?;
            self.progress.joining(self.control.joined());
            if clock::now() - began > 120 * SECOND {
                return Err(format!(
                    "only {} of {clients} clients had joined after 120 s",
                    self.control.joined()
                ));
            }
        }
        Ok(())
    }

    fn scene<'s>(&'s self, server: &'s Option<ServerProcess>) -> Scene<'s> {
        Scene {
            server: server.as_ref(),
            target: &self.target,
            control: &self.control,
            progress: self.progress,
        }
    }

    fn check(&self, server: &mut Option<ServerProcess>) -> Result<(), String> {
        if self.control.failed() {
            // The receiver's own words replace these.
            return Err("a receiver gave up".to_owned());
        }
        server.as_mut().map_or(Ok(()), ServerProcess::check)
    }

    fn feed(
        &self,
        server: &mut Option<ServerProcess>,
        watch: &mut dyn Watch,
    ) -> Result<Feeding, String> {
        let second = SECOND as f64;
        let origin = clock::now() + RUN_UP;
        let from = origin + (self.workload.warmup * second) as u64;
        let until = from + (self.workload.seconds * second) as u64;
        self.control.measure(origin, from, until);
        let (mut input, mut feeder) = (None, None);
        let sink = match (
            server.as_mut().map(ServerProcess::stdin),
            self.subject.system,
        ) {
            (Some(mut order), System::Floor) => {
                writeln!(order, "start {origin} {until}")
                    .map_err(|e| format!("could not start the floor: {e}"))?;
                input = Some(Sink::Lines(order));
                None
            }
            (Some(pipe), _) if self.workload.channels == 1 => Some(Sink::Lines(pipe)),
            (Some(pipe), _) => Some(Sink::Framed(pipe)),
            (None, _) => Some(feeder::actions(&self.target)?),
        };
        if let Some(sink) = sink {
            let control = Arc::clone(&self.control);
            feeder =
                Some(Feeder::new(Arc::clone(&self.workload), control, origin, until).start(sink)?);
        }
        self.wait_until(from, server, watch)?;
        let mut first = self.read(server);
        self.wait_until(until, server, watch)?;
        let mut last = self.read(server);
        if let Some(thread) = feeder {
            let Fed {
                sink,
                lines,
                unsent,
                late,
            } = self.join_feeder(thread, server)?;
            return Ok(Feeding {
                input: Some(sink),
                lines,
                unsent,
                late,
                first,
                last,
            });
        }
        let stdout = server.as_mut().and_then(|server| server.stdout.as_mut());
        let (lines, figures) =
            floor_figures(stdout.expect("only the floor, a child, feeds itself"))?;
        first.figures = OwnFigures {
            skipped: None,
            writes: Some(0),
            written_bytes: Some(0),
        };
        last.figures = figures;
        Ok(Feeding {
            input,
            lines,
            unsent: 0,
            late: empty_histogram(),
            first,
            last,
        })
    }

    fn join_feeder(
        &self,
        thread: JoinHandle<Result<Fed, String>>,
        server: &mut Option<ServerProcess>,
    ) -> Result<Fed, String> {
        let until = clock::now() + 20 * SECOND;
        while !thread.is_finished() {
            self.check(server)?;
            if clock::now() > until {
                return Err(
                    "the server stopped reading its standard input: the feeder has been stuck for 20 s"
                        .to_owned(),
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread
            .join()
            .unwrap_or_else(|_| Err("the feeder thread panicked".to_owned()))
    }

    /// Waits, and lets `watch` look.
    fn wait_until(
        &self,
        deadline: u64,
        server: &mut Option<ServerProcess>,
        watch: &mut dyn Watch,
    ) -> Result<(), String> {
        loop {
            let now = clock::now();
            if now >= deadline {
                return Ok(());
            }
            let wake = deadline.min(now + watch.step());
            clock::sleep_until(wake);
            let late = clock::now().saturating_sub(wake);
            self.check(server)?;
            watch.running(&self.scene(server), late);
        }
    }

    fn read(&self, server: &Option<ServerProcess>) -> Reading {
        // The CPU first: asking for the figures costs the server some.
        Reading {
            server: server.as_ref().map(ServerProcess::usage),
            memory: server.as_ref().map_or(0, |server| server.memory().resident),
            generator: Usage::of_this_process(),
            figures: self.own_figures(),
        }
    }

    fn skips(&self) -> Skips {
        let by_channel = match self.subject.system {
            System::Engine | System::Remote => system::skipped_by_channel(&self.target),
            System::Baseline | System::Floor => HashMap::new(),
        };
        Skips {
            total: self.own_figures().skipped,
            by_channel,
        }
    }

    fn own_figures(&self) -> OwnFigures {
        // The floor speaks no HTTP; its figures come with its end.
        if self.subject.system == System::Floor {
            OwnFigures::default()
        } else {
            OwnFigures::ask(&self.target)
        }
    }

    /// Waits until every line has been received, or is known to have been skipped.
    fn drain(&self, lines: u64, skipped_before: Option<u64>) -> Result<(), String> {
        let expected = self.workload.expected(lines);
        let until = clock::now() + DRAIN_TIMEOUT;
        let mut last = (self.control.received(), clock::now());
        loop {
            let behind = self
                .workload
                .resumers()
                .find(|number| self.control.progress(*number) < self.workload.due(lines, *number));
            if let Some(number) = behind {
                if clock::now() > until || self.control.failed() {
                    let progress = self.control.progress(number);
                    return Err(format!(
                        "client {number}, which comes and goes, had accounted for {progress} of {} lines {} s after the last",
                        self.workload.due(lines, number),
                        DRAIN_TIMEOUT / SECOND
                    ));
                }
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            if self.workload.comes_back && self.control.away() > 0 {
                if clock::now() > until || self.control.failed() {
                    return Err(format!(
                        "{} clients that the server had disconnected were not back {} s after the last line",
                        self.control.away(),
                        DRAIN_TIMEOUT / SECOND
                    ));
                }
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let (received, noticed) = self.control.received();
            if received + noticed >= expected {
                return Ok(());
            }
            let now = clock::now();
            if (received, noticed) != last.0 {
                last = ((received, noticed), now);
            }
            if self.control.ended() > 0 && now - last.1 > QUIET {
                // Somebody was disconnected, which is a fault of its own, and nothing more comes to the others.
                return Ok(());
            }
            if now - last.1 > 50 * MILLISECOND && self.subject.system != System::Floor {
                let skipped = OwnFigures::ask(&self.target)
                    .skipped
                    .map(|n| n - skipped_before.unwrap_or(0).min(n));
                let known = skipped.is_some_and(|skipped| received + skipped >= expected);
                let no_count = skipped.is_none() || self.workload.churn > 0;
                if known && self.workload.churn == 0 || no_count && now - last.1 > QUIET {
                    return Ok(());
                }
            }
            if now > until || self.control.failed() {
                let missing = expected - received - noticed;
                return Err(format!(
                    "{missing} of {expected} deliveries neither came within {} s of the last line nor were counted as skipped by the server",
                    DRAIN_TIMEOUT / SECOND
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The input has ended: every client must get the exit status, and the server must end by itself.
    fn wait_for_the_end(&self, server: &mut ServerProcess) -> Result<(), String> {
        server.wait(Duration::from_secs(15))?;
        let until = clock::now() + 5 * SECOND;
        let clients = (self.workload.subscribers + self.workload.resumers().count()) as u64;
        while self.control.ended() < clients {
            if clock::now() > until {
                let without = clients - self.control.ended();
                return Err(format!(
                    "{without} clients got neither the exit status nor a close"
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Skips {
    fn since(mut self, earlier: Skips) -> Skips {
        self.total = self
            .total
            .map(|total| total.saturating_sub(earlier.total.unwrap_or(0)));
        for (channel, skipped) in &mut self.by_channel {
            *skipped =
                skipped.saturating_sub(earlier.by_channel.get(channel).copied().unwrap_or(0));
        }
        self
    }
}

impl Measured {
    fn outcome(
        self,
        workload: &Workload,
        system: System,
        gathered: Vec<Gathered>,
        began: u64,
        visits: u64,
    ) -> Outcome {
        let lines = self.feeding.lines;
        let mut tally = Tally::new();
        let mut clients = Vec::new();
        let mut joined_at = began;
        for thread in gathered {
            joined_at = joined_at.max(thread.joined_at);
            tally.merge(thread.tally);
            clients.extend(thread.clients);
        }
        for fault in self.faults {
            tally.fault(|| fault);
        }
        let mut announced = Announced::default();
        let mut received = 0;
        let mut skipped = 0;
        let mut skipped_by_readers = 0;
        let mut per_channel = vec![0_u64; workload.channels];
        for client in clients
            .iter_mut()
            .filter(|client| client.role != Role::Churner)
        {
            if system != System::Remote && !client.has_ended() {
                let number = client.number;
                tally.fault(|| {
                    format!("client {number} never got the exit status, which must not be lost")
                });
            }
            for (channel, account) in workload
                .channels_of(client.number)
                .zip(client.accounts.iter_mut())
            {
                close(
                    account,
                    client.number,
                    workload.published(lines, channel),
                    &mut tally,
                );
                if client.role == Role::Resumer {
                    continue;
                }
                received += account.received();
                skipped += account.skipped();
                skipped_by_readers += if client.role == Role::Reader {
                    account.skipped()
                } else {
                    0
                };
                per_channel[channel] += account.skipped();
            }
        }
        for client in clients.iter().filter(|client| client.role != Role::Churner) {
            for ((ledger, account), channel) in client
                .ledgers
                .iter()
                .zip(&client.accounts)
                .zip(workload.channels_of(client.number))
            {
                announced.add(ledger.announced());
                let published = workload.published(lines, channel);
                if let Err(fault) = ledger.close(published, account.received(), account.skipped()) {
                    tally.fault(|| {
                        format!("client {}, publisher {channel}: {fault}", client.number)
                    });
                }
            }
        }
        let churn = workload.churn > 0;
        // What clients miss while they are on their way back is not skipped: what they were told of is.
        let told = workload.comes_back.then_some(announced.skipped);
        if let Some(total) = self.skips.total {
            check_skips("in all", told.unwrap_or(skipped), total, churn, &mut tally);
        }
        for (channel, seen) in per_channel.iter().enumerate() {
            let name = workload.channel_name(channel);
            if let (Some(counted), false) = (self.skips.by_channel.get(&name), workload.comes_back)
            {
                check_skips(&format!("on {name}"), *seen, *counted, churn, &mut tally);
            }
        }
        let expected = workload.expected(lines);
        if received + skipped != expected {
            tally.fault(|| format!("the books do not close: {received} received and {skipped} skipped are not the {expected} published"));
        }
        let (latency, tally) = tally.into_latency();
        let seconds = workload.seconds;
        let Feeding {
            unsent,
            late,
            first,
            last,
            ..
        } = self.feeding;
        let usage = last.server.as_ref().zip(first.server.as_ref());
        let server_cpu = usage.map(|(last, first)| last.since(first));
        let server_waited =
            usage.map(|(last, first)| last.waited_since(first) as f64 / seconds / 1e9);
        Outcome {
            system,
            published: lines,
            unsent,
            expected,
            received,
            skipped,
            skipped_by_readers,
            server_skipped: self.skips.total,
            visits,
            announced,
            bytes_per_delivered: (tally.delivered > 0)
                .then(|| tally.bytes as f64 / tally.delivered as f64),
            delivered: tally.delivered,
            measured_seconds: seconds,
            delivered_per_second: tally.delivered as f64 / seconds,
            megabytes_per_second: tally.bytes as f64 / seconds / 1e6,
            server_cpu_ns: server_cpu,
            server_cpu_ns_per_delivered: server_cpu
                .filter(|_| tally.delivered > 0)
                .map(|ns| ns as f64 / tally.delivered as f64),
            server_cores: server_cpu.map(|ns| ns as f64 / seconds / 1e9),
            server_waited,
            generator_waited: last.generator.waited_since(&first.generator) as f64 / seconds / 1e9,
            generator_cores: last.generator.since(&first.generator) as f64 / seconds / 1e9,
            bytes_per_write: last.figures.bytes_per_write_since(&first.figures),
            latency_us: Latency::of(&latency),
            feeder_late_us: Late::of(&late),
            join_ms: (joined_at - began) as f64 / 1e6,
            memory: self.memory,
            timeline: moments(&tally.timeline),
            percentiles: percentiles(&latency),
            faults: tally.faults,
            fault_count: tally.fault_count,
        }
    }
}

/// Lines, writes and bytes of the floor's whole run.
fn floor_figures(stdout: &mut impl BufRead) -> Result<(u64, OwnFigures), String> {
    let mut line = String::new();
    stdout
        .read_line(&mut line)
        .map_err(|e| format!("could not read what the floor says: {e}"))?;
    let figures: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    match figures[..] {
        [lines, writes, bytes] => Ok((
            lines,
            OwnFigures {
                skipped: None,
                writes: Some(writes),
                written_bytes: Some(bytes),
            },
        )),
        _ => Err(format!("the floor said {line:?} instead of its figures")),
    }
}

fn close(account: &mut Account, client: usize, published: u64, tally: &mut Tally) {
    if let Err(sequence) = account.close(published) {
        tally.fault(|| {
            format!("client {client} got line {sequence} of {published} that were published")
        });
    }
}

/// The server's count and the clients' must agree; what churners missed unseen makes the server's larger.
fn check_skips(place: &str, clients: u64, server: u64, churn: bool, tally: &mut Tally) {
    if clients != server && !(churn && server > clients) {
        tally.fault(|| {
            format!(
                "clients miss {clients} lines {place}, but the server counted {server} as skipped"
            )
        });
    }
}
