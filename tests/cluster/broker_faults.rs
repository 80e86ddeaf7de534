//! A broker that stops, dies, or comes back without what it had.

use std::time::Duration;

use outrace::backplane::cluster::Cluster;
use outrace_testkit::{BrokerServer, Proxy, eventually, until_sealed};
use serde_json::json;
use tokio::time::sleep;

use crate::kit::{
    C, Member, Numberings, SHORT_LEASE, assert_numbered, over_each_broker, publish, publish_slowly,
};

over_each_broker! {
    viewers_elsewhere_miss_nothing_when_the_broker_stops_for_five_seconds,
    viewers_elsewhere_miss_nothing_when_the_broker_is_started_again,
    a_mirror_that_was_cut_off_for_five_seconds_gets_everything_afterwards,
    a_broker_that_comes_back_empty_begins_another_numbering,
    a_home_without_a_lease_goes_on_for_its_own_viewers_under_another_epoch,
    without_a_broker_a_channel_begins_here_alone_and_is_shared_once_there_is_one,
}

async fn viewers_elsewhere_miss_nothing_when_the_broker_stops_for_five_seconds(
    broker: BrokerServer,
) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "batch": true});
    let (mut here, mut at_home) = a.subscribed(C, options.clone()).await;
    let (mut there, mut elsewhere) = b.subscribed(C, options).await;
    let publishing = tokio::spawn(async move {
        publish_slowly(&publisher, 11..=14_000).await;
        publisher
    });
    sleep(Duration::from_secs(1)).await;
    broker.pause();
    sleep(Duration::from_secs(5)).await;
    broker.resume();
    // Nothing waits for the broker.
    let publisher = publishing.await.unwrap();
    at_home.read_to(&mut here, 14_000).await;
    publish(&publisher, 14_001..=14_010);
    at_home.read_to(&mut here, 14_010).await;
    elsewhere.read_to(&mut there, 14_010).await;
    assert_eq!((at_home.skipped, elsewhere.skipped), (0, 0));
    assert_eq!(elsewhere.epoch, at_home.epoch);
    assert_numbered(&at_home);
    assert_numbered(&elsewhere);
}

async fn viewers_elsewhere_miss_nothing_when_the_broker_is_started_again(mut broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "batch": true});
    let (mut there, mut elsewhere) = b.subscribed(C, options).await;
    let publishing = tokio::spawn(async move {
        publish_slowly(&publisher, 11..=6000).await;
        publisher
    });
    sleep(Duration::from_millis(500)).await;
    broker.kill().await;
    sleep(Duration::from_millis(500)).await;
    broker.start_again().await;
    let _publisher = publishing.await.unwrap();
    elsewhere.read_to(&mut there, 6000).await;
    assert_eq!(elsewhere.skipped, 0);
    assert_numbered(&elsewhere);
    assert!(b.backplane().reconnects >= 1);
}

async fn a_broker_that_comes_back_empty_begins_another_numbering(mut broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "batch": true, "tail": 100});
    let (mut there, first) = b.subscribed(C, options).await;
    let mut elsewhere = Numberings::new(first);
    elsewhere.read_to_line(&mut there, "10").await;
    broker.kill().await;
    broker.start_empty().await;
    publish_slowly(&publisher, 11..=6000).await;
    // The records are gone, so another numbering begins: with the next renewal at the latest.
    eventually(|| {
        let counted = a.backplane();
        counted.lease_changes >= 2 && counted.stale_channels == 0
    })
    .await;
    publish_slowly(&publisher, 6001..=7000).await;
    elsewhere.read_to_line(&mut there, "7000").await;
    assert_eq!(elsewhere.0.len(), 2);
    // Each numbering is accounted for as far as it is known, and no line comes twice.
    let present = elsewhere.present();
    assert_eq!(present.began_after, 0);
    assert_eq!(present.skipped, 0);
    let numbers: Vec<u64> = elsewhere
        .lines()
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    let told = elsewhere.0[0].next - 1 + present.received;
    let untold = 7000 - told;
    // What the earlier numbering had on its way when it ended.
    assert!(untold <= 200, "{untold}");
}

async fn a_home_without_a_lease_goes_on_for_its_own_viewers_under_another_epoch(
    broker: BrokerServer,
) {
    let a = Member::start_with_short_lease(&broker, "a").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    let options = json!({"gaps": true, "batch": true, "tail": 100});
    let (mut client, first) = a.subscribed(C, options).await;
    let mut numberings = Numberings::new(first);
    broker.pause();
    eventually(|| a.backplane().stale_channels == 1).await;
    publish(&publisher, 11..=20);
    numberings.read_to_line(&mut client, "20").await;
    assert_eq!(numberings.0.len(), 2);
    assert_ne!(numberings.0[0].epoch, numberings.0[1].epoch);
    broker.resume();
    eventually(|| a.backplane().stale_channels == 0).await;
    let b = Member::start_with_short_lease(&broker, "b").await;
    b.hears(2).await;
    let (mut there, mut elsewhere) = b.subscribed(C, json!({"gaps": true, "tail": 100})).await;
    publish(&publisher, 21..=30);
    numberings.read_to_line(&mut client, "30").await;
    assert_eq!(numberings.0.len(), 2);
    elsewhere.read_to(&mut there, 20).await;
    assert_eq!(elsewhere.epoch, numberings.present().epoch);
}

async fn without_a_broker_a_channel_begins_here_alone_and_is_shared_once_there_is_one(
    mut broker: BrokerServer,
) {
    broker.kill().await;
    let a = Member::start_with_short_lease(&broker, "a").await;
    let (mut client, first) = a.subscribed(C, json!({"gaps": true})).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    let mut numberings = Numberings::new(first);
    numberings.read_to_line(&mut client, "10").await;
    broker.start_again().await;
    eventually(|| a.backplane().stale_channels == 0 && a.backplane().homes == 1).await;
    let b = Member::start_with_short_lease(&broker, "b").await;
    b.hears(2).await;
    let (mut there, mut elsewhere) = b.subscribed(C, json!({"gaps": true, "tail": 100})).await;
    elsewhere.read_to(&mut there, 10).await;
    assert_eq!(elsewhere.epoch, numberings.present().epoch);
    assert!(SHORT_LEASE < Duration::from_secs(10));
}

async fn a_mirror_that_was_cut_off_for_five_seconds_gets_everything_afterwards(
    broker: BrokerServer,
) {
    let proxy = Proxy::start(([127, 0, 0, 1], broker.port()).into()).await;
    let (port, proxied) = (broker.port().to_string(), proxy.address.port().to_string());
    let url = broker.url().replace(&port, &proxied);
    let a = Member::start(&broker, "a").await;
    let b = Member::start_with(&broker, "b", |_| Cluster::builder(&url).node("b")).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "batch": true});
    let (mut client, mut account) = b.subscribed(C, options).await;
    proxy.cut();
    eventually(|| b.backplane().connected == 0).await;
    publish_slowly(&publisher, 11..=10_000).await;
    proxy.mend();
    account.read_to(&mut client, 10_000).await;
    assert_eq!(account.skipped, 0);
    assert_numbered(&account);
    // Another node's silence is no reason to become home.
    assert_eq!((a.backplane().homes, b.backplane().homes), (1, 0));
}
