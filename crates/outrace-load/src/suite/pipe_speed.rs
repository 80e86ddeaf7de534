//! The speed of `outrace pipe` without subscribers, beside `wc -l` and `cat` with the same input.

use crate::run::error::RunError;
use crate::server::process::ServerProcess;
use crate::server::program::Program;
use crate::server::system::System;
use crate::wire::line_template::LineTemplate;
use crate::workload::Workload;
use serde::Serialize;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 1 << 20;

/// The longest time until the process ends after its input has ended.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Speeds in gigabytes per second, from the first byte until the process has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PipeSpeed {
    pub(crate) bytes: u64,
    pub(crate) outrace: f64,
    pub(crate) wc: Option<f64>,
    pub(crate) cat: Option<f64>,
}

/// Feeds about `gigabytes` of lines of `line_bytes` to each program.
pub(super) fn measure(
    program: &Program,
    gigabytes: f64,
    line_bytes: usize,
) -> Result<PipeSpeed, RunError> {
    let mut line = LineTemplate::new(line_bytes).line();
    line.push(b'\n');
    let chunk = line.repeat((CHUNK_BYTES / line.len()).max(1));
    let chunks = ((gigabytes * 1e9) as usize / chunk.len()).max(1);
    let bytes = (chunk.len() * chunks) as u64;
    let speed = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e9;

    let args = System::Engine.args(&Workload::default(), 0);
    let mut server = ServerProcess::start(program, &args, false)?;
    let start = Instant::now();
    feed("outrace", server.take_stdin(), &chunk, chunks)?;
    server.wait(END_TIMEOUT)?;
    let outrace = speed(start.elapsed());

    let other = |name: &str, args: &[&str]| -> Result<Option<f64>, RunError> {
        let spawned = Command::new(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        // Some machines do not have the program.
        let Ok(mut child) = spawned else {
            return Ok(None);
        };
        let start = Instant::now();
        let input = child
            .stdin
            .take()
            .expect("standard input was requested as a pipe");
        feed(name, input, &chunk, chunks)?;
        child.wait().map_err(|error| pipe_error(name, error))?;
        Ok(Some(speed(start.elapsed())))
    };
    Ok(PipeSpeed {
        bytes,
        outrace,
        wc: other("wc", &["-l"])?,
        cat: other("cat", &[])?,
    })
}

fn feed(program: &str, mut input: ChildStdin, chunk: &[u8], chunks: usize) -> Result<(), RunError> {
    (0..chunks)
        .try_for_each(|_| input.write_all(chunk))
        .map_err(|error| pipe_error(program, error))
}

fn pipe_error(program: &str, error: std::io::Error) -> RunError {
    RunError::Pipe {
        program: program.to_owned(),
        error,
    }
}
