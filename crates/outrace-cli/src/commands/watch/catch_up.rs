//! Holds lines back until the skipped lines before them have been fetched again. Does no I/O: it
//! takes events and returns steps.

use std::collections::{HashMap, VecDeque};

use outrace::client::Event;

/// The most text that is held back for one channel. When more comes, the hole is not filled.
const MAX_HELD_BYTES: usize = 16 << 20;

/// A step for the caller to take, in the order given.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Print the event.
    Show(Event),
    /// Print that this many lines are missing here.
    Skipped { channel: String, count: u64 },
    /// Request these messages again. If that fails, call [`CatchUp::give_up`].
    Fetch { channel: String, from: u64, to: u64 },
}

/// The holes of all channels, and the events that are held back.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    channels: HashMap<String, Hole>,
}

/// A run of missing messages that is being filled, and the events after it.
#[derive(Debug)]
struct Hole {
    next: u64,
    to: u64,
    /// Whether the messages of the hole are arriving.
    replaying: bool,
    held: VecDeque<Event>,
    bytes: usize,
}

impl CatchUp {
    /// Takes an event, and appends the steps that follow from it.
    pub(crate) fn take(&mut self, event: Event, steps: &mut VecDeque<Step>) {
        if let Event::Disconnected { .. } = event {
            for hole in self.channels.values_mut() {
                hole.replaying = false;
            }
            return steps.push_back(Step::Show(event));
        }
        let Some(name) = channel(&event).map(str::to_owned) else {
            return steps.push_back(Step::Show(event));
        };
        let Some(hole) = self.channels.get_mut(&name) else {
            return self.pass(name, event, steps);
        };
        match event {
            Event::Replay { from, to, .. } => {
                hole.replaying = true;
                if from > to {
                    // The server keeps none of these messages.
                    skip(&name, hole.next, hole.to, steps);
                    hole.next = hole.to + 1;
                } else {
                    skip(&name, hole.next, from - 1, steps);
                    hole.next = from;
                }
            }
            Event::Replayed { .. } => {
                skip(&name, hole.next, hole.to, steps);
                self.release(&name, steps);
            }
            Event::Gap { from, to, .. } if hole.replaying => {
                skip(&name, from, to, steps);
                hole.next = to + 1;
            }
            event if hole.replaying => {
                if let Some(seq) = seq(&event) {
                    hole.next = seq + 1;
                }
                steps.push_back(Step::Show(event));
            }
            Event::Reconnected { epoch_changed, .. } => {
                let (from, to) = (hole.next, hole.to);
                steps.push_back(Step::Show(event));
                if epoch_changed {
                    self.give_up(&name, steps);
                } else {
                    steps.push_back(Step::Fetch {
                        channel: name,
                        from,
                        to,
                    });
                }
            }
            event => {
                hole.bytes += weight(&event);
                hole.held.push_back(event);
                if hole.bytes > MAX_HELD_BYTES {
                    self.give_up(&name, steps);
                }
            }
        }
    }

    /// Leaves the hole of a channel unfilled.
    pub(crate) fn give_up(&mut self, name: &str, steps: &mut VecDeque<Step>) {
        if let Some(hole) = self.channels.get(name) {
            skip(name, hole.next, hole.to, steps);
            self.release(name, steps);
        }
    }

    /// Releases the held events up to the next hole among them.
    fn release(&mut self, name: &str, steps: &mut VecDeque<Step>) {
        let Some(hole) = self.channels.remove(name) else {
            return;
        };
        let mut held = hole.held;
        while let Some(event) = held.pop_front() {
            self.pass(name.to_owned(), event, steps);
            if let Some(hole) = self.channels.get_mut(name) {
                hole.bytes = held.iter().map(weight).sum();
                hole.held = held;
                return;
            }
        }
    }

    /// Takes an event of a channel that has no hole.
    fn pass(&mut self, name: String, event: Event, steps: &mut VecDeque<Step>) {
        match event {
            Event::Gap { from, to, .. } => {
                let hole = Hole {
                    next: from,
                    to,
                    replaying: false,
                    held: VecDeque::new(),
                    bytes: 0,
                };
                self.channels.insert(name.clone(), hole);
                steps.push_back(Step::Fetch {
                    channel: name,
                    from,
                    to,
                });
            }
            // These belong to a hole that was given up.
            Event::Replay { .. } | Event::Replayed { .. } => {}
            event => steps.push_back(Step::Show(event)),
        }
    }
}

fn skip(channel: &str, from: u64, to: u64, steps: &mut VecDeque<Step>) {
    if from <= to {
        steps.push_back(Step::Skipped {
            channel: channel.to_owned(),
            count: to - from + 1,
        });
    }
}

fn channel(event: &Event) -> Option<&str> {
    match event {
        Event::Line { channel, .. }
        | Event::Status { channel, .. }
        | Event::Gap { channel, .. }
        | Event::Subscribed { channel, .. }
        | Event::Reconnected { channel, .. }
        | Event::Replay { channel, .. }
        | Event::Replayed { channel, .. } => Some(channel.as_str()),
        _ => None,
    }
}

fn seq(event: &Event) -> Option<u64> {
    match event {
        Event::Line { seq, .. } | Event::Status { seq, .. } => *seq,
        _ => None,
    }
}

