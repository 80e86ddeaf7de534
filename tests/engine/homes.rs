//! Hubs whose channels have their home here or elsewhere: order, accounts and numbers across the
//! changes of a channel's role. The tests are the backplane.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrace::backplane::{
    Backplane, Exported, Home, HomeHistory, LocalRuns, Node, NumberedRun, Numbering, Part, Runs,
    SealedBlock, Wanted,
};
use outrace::{ChannelName, Hub, HubBuilder, Lines, Lossless, Message};
use outrace_testkit::{Account, JsonClient, bounded, eventually, http, serve};
use serde_json::json;
use tokio::sync::oneshot;

const C: &str = "process:web";

/// A backplane that hands its node to the test.
struct Given(oneshot::Sender<Node>);

impl Backplane for Given {
    fn shares(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        assert!(self.0.send(node).is_ok(), "the test waits for it");
        Box::pin(std::future::pending())
    }
}

async fn sharing(settings: HubBuilder) -> (Hub, Node) {
    let (give, given) = oneshot::channel();
    let hub = settings.backplane(Given(give)).build().unwrap();
    hub.start();
    (hub, given.await.unwrap())
}

fn channel() -> ChannelName {
    ChannelName::parse(C).unwrap()
}

fn keeping() -> HubBuilder {
    Hub::builder()
        .history(1 << 20)
        .history_bytes(256 << 20)
        .queue(1 << 16)
}

fn publish(hub: &Hub, texts: &[&str]) {
    for text in texts {
        hub.send_process_output("web", text).unwrap();
    }
}

fn home(node: &Node, numbering: Numbering, first: Vec<LocalRuns>) -> Home {
    node.home(&channel(), numbering, first).unwrap()
}

fn texts_of<'a>(parts: impl Iterator<Item = Part<'a>>) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Part::Line(line) => texts.push(text(line)),
            Part::Lines(lines) => texts.extend(lines.iter().map(text)),
            Part::Message(message) => match message.data() {
                outrace::Data::Text(line) => texts.push(text(line)),
                other => texts.push(format!("{other:?}")),
            },
            other => panic!("{other:?}"),
        }
    }
    texts
}

fn texts_in(history: &HomeHistory) -> Vec<String> {
    let parts = history.runs.iter().flat_map(NumberedRun::parts);
    texts_of(parts)
}

async fn everything(home: &Home) -> HomeHistory {
    home.read(Wanted::After(0), usize::MAX).await
}

