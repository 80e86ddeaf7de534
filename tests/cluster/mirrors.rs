//! What viewers of a node get of a channel whose home is another one.

use outrace_testkit::{BrokerServer, until_sealed};
use serde_json::json;

use crate::kit::{C, Member, assert_numbered, over_each_broker, publish};

over_each_broker! {
    a_viewer_elsewhere_gets_what_is_published_later,
    a_viewer_elsewhere_gets_what_was_published_before,
}

async fn a_viewer_elsewhere_gets_what_is_published_later(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "tail": 5, "batch": true});
    let (mut here, mut at_home) = a.subscribed(C, options.clone()).await;
    let (mut there, mut elsewhere) = b.subscribed(C, options).await;
    for first in (11..1000).step_by(10) {
        publish(&publisher, first..=first + 9);
        tokio::task::yield_now().await;
    }
    at_home.read_to(&mut here, 1000).await;
    elsewhere.read_to(&mut there, 1000).await;
    assert_eq!(at_home.epoch, elsewhere.epoch);
    assert_eq!(elsewhere.lines, at_home.lines);
    assert_eq!(elsewhere.began_after, 5);
    assert_numbered(&elsewhere);
}

async fn a_viewer_elsewhere_gets_what_was_published_before(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=5000);
    until_sealed(&a.hub, C, 5000).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "tail": 100_000, "batch": true});
    let (mut client, mut account) = b.subscribed(C, options).await;
    account.read_to(&mut client, 5000).await;
    assert_eq!((account.replayed, account.lost), (5000, 0));
    assert_numbered(&account);
}
