//! The verdict on a soak: what it is held to, what was measured, and whether that holds. Pure.

use super::deeds::{ASIDE, VIOLATIONS};
use super::disturber::Doings;
use super::drift::{growth, median, thirds};
use super::sample::{Level, Sample};
use serde::Serialize;

/// Memory may grow by this much over the time that is judged. An engine without a leak grew by 122 KiB on 6.3 MiB in ten minutes, and by 718 KiB in
/// 90 s, while queues and histories were still filling: what is more than several times that is more than fragments and free pages.
const MEMORY_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Or by this share, where there is more of it.
const MEMORY_SHARE: f64 = 0.10;

/// The p99 of the last third may be so many times that of the first: without a drift, and with others' builds on the same 2 cores, the two
/// were 0.9 and 1.3 times each other, while single minutes went from 11 to 26 ms.
const LATENCY_RATIO: f64 = 2.0;
/// And a difference of less than two flush intervals of 10 ms and a scheduler's slice of 4 or 5 ms is none.
const LATENCY_US: f64 = 25_000.0;

/// CPU per delivered message of the last third to that of the first: 1.11 and 1.13 in the same runs.
const CPU_RATIO: f64 = 1.5;

/// Of the samples, the part before which everything is still filling.
const WARM_UP: f64 = 0.2;

/// Fewer samples, or less time, than this show noise.
const FEWEST_SAMPLES: usize = 24;
const MIN_SECONDS: f64 = 30.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Holds,
    Fails,
    /// Too little was measured to say.
    NotJudged,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What was measured against what, in words.
    pub(crate) measured: String,
    pub(crate) verdict: Verdict,
}

impl Check {
    fn of(name: &'static str, holds: bool, measured: String) -> Check {
        Check {
            name,
            measured,
            verdict: if holds {
                Verdict::Holds
            } else {
                Verdict::Fails
            },
        }
    }
}

/// What a soak found at its end, beside what clients accounted for.
pub(crate) struct Findings<'a> {
    /// When everybody had joined and before anything else happened; when all that was over.
    pub(crate) before: &'a Level,
    pub(crate) after: &'a Level,
    /// Connections that this generator's clients had open then.
    pub(crate) open: u64,
    /// Clients that were disconnected because a message for everybody found no room.
    pub(crate) overflows: u64,
    pub(crate) doings: &'a Doings,
}

