//! `--cluster`: several nodes with a broker between them, as their users start them.

use std::time::Duration;

use outrace_testkit::http::{act, get};
use outrace_testkit::{BrokerKind, BrokerServer, Scratch, bounded};
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Outrace, run};

/// A loop that prints lines in bursts, and then what it reads.
const LOOP: &str = r#"i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "line $i";
[ $((i % 40)) -ne 0 ] || sleep 0.02; done; exec cat"#;

/// The lines that it prints by itself.
const LINES: usize = 400;

/// Starts `outrace COMMAND --cluster URL --node NAME`, with more arguments.
async fn node(command: &str, url: &str, name: &str, more: &[&str]) -> Outrace {
    let mut arguments = vec![command, "--cluster", url, "--node", name];
    arguments.extend(more);
    Outrace::serving(&arguments).await
}

/// As [`node`], while the broker is not there, which the node says.
async fn alone(command: &str, url: &str, name: &str, more: &[&str]) -> Outrace {
    let mut arguments = vec![command, "--listen", "127.0.0.1:0"];
    arguments.extend(["--cluster", url, "--node", name]);
    arguments.extend(more);
    let mut node = Outrace::start(&arguments);
    node.complaint_with("this node starts without it").await;
    let said = node.complaint_with("listening on ws://").await;
    let url = &said[said.find("ws://").unwrap()..];
    node.url = url.split([',', ' ']).next().unwrap().to_owned();
    node
}

/// Prints the lines of the process `web` at a node from the first one on.
fn watch(node: &Outrace) -> Outrace {
    Outrace::start(&["watch", &node.url, "process:web", "-n", "100000"])
}

/// Reads the remaining lines of [`LOOP`] after `printed` of them, each once and in order, and
/// then what it is told to print.
async fn expect_the_rest(watcher: &mut Outrace, home: &mut Outrace, printed: usize) {
    for number in printed + 1..=LINES {
        assert_eq!(watcher.printed().await, format!("line {number}\n"));
    }
    home.say("the end\n").await;
    assert_eq!(watcher.printed().await, "the end\n");
}