fn weight(event: &Event) -> usize {
    let text = match event {
        Event::Line {
            text, timestamp, ..
        } => text.len() + timestamp.len(),
        _ => 0,
    };
    size_of::<Event>() + text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // as in tests
mod tests {
    use super::*;
    use outrace::ChannelName;
    use outrace::client::DisconnectReason;

    fn web() -> ChannelName {
        ChannelName::parse("process:web").unwrap()
    }

    fn line(seq: u64) -> Event {
        Event::Line {
            channel: web(),
            text: seq.to_string(),
            seq: Some(seq),
            timestamp: String::new(),
            detail: outrace::client::LineDetail::default(),
        }
    }

    fn gap(from: u64, to: u64) -> Event {
        Event::Gap {
            channel: web(),
            from,
            to,
            count: to - from + 1,
        }
    }

    fn replay(from: u64, to: u64, lost: u64) -> Event {
        Event::Replay {
            channel: web(),
            from,
            to,
            lost,
        }
    }

    fn replayed(from: u64, to: u64) -> Event {
        Event::Replayed {
            channel: web(),
            from,
            to,
        }
    }

    fn reconnected(epoch_changed: bool) -> Event {
        Event::Reconnected {
            channel: web(),
            epoch_changed,
            lost: 0,
            replayed: 0,
        }
    }

    fn disconnected() -> Event {
        Event::Disconnected {
            reason: DisconnectReason::IdleTimeout,
            retry_in: None,
        }
    }

    /// Returns the steps in short form.
    fn run(items: impl IntoIterator<Item = Event>) -> Vec<String> {
        let mut catch_up = CatchUp::default();
        let mut steps = VecDeque::new();
        for item in items {
            catch_up.take(item, &mut steps);
        }
        steps
            .into_iter()
            .filter_map(|step| match step {
                Step::Show(Event::Line { text, .. }) => Some(text),
                Step::Show(_) => None,
                Step::Skipped { count, .. } => Some(format!("-{count}")),
                Step::Fetch { from, to, .. } => Some(format!("?{from}-{to}")),
            })
            .collect()
    }

    #[test]
    fn a_hole_is_filled_in_its_place_and_later_lines_wait_for_it() {
        let items = [
            line(1),
            gap(2, 3),
            line(4),
            line(5),
            replay(2, 3, 0),
            line(2),
            line(3),
            replayed(2, 3),
            line(6),
        ];
        assert_eq!(run(items), ["1", "?2-3", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn what_is_not_kept_any_more_stays_a_hole() {
        let items = [
            gap(2, 5),
            line(6),
            replay(4, 5, 2),
            line(4),
            line(5),
            replayed(4, 5),
        ];
        assert_eq!(run(items), ["?2-5", "-2", "4", "5", "6"]);
        assert_eq!(
            run([gap(2, 5), line(6), replay(2, 1, 4), replayed(2, 1)]),
            ["?2-5", "-4", "6"]
        );
        let items = [
            gap(2, 5),
            line(6),
            replay(2, 5, 0),
            line(2),
            gap(3, 4),
            line(5),
            replayed(2, 5),
        ];
        assert_eq!(run(items), ["?2-5", "2", "-2", "5", "6"]);
    }

    #[test]
    fn a_second_hole_is_asked_for_when_the_first_is_filled() {
        let items = [
            gap(2, 2),
            line(3),
            gap(4, 4),
            line(5),
            replay(2, 2, 0),
            line(2),
            replayed(2, 2),
            line(6),
            replay(4, 4, 0),
            line(4),
            replayed(4, 4),
        ];
        assert_eq!(run(items), ["?2-2", "2", "3", "?4-4", "4", "5", "6"]);
    }

    #[test]
    fn a_break_in_the_middle_asks_for_the_rest_unless_the_numbering_began_anew() {
        let items = || [gap(2, 4), line(5), replay(2, 4, 0), line(2), disconnected()].into_iter();
        let rest = [
            reconnected(false),
            line(6),
            replay(3, 4, 0),
            line(3),
            line(4),
            replayed(3, 4),
        ];
        assert_eq!(
            run(items().chain(rest)),
            ["?2-4", "2", "?3-4", "3", "4", "5", "6"]
        );
        assert_eq!(
            run(items().chain([reconnected(true), line(1)])),
            ["?2-4", "2", "-2", "5", "1"]
        );
    }

    #[test]
    fn no_more_is_held_than_the_bound() {
        let mut catch_up = CatchUp::default();
        let mut steps = VecDeque::new();
        catch_up.take(gap(1, 9), &mut steps);
        let mut seq = 10;
        while steps.len() < 2 {
            let text = "x".repeat(60_000);
            catch_up.take(
                Event::Line {
                    channel: web(),
                    text,
                    seq: Some(seq),
                    timestamp: String::new(),
                    detail: outrace::client::LineDetail::default(),
                },
                &mut steps,
            );
            seq += 1;
        }
        assert!((seq as usize) < MAX_HELD_BYTES / 60_000 + 12);
        assert_eq!(
            steps[1],
            Step::Skipped {
                channel: "process:web".to_owned(),
                count: 9
            }
        );
        assert_eq!(steps.len() as u64, 2 + seq - 10);
    }
}
