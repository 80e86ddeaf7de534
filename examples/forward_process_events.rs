//! A process manager without knowledge of WebSockets. It emits [`ProcessEvent`]s, which a hub
//! forwards.
//!
//! ```text
//! cargo run --example forward_process_events
//! outrace watch ws://127.0.0.1:7223/ws process:worker-1 process:worker-2
//! ```
//!
//! This manager runs two shell loops. A supervisor, a job queue or a test runner adds the same one
//! line, `hub.forward(events)`. An application that starts its processes itself should prefer
//! `hub.spawn`. It does all of this and is faster, since it publishes runs of lines.

#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::error::Error;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use futures_core::Stream;
use outrace::{Hub, ProcessEvent, ProcessId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::new();
    let listener = TcpListener::bind("127.0.0.1:7223").await?;
    println!(
        "listening on ws://{}/ws: watch process:worker-1 and process:worker-2",
        listener.local_addr()?
    );

    // The channel holds the events between two polls of `forward`, which never waits for a client.
    let (emit, events) = mpsc::channel(1024);
    for name in ["worker-1", "worker-2"] {
        tokio::spawn(manage(ProcessId::parse(name)?, emit.clone()));
    }
    drop(emit);
    tokio::spawn({
        let hub = hub.clone();
        async move { hub.forward(Events(events)).await }
    });

    outrace::server::serve(listener, hub, async {
        // If the handler for Ctrl-C cannot be installed, only a signal ends the server.
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}

/// Runs a process and emits its events. Ends early when the receiver is dropped.
async fn manage(id: ProcessId, emit: mpsc::Sender<ProcessEvent>) {
    let script = "for i in $(seq 1 60); do echo step $i; sleep 1; done; exit 3";
    let spawned = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = spawned else {
        let _ = emit.send(ProcessEvent::Crashed { id, code: 127 }).await;
        return;
    };
    if emit
        .send(ProcessEvent::Started { id: id.clone() })
        .await
        .is_err()
    {
        return;
    }
    let mut output = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    while let Ok(Some(line)) = output.next_line().await {
        if emit
            .send(ProcessEvent::Output {
                id: id.clone(),
                line: line.into(),
            })
            .await
            .is_err()
        {
            return;
        }
    }
    let code = child.wait().await.ok().and_then(|status| status.code());
    let end = match code {
        Some(code) => ProcessEvent::Exited { id, code },
        None => ProcessEvent::Crashed { id, code: 137 },
    };
    let _ = emit.send(end).await;
}

/// Makes a [`Stream`] of the receiving end of a channel.
struct Events(mpsc::Receiver<ProcessEvent>);

impl Stream for Events {
    type Item = ProcessEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ProcessEvent>> {
        self.0.poll_recv(cx)
    }
}
