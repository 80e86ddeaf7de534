//! What the splitter costs: bytes a second, by the length of the lines and by whether somebody listens.
//!
//! Every read is 64 KiB, a full pipe of the default size, and is copied into the splitter's buffer as the kernel would
//! copy it; `copy` is that alone.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::process::LineSplitter;

const READ: usize = 64 * 1024;
const READS: usize = 64;

/// So many bytes in lines of so many, cut into reads anywhere.
fn text(line: usize) -> Vec<u8> {
    let one: Vec<u8> = (b'a'..=b'z')
        .cycle()
        .take(line - 1)
        .chain([b'\n'])
        .collect();
    one.into_iter().cycle().take(READ * READS).collect()
}

/// Reads `text` as a pipe would bring it.
fn feed(text: &[u8], mut each: impl FnMut(&mut LineSplitter)) {
    let mut splitter = LineSplitter::new();
    let mut rest = text;
    while !rest.is_empty() {
        let spare = splitter.spare_mut();
        let n = spare.len().min(rest.len()).min(READ);
        spare[..n].copy_from_slice(&rest[..n]);
        splitter.commit(n);
        rest = &rest[n..];
        each(&mut splitter);
    }
    black_box(splitter.finish());
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Bytes((READ * READS) as u64));
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    for line in [2, 20, 100, 1000, 200_000] {
        let text = text(line);
        group.bench_with_input(BenchmarkId::new("count", line), &text, |bench, text| {
            bench.iter(|| {
                let mut count = 0;
                feed(text, |splitter| count += splitter.discard_lines());
                count
            });
        });
        group.bench_with_input(BenchmarkId::new("split", line), &text, |bench, text| {
            bench.iter(|| {
                let mut count = 0;
                feed(text, |splitter| {
                    count += black_box(splitter.take_lines()).len()
                });
                count
            });
        });
    }
    let text = text(100);
    let mut buffer = vec![0; 4 * READ];
    group.bench_with_input(BenchmarkId::new("copy", 100), &text, |bench, text| {
        bench.iter(|| {
            for (read, to) in text.chunks(READ).zip((0..4).cycle()) {
                buffer[to * READ..to * READ + read.len()].copy_from_slice(read);
                black_box(&buffer);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
