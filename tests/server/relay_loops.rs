//! Relays that would go round in a circle.

use outrace::Hub;
use outrace_testkit::{bounded, eventually, last_seq, serve};
use tokio::net::TcpListener;

use crate::relay::{ANY_PORT, C, keeping, relay_of, subscribed};

/// Returns a listener and the URL of a server that will use it.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    (listener, url)
}

fn serve_on(listener: TcpListener, hub: &Hub) {
    let never = std::future::pending();
    tokio::spawn(outrace::server::serve(listener, hub.clone(), never));
}

fn refused(hub: &Hub) -> u64 {
    let stats = hub.stats();
    stats.refused.get("loop of relays").copied().unwrap_or(0)
}

fn connected(hub: &Hub) -> usize {
    hub.stats().backplane.unwrap().connected
}

#[tokio::test]
async fn a_relay_of_itself_is_refused() {
    bounded(async {
        let (listener, url) = listener().await;
        let hub = relay_of(&url);
        serve_on(listener, &hub);
        eventually(|| refused(&hub) == 1).await;
        assert_eq!(connected(&hub), 0);
        assert_eq!(hub.client_count(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_ring_of_three_is_refused_whichever_connects_last() {
    bounded(async {
        let (a, a_url) = listener().await;
        let (b, b_url) = listener().await;
        let (c, c_url) = listener().await;
        let hubs = [relay_of(&b_url), relay_of(&c_url), relay_of(&a_url)];
        for (listener, hub) in [a, b, c].into_iter().zip(&hubs) {
            serve_on(listener, hub);
        }
        eventually(|| hubs.iter().all(|hub| refused(hub) > 0)).await;
        assert_eq!(hubs.each_ref().map(connected), [0; 3]);
        assert_eq!(hubs.each_ref().map(Hub::client_count), [0; 3]);
    })
    .await;
}

#[tokio::test]
async fn two_ways_to_the_same_home_are_no_loop() {
    bounded(async {
        let home = keeping(100);
        let home_url = serve(&home).await;
        let (one, other) = (
            serve(&relay_of(&home_url)).await,
            serve(&relay_of(&home_url)).await,
        );
        let relay = crate::relay::relay_of_all(&[&one, &other]);
        let url = serve(&relay).await;
        home.send_process_output("web", "x").unwrap();
        let options = serde_json::json!({"tail": 1});
        let (mut client, mut account) = subscribed(&url, options).await;
        account.read_to(&mut client, 1).await;
        assert_eq!(last_seq(&relay, C), 1);
        assert_eq!((connected(&relay), refused(&home)), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn a_row_of_relays_ends_after_sixteen() {
    bounded(async {
        let home = keeping(10);
        let mut url = serve(&home).await;
        let mut relays = Vec::new();
        for _ in 0..16 {
            let relay = relay_of(&url);
            url = serve(&relay).await;
            relays.push(relay);
        }
        eventually(|| relays.iter().all(|relay| connected(relay) == 1)).await;
        let one_more = relay_of(&url);
        eventually(|| refused(&relays[15]) > 0).await;
        assert_eq!(connected(&one_more), 0);
    })
    .await;
}
