//! One thread that feeds lines on time.
//!
//! The intended send time of a line comes from the schedule, and never from the moment at which the
//! line could be written. A line that is late because the server did not read stays late.

use super::error::FeederError;
use super::line_buffer::LineBuffer;
use super::line_sink::LineSink;
use crate::clock::{self, NS_PER_MS, NS_PER_SECOND};
use crate::measure::control::{Phase, RoundControl};
use crate::measure::histogram::empty_histogram;
use crate::workload::{Rate, Workload};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A feeder that is further behind its schedule at the end gives up on the remaining lines.
const MAX_BEHIND_NS: u64 = NS_PER_SECOND;

/// The interval at which a window without room is checked again.
const WINDOW_POLL_NS: u64 = NS_PER_MS / 5;

/// After so many checks without room, one line is sent anyway.
const MAX_WINDOW_WAITS: u32 = 500;

/// The result of the feeding.
pub(crate) struct FeederResult {
    pub(crate) sink: LineSink,
    pub(crate) lines: u64,
    /// The lines that were due and could not be sent in time.
    pub(crate) unsent: u64,
    /// Microseconds from the intended time of a line to the end of the write that sent it. There is
    /// one value per write.
    pub(crate) late_us: Histogram<u64>,
}

pub(crate) struct Feeder {
    workload: Arc<Workload>,
    control: Arc<RoundControl>,
    origin_ns: u64,
    end_ns: u64,
}

impl Feeder {
    /// Makes a feeder whose lines flow from `origin_ns` until `end_ns`.
    pub(crate) fn new(
        workload: Arc<Workload>,
        control: Arc<RoundControl>,
        origin_ns: u64,
        end_ns: u64,
    ) -> Feeder {
        Feeder {
            workload,
            control,
            origin_ns,
            end_ns,
        }
    }

    pub(crate) fn start(
        self,
        sink: LineSink,
    ) -> Result<JoinHandle<Result<FeederResult, FeederError>>, FeederError> {
        let thread = std::thread::Builder::new().name("feeder".to_owned());
        thread
            .spawn(move || self.run(sink))
            .map_err(FeederError::Start)
    }

    fn run(self, mut sink: LineSink) -> Result<FeederResult, FeederError> {
        clock::reduce_timer_slack();
        let mut buffer = LineBuffer::new(&self.workload, &sink);
        let mut late_us = empty_histogram();
        let mut sent = 0;
        let mut waits = 0;
        clock::sleep_until_ns(self.origin_ns);
        loop {
            let now_ns = clock::now_ns();
            if self.control.failed() || self.control.phase() != Phase::Run {
                break;
            }
            let (due, wake_ns) = self.due(sent, now_ns, &mut waits);
            if due == 0 {
                match wake_ns {
                    Some(at_ns) => clock::sleep_until_ns(at_ns),
                    None => break,
                }
                continue;
            }
            let start = (sent % self.workload.channels as u64) as usize;
            let count = due.min((buffer.len() - start) as u64) as usize;
            let first_intended_ns = self.intended_ns(sent, now_ns);
            for i in 0..count {
                let line = sent + i as u64;
                let intended_ns = self.intended_ns(line, now_ns);
                buffer.write_stamp(start + i, line, intended_ns, &self.workload);
            }
            sink.send(buffer.bytes(start..start + count))?;
            sent += count as u64;
            self.control.set_published(sent);
            let written_ns = clock::now_ns();
            let late_ns = written_ns.saturating_sub(first_intended_ns);
            late_us.saturating_record(late_ns.div_ceil(1_000).max(1));
            let scheduled = matches!(self.workload.rate, Rate::Lines(_));
            if scheduled && written_ns > self.end_ns + MAX_BEHIND_NS {
                break;
            }
        }
        let unsent = match self.workload.rate {
            Rate::Lines(_) => self.scheduled().saturating_sub(sent),
            Rate::Max | Rate::Window(_) => 0,
        };
        Ok(FeederResult {
            sink,
            lines: sent,
            unsent,
            late_us,
        })
    }