impl Findings<'_> {
    /// What must hold once all is over and gone.
    pub(crate) fn at_rest(&self) -> Vec<Check> {
        let mut checks = self.levels();
        checks.extend(self.sums());
        checks
    }

    /// What must be as it was.
    fn levels(&self) -> Vec<Check> {
        let Findings {
            before,
            after,
            open,
            ..
        } = self;
        let clients = after.figures.clients;
        vec![
            Check::of(
                "clients",
                clients == *open,
                format!("{clients} counted, {open} connected"),
            ),
            Check::of(
                "channels",
                after.figures.channels == before.figures.channels
                    && after.known_channels <= before.known_channels + ASIDE,
                format!(
                    "{} with subscribers, {} before; {} known, {} before and {ASIDE} beside",
                    after.figures.channels,
                    before.figures.channels,
                    after.known_channels,
                    before.known_channels
                ),
            ),
            Check::of(
                "descriptors",
                after.own_descriptors() <= before.own_descriptors(),
                format!(
                    "{} beside the clients', {} before",
                    after.own_descriptors(),
                    before.own_descriptors()
                ),
            ),
            Check::of(
                "threads",
                after.threads <= before.threads,
                format!("{}, {} before", after.threads, before.threads),
            ),
            Check::of(
                "queues",
                after.figures.queued == 0,
                format!("{} messages wait", after.figures.queued),
            ),
        ]
    }

    /// What the server counted must add up, and agree with what was done to it.
    fn sums(&self) -> Vec<Check> {
        let Findings {
            after,
            doings,
            overflows,
            ..
        } = self;
        let figures = &after.figures;
        let accounted = figures.written + figures.queued + figures.skipped + figures.discarded;
        let ended: u64 = figures.closed.values().sum();
        let mut checks = vec![
            Check::of(
                "offered = written + queued + skipped + discarded",
                figures.offered == accounted,
                format!(
                    "{} = {} + {} + {} + {}",
                    figures.offered,
                    figures.written,
                    figures.queued,
                    figures.skipped,
                    figures.discarded
                ),
            ),
            Check::of(
                "connected = clients + closed",
                figures.connected == figures.clients + ended,
                format!("{} = {} + {ended}", figures.connected, figures.clients),
            ),
            Check::of(
                "overflows",
                figures.closed_for("queue overflow") >= *overflows,
                format!(
                    "{overflows} clients had no room for a message to everybody, {} counted with the disturbers'",
                    figures.closed_for("queue overflow")
                ),
            ),
            Check::of(
                "no panics",
                figures.panicked == 0 && figures.closed_for("internal error") == 0,
                format!(
                    "{} seals, {} connections",
                    figures.panicked,
                    figures.closed_for("internal error")
                ),
            ),
        ];
        for (reason, code) in [
            ("protocol violation", 1002),
            ("invalid UTF-8", 1007),
            ("message too big", 1009),
        ] {
            let made: u64 = VIOLATIONS
                .iter()
                .filter(|violation| violation.2 == code)
                .map(|v| doings.of(v.0))
                .sum();
            let counted = figures.closed_for(reason);
            checks.push(Check::of(
                reason,
                made == counted,
                format!("{made} made, {counted} counted"),
            ));
        }
        checks
    }
}

/// Whether anything got worse with time.
pub(crate) fn drifts(samples: &[Sample]) -> Vec<Check> {
    let end = samples.last().map_or(0.0, |sample| sample.at);
    let settled: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.at > WARM_UP * end)
        .collect();
    let seconds = settled.first().map_or(0.0, |first| end - first.at);
    let enough = settled.len() >= FEWEST_SAMPLES && seconds >= MIN_SECONDS;
    let mut checks = vec![
        memory("memory of the server", &settled, |sample| sample.anonymous),
        memory("memory of the generator", &settled, |sample| {
            sample.generator_anonymous
        }),
        latency(&settled),
        cpu(&settled),
    ];
    if !enough {
        for check in &mut checks {
            check.verdict = Verdict::NotJudged;
            check.measured = format!(
                "{}; not judged: {} samples over {seconds:.0} s are fewer than {FEWEST_SAMPLES} over {MIN_SECONDS} s",
                check.measured,
                settled.len()
            );
        }
    }
    checks
}

fn memory(name: &'static str, samples: &[&Sample], figure: fn(&Sample) -> u64) -> Check {
    let points: Vec<(f64, f64)> = samples
        .iter()
        .map(|sample| (sample.at, figure(sample) as f64))
        .collect();
    let level = median(points.iter().map(|point| point.1)).unwrap_or(0.0);
    let bound = MEMORY_BYTES.max(MEMORY_SHARE * level);
    let kib = |bytes: f64| bytes / 1024.0;
    match growth(&points) {
        Some(grown) => Check::of(
            name,
            grown <= bound,
            format!(
                "{:+.0} KiB on {:.0} KiB by its slope; up to {:+.0} KiB is none",
                kib(grown),
                kib(level),
                kib(bound)
            ),
        ),
        None => unknown(name),
    }
}

