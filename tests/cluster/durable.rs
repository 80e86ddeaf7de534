//! Channels whose blocks the broker stores.

use std::time::Duration;

use outrace::backplane::cluster::ClusterBuilder;
use outrace_testkit::{BrokerServer, until_sealed};
use serde_json::json;

use crate::kit::{
    C, Member, Numberings, SHORT_LEASE, assert_numbered, over_each_broker, publish, publish_slowly,
};

over_each_broker! {
    the_next_home_goes_on_with_the_same_numbering,
    a_cluster_that_starts_again_has_its_past_and_goes_on_with_its_numbers,
    what_is_stored_reaches_viewers_of_other_nodes,
    a_broker_that_is_started_again_costs_no_stored_message,
    a_home_that_shuts_down_has_stored_what_waited,
}

fn durable(cluster: ClusterBuilder) -> ClusterBuilder {
    cluster
        .durable(Duration::from_secs(3600))
        .lease(SHORT_LEASE)
}

async fn the_next_home_goes_on_with_the_same_numbering(broker: BrokerServer) {
    let a = Member::start_with(&broker, "a", durable).await;
    let b = Member::start_with(&broker, "b", durable).await;
    let c = Member::start_with(&broker, "c", durable).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=100);
    until_sealed(&a.hub, C, 100).await;
    for member in [&b, &c] {
        member.hears(3).await;
    }
    let options = json!({"gaps": true, "tail": 1000, "batch": true});
    let (mut client, mut account) = c.subscribed(C, options).await;
    account.read_to(&mut client, 100).await;
    outrace_testkit::eventually(|| a.backplane().exported == 100).await;
    drop(publisher);
    a.kill().await;
    publish(&b.publisher(C), 101..=200);
    account.read_to(&mut client, 200).await;
    assert_eq!(account.skipped, 0);
    assert_numbered(&account);
    let (mut client, mut later) = b.subscribed(C, json!({"gaps": true, "tail": 1000})).await;
    later.read_to(&mut client, 200).await;
    assert_eq!((later.began_after, later.skipped), (0, 0));
    assert_eq!(later.epoch, account.epoch);
    assert_numbered(&later);
}

async fn a_cluster_that_starts_again_has_its_past_and_goes_on_with_its_numbers(
    broker: BrokerServer,
) {
    let a = Member::start_with(&broker, "a", durable).await;
    let publisher = a.publisher(C);
    publish_slowly(&publisher, 1..=1000).await;
    until_sealed(&a.hub, C, 1000).await;
    outrace_testkit::eventually(|| a.backplane().exported == 1000).await;
    drop(publisher);
    a.hub.shutdown().await;
    a.kill().await;
    let b = Member::start_with(&broker, "b", durable).await;
    outrace_testkit::eventually(|| b.backplane().connected == 1).await;
    let (mut client, first) = b.subscribed(C, json!({"gaps": true, "tail": 10_000})).await;
    let mut numberings = Numberings::new(first);
    numberings.read_to_line(&mut client, "1000").await;
    assert_eq!(numberings.present().skipped, 0);
    publish(&b.publisher(C), 1001..=1100);
    numberings.read_to_line(&mut client, "1100").await;
    assert_numbered(numberings.present());
    let expected: Vec<_> = (1..=1100).map(|number: u64| number.to_string()).collect();
    assert_eq!(numberings.lines(), expected);
}

async fn what_is_stored_reaches_viewers_of_other_nodes(broker: BrokerServer) {
    let a = Member::start_with(&broker, "a", durable).await;
    let b = Member::start_with(&broker, "b", durable).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=1);
    until_sealed(&a.hub, C, 1).await;
    b.hears(2).await;
    let (mut client, mut account) = b.subscribed(C, json!({"gaps": true, "batch": true})).await;
    publish_slowly(&publisher, 2..=2000).await;
    account.read_to(&mut client, 2000).await;
    assert_eq!(account.skipped, 0);
    assert_numbered(&account);
}

async fn a_broker_that_is_started_again_costs_no_stored_message(mut broker: BrokerServer) {
    let lease = |cluster: ClusterBuilder| durable(cluster).lease(Duration::from_secs(10));
    let a = Member::start_with(&broker, "a", lease).await;
    let b = Member::start_with(&broker, "b", lease).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=1);
    until_sealed(&a.hub, C, 1).await;
    b.hears(2).await;
    let (mut client, mut account) = b.subscribed(C, json!({"gaps": true, "batch": true})).await;
    let publishing = tokio::spawn(async move {
        publish_slowly(&publisher, 2..=4000).await;
        publisher
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.kill().await;
    broker.start_again().await;
    let _publisher = publishing.await.unwrap();
    account.read_to(&mut client, 4000).await;
    assert_eq!(account.skipped, 0);
    assert_numbered(&account);
}

async fn a_home_that_shuts_down_has_stored_what_waited(broker: BrokerServer) {
    let a = Member::start_with(&broker, "a", durable).await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=1);
    a.is_home(1).await;
    publish_slowly(&publisher, 2..=1000).await;
    drop(publisher);
    a.hub.shutdown().await;
    a.kill().await;
    let b = Member::start_with(&broker, "b", durable).await;
    outrace_testkit::eventually(|| b.backplane().connected == 1).await;
    let (mut client, first) = b.subscribed(C, json!({"gaps": true, "tail": 10_000})).await;
    let mut numberings = Numberings::new(first);
    numberings.read_to_line(&mut client, "1000").await;
    let expected: Vec<_> = (1..=1000).map(|number: u64| number.to_string()).collect();
    assert_eq!(numberings.lines(), expected);
}
