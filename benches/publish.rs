//! The cost of publishing: the push, the seals it causes, the encoding, and the fan-out into the
//! queue of every subscriber.
//!
//! Each round publishes a fixed number of messages and flushes. After the round, outside the
//! measured time, all queues are drained. A figure counts only if every message was delivered and
//! none was skipped.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::internals::{Audience, Envelope, Timestamp, flush, single};
use outrace::{ChannelName, Hub, Lines, Message, Publisher};
use tokio::runtime::Runtime;

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET \
                    path=/api/users status=200 duration=12ms 0001";
const CHANNEL: &str = "process:web";
/// The number of messages that are published before the queues are drained.
const ROUND_MESSAGES: u64 = 4096;
/// A queue holds two rounds, so that nothing is skipped.
const QUEUE_MESSAGES: usize = 8192;
const RUN_LINES: u64 = 64;

fn hub() -> Hub {
    Hub::builder()
        .queue(QUEUE_MESSAGES)
        .queue_bytes(64 << 20)
        .build()
        .expect("the settings are valid")
}

/// The runtime that the hub's flush clock needs.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// Subscribers without sockets, and the hub that they watch.
struct Fixture {
    hub: Hub,
    audience: Audience,
    subscribers: u64,
}

impl Fixture {
    fn new(channels: &[&str], subscribers: usize) -> Self {
        let hub = hub();
        let audience = Audience::join(&hub, channels, subscribers);
        Self {
            hub,
            audience,
            subscribers: subscribers as u64,
        }
    }

    /// Publishes `messages` in rounds and returns the time that the rounds took. `publish` is
    /// called with the number of messages of each round.
    fn measure(&self, messages: u64, mut publish: impl FnMut(u64)) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = messages;
        while left > 0 {
            let n = left.min(ROUND_MESSAGES);
            let start = Instant::now();
            publish(n);
            flush(&self.hub);
            spent += start.elapsed();
            self.drain(n * self.subscribers);
            left -= n;
        }
        assert_eq!(self.audience.skipped(), 0, "skipped messages cost nothing");
        spent
    }

    /// Drains the queues until `expected` messages were delivered.
    fn drain(&self, expected: u64) {
        let mut delivered = 0;
        while delivered < expected {
            delivered += self.audience.drain().0;
        }
        assert_eq!(delivered, expected);
    }
}

fn publish(c: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();

    let mut group = c.benchmark_group("publish/one line");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 1, 10, 100, 1_000, 10_000] {
        let fixture = Fixture::new(&[CHANNEL], subscribers);
        let publisher = fixture.hub.publisher(CHANNEL).expect("the name is valid");
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                fixture.measure(iterations, |n| {
                    for _ in 0..n {
                        black_box(publisher.send_line(black_box(LINE)));
                    }
                })
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("publish/run of 64 lines, per line");
    group.throughput(Throughput::Elements(1));
    let run: Lines = std::iter::repeat_n(LINE, RUN_LINES as usize).collect();
    for subscribers in [0, 1, 10, 100, 1_000, 10_000] {
        let fixture = Fixture::new(&[CHANNEL], subscribers);
        let publisher = fixture.hub.publisher(CHANNEL).expect("the name is valid");
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                // Only whole runs are published. The time is scaled to the requested lines.
                let lines = iterations.next_multiple_of(RUN_LINES);
                let spent = fixture.measure(lines, |n| {
                    for _ in 0..n / RUN_LINES {
                        black_box(publisher.send_lines(run.clone()));
                    }
                });
                spent.mul_f64(iterations as f64 / lines as f64)
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("publish/four threads, one line");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 1, 100, 1_000] {
        let fixture = Fixture::new(&[CHANNEL], subscribers);
        let publisher = fixture.hub.publisher(CHANNEL).expect("the name is valid");
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                fixture.measure(iterations, |n| publish_from_four_threads(&publisher, n))
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("publish/by name");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 100] {
        let fixture = Fixture::new(&[CHANNEL], subscribers);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                fixture.measure(iterations, |n| {
                    for _ in 0..n {
                        let clients = fixture.hub.send_process_output("web", black_box(LINE));
                        black_box(clients.expect("the id is valid"));
                    }
                })
            });
        });
    }
    group.finish();
}

