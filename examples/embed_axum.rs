//! An axum application with a hub in it: its own routes, and the hub's under `/live`.
//!
//! ```text
//! cargo run --example embed_axum
//! outrace watch ws://127.0.0.1:8080/live/ws process:job clock
//! curl -N http://127.0.0.1:8080/live/api/channels/process:job/stream?tail=10
//! ```
//!
//! A task publishes to a channel of its own through a handle, and a child process publishes what it writes.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use outrace::{Hub, Message, MessageType};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // History is off in the library unless it is asked for: here 1,000 messages or 1 MiB a channel.
    let hub = Hub::builder()
        .history(1000)
        .history_bytes(1 << 20)
        .build()?;

    let app = Router::new()
        .route("/", get(home))
        .with_state(hub.clone())
        .nest("/live", hub.router());

    let clock = hub.publisher("clock")?;
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        for beat in 0_u64.. {
            tick.tick().await;
            let message = Message::new(MessageType::from("tick"));
            clock.send(
                message
                    .with_json(&json!({ "beat": beat }))
                    .expect("an integer serialises"),
            );
        }
    });

    let mut command = Command::new("sh");
    command
        .args(["-c", "for i in $(seq 1 30); do echo step $i; sleep 1; done"])
        .stdin(std::process::Stdio::null());
    let job = hub.spawn("job", command)?;
    tokio::spawn(async move {
        let report = job.wait().await;
        println!("the job has {} with code {}", report.status, report.code);
    });

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!(
        "listening on http://{}: channels process:job and clock",
        listener.local_addr()?
    );
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            // Without a handler for Ctrl-C there is nothing to wait for but being killed.
            let _ = tokio::signal::ctrl_c().await;
            // Before the server stops waiting for connections: these end only when the hub ends them.
            hub.shutdown().await;
        })
        .await?;
    Ok(())
}

async fn home(State(hub): State<Hub>) -> String {
    format!(
        "{} clients watch {} channels\n",
        hub.client_count(),
        hub.channel_count()
    )
}
