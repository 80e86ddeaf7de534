//! One thread that sends lines on time. What is late because the server did not read stays late: a line's intended
//! send time is the schedule's, never the moment at which it could be written.

use crate::clock::{self, MILLISECOND, SECOND};
use crate::control::{Control, Phase};
use crate::http::Http;
use crate::stamp::{LineShape, STAMP_BYTES, Stamp};
use crate::tally::empty_histogram;
use crate::target::Target;
use crate::workload::{Rate, Workload};
use hdrhistogram::Histogram;
use std::io::Write;
use std::ops::Range;
use std::process::ChildStdin;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Most bytes of lines made ready for one write.
const CHUNK_BYTES: usize = 64 * 1024;

/// How far behind its schedule a feeder may be at the end before it gives up on the rest.
const GRACE: u64 = SECOND;

/// Where lines go.
pub(crate) enum Sink {
    /// One channel: lines as they are.
    Lines(ChildStdin),
    /// Several: `processId<TAB>line`.
    Framed(ChildStdin),
    /// `POST /api/actions` of a server that is not a child.
    Actions(Http),
}

/// What became of the feeding.
pub(crate) struct Fed {
    pub(crate) sink: Sink,
    pub(crate) lines: u64,
    /// Lines that were due but could not be sent in time.
    pub(crate) unsent: u64,
    /// Microseconds between a line's intended time and the end of the write that sent it, one value per write.
    pub(crate) late: Histogram<u64>,
}

pub(crate) struct Feeder {
    workload: Arc<Workload>,
    control: Arc<Control>,
    origin: u64,
    end: u64,
    /// Lines made ready, each at a fixed place; only the stamps change.
    slots: Slots,
}

impl Feeder {
    /// Lines flow from `origin` until `end`, nanoseconds since boot.
    pub(crate) fn new(
        workload: Arc<Workload>,
        control: Arc<Control>,
        origin: u64,
        end: u64,
    ) -> Feeder {
        let slots = Slots::default();
        Feeder {
            workload,
            control,
            origin,
            end,
            slots,
        }
    }

    pub(crate) fn start(self, sink: Sink) -> Result<JoinHandle<Result<Fed, String>>, String> {
        let thread = std::thread::Builder::new().name("feeder".to_owned());
        thread
            .spawn(move || self.run(sink))
            .map_err(|e| format!("could not start the feeder: {e}"))
    }

    fn run(mut self, mut sink: Sink) -> Result<Fed, String> {
        clock::sharpen_sleeps();
        self.slots = Slots::new(&self.workload, &sink);
        let mut late = empty_histogram();
        let mut sent = 0;
        let mut waits = 0;
        clock::sleep_until(self.origin);
        loop {
            let now = clock::now();
            if self.control.failed() || self.control.phase() != Phase::Run {
                break;
            }
            let (due, wake) = self.due(sent, now, &mut waits);
            if due == 0 {
                match wake {
                    Some(at) => clock::sleep_until(at),
                    None => break,
                }
                continue;
            }
            let start = (sent % self.workload.channels as u64) as usize;
            let count = due.min((self.slots.places.len() - start) as u64) as usize;
            let first_intended = self.intended(sent, now);
            for i in 0..count {
                let line = sent + i as u64;
                self.slots
                    .stamp(start + i, line, self.intended(line, now), &self.workload);
            }
            self.send(&mut sink, start..start + count)?;
            sent += count as u64;
            self.control.set_published(sent);
            let written = clock::now();
            late.saturating_record(
                written
                    .saturating_sub(first_intended)
                    .div_ceil(1_000)
                    .max(1),
            );
            if matches!(self.workload.rate, Rate::Lines(_)) && written > self.end + GRACE {
                break;
            }
        }
        let unsent = match self.workload.rate {
            Rate::Lines(_) => self.scheduled().saturating_sub(sent),
            _ => 0,
        };
        Ok(Fed {
            sink,
            lines: sent,
            unsent,
            late,
        })
    }

