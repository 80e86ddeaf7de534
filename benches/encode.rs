//! The cost of encoding, from the raw bytes of a line to a complete WebSocket frame, compared with
//! general serializers.
//!
//! Every frame of a run is kept, as a block keeps it. The buffer is allocated for each run, as a
//! sealer does.

#![allow(clippy::print_stdout, reason = "the figures of a bench are its output")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::ChannelName;
use outrace::internals::{
    BatchBuilder, Envelope, EventsBuilder, Frames, FramesBuilder, TextBuilder, Timestamp,
    escape_into,
};
use serde::Serialize;

/// The same message for a serializer. The serializers have less to do: they write no frame header,
/// and the timestamp is formatted already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    r#type: &'a str,
    channel: &'a str,
    process_id: &'a str,
    data: &'a str,
    timestamp: &'a str,
}

/// The number of lines in one run, as in a block of a busy channel.
const RUN_LINES: usize = 64;
const NOW_UNIX_MILLIS: i64 = 1_771_495_200_123;
const ACCESS_LOG: &str = "GET /api/v1/items/42 200 17ms user=alice; ";

/// Repeats `pattern` up to `len` bytes, without splitting a character.
fn text(pattern: &str, len: usize) -> String {
    let mut text = String::with_capacity(len);
    for c in pattern.chars().cycle() {
        if text.len() + c.len_utf8() > len {
            break;
        }
        text.push(c);
    }
    text
}

fn channel_envelope() -> Envelope {
    Envelope::new(Some(
        &ChannelName::parse("process:web-1").expect("the name is valid"),
    ))
}

fn lines(c: &mut Criterion) {
    for (kind, pattern) in [
        ("plain", ACCESS_LOG),
        (
            "json",
            r#"{"level":"info","msg":"served","ms":17,"path":"/api/v1/items"}"#,
        ),
        ("escapes", "\"\\\n\t\u{1b}\"\\"),
        ("accents", "Größe übertragen: 12 Äpfel, naïve façade; "),
        ("boxes", "│ ✓ compiled ─── 12 modules … ok │ "),
        ("cyrillic", "Сервер запущен и ждёт соединений на порту "),
    ] {
        let mut group = c.benchmark_group(kind);
        for len in [20, 100, 1_000, 16_000] {
            let line = text(pattern, len);
            group.throughput(Throughput::Bytes((line.len() * RUN_LINES) as u64));
            let envelope = channel_envelope();
            group.bench_function(BenchmarkId::new("outrace", len), |b| {
                b.iter(|| {
                    let mut builder =
                        FramesBuilder::with_capacity(RUN_LINES, RUN_LINES * line.len());
                    for _ in 0..RUN_LINES {
                        let now = Timestamp::from_unix_millis(black_box(NOW_UNIX_MILLIS));
                        builder.push_line(&envelope, black_box(line.as_bytes()), &now);
                    }
                    builder.finish()
                });
            });
            let timestamp = Timestamp::from_unix_millis(NOW_UNIX_MILLIS);
            let output = Output {
                r#type: "process_output",
                channel: "process:web-1",
                process_id: "web-1",
                data: &line,
                timestamp: timestamp.as_str(),
            };
            group.bench_function(BenchmarkId::new("serde_json", len), |b| {
                b.iter(|| {
                    let mut out = Vec::with_capacity(RUN_LINES * (line.len() + 128));
                    for _ in 0..RUN_LINES {
                        serde_json::to_writer(&mut out, black_box(&output))
                            .expect("a string can be serialized");
                    }
                    out
                });
            });
            group.bench_function(BenchmarkId::new("simd_json", len), |b| {
                b.iter(|| {
                    let mut out = Vec::with_capacity(RUN_LINES * (line.len() + 128));
                    for _ in 0..RUN_LINES {
                        simd_json::serde::to_writer(&mut out, black_box(&output))
                            .expect("a string can be serialized");
                    }
                    out
                });
            });
            group.bench_function(BenchmarkId::new("escape", len), |b| {
                let mut out = Vec::with_capacity(6 * line.len());
                b.iter(|| {
                    for _ in 0..RUN_LINES {
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

/// The worst input of a publisher: no byte is valid UTF-8, so each one becomes U+FFFD.
fn binary(c: &mut Criterion) {
    let mut group = c.benchmark_group("binary");
    for len in [100, 16_000] {
        let line = vec![0xFF; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("escape", len), |b| {
            let mut out = Vec::with_capacity(6 * len);
            b.iter(|| {
                out.clear();
                escape_into(&mut out, black_box(&line));
                black_box(&mut out);
            });
        });
    }
}

/// The same run in each encoding, in lines per second. The bytes per line are printed once.
fn encodings(c: &mut Criterion) {
    const LEN: usize = 100;
    let mut group = c.benchmark_group("encodings");
    group.throughput(Throughput::Elements(RUN_LINES as u64));
    let line = text(ACCESS_LOG, LEN);
    let line = line.as_bytes();
    let envelope = channel_envelope();
    let now = Timestamp::from_unix_millis(NOW_UNIX_MILLIS);
    let single = || {
        let mut builder = FramesBuilder::with_capacity(RUN_LINES, RUN_LINES * LEN);
        (0..RUN_LINES).for_each(|_| builder.push_line(&envelope, black_box(line), &now));
        builder.finish()
    };
    let batch = || {
        let mut builder =
            BatchBuilder::new(&envelope, &now, 1, RUN_LINES, RUN_LINES, RUN_LINES * LEN);
        (0..RUN_LINES).for_each(|_| builder.push_line(black_box(line)));
        builder.finish()
    };
    let text = || {
        let mut builder = TextBuilder::new(RUN_LINES, RUN_LINES * LEN);
        (0..RUN_LINES).for_each(|_| builder.push_line(black_box(line)));
        builder.finish()
    };
    let events = || {
        let mut builder =
            EventsBuilder::new(&envelope, &now, "1a2b3c4d", 1, RUN_LINES, RUN_LINES * LEN);
        (0..RUN_LINES).for_each(|_| builder.push_line(black_box(line)));
        builder.finish()
    };
    let encodings: [(&str, &dyn Fn() -> Frames); 4] = [
        ("single", &single),
        ("batch", &batch),
        ("text", &text),
        ("events", &events),
    ];
    for (name, encode) in encodings {
        let frames = encode();
        assert_eq!(frames.messages(), RUN_LINES);
        let per_line = frames.byte_len() as f64 / RUN_LINES as f64;
        println!(
            "{name}: {per_line:.1} bytes per line of {LEN}, {} frames for {RUN_LINES} lines",
            frames.len()
        );
        group.bench_function(BenchmarkId::new(name, LEN), |b| b.iter(encode));
    }
    group.finish();
}

criterion_group! {
    name = encode;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = lines, encodings, binary
}
criterion_main!(encode);
