//! `outrace load-server`: serves several channels that are fed through one standard input.
//!
//! Each line is `processId<TAB>line`. The command is for several channels what `outrace pipe` is
//! for one.

use crate::failure::Failure;
use crate::flags::ServerOptions;
use crate::server::{Announcement, Server, unchanged};
use crate::signals::Signals;
use outrace::{Hub, Publisher, Status};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};

#[derive(clap::Args, Debug)]
pub(crate) struct EngineServerArgs {
    /// Begin with the channels of the processes load-I, load-I+STEP and so on below END
    #[arg(long, value_name = "I:STEP:END", value_parser = own_channels)]
    own_channels: Option<OwnChannels>,

    #[command(flatten)]
    server: ServerOptions,
}

/// The channels that exist before the first line, by the numbers of their processes.
#[derive(Clone, Copy, Debug)]
struct OwnChannels {
    first: usize,
    step: usize,
    end: usize,
}

/// Parses `I:STEP:END`.
fn own_channels(text: &str) -> Result<OwnChannels, String> {
    let numbers: Option<Vec<usize>> = text.split(':').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[first, step, end]) if step > 0 => Ok(OwnChannels { first, step, end }),
        _ => Err("it must be I:STEP:END, such as 0:2:6".to_owned()),
    }
}

/// Serves until standard input ends.
pub(crate) fn run(args: &EngineServerArgs) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::new(1, format!("cannot serve the channels of a load: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let server = Server::start(
            &args.server,
            None,
            Announcement {
                channels: &[],
                quiet: false,
            },
            unchanged,
        )
        .await?;
        let hub = server.hub.clone();
        // Reading blocks, and publishing never does. They have a thread of their own beside those
        // that write to clients.
        let own = args.own_channels;
        let feeding = tokio::task::spawn_blocking(move || publish_input(&hub, own));
        feeding
            .await
            .map_err(io::Error::other)
            .and_then(|fed| fed)
            .map_err(failed)?;
        server.shut_down(&mut Signals::listen()?).await;
        Ok(())
    })
}

/// Publishes the lines of standard input until it ends, and then the exit status of every channel.
fn publish_input(hub: &Hub, own: Option<OwnChannels>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
    let mut publishers: HashMap<Vec<u8>, Publisher> = HashMap::new();
    for number in own
        .iter()
        .flat_map(|own| (own.first..own.end).step_by(own.step))
    {
        let id = format!("load-{number}");
        let publisher = hub
            .publisher(&format!("process:{id}"))
            .map_err(io::Error::other)?;
        publisher.send_status(Status::Running, 0);
        publishers.insert(id.into_bytes(), publisher);
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let tab = memchr::memchr(b'\t', line)
            .ok_or_else(|| io::Error::other("a line of the input has no tab"))?;
        let (id, text) = (&line[..tab], &line[tab + 1..]);
        if !publishers.contains_key(id) {
            let channel = format!("process:{}", String::from_utf8_lossy(id));
            publishers.insert(
                id.to_vec(),
                hub.publisher(&channel).map_err(io::Error::other)?,
            );
        }
        publishers[id].send_line(text);
    }
    for publisher in publishers.values() {
        publisher.send_status(Status::Exited, 0);
    }
    Ok(())
}
