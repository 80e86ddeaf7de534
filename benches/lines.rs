//! The throughput of the line splitter, in bytes per second.
//!
//! Each benchmark's parameter is the length of the lines. `count` only counts the lines, which is
//! enough while no client watches. `split` takes the lines out for the subscribers. `copy` is a
//! lower bound: it only copies the same bytes.
//!
//! A read is 64 KiB, which is the default size of a full pipe. Each read is copied into the
//! splitter's buffer, as the kernel would do.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::process::LineSplitter;

const READ_BYTES: usize = 64 * 1024;
const READS: usize = 64;

/// Returns `READS` reads of text in lines of `line_bytes` each. A read may end within a line.
fn text(line_bytes: usize) -> Vec<u8> {
    let line: Vec<u8> = (b'a'..=b'z')
        .cycle()
        .take(line_bytes - 1)
        .chain([b'\n'])
        .collect();
    line.into_iter().cycle().take(READ_BYTES * READS).collect()
}

/// Fills a splitter with `text` read by read, and calls `after_read` after each of them.
fn feed(text: &[u8], mut after_read: impl FnMut(&mut LineSplitter)) {
    let mut splitter = LineSplitter::new();
    let mut rest = text;
    while !rest.is_empty() {
        let spare = splitter.spare_mut();
        let n = spare.len().min(rest.len()).min(READ_BYTES);
        spare[..n].copy_from_slice(&rest[..n]);
        splitter.commit(n);
        rest = &rest[n..];
        after_read(&mut splitter);
    }
    black_box(splitter.finish());
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines");
    group.throughput(Throughput::Bytes((READ_BYTES * READS) as u64));
    for line_bytes in [2, 20, 100, 1000, 200_000] {
        let text = text(line_bytes);
        group.bench_with_input(BenchmarkId::new("count", line_bytes), &text, |b, text| {
            b.iter(|| {
                let mut count = 0;
                feed(text, |splitter| count += splitter.discard_lines());
                count
            });
        });
        group.bench_with_input(BenchmarkId::new("split", line_bytes), &text, |b, text| {
            b.iter(|| {
                let mut count = 0;
                feed(text, |splitter| {
                    count += black_box(splitter.take_lines()).len()
                });
                count
            });
        });
    }
    let text = text(100);
    let mut buffer = vec![0; 4 * READ_BYTES];
    group.bench_with_input(BenchmarkId::new("copy", 100), &text, |b, text| {
        b.iter(|| {
            for (read, to) in text.chunks(READ_BYTES).zip((0..4).cycle()) {
                let start = to * READ_BYTES;
                buffer[start..start + read.len()].copy_from_slice(read);
                black_box(&buffer);
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = lines
}
criterion_main!(benches);