fn blocks(node: &Node) -> Vec<SealedBlock> {
    let exported = std::iter::from_fn(|| node.try_exported());
    exported
        .filter_map(|exported| match exported {
            Exported::Block(block) => Some(block),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn what_was_taken_what_waits_and_what_comes_later_is_numbered_in_that_order() {
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({"gaps": true})).await;
        eventually(|| hub.channel_subscriber_count(C) == 1).await;
        publish(&hub, &["1", "2", "3"]);
        assert_eq!(node.pending().await, [channel()]);
        let first = node.take_pending(&channel(), 1).await.unwrap();
        let second = node.take_pending(&channel(), 1).await.unwrap();
        assert_eq!(texts_of(first.parts()), ["1"], "at least one message");
        publish(&hub, &["4"]);
        // Given back in the reverse order.
        node.give_back(&channel(), second);
        node.give_back(&channel(), first);
        let first = node.take_pending(&channel(), 2).await.unwrap();
        assert_eq!(texts_of(first.parts()), ["1", "2"]);
        let home = home(&node, Numbering::New, vec![first]);
        publish(&hub, &["5"]);
        let mut runs = Runs::new();
        runs.push_lines(Lines::split("6\n7"));
        home.publish(runs).await;
        publish(&hub, &["8"]);
        let history = everything(&home).await;
        let expected = ["1", "2", "3", "4", "5", "6", "7", "8"];
        assert_eq!(texts_in(&history), expected);
        assert_eq!(home.numbering(), (history.epoch.clone(), 8));
        assert!(node.take_pending(&channel(), 9).await.is_none());
        // The subscription was answered once there was a home, before all messages.
        let answer = client.message().await;
        assert_eq!(
            (&answer["type"], &answer["data"]["seq"]),
            (&json!("subscribed"), &json!(0))
        );
        assert_eq!(answer["data"]["epoch"], history.epoch);
        for expected in expected {
            assert_eq!(client.line().await, expected);
        }
        assert_eq!(hub.stats().sharing.unwrap().pending, 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_home_does_not_accept_is_the_first_again_and_a_home_that_ends_numbers_no_more() {
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let before = home(&node, Numbering::New, Vec::new());
        publish(&hub, &["1"]);
        drop(before);
        publish(&hub, &["2", "3"]);
        let mut runs = Runs::new();
        runs.push_line("4".into());
        let taken = node.take_pending(&channel(), 1).await.unwrap();
        node.give_back(&channel(), taken);
        let all = node.take_pending(&channel(), 100).await.unwrap();
        assert_eq!(texts_of(all.parts()), ["2", "3"]);
        drop(all);
        // What the home elsewhere has numbered comes back by the mirror.
        let mirror = node.mirror(&channel()).unwrap();
        mirror.renumber("elsewhere", 10);
        mirror.publish(NumberedRun::from_runs(11, 0, runs).unwrap());
        mirror.set_synced(true);
        let after = home(
            &node,
            Numbering::Continue {
                epoch: "elsewhere".to_owned(),
                seq: 11,
            },
            Vec::new(),
        );
        publish(&hub, &["5"]);
        // Whatever a mirror is told late.
        mirror.skip_to(100);
        mirror.renumber("late", 0);
        mirror.set_synced(false);
        let history = everything(&after).await;
        assert_eq!((history.epoch.as_str(), history.last), ("elsewhere", 12));
        assert_eq!(history.first_kept, Some(11));
        assert_eq!(texts_in(&history), ["4", "5"]);
    })
    .await;
}

/// Publishers push while the channel changes its role: each message is numbered, taken, or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_numbered_or_taken_or_refused_however_the_role_flips() {
    const PUBLISHERS: usize = 3;
    const ROUNDS: usize = 60;
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (web, stop) = (hub.publisher(C).unwrap(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut next = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let lines = next..next + 1 + next % 7;
                        next = lines.end;
                        let lines: Lines =
                            lines.map(|line| format!("{publisher}:{line}")).collect();
                        web.send_lines(lines);
                        std::thread::sleep(Duration::from_micros(20));
                    }
                    next
                })
            })
            .collect();
        // Taken at the place where the next home begins.
        let mut forwarded: Vec<(u64, Vec<String>)> = Vec::new();
        let mut numbering = Numbering::New;
        let mut kept = Vec::new();
        for round in 1..=ROUNDS {
            if round % 2 == 0 {
                let seq = match &numbering {
                    Numbering::New => 0,
                    Numbering::Continue { seq, .. } => *seq,
                };
                // What was taken first goes first.
                let first = kept.drain(..);
                forwarded.extend(first.map(|taken: LocalRuns| (seq, texts_of(taken.parts()))));
                while let Some(taken) = node.take_pending(&channel(), 2000).await {
                    forwarded.push((seq, texts_of(taken.parts())));
                    if round % 3 > 0 {
                        break;
                    }
                }
            } else if round % 3 == 0
                && let Some(taken) = node.take_pending(&channel(), 500).await
            {
                kept.push(taken);
            }
            let home = home(&node, numbering, std::mem::take(&mut kept));
            tokio::time::sleep(Duration::from_micros(300)).await;
            home.read(Wanted::Tail(0), 0).await;
            drop(home);
            // At its place behind the end of the home.
            let taken = node.take_pending(&channel(), 1).await;
            let (epoch, seq) = node.mirror(&channel()).unwrap().numbering();
            numbering = Numbering::Continue { epoch, seq };
            kept.extend(taken);
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        stop.store(true, Ordering::Relaxed);
        let published: Vec<u64> = publishers
            .into_iter()
            .map(|publisher| publisher.join().unwrap())
            .collect();
        let home = home(&node, numbering, kept);
        let history = everything(&home).await;
        let refused = hub
            .stats()
            .refused
            .get("pending limit")
            .copied()
            .unwrap_or(0);
        let taken: u64 = forwarded.iter().map(|(_, texts)| texts.len() as u64).sum();
        assert_eq!(
            history.last + taken + refused,
            published.iter().sum::<u64>(),
            "{} numbered, {taken} taken, {refused} refused",
            history.last
        );
        assert!(taken > 0 && history.last > 0);
        // Each publisher's messages are there once and in their order.
        let numbered = texts_in(&history);
        let dropped = hub.channels().next().unwrap().dropped;
        assert_eq!(numbered.len() as u64 + dropped, history.last);
        let mut place = history.first_kept.unwrap();
        assert!(dropped > 0 || place == 1);
        let mut next = [0; PUBLISHERS];
        let mut lost = refused + dropped;
        let mut see = |text: &str| {
            let (publisher, line) = text.split_once(':').unwrap();
            let (publisher, line): (usize, u64) =
                (publisher.parse().unwrap(), line.parse().unwrap());
            assert!(line >= next[publisher], "{text} again, or out of order");
            lost -= line - next[publisher];
            next[publisher] = line + 1;
        };
        let mut forwarded = forwarded.into_iter().peekable();
        for run in &history.runs {
            for text in texts_of(run.parts()) {
                while let Some((_, texts)) = forwarded.next_if(|(seq, _)| *seq < place) {
                    texts.iter().for_each(|text| see(text));
                }
                see(&text);
                place += 1;
            }
            place = run.last_seq() + 1;
        }
        for (_, texts) in forwarded {
            texts.iter().for_each(|text| see(text));
        }
        lost -= published
            .iter()
            .zip(next)
            .map(|(all, next)| all - next)
            .sum::<u64>();
        assert_eq!(lost, 0);
    })
    .await;
}

