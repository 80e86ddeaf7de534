//! A process manager that knows nothing of WebSockets: it emits [`ProcessEvent`]s, and a hub forwards them.
//!
//! ```text
//! cargo run --example forward_process_events
//! outrace watch ws://127.0.0.1:8080/ws process:worker-1 process:worker-2
//! ```
//!
//! The manager here runs two shell loops. One in a supervisor, a job queue or a test runner has the same one line to add:
//! `hub.forward(events)`. Where the processes are yours to start, `hub.spawn` does all of it, and faster: it publishes
//! runs of lines, not lines.

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
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!(
        "listening on ws://{}/ws: watch process:worker-1 and process:worker-2",
        listener.local_addr()?
    );

    // Bounded: it holds what the manager emits between two polls of `forward`, which never waits for a client.
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
        // Without a handler for Ctrl-C there is nothing to wait for but being killed.
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}

/// The manager: runs a process and tells what becomes of it. Ends when nobody listens to it any more.
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

/// The receiving end of a channel as a [`Stream`].
struct Events(mpsc::Receiver<ProcessEvent>);

impl Stream for Events {
    type Item = ProcessEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ProcessEvent>> {
        self.0.poll_recv(cx)
    }
}
