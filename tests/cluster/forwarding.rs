//! Messages that are published on a node that is not the home of their channel.

use outrace_testkit::{BrokerServer, assert_agreement, until_sealed};
use serde_json::json;

use crate::kit::{C, Member, over_each_broker, publish};

over_each_broker! {
    what_is_published_elsewhere_reaches_the_home_in_order,
    nodes_that_publish_at_once_agree_on_one_home,
}

async fn what_is_published_elsewhere_reaches_the_home_in_order(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    publish(&a.publisher(C), 1..=1);
    until_sealed(&a.hub, C, 1).await;
    b.hears(2).await;
    let publisher = b.publisher(C);
    for first in (2..10_002).step_by(100) {
        publish(&publisher, first..=first + 99);
        tokio::task::yield_now().await;
    }
    publisher.send_status("exited", 0);
    let options = json!({"gaps": true, "tail": 100_000, "batch": true});
    let (mut there, mut elsewhere) = b.subscribed(C, options.clone()).await;
    let (mut here, mut at_home) = a.subscribed(C, options).await;
    at_home.read_to(&mut here, 10_002).await;
    elsewhere.read_to(&mut there, 10_002).await;
    let expected: Vec<_> = (1..=10_001)
        .map(|number| number.to_string())
        .chain(["exited".to_owned()])
        .collect();
    for account in [&at_home, &elsewhere] {
        let lines: Vec<_> = account.lines.iter().map(|(_, line)| line.clone()).collect();
        assert_eq!(lines, expected);
    }
    assert_eq!(at_home.epoch, elsewhere.epoch);
    assert_eq!(b.backplane().forwarded, 10_001);
    assert_eq!((a.backplane().homes, b.backplane().homes), (1, 0));
}

async fn nodes_that_publish_at_once_agree_on_one_home(broker: BrokerServer) {
    let members = [
        Member::start(&broker, "a").await,
        Member::start(&broker, "b").await,
        Member::start(&broker, "c").await,
    ];
    for member in &members {
        member.hears(3).await;
    }
    const EACH: u64 = 2000;
    for number in 0..EACH {
        for (index, member) in members.iter().enumerate() {
            member.publisher(C).send_line(format!("{index}:{number}"));
        }
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let options = json!({"gaps": true, "tail": 100_000, "batch": true});
    let mut accounts = Vec::new();
    for member in &members {
        let mut client = outrace_testkit::JsonClient::connect(&member.url).await;
        client.subscribe(C, options.clone()).await;
        let first = outrace_testkit::Account::open(&mut client).await;
        let mut numberings = crate::kit::Numberings::new(first);
        while numberings.present().next <= 3 * EACH {
            numberings.take(&mut client).await;
        }
        accounts.push(numberings.0.pop().unwrap());
    }
    assert_agreement(&accounts);
    for account in &accounts {
        assert_eq!((account.received, account.skipped), (3 * EACH, 0));
    }
    let homes: usize = members.iter().map(|member| member.backplane().homes).sum();
    assert_eq!(homes, 1);
}