/// Waits until a node lists the process `web` in a way that `is_wanted`.
async fn listed(node: &Outrace, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let address = node.address();
    loop {
        let list = get(address, "/api/channels").json();
        let entries = list.as_array().unwrap();
        let web = entries
            .iter()
            .find(|entry| entry["channel"] == "process:web");
        if let Some(web) = web.filter(|web| is_wanted(web)) {
            return web.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn every_line_of_a_process_arrives_once_on_another_node(kind: BrokerKind) {
    bounded(async {
        let Some(broker) = BrokerServer::start(kind).await else {
            return;
        };
        let url = broker.url();
        let mut a = node("run", &url, "a", &["--id", "web", "--", "sh", "-c", LOOP]).await;
        let b = node("serve", &url, "b", &[]).await;
        listed(&b, |web| web["node"] == "a").await;
        let mut watcher = watch(&b);
        expect_the_rest(&mut watcher, &mut a, 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_process_arrives_once_on_another_node_over_nats() {
    every_line_of_a_process_arrives_once_on_another_node(BrokerKind::Nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_process_arrives_once_on_another_node_over_redis() {
    every_line_of_a_process_arrives_once_on_another_node(BrokerKind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_with_one_name_on_two_nodes_are_one_channel() {
    bounded(async {
        let Some(broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        let cat = ["--id", "web", "--", "cat"];
        let mut a = node("run", &url, "a", &cat).await;
        let b = node("serve", &url, "b", &[]).await;
        let home = listed(&b, |web| web["node"] == "a").await;
        let mut c = node("run", &url, "c", &cat).await;
        let mut watcher = watch(&b);
        a.say("from a\n").await;
        assert_eq!(watcher.printed().await, "from a\n");
        c.say("from c\n").await;
        assert_eq!(watcher.printed().await, "from c\n");
        let at_c = listed(&c, |web| web["epoch"] == home["epoch"]).await;
        assert_eq!(at_c["node"], "a", "{at_c}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_over_http_on_one_node_reaches_the_viewers_of_the_home() {
    bounded(async {
        let Some(broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        let a = node("run", &url, "a", &["--id", "web", "--", "sh", "-c", LOOP]).await;
        let b = node("serve", &url, "b", &[]).await;
        listed(&b, |web| web["node"] == "a").await;
        let mut watcher = watch(&a);
        assert_eq!(watcher.printed().await, "line 1\n");
        let action = r#"{"action":"ws.send_process_output","process_id":"web","output":"by b"}"#;
        assert_eq!(act(b.address(), action).status, 200);
        while watcher.printed().await != "by b\n" {}
        listed(&a, |web| web["node"] == "a").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processes_of_a_killed_node_are_lost_on_the_others() {
    bounded(async {
        let Some(broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        let a = node("run", &url, "a", &["--id", "web", "--", "cat"]).await;
        let b = node("serve", &url, "b", &[]).await;
        listed(&b, |web| web["status"]["status"] == "running").await;
        a.signal(Signal::KILL);
        listed(&b, |web| web["status"]["status"] == "lost").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_home_that_starts_again_goes_on_with_its_numbers_if_it_is_durable() {
    bounded(async {
        let Some(broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        let cat = ["--durable", "--id", "web", "--", "cat"];
        let mut a = node("run", &url, "a", &cat).await;
        let b = node("serve", &url, "b", &["--durable"]).await;
        let mut watcher = watch(&b);
        a.say("one\n").await;
        assert_eq!(watcher.printed().await, "one\n");
        let before = listed(&b, |web| web["seq"].as_u64() > Some(0)).await;
        a.signal(Signal::KILL);
        a.child.wait().await.unwrap();
        let mut a = node("run", &url, "a", &cat).await;
        a.say("two\n").await;
        assert_eq!(watcher.printed().await, "two\n");
        let seq = before["seq"].as_u64();
        let after = listed(&a, |web| web["seq"].as_u64() > seq).await;
        assert_eq!(after["epoch"], before["epoch"], "{after}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_start_without_their_broker_and_find_each_other_when_it_comes() {
    bounded(async {
        let Some(mut broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        broker.stop().await;
        let mut a = alone("run", &url, "a", &["--id", "web", "--", "cat"]).await;
        let mut own = watch(&a);
        a.say("alone\n").await;
        assert_eq!(own.printed().await, "alone\n");
        let b = alone("serve", &url, "b", &[]).await;
        broker.start_again().await;
        listed(&b, |web| web["node"] == "a").await;
        let mut watcher = watch(&b);
        a.say("together\n").await;
        while watcher.printed().await != "together\n" {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewers_of_the_home_see_every_line_while_the_broker_dies() {
    bounded(async {
        let Some(mut broker) = BrokerServer::start(BrokerKind::Nats).await else {
            return;
        };
        let url = broker.url();
        let mut a = node("run", &url, "a", &["--id", "web", "--", "sh", "-c", LOOP]).await;
        let b = node("serve", &url, "b", &[]).await;
        let _elsewhere = watch(&b);
        let mut watcher = watch(&a);
        assert_eq!(watcher.printed().await, "line 1\n");
        broker.kill().await;
        expect_the_rest(&mut watcher, &mut a, 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_make_no_node_are_refused_in_one_sentence_without_the_password() {
    let folder = Scratch::new();
    let missing = folder.folder().join("missing.creds");
    let missing = missing.to_str().unwrap();
    let nats = "nats://user:hunter2@127.0.0.1:4222";
    for (arguments, says) in [
        (&["--cluster", "amqp://user:hunter2@host"][..], "--cluster"),
        (&["--cluster", "nats://"], "--cluster"),
        (
            &["--cluster", nats, "--cluster-credentials", missing],
            "missing.creds",
        ),
        (&["--cluster", nats, "--node", "a b"], "--node"),
        (
            &["--cluster", nats, "--cluster-prefix", "a.b"],
            "--cluster-prefix",
        ),
        (&["--cluster", nats, "--durable=1s"], "--durable"),
        (&["--cluster", nats, "--join", "ws://host/ws"], "--join"),
        (&["--node", "a"], "--cluster"),
    ] {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let (code, _, said) = run(&all).await;
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storing_in_a_broker_that_keeps_nothing_is_refused() {
    for kind in [
        BrokerKind::NatsWithoutJetStream,
        BrokerKind::RedisWithoutAof,
    ] {
        bounded(async {
            let Some(broker) = BrokerServer::start(kind).await else {
                return;
            };
            let url = broker.url();
            let mut a = Outrace::start(&[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--cluster",
                &url,
                "--durable",
            ]);
            let said = a.complaint_with("durable").await;
            assert!(said.contains("--durable"), "{said}");
            assert_eq!(a.code().await, Some(2));
        })
        .await;
    }
}
