//! Checks that no figure of a soak drifts. Pure.

use super::check::{Check, CheckVerdict};
use super::drift::{growth, median, thirds};
use super::sample::Sample;

/// Memory may grow by this much over the judged time.
///
/// An engine without a leak grew by 122 KiB on 6.3 MiB in ten minutes. It grew by 718 KiB in 90 s
/// while queues and histories were still filling. A growth of several times that is more than
/// fragments and free pages.
const MAX_GROWTH_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Memory may also grow by this share, if that is more.
const MAX_GROWTH_SHARE: f64 = 0.10;

/// The p99 of the last third may be this many times that of the first third.
///
/// Without a drift, and with other programs compiling on the same 2 cores, the ratio was 0.9 and
/// 1.3, while single minutes went from 11 to 26 ms.
const MAX_LATENCY_RATIO: f64 = 2.0;
/// A smaller difference is no drift: two flush intervals of 10 ms and a scheduler's slice of 4 or
/// 5 ms.
const MAX_LATENCY_DIFFERENCE_US: f64 = 25_000.0;
/// Shorter delays of the machine are within the resolution of the timer.
const MIN_LATE_US: f64 = 1_000.0;

/// The CPU time per delivered message of the last third may be this many times that of the first
/// third. The ratio was 1.11 and 1.13 in the same runs.
const MAX_CPU_RATIO: f64 = 1.5;

/// The share of the samples that is not judged, since queues and histories are still filling.
const WARM_UP_SHARE: f64 = 0.2;

/// Fewer samples than this, or less time, show only noise.
const MIN_SAMPLES: usize = 24;
const MIN_SECONDS: f64 = 30.0;

/// Checks whether a figure got worse over time.
pub(super) fn drift_checks(samples: &[Sample]) -> Vec<Check> {
    let end = samples.last().map_or(0.0, |sample| sample.at);
    let settled: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.at > WARM_UP_SHARE * end)
        .collect();
    let seconds = settled.first().map_or(0.0, |first| end - first.at);
    let enough = settled.len() >= MIN_SAMPLES && seconds >= MIN_SECONDS;
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
            check.verdict = CheckVerdict::NotJudged;
            check.measured = format!(
                "{}; not judged: {} samples over {seconds:.0} s are fewer than {MIN_SAMPLES} over \
                 {MIN_SECONDS} s",
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
    let bound = MAX_GROWTH_BYTES.max(MAX_GROWTH_SHARE * level);
    let kib = |bytes: f64| bytes / 1024.0;
    match growth(&points) {
        Some(grown) => Check::new(
            name,
            grown <= bound,
            format!(
                "{:+.0} KiB on {:.0} KiB by its slope; up to {:+.0} KiB is no drift",
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
    // The delays of the machine are not those of the server. Delays below a millisecond are within
    // the resolution of the timer.
    let machine = of(|sample| sample.late_p99).map_or(1.0, |(first, last)| {
        last.max(MIN_LATE_US) / first.max(MIN_LATE_US)
    });
    let ratio = MAX_LATENCY_RATIO * machine.max(1.0);
    Check::new(
        NAME,
        last <= first * ratio || last - first <= MAX_LATENCY_DIFFERENCE_US,
        format!(
            "p99 {:.1} ms in the first third, {:.1} ms in the last; \
             up to x {ratio:.1} is no drift, since the machine's own delays changed x {machine:.1}",
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
        Some((first, last)) => Check::new(
            NAME,
            last <= first * MAX_CPU_RATIO,
            format!(
                "{first:.0} ns in the first third, {last:.0} ns in the last; \
                 up to x {MAX_CPU_RATIO} is no drift"
            ),
        ),
        None => unknown(NAME),
    }
}

fn unknown(name: &'static str) -> Check {
    Check {
        name,
        measured: "nothing was measured".to_owned(),
        verdict: CheckVerdict::NotJudged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Returns the samples of ten minutes, one each 5 s.
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
        drift_checks(samples)
            .into_iter()
            .inspect(|check| {
                assert_ne!(check.verdict, CheckVerdict::NotJudged, "{}", check.measured)
            })
            .filter(|check| check.verdict == CheckVerdict::Fails)
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
        for check in drift_checks(&samples[..20]) {
            assert_eq!(check.verdict, CheckVerdict::NotJudged);
            assert!(check.measured.contains("not judged"), "{}", check.measured);
        }
        assert!(
            drift_checks(&[])
                .iter()
                .all(|check| check.verdict == CheckVerdict::NotJudged)
        );
    }
}