#[tokio::test]
async fn a_home_exports_from_the_moment_it_is_told_to_and_what_it_keeps_meets_that_without_a_seam()
{
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let home = home(&node, Numbering::New, Vec::new());
        publish(&hub, &["1", "2"]);
        let _ = everything(&home).await;
        assert!(blocks(&node).is_empty(), "nobody elsewhere wants it");
        home.set_exported(true);
        publish(&hub, &["3"]);
        let history = home.read(Wanted::Tail(2), usize::MAX).await;
        assert_eq!(
            (texts_in(&history), history.last),
            (vec!["2".into(), "3".into()], 3)
        );
        publish(&hub, &["4"]);
        home.read(Wanted::Tail(0), 0).await;
        let exported = blocks(&node);
        let mut next = 3;
        for block in &exported {
            assert_eq!(
                (block.first_seq(), block.epoch()),
                (next, history.epoch.as_str())
            );
            next = block.last_seq() + 1;
        }
        assert_eq!(next, 5);
        let texts = texts_of(exported.iter().flat_map(SealedBlock::parts));
        assert_eq!(texts, ["3", "4"]);
        home.set_exported(false);
        publish(&hub, &["5"]);
        home.read(Wanted::Tail(0), 0).await;
        assert!(blocks(&node).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_home_that_nobody_watches_anywhere_only_counts() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        let web = hub.publisher(C).unwrap();
        assert!(web.is_watched(), "it may be watched elsewhere");
        web.send_line("1");
        let home = home(&node, Numbering::New, Vec::new());
        assert_eq!(home.read(Wanted::Tail(0), 0).await.last, 1);
        assert!(!web.is_watched());
        web.send_line("2");
        web.send_line("3");
        assert_eq!(home.read(Wanted::Tail(0), 0).await.last, 1);
        // What was only counted is numbered before what other nodes get.
        home.set_exported(true);
        assert!(web.is_watched());
        web.send_line("4");
        assert_eq!(home.read(Wanted::Tail(0), 0).await.last, 4);
        let exported = blocks(&node);
        assert_eq!((exported.len(), exported[0].first_seq()), (1, 4));
        home.set_exported(false);
        assert!(!web.is_watched());
        drop(home);
        assert!(web.is_watched());
        web.send_line("5");
        let taken = node.take_pending(&channel(), 100).await.unwrap();
        assert_eq!(texts_of(taken.parts()), ["5"]);
    })
    .await;
}

