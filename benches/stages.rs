//! Single stages of a line's path: sealing a block, the queue of one client, and the replay of a
//! channel's history.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::internals::{
    Audience, Envelope, FramesBuilder, Queue, SubscribeOptions, Timestamp, flush,
};
use outrace::{ChannelName, Hub};

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET \
                    path=/api/users status=200 duration=12ms 0001";
const CHANNEL: &str = "process:web";
const BLOCK_LINES: usize = 64;
/// The bytes that may wait in a queue: more than any of these benchmarks offers.
const QUEUE_BYTES: usize = 64 << 20;

/// The runtime that the hub's flush clock needs.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// Turns the lines that wait in a channel's queue into one block and gives it to one subscriber.
/// Publishing the lines is not measured.
fn seal(c: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("seal, per line");
    for lines in [1u64, 16, 64, 512] {
        // The flush clock must not tick while the lines are published. The queue holds all of them.
        let hub = Hub::builder()
            .queue(8192)
            .max_flush_interval(Duration::from_secs(10))
            .build()
            .expect("the settings are valid");
        let publisher = hub.publisher(CHANNEL).expect("the name is valid");
        let audience = Audience::join(&hub, &[CHANNEL], 1);
        group.throughput(Throughput::Elements(lines));
        group.bench_function(BenchmarkId::from_parameter(lines), |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    for _ in 0..lines {
                        publisher.send_line(LINE);
                    }
                    let start = Instant::now();
                    flush(&hub);
                    spent += start.elapsed();
                    let mut delivered = 0;
                    while delivered < lines {
                        delivered += audience.drain().0;
                    }
                    assert_eq!(delivered, lines);
                }
                spent
            });
        });
        assert_eq!(audience.skipped(), 0, "skipped messages cost nothing");
    }
    group.finish();
}

/// The queue of one client: a block that is offered and taken, and a block that fits only in part.
fn outbox(c: &mut Criterion) {
    let envelope = Envelope::new(Some(
        &ChannelName::parse(CHANNEL).expect("the name is valid"),
    ));
    let timestamp = Timestamp::from_unix_millis(1_771_495_200_123);
    let mut builder = FramesBuilder::with_capacity(BLOCK_LINES, BLOCK_LINES * LINE.len());
    for _ in 0..BLOCK_LINES {
        builder.push_line(&envelope, LINE.as_bytes(), &timestamp);
    }
    let frames = builder.finish();
    let mut group = c.benchmark_group("outbox, per block of 64");
    group.throughput(Throughput::Elements(BLOCK_LINES as u64));
    group.bench_function("offer and take", |b| {
        let queue = Queue::new(8192, QUEUE_BYTES);
        b.iter(|| {
            assert_eq!(queue.offer(black_box(&frames)), BLOCK_LINES);
            assert_eq!(queue.drain(), BLOCK_LINES);
        });
    });
    group.bench_function("offer 100, take all, each", |b| {
        let queue = Queue::new(8192, QUEUE_BYTES);
        b.iter_custom(|iterations| {
            // The time is scaled to the requested blocks.
            let blocks = iterations.next_multiple_of(100);
            let start = Instant::now();
            for _ in 0..blocks / 100 {
                for _ in 0..100 {
                    queue.offer(black_box(&frames));
                }
                assert_eq!(queue.drain(), 100 * BLOCK_LINES);
            }
            start.elapsed().mul_f64(iterations as f64 / blocks as f64)
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("offer one that fits in part", |b| {
        let queue = Queue::new(100, QUEUE_BYTES);
        b.iter(|| {
            assert_eq!(queue.offer(black_box(&frames)), BLOCK_LINES);
            assert_eq!(queue.offer(black_box(&frames)), 36);
            assert_eq!(queue.drain(), 100);
        });
    });
    group.finish();
}

/// A late joiner gets the last thousand lines. Its queue holds fewer, so that it is refilled.
fn replay(c: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("history replay of 1,000 lines, per line");
    group.throughput(Throughput::Elements(1000));
    for (name, batch) in [("single frames", false), ("batch", true)] {
        let hub = Hub::builder()
            .queue(256)
            .history(1000)
            .history_bytes(1 << 20)
            .build()
            .expect("the settings are valid");
        let publisher = hub.publisher(CHANNEL).expect("the name is valid");
        for _ in 0..1000 {
            publisher.send_line(LINE);
        }
        flush(&hub);
        let options = SubscribeOptions {
            tail: Some(1000),
            batch,
            ..SubscribeOptions::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let audience = Audience::join_with(&hub, &[CHANNEL], 1, Some(options.clone()));
                // The confirmation of the subscription is a message too.
                let mut delivered = 0;
                while delivered < 1001 {
                    delivered += audience.drain().0;
                }
                assert_eq!(delivered, 1001);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = seal, outbox, replay
}
criterion_main!(benches);