fn latency(samples: &[&Sample]) -> Check {
    const NAME: &str = "latency";
    let of = |figure: fn(&Sample) -> Option<u64>| {
        thirds(
            &samples
                .iter()
                .filter_map(|sample| figure(sample))
                .map(|us| us as f64)
                .collect::<Vec<_>>(),
        )
    };
    let Some((first, last)) = of(|sample| sample.p99) else {
        return unknown(NAME);
    };
    // What the machine adds to each of a line's steps is not the server's. Below a millisecond it is the timer's grain.
    let machine = of(|sample| sample.late_p99)
        .map_or(1.0, |(first, last)| last.max(1_000.0) / first.max(1_000.0));
    let ratio = LATENCY_RATIO * machine.max(1.0);
    Check::of(
        NAME,
        last <= first * ratio || last - first <= LATENCY_US,
        format!(
            "p99 {:.1} ms in the first third, {:.1} ms in the last; up to x {ratio:.1} is none, the machine's own delays having changed x {machine:.1}",
            first / 1e3,
            last / 1e3
        ),
    )
}

fn cpu(samples: &[&Sample]) -> Check {
    const NAME: &str = "CPU per delivered message";
    match thirds(
        &samples
            .iter()
            .filter_map(|sample| sample.cpu_ns)
            .collect::<Vec<_>>(),
    ) {
        Some((first, last)) => Check::of(
            NAME,
            last <= first * CPU_RATIO,
            format!(
                "{first:.0} ns in the first third, {last:.0} ns in the last; up to x {CPU_RATIO} is none"
            ),
        ),
        None => unknown(NAME),
    }
}