    /// How many lines are due, and if none when to look again; nothing at all when the schedule is at its end.
    fn due(&self, sent: u64, now: u64, waits: &mut u32) -> (u64, Option<u64>) {
        match self.workload.rate {
            Rate::Lines(rate) => {
                let burst = self.workload.burst;
                let elapsed = now.saturating_sub(self.origin);
                let bursts = (u128::from(elapsed) * u128::from(rate) / u128::from(burst * SECOND))
                    as u64
                    + 1;
                let total = (bursts * burst).min(self.scheduled());
                let wake = if sent < self.scheduled() {
                    Some(self.intended(sent, now))
                } else {
                    None
                };
                (total.saturating_sub(sent), wake)
            }
            _ if now >= self.end => (0, None),
            Rate::Max => (u64::MAX, None),
            Rate::Window(window) => {
                let channels = self.workload.channels as u64;
                // The slowest client's progress, in lines of all channels.
                let done = self.control.slowest().saturating_mul(channels)
                    / self.workload.per_client as u64;
                let room = done.saturating_add(window).saturating_sub(sent);
                if room > 0 {
                    *waits = 0;
                    return (room, None);
                }
                // A client whose last lines were all skipped would wait for ever for the next.
                *waits += 1;
                let nudge = u64::from(*waits > 500);
                *waits *= 1 - nudge as u32;
                (nudge, Some((now + MILLISECOND / 5).min(self.end)))
            }
        }
    }

    /// Lines of the whole schedule.
    fn scheduled(&self) -> u64 {
        let Rate::Lines(rate) = self.workload.rate else {
            return u64::MAX;
        };
        let span = u128::from(self.end - self.origin);
        let bursts = (span * u128::from(rate)).div_ceil(u128::from(self.workload.burst * SECOND));
        bursts as u64 * self.workload.burst
    }

    fn intended(&self, line: u64, now: u64) -> u64 {
        match self.workload.rate {
            Rate::Lines(rate) => {
                let burst = self.workload.burst;
                let bursts = u128::from(line / burst) * u128::from(burst);
                self.origin + (bursts * u128::from(SECOND)).div_ceil(u128::from(rate)) as u64
            }
            // No schedule: a line is meant to be sent when its write begins.
            _ => now,
        }
    }

    fn send(&self, sink: &mut Sink, slots: Range<usize>) -> Result<(), String> {
        let bytes = self.slots.bytes(slots);
        match sink {
            Sink::Lines(pipe) | Sink::Framed(pipe) => pipe
                .write_all(bytes)
                .map_err(|e| format!("could not feed the server's standard input: {e}")),
            Sink::Actions(http) => {
                let mut body = Vec::with_capacity(bytes.len() + 2);
                body.push(b'[');
                body.extend_from_slice(&bytes[..bytes.len() - 1]);
                body.push(b']');
                match http.request("POST", "/api/actions", &body)? {
                    (200, _) => Ok(()),
                    (status, answer) => Err(format!(
                        "the server refused POST /api/actions with {status}: {}",
                        String::from_utf8_lossy(&answer[..answer.len().min(200)])
                    )),
                }
            }
        }
    }
}

/// Connects a feeder to a server that is not a child.
pub(crate) fn actions(target: &Target) -> Result<Sink, String> {
    Http::connect(target).map(Sink::Actions)
}

