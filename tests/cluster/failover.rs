//! A home that goes, and the one that comes after it.

use outrace_testkit::{BrokerServer, eventually, until_sealed};
use serde_json::json;

use crate::kit::{C, Member, Numberings, over_each_broker, publish};

over_each_broker! {
    after_a_home_was_killed_its_channels_are_lost_and_mirrors_keep_what_they_have,
    another_node_becomes_home_and_viewers_are_told,
    a_node_that_shuts_down_leaves_its_channels_at_once,
}

async fn after_a_home_was_killed_its_channels_are_lost_and_mirrors_keep_what_they_have(
    broker: BrokerServer,
) {
    let a = Member::start_with_short_lease(&broker, "a").await;
    let b = Member::start_with_short_lease(&broker, "b").await;
    let publisher = a.publisher(C);
    publisher.send_status("running", 0);
    publish(&publisher, 2..=100);
    until_sealed(&a.hub, C, 100).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "tail": 1000, "batch": true});
    let (mut client, mut account) = b.subscribed(C, options.clone()).await;
    account.read_to(&mut client, 100).await;
    // Another node has published to it, and is done with that: it does not take the home's place.
    publish(&b.publisher(C), 101..=110);
    account.read_to(&mut client, 110).await;
    eventually(|| b.backplane().forwarded == 10).await;
    drop(publisher);
    a.kill().await;
    b.hears(1).await;
    let listed = &b.channels().await[0];
    assert_eq!(listed["channel"], C);
    assert_eq!(listed["status"]["status"], "lost", "{listed}");
    assert_eq!(listed["node"], "a");
    let (mut client, mut later) = b.subscribed(C, options).await;
    later.read_to(&mut client, 110).await;
    assert_eq!(later.epoch, account.epoch);
    assert_eq!(later.lines, account.lines);
    // Whoever publishes to it now has another numbering, and the process stays lost.
    publish(&b.publisher(C), 111..=111);
    b.is_home(1).await;
    let is_lost = async || b.channels().await[0]["status"]["status"] == "lost";
    let listed = &b.channels().await[0];
    assert_eq!(
        (&listed["node"], is_lost().await),
        (&json!("b"), true),
        "{listed}"
    );
}

async fn another_node_becomes_home_and_viewers_are_told(broker: BrokerServer) {
    let a = Member::start_with_short_lease(&broker, "a").await;
    let b = Member::start_with_short_lease(&broker, "b").await;
    let c = Member::start_with_short_lease(&broker, "c").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=100);
    until_sealed(&a.hub, C, 100).await;
    b.hears(3).await;
    c.hears(3).await;
    let options = json!({"gaps": true, "tail": 1000, "batch": true});
    let (mut client, first) = c.subscribed(C, options).await;
    let mut numberings = Numberings::new(first);
    numberings.read_to_line(&mut client, "100").await;
    drop(publisher);
    a.kill().await;
    // It is forwarded to the old home, given back when that is found to be gone, and numbered.
    publish(&b.publisher(C), 101..=200);
    numberings.read_to_line(&mut client, "200").await;
    assert_eq!(numberings.0.len(), 2);
    let present = numberings.present();
    assert_eq!(
        (present.began_after, present.received, present.skipped),
        (0, 100, 0)
    );
    b.is_home(1).await;
    let expected: Vec<_> = (1..=200).map(|number: u64| number.to_string()).collect();
    assert_eq!(numberings.lines(), expected);
}

async fn a_node_that_shuts_down_leaves_its_channels_at_once(broker: BrokerServer) {
    // With a long lease: nobody waits for its end.
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=100);
    until_sealed(&a.hub, C, 100).await;
    b.hears(2).await;
    let (mut client, first) = b.subscribed(C, json!({"gaps": true, "tail": 1000})).await;
    let mut numberings = Numberings::new(first);
    publish(&publisher, 101..=200);
    let begun = std::time::Instant::now();
    a.hub.shutdown().await;
    eventually(|| b.backplane().nodes == 1).await;
    publish(&b.publisher(C), 201..=300);
    numberings.read_to_line(&mut client, "300").await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(8));
    let expected: Vec<_> = (1..=300).map(|number: u64| number.to_string()).collect();
    assert_eq!(numberings.lines(), expected);
}