fn unknown(name: &'static str) -> Check {
    Check {
        name,
        measured: "nothing was measured".to_owned(),
        verdict: Verdict::NotJudged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Ten minutes, a sample each 5 s.
    fn soak(figures: impl Fn(f64, &mut Sample)) -> Vec<Sample> {
        (1..=120)
            .map(|i| {
                let mut sample = Sample {
                    at: f64::from(i) * 5.0,
                    anonymous: (20.0 * MIB) as u64,
                    generator_anonymous: (10.0 * MIB) as u64,
                    p99: Some(15_000),
                    cpu_ns: Some(200.0),
                    late_p99: Some(300),
                    ..Sample::default()
                };
                let at = sample.at;
                figures(at, &mut sample);
                sample
            })
            .collect()
    }

    fn failed(samples: &[Sample]) -> Vec<&'static str> {
        drifts(samples)
            .into_iter()
            .inspect(|check| assert_ne!(check.verdict, Verdict::NotJudged, "{}", check.measured))
            .filter(|check| check.verdict == Verdict::Fails)
            .map(|check| check.name)
            .collect()
    }

    proptest! {
        #[test]
        fn a_leak_of_ten_kib_a_second_fails_and_noise_does_not(noise in prop::collection::vec(-1.5..1.5f64, 120)) {
            let with = |leak: f64| {
                soak(|at, sample| {
                    let noise = noise[(at / 5.0) as usize - 1];
                    sample.anonymous = (20.0 * MIB + noise * MIB + at * leak) as u64;
                })
            };
            prop_assert_eq!(failed(&with(0.0)), Vec::<&str>::new());
            prop_assert_eq!(failed(&with(10.0 * 1024.0 + 2_000.0)), ["memory of the server"]);
        }

        #[test]
        fn latency_that_peaks_is_no_drift_and_latency_that_climbs_is(
            peaks in prop::collection::vec(1u64..100, 120), base in 5_000u64..50_000
        ) {
            let with = |climb: f64| {
                soak(|at, sample| {
                    let peak = peaks[(at / 5.0) as usize - 1];
                    let factor = if peak > 80 { peak } else { 1 };
                    sample.p99 = Some((base as f64 * climb.powf(at / 600.0)) as u64 * factor);
                })
            };
            let third = |from: usize| peaks[from..from + 30].iter().filter(|peak| **peak > 80).count();
            prop_assume!(third(24) < 12 && third(88) < 12);
            prop_assert_eq!(failed(&with(1.0)), Vec::<&str>::new());
            prop_assert_eq!(failed(&with(40.0)), ["latency"]);
        }
    }

    #[test]
    fn what_grows_while_everything_fills_is_no_leak() {
        let samples =
            soak(|at, sample| sample.anonymous = (20.0 * MIB * (at / 110.0).min(1.0)) as u64);
        assert_eq!(failed(&samples), [""; 0]);
    }

    #[test]
    fn a_generator_that_leaks_says_so() {
        let samples = soak(|at, sample| sample.generator_anonymous += (at * 20_480.0) as u64);
        assert_eq!(failed(&samples), ["memory of the generator"]);
    }

    #[test]
    fn latency_is_not_the_servers_where_the_machines_own_delays_grow_as_much() {
        let slower = |machine: u64| {
            soak(|at, sample| {
                if at > 300.0 {
                    sample.p99 = Some(75_000);
                    sample.late_p99 = Some(machine);
                } else {
                    sample.late_p99 = Some(5_000);
                }
            })
        };
        assert_eq!(failed(&slower(15_000)), [""; 0]);
        assert_eq!(failed(&slower(5_000)), ["latency"]);
    }

    #[test]
    fn more_cpu_for_each_message_fails_beyond_half_as_much_again() {
        let with = |last: f64| {
            soak(|at, sample| sample.cpu_ns = Some(if at > 300.0 { last } else { 200.0 }))
        };
        assert_eq!(failed(&with(290.0)), [""; 0]);
        assert_eq!(failed(&with(310.0)), ["CPU per delivered message"]);
    }

    #[test]
    fn too_short_a_soak_is_not_judged_for_drift() {
        let samples = soak(|at, sample| sample.anonymous += (at * MIB) as u64);
        for check in drifts(&samples[..20]) {
            assert_eq!(check.verdict, Verdict::NotJudged);
            assert!(check.measured.contains("not judged"), "{}", check.measured);
        }
        assert!(
            drifts(&[])
                .iter()
                .all(|check| check.verdict == Verdict::NotJudged)
        );
    }

    fn level() -> Level {
        let mut level = Level {
            known_channels: 4,
            descriptors: 40,
            threads: 5,
            ..Level::default()
        };
        level.figures.clients = 30;
        level.figures.connected = 30;
        level.figures.channels = 4;
        level
    }

    fn failing(change: impl FnOnce(&mut Level)) -> Vec<&'static str> {
        let (before, mut after, doings) = (level(), level(), Doings::default());
        after.known_channels += ASIDE;
        change(&mut after);
        let findings = Findings {
            before: &before,
            after: &after,
            open: 30,
            overflows: 0,
            doings: &doings,
        };
        let checks = findings.at_rest();
        checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fails)
            .map(|check| check.name)
            .collect()
    }

    #[test]
    fn what_is_not_back_at_its_level_or_does_not_add_up_fails_by_name() {
        assert_eq!(failing(|_| ()), [""; 0]);
        assert_eq!(failing(|after| after.descriptors += 1), ["descriptors"]);
        assert_eq!(failing(|after| after.known_channels += 1), ["channels"]);
        assert_eq!(failing(|after| after.figures.channels += 1), ["channels"]);
        assert_eq!(failing(|after| after.threads += 1), ["threads"]);
        assert_eq!(
            failing(|after| after.figures.queued += 1),
            ["queues", "offered = written + queued + skipped + discarded"]
        );
        assert_eq!(
            failing(|after| after.figures.connected += 1),
            ["connected = clients + closed"]
        );
        assert_eq!(failing(|after| after.figures.panicked += 1), ["no panics"]);
        let violated = |after: &mut Level| {
            after.figures.connected += 1;
            after
                .figures
                .closed
                .insert("protocol violation".to_owned(), 1);
        };
        assert_eq!(failing(violated), ["protocol violation"]);
        let gone = |after: &mut Level| {
            after.figures.clients += 1;
            after.figures.connected += 1;
        };
        assert_eq!(failing(gone), ["clients"]);
    }
}
