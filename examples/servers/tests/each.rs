//! The same client against each server.

use std::net::SocketAddr;
use std::time::Duration;

use outrace::client::{DisconnectReason, Event, Watcher};
use outrace::{CloseReason, Hub};
use outrace_servers::{actix, axum, hyper, poem, warp};
use tokio::net::TcpListener;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Watches a channel, sees that nothing is lost, and that the hub ends the connection in order. A
/// page of another site is refused, and the application still answers.
async fn check(hub: Hub, address: SocketAddr) {
    tokio::time::timeout(Duration::from_secs(60), async {
        let url = format!("ws://{address}/live/ws");
        let mut watcher = Watcher::builder(&url)
            .channel("process:web")
            .retry(false)
            .build()
            .unwrap();
        loop {
            match watcher.next().await.unwrap() {
                Event::Subscribed { .. } => break,
                Event::Connected => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(hub.clients().all(|client| client.address().is_some()));
        let long = "x".repeat(500);
        for n in 0..200 {
            hub.send_process_output("web", format!("{n} {long}"))
                .unwrap();
        }
        let mut accounted = 0;
        while accounted < 200 {
            match watcher.next().await.unwrap() {
                Event::Line { text, .. } => {
                    assert!(text.starts_with(&format!("{accounted} ")), "{text}");
                    accounted += 1;
                }
                Event::Gap { count, .. } => accounted += count,
                other => panic!("{other:?}"),
            }
        }
        for (path, origin, status) in [
            ("/", "http://127.0.0.1", "200 OK"),
            ("/live/ws", "https://evil.example", "403 Forbidden"),
        ] {
            let answer = ask(address, path, origin).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
        let (end, ()) = tokio::join!(watcher.next(), hub.shutdown());
        let Some(Event::Disconnected { reason, .. }) = end else {
            panic!("{end:?}");
        };
        assert!(
            matches!(reason, DisconnectReason::Closed { code: 1001, .. }),
            "{reason}"
        );
        assert_eq!(hub.stats().closed[CloseReason::Shutdown.name()], 1);
    })
    .await
    .unwrap();
}

/// Sends a request, a handshake if the path is that of the WebSocket, and returns the beginning of
/// the answer.
async fn ask(address: SocketAddr, path: &str, origin: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let upgrade = if path == "/" {
        ""
    } else {
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\norigin: {origin}\r\n{upgrade}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = tcp.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test]
async fn axum_serves_a_hub() {
    let (hub, (listener, address)) = (Hub::new(), listener().await);
    tokio::spawn(axum::serve(listener, hub.clone()));
    check(hub, address).await;
}

#[tokio::test]
async fn hyper_serves_a_hub() {
    let (hub, (listener, address)) = (Hub::new(), listener().await);
    tokio::spawn(hyper::serve(listener, hub.clone()));
    check(hub, address).await;
}

#[tokio::test]
async fn hyper_serves_streams() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hub = Hub::builder().history(10).build().unwrap();
    hub.send_process_output("web", "the past").unwrap();
    let (listener, address) = listener().await;
    tokio::spawn(hyper::serve(listener, hub.clone()));
    for (path, expected) in [
        ("/live/web.txt?tail=1", "the past\n"),
        ("/live/web?tail=1", "data: "),
    ] {
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(expected) {
            assert_ne!(tcp.read_buf(&mut answer).await.unwrap(), 0, "{path}");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    }
}

#[tokio::test]
async fn warp_serves_a_hub() {
    let (hub, (listener, address)) = (Hub::new(), listener().await);
    tokio::spawn(warp::serve(listener, hub.clone()));
    check(hub, address).await;
}

#[tokio::test]
async fn poem_serves_a_hub() {
    let (hub, (listener, address)) = (Hub::new(), listener().await);
    tokio::spawn(poem::serve(listener, hub.clone()));
    check(hub, address).await;
}

#[test]
fn actix_serves_a_hub() {
    actix_web::rt::System::new().block_on(async {
        let (hub, (listener, address)) = (Hub::new(), listener().await);
        let served = actix::serve(listener.into_std().unwrap(), hub.clone());
        actix_web::rt::spawn(served);
        check(hub, address).await;
    });
}