    /// Returns the number of lines that are due, and the time of the next check if there are none.
    ///
    /// There is neither after the end of the schedule.
    fn due(&self, sent: u64, now_ns: u64, waits: &mut u32) -> (u64, Option<u64>) {
        match self.workload.rate {
            Rate::Lines(rate) => {
                let burst = self.workload.burst_lines;
                let elapsed = u128::from(now_ns.saturating_sub(self.origin_ns));
                let burst_ns = u128::from(burst * NS_PER_SECOND);
                let bursts = (elapsed * u128::from(rate) / burst_ns) as u64 + 1;
                let total = (bursts * burst).min(self.scheduled());
                let wake_ns = if sent < self.scheduled() {
                    Some(self.intended_ns(sent, now_ns))
                } else {
                    None
                };
                (total.saturating_sub(sent), wake_ns)
            }
            _ if now_ns >= self.end_ns => (0, None),
            Rate::Max => (u64::MAX, None),
            Rate::Window(window) => {
                let channels = self.workload.channels as u64;
                // The progress of the slowest client, in lines of all channels.
                let done = self.control.slowest_progress().saturating_mul(channels)
                    / self.workload.channels_per_client as u64;
                let room = done.saturating_add(window).saturating_sub(sent);
                if room > 0 {
                    *waits = 0;
                    return (room, None);
                }
                // A client whose last lines were all skipped notices that only with the next line.
                // One line is therefore sent after many waits.
                *waits += 1;
                let extra = u64::from(*waits > MAX_WINDOW_WAITS);
                *waits *= 1 - extra as u32;
                (extra, Some((now_ns + WINDOW_POLL_NS).min(self.end_ns)))
            }
        }
    }

    /// Returns the number of lines of the whole schedule.
    fn scheduled(&self) -> u64 {
        let Rate::Lines(rate) = self.workload.rate else {
            return u64::MAX;
        };
        let burst = self.workload.burst_lines;
        let span_ns = u128::from(self.end_ns - self.origin_ns);
        let bursts = (span_ns * u128::from(rate)).div_ceil(u128::from(burst * NS_PER_SECOND));
        bursts as u64 * burst
    }

    /// Returns the intended send time of a line.
    ///
    /// Without a schedule, a line is meant to be sent when its write begins.
    fn intended_ns(&self, line: u64, now_ns: u64) -> u64 {
        match self.workload.rate {
            Rate::Lines(rate) => {
                let burst = self.workload.burst_lines;
                let earlier = u128::from(line / burst) * u128::from(burst);
                let offset_ns = (earlier * u128::from(NS_PER_SECOND)).div_ceil(u128::from(rate));
                self.origin_ns + offset_ns as u64
            }
            Rate::Max | Rate::Window(_) => now_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feeder(rate: Rate, burst: u64, span: u64) -> Feeder {
        let workload = Arc::new(Workload {
            rate,
            burst_lines: burst,
            ..Workload::default()
        });
        let origin = 1_000_000_007;
        Feeder::new(
            workload,
            Arc::new(RoundControl::new(1, 1)),
            origin,
            origin + span,
        )
    }

    proptest! {
        #[test]
        fn a_line_is_due_exactly_from_its_intended_time_on(
            rate in 1u64..2_000_000, burst in 1u64..50, line in 0u64..100_000
        ) {
            let feeder = feeder(Rate::Lines(rate), burst, 86_400 * NS_PER_SECOND);
            let at = feeder.intended_ns(line, 0);
            let due = |now| feeder.due(0, now, &mut 0).0;
            prop_assume!(line < feeder.scheduled());
            prop_assert!(due(at) > line);
            if at > feeder.origin_ns {
                prop_assert!(due(at - 1) <= line);
            }
        }

        #[test]
        fn the_schedule_holds_all_bursts_that_begin_before_its_end(
            rate in 1u64..100_000, burst in 1u64..50, span in 1u64..(3 * NS_PER_SECOND)
        ) {
            let feeder = feeder(Rate::Lines(rate), burst, span);
            let lines = feeder.scheduled();
            prop_assert_eq!(lines % burst, 0);
            prop_assert!(feeder.intended_ns(lines - 1, 0) < feeder.end_ns);
            prop_assert!(feeder.intended_ns(lines, 0) >= feeder.end_ns);
            prop_assert_eq!(feeder.due(lines, u64::MAX / 2, &mut 0), (0, None));
        }
    }

    #[test]
    fn a_window_leaves_no_more_lines_on_their_way_than_asked() {
        let feeder = feeder(Rate::Window(100), 1, NS_PER_SECOND);
        let now = feeder.origin_ns;
        assert_eq!(feeder.due(0, now, &mut 0).0, 100);
        assert_eq!(feeder.due(60, now, &mut 0).0, 40);
        assert_eq!(feeder.due(100, now, &mut 0).0, 0);
        feeder.control.set_progress(0, 30);
        assert_eq!(feeder.due(100, now, &mut 0).0, 30);
        assert_eq!(feeder.due(100, feeder.end_ns, &mut 0), (0, None));
    }

    #[test]
    fn a_window_that_makes_no_progress_is_nudged_one_line_at_a_time() {
        let feeder = feeder(Rate::Window(1), 1, NS_PER_SECOND);
        let mut waits = 0;
        let sent: u64 = (0..2_000)
            .map(|_| feeder.due(1, feeder.origin_ns, &mut waits).0)
            .sum();
        assert!((2..=4).contains(&sent), "{sent}");
    }
}