fn publish_from_four_threads(publisher: &Publisher, n: u64) {
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let barrier = &barrier;
            let share = n / 4 + u64::from(thread < n % 4);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..share {
                    black_box(publisher.send_line(black_box(LINE)));
                }
            });
        }
    });
}

/// The counterparts of the benchmarks of go-ws, under their names.
fn go_ws(c: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("go-ws");
    let message = || Message::output(LINE);

    group.throughput(Throughput::Elements(1));
    let fixture = Fixture::new(&[], 100);
    group.bench_function("Broadcast_100", |b| {
        b.iter_custom(|iterations| {
            fixture.measure(iterations, |n| {
                for _ in 0..n {
                    black_box(fixture.hub.broadcast(message()));
                }
            })
        });
    });
    group.bench_function("Broadcast_Parallel", |b| {
        b.iter_custom(|iterations| {
            fixture.measure(iterations, |n| {
                call_from_two_threads(n, || fixture.hub.broadcast(message()));
            })
        });
    });

    let fixture = Fixture::new(&["test-channel"], 50);
    let send = || {
        let clients = fixture.hub.send_to_channel("test-channel", message());
        clients.expect("the name is valid")
    };
    group.bench_function("SendToChannel_50", |b| {
        b.iter_custom(|iterations| {
            fixture.measure(iterations, |n| {
                for _ in 0..n {
                    black_box(send());
                }
            })
        });
    });
    group.bench_function("SendToChannel_Parallel", |b| {
        b.iter_custom(|iterations| fixture.measure(iterations, |n| call_from_two_threads(n, send)));
    });

    let fanout_hub = hub();
    let names: Vec<String> = (0..10).map(|i| format!("channel-{i}")).collect();
    let audiences: Vec<Audience> = names
        .iter()
        .map(|name| Audience::join(&fanout_hub, &[name], 10))
        .collect();
    group.throughput(Throughput::Elements(names.len() as u64));
    group.bench_function("MultiChannelFanout_10x10", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                for name in &names {
                    let clients = fanout_hub.send_to_channel(name, message());
                    black_box(clients.expect("the name is valid"));
                }
                flush(&fanout_hub);
                spent += start.elapsed();
                // The flush clock may be sealing a channel on another thread. `flush` leaves that
                // channel to it.
                let mut delivered = 0;
                while delivered < 100 {
                    delivered += audiences
                        .iter()
                        .map(|audience| audience.drain().0)
                        .sum::<u64>();
                }
                assert_eq!(delivered, 100);
            }
            spent
        });
    });

    let envelope = Envelope::new(Some(
        &ChannelName::parse(CHANNEL).expect("the name is valid"),
    ));
    let timestamp = Timestamp::from_unix_millis(1_771_495_200_123);
    let encoded_bytes = single(&envelope, &message(), &timestamp).len();
    group.throughput(Throughput::Bytes(encoded_bytes as u64));
    group.bench_function("MarshalMessage", |b| {
        let message = message();
        b.iter(|| black_box(single(&envelope, black_box(&message), &timestamp)));
    });

    let hub = hub();
    group.throughput(Throughput::Elements(1));
    group.bench_function("SubscribeUnsubscribe", |b| {
        b.iter(|| drop(black_box(Audience::join(&hub, &["test-channel"], 1))));
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("ConcurrentSubscribers_100", |b| {
        b.iter(|| drop(black_box(Audience::join(&hub, &["test-channel"], 100))));
    });
    group.finish();
}

/// Makes `n` calls, shared between two threads.
fn call_from_two_threads<T>(n: u64, call: impl Fn() -> T + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let call = &call;
            scope.spawn(move || {
                for _ in 0..n / 2 + u64::from(thread < n % 2) {
                    black_box(call());
                }
            });
        }
    });
}

fn join_leave(c: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("join and leave one channel, per client");
    group.sample_size(10);
    for clients in [100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(clients as u64));
        let hub = hub();
        group.bench_function(BenchmarkId::from_parameter(clients), |b| {
            b.iter(|| {
                let audience = Audience::join(&hub, &[CHANNEL], clients);
                assert_eq!(hub.channel_subscriber_count(CHANNEL), clients);
                drop(audience);
            });
        });
        assert_eq!(hub.channel_count(), 0);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = publish, go_ws, join_leave
}
criterion_main!(benches);
