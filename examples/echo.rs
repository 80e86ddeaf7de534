//! Sends every message back to its client. Test suites for WebSocket servers use it, such as
//! `.ci/conformance`.
//!
//! ```text
//! cargo run --example echo -- --listen 127.0.0.1:9001
//! ```
//!
//! The example prints its address, `ws://HOST:PORT/ws`. Port 0 takes a free port. The hub's own
//! commands are not sent back.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints its address and its usage"
)]

use std::error::Error;

use outrace::{ClientMessage, Hub};
use tokio::net::TcpListener;

const USAGE: &str = "usage: echo [--listen HOST:PORT]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:9001".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--listen" => address = arguments.next().ok_or(USAGE)?,
            _ => return Err(USAGE.into()),
        }
    }
    let hub = Hub::builder()
        .on_message(|client, message| {
            let sent = match message {
                ClientMessage::Text(text) => client.send_text(text),
                ClientMessage::Binary(bytes) => client.send_binary(bytes),
                _ => false,
            };
            if !sent {
                eprintln!(
                    "client {} has no room: its message was not sent back",
                    client.id()
                );
            }
        })
        .build()?;
    let listener = TcpListener::bind(&address).await?;
    println!("ws://{}/ws", listener.local_addr()?);
    outrace::server::serve(listener, hub, async {
        // If the handler for Ctrl-C cannot be installed, only a signal ends the server.
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}
