//! Without any feature: the engine alone.

use std::io::Write;
use std::pin::pin;

use futures_util::{Stream, StreamExt};
use outrace::Hub;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What comes next in a stream of events.
async fn first_line(live: impl Stream<Item = outrace::Event>) -> String {
    let lines = live.filter_map(async |event| event.text().map(str::to_owned));
    pin!(lines).next().await.expect("the hub is open")
}

#[tokio::test]
async fn subscriptions_and_histories_within_the_process() -> Outcome {
    let hub = Hub::builder().history(1000).build()?;
    hub.send_process_output("web", "the past")?;
    let mut live = hub.subscribe("process:web", outrace::From::Tail(100))?;
    let past: Vec<outrace::Event> = hub.history("process:web", 100);
    assert_eq!(past.len(), 1);
    assert_eq!(first_line(&mut live).await, "the past");
    hub.send_process_output("web", "live")?;
    assert_eq!(first_line(&mut live).await, "live");
    Ok(())
}

#[tokio::test]
async fn json_is_guarded() -> Outcome {
    let hub = Hub::new();
    let publisher = hub.publisher("deploys")?;
    let value = serde_json::json!({"revision": 7});
    publisher.send_json("deploy", &value)?;
    let mut live = hub.subscribe("deploys", outrace::From::Now)?;
    publisher.send_json("deploy", &value)?;
    while let Some(event) = live.next().await {
        if let outrace::Event::Message { message, .. } = event {
            assert_eq!(message.message_type().as_str(), "deploy");
            return Ok(());
        }
    }
    Err("the hub has ended".into())
}

#[tokio::test]
async fn any_server_and_any_stream() -> Outcome {
    let hub = Hub::new();
    let (parts, ()) = http::Request::get("/ws")
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())?
        .into_parts();
    let (peer, io) = tokio::io::duplex(1024);
    drop(peer);
    match hub.handshake(&parts) {
        Ok(accept) => {
            assert_eq!(
                accept.response().status(),
                http::StatusCode::SWITCHING_PROTOCOLS
            );
            hub.serve_stream(io, accept).await
        }
        Err(response) => {
            assert!(!response.status().is_success());
            return Err("refused".into());
        }
    }
    assert_eq!(hub.stats().connected, 1);
    let (plain, ()) = http::Request::get("/ws").body(())?.into_parts();
    match hub.handshake(&plain) {
        Ok(accept) => {
            let (_peer, io) = tokio::io::duplex(1024);
            hub.serve_stream(io, accept).await
        }
        Err(response) => {
            assert_eq!(response.status(), http::StatusCode::UPGRADE_REQUIRED);
        }
    }
    Ok(())
}

#[test]
fn lines_that_are_written() -> Outcome {
    let hub = Hub::builder().history(10).build()?;
    writeln!(hub.writer("logs")?, "a line")?;
    assert_eq!(hub.history("logs", 1)[0].text(), Some("a line"));
    Ok(())
}
