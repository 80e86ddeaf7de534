//! What publishing costs: the push, the seals it causes, the encoding and the fan-out into every subscriber's queue.
//!
//! Each measured round publishes a fixed number of messages and flushes. Between rounds, outside the measured time, every queue is emptied,
//! every delivery counted, and none may have been skipped.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::internals::{Audience, Envelope, Timestamp, flush, single};
use outrace::{ChannelName, Hub, Lines, Message, Publisher};

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET path=/api/users status=200 duration=12ms 0001";
const ROUND: u64 = 4096;
const QUEUE: usize = 8192;

fn hub() -> Hub {
    Hub::builder()
        .queue(QUEUE)
        .queue_bytes(64 << 20)
        .build()
        .expect("valid settings")
}

fn measure(
    hub: &Hub,
    audience: &Audience,
    subscribers: usize,
    per_round: u64,
    iterations: u64,
    mut round: impl FnMut(u64),
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let n = left.min(per_round);
        let start = Instant::now();
        round(n);
        flush(hub);
        spent += start.elapsed();
        let mut delivered = 0;
        let expected = n * subscribers as u64;
        while delivered < expected {
            delivered += audience.drain().0;
        }
        assert_eq!(delivered, expected);
        left -= n;
    }
    assert_eq!(
        audience.skipped(),
        0,
        "the figure would be of skipped messages"
    );
    spent
}

fn publish(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();

    let mut group = c.benchmark_group("publish/one line");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 1, 10, 100, 1_000, 10_000] {
        let hub = hub();
        let publisher = hub.publisher("process:web").expect("a valid name");
        let audience = Audience::join(&hub, &["process:web"], subscribers);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                measure(&hub, &audience, subscribers, ROUND, iterations, |n| {
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
    let run: Lines = std::iter::repeat_n(LINE, 64).collect();
    for subscribers in [0, 1, 10, 100, 1_000, 10_000] {
        let hub = hub();
        let publisher = hub.publisher("process:web").expect("a valid name");
        let audience = Audience::join(&hub, &["process:web"], subscribers);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                // In whole runs; the time is scaled to the lines that were asked for.
                let lines = iterations.div_ceil(64) * 64;
                let spent = measure(&hub, &audience, subscribers, ROUND, lines, |n| {
                    for _ in 0..n / 64 {
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
        let hub = hub();
        let publisher = hub.publisher("process:web").expect("a valid name");
        let audience = Audience::join(&hub, &["process:web"], subscribers);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                measure(&hub, &audience, subscribers, ROUND, iterations, |n| {
                    four_threads(&publisher, n)
                })
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("publish/by name");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 100] {
        let hub = hub();
        let audience = Audience::join(&hub, &["process:web"], subscribers);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|iterations| {
                measure(&hub, &audience, subscribers, ROUND, iterations, |n| {
                    for _ in 0..n {
                        black_box(
                            hub.send_process_output("web", black_box(LINE))
                                .expect("a valid id"),
                        );
                    }
                })
            });
        });
    }
    group.finish();
}

fn four_threads(publisher: &Publisher, n: u64) {
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

/// The shapes of go-ws's own benchmarks, to be set beside them.
fn counterparts(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("go-ws");
    let message = || Message::output(LINE);

    let hub1 = hub();
    let everyone = Audience::join(&hub1, &[], 100);
    group.bench_function("Broadcast_100", |b| {
        b.iter_custom(|iterations| {
            measure(&hub1, &everyone, 100, ROUND, iterations, |n| {
                for _ in 0..n {
                    black_box(hub1.broadcast(message()));
                }
            })
        });
    });
    group.bench_function("Broadcast_Parallel", |b| {
        b.iter_custom(|iterations| {
            measure(&hub1, &everyone, 100, ROUND, iterations, |n| {
                parallel(n, || black_box(hub1.broadcast(message())));
            })
        });
    });

    let hub2 = hub();
    let fifty = Audience::join(&hub2, &["test-channel"], 50);
    group.bench_function("SendToChannel_50", |b| {
        b.iter_custom(|iterations| {
            measure(&hub2, &fifty, 50, ROUND, iterations, |n| {
                for _ in 0..n {
                    black_box(
                        hub2.send_to_channel("test-channel", message())
                            .expect("a valid name"),
                    );
                }
            })
        });
    });
    group.bench_function("SendToChannel_Parallel", |b| {
        b.iter_custom(|iterations| {
            measure(&hub2, &fifty, 50, ROUND, iterations, |n| {
                parallel(n, || {
                    black_box(
                        hub2.send_to_channel("test-channel", message())
                            .expect("a valid name"),
                    )
                });
            })
        });
    });

    let hub3 = hub();
    let names: Vec<String> = (0..10).map(|i| format!("channel-{i}")).collect();
    let audiences: Vec<Audience> = names
        .iter()
        .map(|name| Audience::join(&hub3, &[name], 10))
        .collect();
    group.bench_function("MultiChannelFanout_10x10", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                for name in &names {
                    black_box(hub3.send_to_channel(name, message()).expect("a valid name"));
                }
                flush(&hub3);
                spent += start.elapsed();
                let delivered: u64 = audiences.iter().map(|audience| audience.drain().0).sum();
                assert_eq!(delivered, 100);
            }
            spent
        });
    });

    let envelope = Envelope::new(Some(
        &ChannelName::parse("process:web").expect("a valid name"),
    ));
    let timestamp = Timestamp::from_unix_millis(1_771_495_200_123);
    group.bench_function("MarshalMessage", |b| {
        let message = message();
        b.iter(|| black_box(single(&envelope, black_box(&message), &timestamp)));
    });

    let hub4 = hub();
    group.bench_function("SubscribeUnsubscribe", |b| {
        b.iter(|| drop(black_box(Audience::join(&hub4, &["test-channel"], 1))));
    });
    group.bench_function("ConcurrentSubscribers_100", |b| {
        b.iter(|| drop(black_box(Audience::join(&hub4, &["test-channel"], 100))));
    });
    group.finish();
}

fn parallel<T>(n: u64, call: impl Fn() -> T + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let call = &call;
            scope.spawn(move || {
                for _ in 0..n / 2 + u64::from(thread < n % 2) {
                    call();
                }
            });
        }
    });
}

fn join_leave(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("join and leave one channel, per client");
    for clients in [100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(clients as u64));
        group.sample_size(10);
        let hub = hub();
        group.bench_function(BenchmarkId::from_parameter(clients), |b| {
            b.iter(|| {
                let audience = Audience::join(&hub, &["process:web"], clients);
                assert_eq!(hub.channel_subscriber_count("process:web"), clients);
                drop(audience);
            });
        });
        assert_eq!(hub.channel_count(), 0);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = publish, counterparts, join_leave
}
criterion_main!(benches);
