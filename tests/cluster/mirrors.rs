//! What viewers of a node get of a channel whose home is another one.

use outrace_testkit::{BrokerServer, JsonClient, eventually, until_sealed};
use serde_json::json;

use crate::kit::{C, Member, assert_numbered, over_each_broker, publish, publish_slowly};

over_each_broker! {
    viewers_of_every_node_get_the_bytes_of_the_home,
    a_viewer_elsewhere_gets_what_was_published_before,
    a_viewer_resumes_on_another_node,
    a_viewer_that_came_before_the_home_gets_everything,
    a_subscriber_without_options_gets_only_what_comes_after_it,
    a_channel_that_nobody_watches_elsewhere_is_not_sent,
    names_with_dots_colons_and_capitals_are_channels_of_their_own,
    messages_to_all_clients_reach_those_of_every_node_once,
    unfinished_lines_are_shown_elsewhere,
}

async fn viewers_of_every_node_get_the_bytes_of_the_home(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let c = Member::start(&broker, "c").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    for member in [&b, &c] {
        member.hears(3).await;
    }
    let options = json!({"gaps": true, "tail": 5, "batch": true});
    let mut clients = Vec::new();
    for member in [&a, &b, &c] {
        let mut client = JsonClient::connect(&member.url).await;
        client.subscribe(C, options.clone()).await;
        let answer = client.message().await;
        assert_eq!(answer["data"]["seq"], 5, "{answer}");
        assert_eq!(answer["data"]["replayed"], 5);
        clients.push((client, answer["data"]["epoch"].clone()));
    }
    publish_slowly(&publisher, 11..=1000).await;
    publisher.send_line("\u{1b}[1m\"quoted\"\\");
    publisher.send(outrace::Message::new("mine".into()).with_text("x"));
    publisher.send_status("exited", 3);
    let mut seen = vec![String::new(); 3];
    for ((client, epoch), seen) in clients.iter_mut().zip(&mut seen) {
        seen.push_str(epoch.as_str().unwrap());
        while !seen.contains("exited") {
            seen.push('\n');
            seen.push_str(&client.text().await);
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

async fn a_viewer_elsewhere_gets_what_was_published_before(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=1);
    a.is_home(1).await;
    // More than one answer holds.
    let text = "x".repeat(1000);
    let lines: outrace::Lines = (2..=10_001).map(|seq| format!("{seq} {text}")).collect();
    for chunk in 0..10 {
        let lines = lines.iter().skip(chunk * 1000).take(1000);
        publisher.send_lines(lines.collect());
        tokio::task::yield_now().await;
    }
    until_sealed(&a.hub, C, 10_001).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "tail": 100_000, "batch": true});
    let (mut client, mut account) = b.subscribed(C, options).await;
    account.read_to(&mut client, 10_001).await;
    assert_eq!((account.began_after, account.lost), (0, 0));
    assert_eq!(account.received, 10_001);
    for (seq, line) in &account.lines {
        assert_eq!(line.split(' ').next().unwrap(), seq.to_string());
    }
}

async fn a_viewer_resumes_on_another_node(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=100);
    a.is_home(1).await;
    let (mut client, mut account) = a.subscribed(C, json!({"gaps": true, "tail": 50})).await;
    account.read_to(&mut client, 100).await;
    drop(client);
    publish(&publisher, 101..=200);
    until_sealed(&a.hub, C, 200).await;
    b.hears(2).await;
    let since = json!({"epoch": account.epoch, "seq": 100});
    let (mut client, mut resumed) = b.subscribed(C, json!({"gaps": true, "since": since})).await;
    publish(&publisher, 201..=300);
    resumed.read_to(&mut client, 300).await;
    assert_eq!((resumed.began_after, resumed.lost), (100, 0));
    assert_eq!((resumed.received, resumed.skipped), (200, 0));
    assert_eq!(resumed.epoch, account.epoch);
    assert_numbered(&resumed);
}

async fn a_viewer_that_came_before_the_home_gets_everything(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    b.hears(2).await;
    let (mut client, first) = b.subscribed(C, json!({"gaps": true, "batch": true})).await;
    publish_slowly(&a.publisher(C), 1..=500).await;
    let mut numberings = crate::kit::Numberings::new(first);
    numberings.read_to_line(&mut client, "500").await;
    let account = numberings.present();
    assert_eq!((account.received, account.skipped), (500, 0));
    assert_numbered(account);
}

async fn a_subscriber_without_options_gets_only_what_comes_after_it(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publish(&publisher, 1..=10);
    until_sealed(&a.hub, C, 10).await;
    b.hears(2).await;
    let mut client = JsonClient::subscribed(&b.url, C).await;
    publish(&publisher, 11..=12);
    assert_eq!(client.line().await, "11");
    assert_eq!(client.line().await, "12");
}

async fn a_channel_that_nobody_watches_elsewhere_is_not_sent(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let (quiet, watched) = (a.publisher("quiet"), a.publisher("watched"));
    publish(&watched, 1..=1);
    a.is_home(1).await;
    b.hears(2).await;
    let (mut client, mut account) = b.subscribed("watched", json!({"gaps": true})).await;
    publish(&quiet, 1..=1000);
    until_sealed(&a.hub, "quiet", 1000).await;
    publish(&watched, 2..=10);
    account.read_to(&mut client, 10).await;
    assert_eq!(a.backplane().exported, 9);
}

async fn names_with_dots_colons_and_capitals_are_channels_of_their_own(broker: BrokerServer) {
    let a = Member::start(&broker, "node.a").await;
    let b = Member::start(&broker, "node.b").await;
    let names = [
        "a..b",
        "a.b",
        "A.b",
        ".",
        "a:b:c",
        "a-b_c",
        "process:x.y",
        &"z".repeat(256),
    ];
    for name in names {
        a.publisher(name).send_line(format!("1 {name}"));
    }
    a.is_home(names.len()).await;
    b.hears(2).await;
    for name in names {
        let (mut client, mut account) = b.subscribed(name, json!({"gaps": true, "tail": 9})).await;
        a.publisher(name).send_line(format!("2 {name}"));
        account.read_to(&mut client, 2).await;
        let lines: Vec<_> = account.lines.into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [format!("1 {name}"), format!("2 {name}")]);
    }
}

async fn messages_to_all_clients_reach_those_of_every_node_once(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    a.hears(2).await;
    b.hears(2).await;
    let mut here = JsonClient::connect(&a.url).await;
    let mut there = JsonClient::connect(&b.url).await;
    eventually(|| a.hub.client_count() == 1 && b.hub.client_count() == 1).await;
    a.hub.send_event("from a", &1).unwrap();
    for client in [&mut here, &mut there] {
        assert_eq!(client.message().await["data"]["event"], "from a");
    }
    b.hub.send_event("from b", &2).unwrap();
    for client in [&mut here, &mut there] {
        assert_eq!(client.message().await["data"]["event"], "from b");
    }
}

async fn unfinished_lines_are_shown_elsewhere(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    let publisher = a.publisher(C);
    publisher.send_line("1");
    a.is_home(1).await;
    b.hears(2).await;
    let options = json!({"gaps": true, "partial": true, "tail": 1});
    let (mut client, _) = b.subscribed(C, options).await;
    assert_eq!(client.line().await, "1");
    publisher.show_partial(b"50 %");
    let message = client.message().await;
    assert_eq!(message["type"], "process_partial");
    assert_eq!(message["data"], "50 %");
}
