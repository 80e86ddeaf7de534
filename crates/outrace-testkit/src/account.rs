//! An exact account of one subscription: every message received, skipped or lost.

use std::collections::HashMap;

use outrace::Hub;
use serde_json::Value;

use crate::{JsonClient, eventually};

/// The messages of one subscription, in the channel's numbering.
///
/// Every message goes through [`Account::take`], which panics on any loss, repetition or disorder.
#[derive(Debug, Default)]
pub struct Account {
    /// The `epoch` of the answer to the subscription.
    pub epoch: String,
    /// The `seq` of that answer: the first message has the next number.
    pub began_after: u64,
    /// The `replayed` of that answer.
    pub replayed: u64,
    /// The `lost` of that answer.
    pub lost: u64,
    /// The number that the next message must have.
    pub next: u64,
    /// Messages received.
    pub received: u64,
    /// Messages that gaps have reported as skipped.
    pub skipped: u64,
    /// The lines and statuses received, with their numbers.
    pub lines: Vec<(u64, String)>,
    /// The gaps received, from and to.
    pub gaps: Vec<(u64, u64)>,
}

impl Account {
    /// Reads the answer to a subscription, which must be the next message, and begins its account.
    pub async fn open(client: &mut JsonClient) -> Self {
        let answer = client.message().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        let number = |key: &str| answer["data"][key].as_u64().unwrap();
        Self {
            epoch: answer["data"]["epoch"].as_str().unwrap().to_owned(),
            began_after: number("seq"),
            next: number("seq") + 1,
            replayed: number("replayed"),
            lost: number("lost"),
            ..Self::default()
        }
    }

    /// Adds a message. Panics unless it is the one that follows.
    pub fn take(&mut self, message: &Value) {
        let data = &message["data"];
        match message["type"].as_str().unwrap() {
            "process_output" => self.line(data.as_str().unwrap()),
            "process_output_batch" => {
                assert_eq!(
                    message["seq"], self.next,
                    "a batch begins where the last message ended"
                );
                let lines = data.as_array().unwrap();
                assert!(!lines.is_empty());
                for line in lines {
                    self.line(line.as_str().unwrap());
                }
            }
            "process_status" => self.line(data["status"].as_str().unwrap()),
            "gap" => {
                let number = |key: &str| data[key].as_u64().unwrap();
                let (from, to) = (number("from"), number("to"));
                assert_eq!(from, self.next, "a gap begins where the last message ended");
                assert!(from <= to);
                assert_eq!(number("count"), to - from + 1);
                self.skipped += to - from + 1;
                self.next = to + 1;
                self.gaps.push((from, to));
            }
            _ => panic!("an unexpected message: {message}"),
        }
    }

    fn line(&mut self, line: &str) {
        self.lines.push((self.next, line.to_owned()));
        self.received += 1;
        self.next += 1;
    }

    /// Reads until the message `last` was received, or a gap reported it as skipped.
    pub async fn read_to(&mut self, client: &mut JsonClient, last: u64) {
        while self.next <= last {
            let message = client.message().await;
            self.take(&message);
        }
        assert_eq!(self.next, last + 1);
    }
}

/// Asserts that accounts of one numbering agree. Each number stands for the same line everywhere,
/// and the lines of each publisher (`publisher:number`) are in their order.
pub fn assert_agreement<'a>(accounts: impl IntoIterator<Item = &'a Account>) {
    let mut lines: HashMap<u64, &str> = HashMap::new();
    let mut epoch = None;
    for account in accounts {
        assert_eq!(*epoch.get_or_insert(&account.epoch), &account.epoch);
        let mut last: HashMap<&str, u64> = HashMap::new();
        for (seq, line) in &account.lines {
            assert_eq!(
                *lines.entry(*seq).or_insert(line),
                line,
                "two lines are number {seq}"
            );
            let (publisher, number) = line.split_once(':').unwrap();
            let number = number.split(' ').next().unwrap().parse().unwrap();
            if let Some(before) = last.insert(publisher, number) {
                assert!(
                    before < number,
                    "publisher {publisher}: {number} came after {before}"
                );
            }
        }
    }
}

/// Returns the number of the last message of a channel, 0 for one that does not exist.
pub fn last_seq(hub: &Hub, channel: &str) -> u64 {
    hub.channels()
        .find(|stats| stats.channel.as_str() == channel)
        .map_or(0, |stats| stats.seq)
}

/// Waits until `messages` messages of a channel have their number. Panics if there are more.
pub async fn until_sealed(hub: &Hub, channel: &str, messages: u64) {
    eventually(|| last_seq(hub, channel) >= messages).await;
    assert_eq!(last_seq(hub, channel), messages);
}