/// Ready lines in one buffer; slot `i` is of channel `i % channels`, so that only stamps ever change.
#[derive(Default)]
struct Slots {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

struct Place {
    begin: usize,
    stamp: usize,
    end: usize,
}

impl Slots {
    /// As many as [`CHUNK_BYTES`] hold, and at least one for each channel.
    fn new(workload: &Workload, sink: &Sink) -> Slots {
        let line = LineShape::new(workload.line_bytes).line();
        let channels = workload.channels;
        let count = (CHUNK_BYTES / (line.len() + 1))
            .max(1)
            .next_multiple_of(channels);
        let mut slots = Slots::default();
        for i in 0..count {
            let begin = slots.bytes.len();
            let id = workload.process_id(i % channels);
            match sink {
                Sink::Lines(_) => {}
                Sink::Framed(_) => slots.bytes.extend_from_slice(format!("{id}\t").as_bytes()),
                Sink::Actions(_) => slots.bytes.extend_from_slice(
                    format!("{{\"action\":\"ws.send_process_output\",\"process_id\":\"{id}\",\"output\":\"")
                        .as_bytes(),
                ),
            }
            let stamp = slots.bytes.len();
            slots.bytes.extend_from_slice(&line);
            slots
                .bytes
                .extend_from_slice(if matches!(sink, Sink::Actions(_)) {
                    b"\"},"
                } else {
                    b"\n"
                });
            slots.places.push(Place {
                begin,
                stamp,
                end: slots.bytes.len(),
            });
        }
        slots
    }

    fn stamp(&mut self, slot: usize, line: u64, sent: u64, workload: &Workload) {
        let channels = workload.channels as u64;
        let stamp = Stamp {
            publisher: (line % channels) as u16,
            sequence: line / channels,
            sent,
        };
        let at = self.places[slot].stamp;
        stamp.write(&mut self.bytes[at..at + STAMP_BYTES]);
    }

    fn bytes(&self, slots: Range<usize>) -> &[u8] {
        &self.bytes[self.places[slots.start].begin..self.places[slots.end - 1].end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feeder(rate: Rate, burst: u64, span: u64) -> Feeder {
        let workload = Arc::new(Workload {
            rate,
            burst,
            ..Workload::default()
        });
        let origin = 1_000_000_007;
        Feeder::new(
            workload,
            Arc::new(Control::new(1, 1)),
            origin,
            origin + span,
        )
    }

    proptest! {
        #[test]
        fn a_line_is_due_exactly_from_its_intended_time_on(
            rate in 1u64..2_000_000, burst in 1u64..50, line in 0u64..100_000
        ) {
            let feeder = feeder(Rate::Lines(rate), burst, 86_400 * SECOND);
            let at = feeder.intended(line, 0);
            let due = |now| feeder.due(0, now, &mut 0).0;
            prop_assume!(line < feeder.scheduled());
            prop_assert!(due(at) > line);
            if at > feeder.origin {
                prop_assert!(due(at - 1) <= line);
            }
        }

        #[test]
        fn the_schedule_holds_all_bursts_that_begin_before_its_end(
            rate in 1u64..100_000, burst in 1u64..50, span in 1u64..(3 * SECOND)
        ) {
            let feeder = feeder(Rate::Lines(rate), burst, span);
            let lines = feeder.scheduled();
            prop_assert_eq!(lines % burst, 0);
            prop_assert!(feeder.intended(lines - 1, 0) < feeder.end);
            prop_assert!(feeder.intended(lines, 0) >= feeder.end);
            prop_assert_eq!(feeder.due(lines, u64::MAX / 2, &mut 0), (0, None));
        }
    }

    #[test]
    fn a_window_leaves_no_more_lines_on_their_way_than_asked() {
        let feeder = feeder(Rate::Window(100), 1, SECOND);
        let now = feeder.origin;
        assert_eq!(feeder.due(0, now, &mut 0).0, 100);
        assert_eq!(feeder.due(60, now, &mut 0).0, 40);
        assert_eq!(feeder.due(100, now, &mut 0).0, 0);
        feeder.control.set_progress(0, 30);
        assert_eq!(feeder.due(100, now, &mut 0).0, 30);
        assert_eq!(feeder.due(100, feeder.end, &mut 0), (0, None));
    }

    #[test]
    fn a_window_that_makes_no_progress_is_nudged_one_line_at_a_time() {
        let feeder = feeder(Rate::Window(1), 1, SECOND);
        let mut waits = 0;
        let sent: u64 = (0..2_000)
            .map(|_| feeder.due(1, feeder.origin, &mut waits).0)
            .sum();
        assert!((2..=4).contains(&sent), "{sent}");
    }
}
