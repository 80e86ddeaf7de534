//! Serves a hub behind the server of the first argument, and publishes a line each second.

use std::io;
use std::time::Duration;

use outrace::Hub;
use tokio::net::TcpListener;

fn main() -> io::Result<()> {
    // A tokio runtime, in which actix's own tasks can run too.
    actix_web::rt::System::new().block_on(run())
}

async fn run() -> io::Result<()> {
    let hub = Hub::new();
    let ticks = hub.publisher("process:clock").map_err(io::Error::other)?;
    tokio::spawn(async move {
        for tick in 1.. {
            ticks.send_line(format!("tick {tick}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let address = listener.local_addr()?;
    println!("watch with: outrace watch process:clock --url ws://{address}/live/ws");
    match std::env::args().nth(1).as_deref() {
        Some("axum") => outrace_servers::axum::serve(listener, hub).await,
        Some("hyper") => outrace_servers::hyper::serve(listener, hub).await,
        Some("warp") => outrace_servers::warp::serve(listener, hub).await,
        Some("poem") => outrace_servers::poem::serve(listener, hub).await,
        Some("actix") => outrace_servers::actix::serve(listener.into_std()?, hub).await,
        _ => Err(io::Error::other(
            "usage: cargo run -- axum|hyper|warp|poem|actix",
        )),
    }
}
