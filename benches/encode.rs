//! What encoding one line costs, from raw bytes to a complete WebSocket frame, against general serialisers.
//!
//! `cargo bench --bench encode --features internals`. Every frame of a run is kept, as a block keeps it; the
//! buffer is made anew for each run, as a sealer does.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::ChannelName;
use outrace::internals::{Envelope, FramesBuilder, Timestamp, escape_into};
use serde::Serialize;

/// The same message for a serialiser; it writes no frame header, and its timestamp is ready.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    r#type: &'a str,
    channel: &'a str,
    process_id: &'a str,
    data: &'a str,
    timestamp: &'a str,
}

/// Lines in one run: a block of a busy channel.
const RUN: usize = 64;
const AT: i64 = 1_771_495_200_123;

fn text(pattern: &str, len: usize) -> String {
    let mut text: String = pattern.chars().cycle().take(len).collect();
    text.truncate(text.floor_char_boundary(len));
    text
}

fn lines(c: &mut Criterion) {
    for (kind, pattern) in [
        ("plain", "GET /api/v1/items/42 200 17ms user=alice; "),
        ("json", r#"{"level":"info","msg":"served","ms":17,"path":"/api/v1/items"}"#),
        ("escapes", "\"\\\n\t\u{1b}\"\\"),
        ("accents", "Größe übertragen: 12 Äpfel, naïve façade; "),
        ("boxes", "│ ✓ compiled ─── 12 modules … ok │ "),
        ("cyrillic", "Сервер запущен и ждёт соединений на порту "),
    ] {
        let mut group = c.benchmark_group(kind);
        for len in [20, 100, 1_000, 16_000] {
            let line = text(pattern, len);
            group.throughput(Throughput::Bytes((line.len() * RUN) as u64));
            let envelope = Envelope::new(Some(&ChannelName::parse("process:web-1").expect("a valid name")));
            group.bench_function(BenchmarkId::new("outrace", len), |b| {
                b.iter(|| {
                    let mut builder = FramesBuilder::with_capacity(RUN, RUN * line.len());
                    for _ in 0..RUN {
                        let now = Timestamp::from_unix_millis(black_box(AT));
                        builder.push_line(&envelope, black_box(line.as_bytes()), &now);
                    }
                    builder.finish()
                });
            });
            let timestamp = Timestamp::from_unix_millis(AT);
            let output = Output {
                r#type: "process_output",
                channel: "process:web-1",
                process_id: "web-1",
                data: &line,
                timestamp: timestamp.as_str(),
            };
            group.bench_function(BenchmarkId::new("serde_json", len), |b| {
                b.iter(|| {
                    let mut out = Vec::with_capacity(RUN * (line.len() + 128));
                    for _ in 0..RUN {
                        serde_json::to_writer(&mut out, black_box(&output)).expect("strings serialise");
                    }
                    out
                });
            });
            group.bench_function(BenchmarkId::new("simd_json", len), |b| {
                b.iter(|| {
                    let mut out = Vec::with_capacity(RUN * (line.len() + 128));
                    for _ in 0..RUN {
                        simd_json::serde::to_writer(&mut out, black_box(&output)).expect("strings serialise");
                    }
                    out
                });
            });
            group.bench_function(BenchmarkId::new("escape", len), |b| {
                let mut out = Vec::with_capacity(6 * line.len());
                b.iter(|| {
                    for _ in 0..RUN {
                        out.clear();
                        escape_into(&mut out, black_box(line.as_bytes()));
                        black_box(&mut out);
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = encode;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(150))
        .measurement_time(std::time::Duration::from_millis(500))
        .sample_size(20);
    targets = lines
}
criterion_main!(encode);