#[tokio::test]
async fn a_new_epoch_is_told_to_open_subscriptions_and_is_not_exported() {
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let url = serve(&hub).await;
        let home = home(&node, Numbering::New, Vec::new());
        home.set_exported(true);
        let mut client = JsonClient::connect(&url).await;
        client
            .subscribe(C, json!({"gaps": true, "detail": true}))
            .await;
        let before = Account::open(&mut client).await;
        publish(&hub, &["1"]);
        assert_eq!(client.line().await, "1");
        home.renumber();
        publish(&hub, &["2"]);
        let again = client.message().await;
        assert_eq!(
            (&again["type"], &again["data"]["seq"]),
            (&json!("subscribed"), &json!(0))
        );
        let line = client.message().await;
        assert_eq!((&line["data"], &line["seq"]), (&json!("2"), &json!(1)));
        let (epoch, seq) = home.numbering();
        assert_ne!(again["data"]["epoch"], before.epoch);
        assert_eq!((&again["data"]["epoch"], seq), (&json!(epoch), 1));
        let exported = blocks(&node);
        assert_eq!(
            texts_of(exported.iter().flat_map(SealedBlock::parts)),
            ["1"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_broadcast_reaches_clients_here_and_is_exported_once() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.ping().await;
        hub.send_event("deploy", &7).unwrap();
        node.broadcast(Message::error("from elsewhere"));
        assert_eq!(client.message().await["data"]["event"], "deploy");
        assert_eq!(client.message().await["data"], "from elsewhere");
        let Exported::Broadcast(broadcast) = node.exported().await else {
            panic!("it is a message to all clients");
        };
        assert!(format!("{:?}", broadcast.message()).contains("deploy"));
        assert!(node.try_exported().is_none());
    })
    .await;
}

#[tokio::test]
async fn the_unfinished_line_of_a_home_is_exported_while_other_nodes_want_the_channel() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        let web = hub.publisher(C).unwrap();
        let home = home(&node, Numbering::New, Vec::new());
        web.show_partial(b"10%");
        home.set_exported(true);
        let partial = async || match node.exported().await {
            Exported::Partial { text, .. } => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(partial().await, "10%", "what is there already");
        web.show_partial(b"20%");
        assert_eq!(partial().await, "20%");
        home.set_exported(false);
        web.show_partial(b"30%");
        home.read(Wanted::Tail(0), 0).await;
        assert!(node.try_exported().is_none());
    })
    .await;
}

/// Publishes lines until one of them finds no room before the home. Returns their number.
fn publish_until_refused(hub: &Hub) -> u64 {
    let line = "x".repeat(60_000);
    let mut published = 0;
    while !hub.stats().refused.contains_key("pending limit") {
        hub.send_process_output("web", &line).unwrap();
        published += 1;
    }
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_told_when_too_much_waits_for_a_home() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        let published = publish_until_refused(&hub);
        let stats = hub.stats();
        let refused = stats.refused["pending limit"];
        assert_eq!(stats.sharing.unwrap().pending as u64 + refused, published);
        let url = serve(&hub).await;
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let address: SocketAddr = address.parse().unwrap();
        let line = "y".repeat(60_000);
        let action =
            json!({"action": "ws.send_process_output", "process_id": "web", "output": line});
        let body = action.to_string();
        let post = move || http::act(address, &body).status;
        assert_eq!(
            tokio::task::spawn_blocking(post.clone()).await.unwrap(),
            503
        );
        let status =
            json!({"action": "ws.send_process_status", "process_id": "web", "status": "exited"});
        let post_status = move || http::act(address, &status.to_string()).status;
        assert_eq!(
            tokio::task::spawn_blocking(post_status).await.unwrap(),
            200,
            "it has a reserve"
        );
        // A publisher that can wait waits for the room that a home makes.
        let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(60));
        let waiting = tokio::spawn(async move {
            let mut lines = Lines::split("z".repeat(60_000));
            lossless.send_lines(&mut lines).await;
        });
        let taken = node.take_pending(&channel(), 100_000).await.unwrap();
        assert!(
            !waiting.is_finished(),
            "what was taken still takes its room"
        );
        drop(taken);
        waiting.await.unwrap();
        let refused = hub.stats().refused["pending limit"];
        let home = home(&node, Numbering::New, Vec::new());
        eventually(|| home.numbering().1 > 0).await;
        assert_eq!(tokio::task::spawn_blocking(post).await.unwrap(), 200);
        // The 503 and nothing since.
        assert_eq!(hub.stats().refused["pending limit"], refused);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_waits_for_what_other_nodes_have_not_got_unless_they_are_gone() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        node.set_connected(true);
        publish(&hub, &["1"]);
        let done = Arc::new(AtomicBool::new(false));
        let shutdown = tokio::spawn({
            let (hub, done) = (hub.clone(), Arc::clone(&done));
            async move {
                hub.shutdown().await;
                done.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(node.pending().await, [channel()]);
        let home = home(&node, Numbering::New, Vec::new());
        home.set_exported(true);
        publish(&hub, &["2"]);
        let Exported::Block(block) = node.exported().await else {
            panic!("it is a block");
        };
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!done.load(Ordering::Relaxed), "the block is not sent");
        drop(block);
        shutdown.await.unwrap();
        let (gone, node) = sharing(Hub::builder()).await;
        publish(&gone, &["1"]);
        assert_eq!(node.pending().await, [channel()]);
        tokio::time::timeout(Duration::from_secs(1), gone.shutdown())
            .await
            .expect("it does not wait");
    })
    .await;
}

