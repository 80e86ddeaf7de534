//! An axum application with routes of its own, and the routes of a hub under `/live`.
//!
//! ```text
//! cargo run --example embed_axum
//! outrace watch ws://127.0.0.1:7223/live/ws process:job clock
//! curl -N 'http://127.0.0.1:7223/live/api/channels/process:job/stream?tail=10'
//! ```
//!
//! A task publishes to a channel of its own through a handle. A child process publishes its output.

#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::error::Error;
use std::net::SocketAddr;
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
    // The library keeps no history by default. This keeps up to 1,000 messages and 1 MiB a channel.
    let hub = Hub::builder()
        .history(1000)
        .history_bytes(1 << 20)
        .build()?;

    let app = Router::new()
        .route("/", get(home))
        .with_state(hub.clone())
        .merge(outrace::server::mount("/live", &hub));

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

    // The hub learns from this where its clients are.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:7223").await?;
    println!(
        "listening on http://{}: channels process:job and clock",
        listener.local_addr()?
    );
    axum::serve(listener, app)
        .with_graceful_shutdown(hub.graceful(async {
            // If the handler for Ctrl-C cannot be installed, only a signal ends the server.
            let _ = tokio::signal::ctrl_c().await;
        }))
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
