//! The cost of an event of `tracing` that nobody reads: one that the level filters out, and one
//! that reaches the layer while its channel has no subscriber.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use outrace::Hub;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

fn events(c: &mut Criterion) {
    let hub = Hub::new();
    let publisher = hub.publisher("logs").expect("a valid name");
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(outrace::tracing::layer(publisher));
    let mut group = c.benchmark_group("tracing");
    tracing::subscriber::with_default(subscriber, || {
        group.bench_function("disabled", |b| {
            b.iter(|| tracing::debug!(status = black_box(200), "request completed"));
        });
        group.bench_function("unwatched", |b| {
            b.iter(|| tracing::info!(status = black_box(200), "request completed"));
        });
    });
    group.finish();
    assert_eq!(hub.stats().offered, 0, "nobody watches");
}

criterion_group!(benches, events);
criterion_main!(benches);
