//! How fast `outrace pipe` reads when nobody watches, beside `wc -l` and `cat` on the same input.

use crate::server_process::ServerProcess;
use crate::stamp::LineShape;
use crate::system::System;
use crate::workload::Workload;
use serde::Serialize;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PipeSpeed {
    pub(crate) bytes: u64,
    /// Gigabytes per second, from the first byte until the process has ended.
    pub(crate) outrace: f64,
    pub(crate) wc: Option<f64>,
    pub(crate) cat: Option<f64>,
}

/// Feeds about `gigabytes` of lines of `line_bytes` to each.
pub(crate) fn measure(gigabytes: f64, line_bytes: usize) -> Result<PipeSpeed, String> {
    let mut line = LineShape::new(line_bytes).line();
    line.push(b'\n');
    let chunk = line.repeat((CHUNK_BYTES / line.len()).max(1));
    let chunks = ((gigabytes * 1e9) as usize / chunk.len()).max(1);
    let bytes = (chunk.len() * chunks) as u64;
    let speed = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e9;

    let mut server = ServerProcess::start(&System::Engine.command(&Workload::default(), 0), false)?;
    let start = Instant::now();
    feed(server.stdin(), &chunk, chunks)?;
    server.wait(Duration::from_secs(60))?;
    let outrace = speed(start.elapsed());

    let other = |program: &str, args: &[&str]| -> Result<Option<f64>, String> {
        let spawned = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        // Not every machine has it.
        let Ok(mut child) = spawned else {
            return Ok(None);
        };
        let start = Instant::now();
        let input = child
            .stdin
            .take()
            .expect("standard input was asked to be a pipe");
        feed(input, &chunk, chunks)?;
        child
            .wait()
            .map_err(|e| format!("could not wait for {program}: {e}"))?;
        Ok(Some(speed(start.elapsed())))
    };
    Ok(PipeSpeed {
        bytes,
        outrace,
        wc: other("wc", &["-l"])?,
        cat: other("cat", &[])?,
    })
}

fn feed(mut input: ChildStdin, chunk: &[u8], chunks: usize) -> Result<(), String> {
    (0..chunks)
        .try_for_each(|_| input.write_all(chunk))
        .map_err(|e| format!("could not feed lines: {e}"))
}