#[tokio::test]
async fn a_channel_without_subscribers_exists_while_its_messages_wait() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder().max_channels(1)).await;
        publish(&hub, &["1"]);
        hub.send_process_output("other", "no").unwrap();
        assert_eq!(hub.stats().refused["channel limit"], 1);
        publish(&hub, &["2"]);
        let taken = node.take_pending(&channel(), 100).await.unwrap();
        assert_eq!(texts_of(taken.parts()), ["1", "2"]);
        // Nothing keeps it now.
        hub.send_process_output("other", "yes").unwrap();
        assert_eq!(hub.stats().refused["channel limit"], 1);
        node.give_back(&channel(), taken);
        let again = node.take_pending(&channel(), 100).await.unwrap();
        assert_eq!(texts_of(again.parts()), ["1", "2"]);
    })
    .await;
}

#[tokio::test]
async fn other_nodes_are_told_of_the_homes_and_their_statuses() {
    bounded(async {
        let (hub, node) = sharing(Hub::builder()).await;
        let home = home(&node, Numbering::New, Vec::new());
        hub.send_process_status("web", "running", 0).unwrap();
        hub.send_process_status("web", "exited", 3).unwrap();
        assert_eq!(node.home_changes().await, [channel()]);
        let status = || node.home_stats(&channel()).and_then(|stats| stats.status);
        assert_eq!(status().unwrap().code, 3);
        assert_eq!(node.homes().len(), 1);
        drop(home);
        assert_eq!(node.home_changes().await, [channel()]);
        assert!(node.homes().is_empty() && status().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_home_that_goes_on_with_an_epoch_repeats_no_number_and_tells_what_is_missing() {
    bounded(async {
        let (hub, node) = sharing(keeping()).await;
        let url = serve(&hub).await;
        let first = home(&node, Numbering::New, Vec::new());
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        publish(&hub, &["1", "2"]);
        let epoch = everything(&first).await.epoch;
        drop(first);
        let go_on = |seq| Numbering::Continue {
            epoch: epoch.clone(),
            seq,
        };
        // Fewer than it has itself, and more.
        let second = home(&node, go_on(1), Vec::new());
        publish(&hub, &["3"]);
        assert_eq!(everything(&second).await.last, 3);
        drop(second);
        let third = home(&node, go_on(7), Vec::new());
        publish(&hub, &["8"]);
        account.read_to(&mut client, 8).await;
        assert_eq!(account.gaps, [(4, 7)]);
        let history = everything(&third).await;
        assert_eq!((history.epoch, history.first_kept), (epoch, Some(1)));
        assert_eq!(
            texts_of(history.runs.iter().flat_map(NumberedRun::parts)),
            ["1", "2", "3", "8"]
        );
    })
    .await;
}
