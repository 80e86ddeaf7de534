//! Random programs of clients and publishers over real sockets, checked against the counters.

use std::sync::Arc;

use outrace::{Client, Hub};
use outrace_testkit::{Server, Socket, until};
use proptest::prelude::*;
use serde_json::json;

const CHANNELS: [&str; 2] = ["process:a", "b"];
const MAX_CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Connect {
        narrow: bool,
    },
    Subscribe {
        client: usize,
        channel: usize,
    },
    Unsubscribe {
        client: usize,
        channel: usize,
    },
    Publish {
        channel: usize,
        lines: Vec<Vec<u8>>,
        times: usize,
        at_once: bool,
    },
    /// Reads all messages sent so far. Clients only read in this step.
    Read {
        client: usize,
    },
    Disconnect {
        client: usize,
        abrupt: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..MAX_CLIENTS;
    let channel = 0..CHANNELS.len();
    let line = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        2 => any::<bool>().prop_map(|narrow| Step::Connect { narrow }),
        4 => (client.clone(), channel.clone()).prop_map(|(client, channel)| Step::Subscribe { client, channel }),
        1 => (client.clone(), channel.clone()).prop_map(|(client, channel)| Step::Unsubscribe { client, channel }),
        6 => (channel, prop::collection::vec(line, 1..20), 1..40_usize, any::<bool>())
            .prop_map(|(channel, lines, times, at_once)| Step::Publish { channel, lines, times, at_once }),
        3 => client.clone().prop_map(|client| Step::Read { client }),
        1 => (client, any::<bool>()).prop_map(|(client, abrupt)| Step::Disconnect { client, abrupt }),
    ]
}

/// A client, with the messages that it must have received unless they were skipped.
struct Peer {
    socket: Socket,
    client: Arc<Client>,
    subscribed: [bool; CHANNELS.len()],
    /// The `data` of the messages published to its channels while it was subscribed. Each channel
    /// has a list of its own, because the order is a channel's.
    expected: [Vec<String>; CHANNELS.len()],
    received: [Vec<String>; CHANNELS.len()],
    /// The number of pongs that the hub has sent to it.
    pongs: u64,
}

impl Peer {
    fn connect(server: &Server, narrow: bool) -> Self {
        let mut socket = if narrow {
            Socket::connect_narrow(server.address)
        } else {
            server.connect()
        };
        socket.ping();
        let client = server.client(&socket);
        Self {
            socket,
            client,
            subscribed: [false; CHANNELS.len()],
            expected: Default::default(),
            received: Default::default(),
            pongs: 1,
        }
    }

    fn read(&mut self) {
        let texts = self.socket.ping();
        self.pongs += 1;
        for text in &texts {
            let message: serde_json::Value = serde_json::from_str(text).unwrap();
            let channel = CHANNELS
                .iter()
                .position(|channel| message["channel"] == *channel)
                .unwrap();
            self.received[channel].push(message["data"].as_str().unwrap().to_owned());
        }
    }

    fn received(&self) -> u64 {
        self.received.iter().map(Vec::len).sum::<usize>() as u64
    }

    fn command(&mut self, kind: &str, channel: usize) {
        self.socket
            .send_json(json!({"type": kind, "channel": CHANNELS[channel]}));
        self.read();
        self.subscribed[channel] = kind == "subscribe";
    }
}

/// Returns whether `part` is `whole` with some elements left out.
fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|text| whole.any(|other| other == text))
}

fn run(queue: usize, steps: Vec<Step>) {
    let server = Server::with(Hub::builder().queue(queue));
    // The publishers keep the numbering of the channels while nobody is subscribed.
    let publishers = CHANNELS.map(|channel| server.hub.publisher(channel).unwrap());
    let mut peers: Vec<Peer> = Vec::new();
    let mut connected = 0;
    // The number of offered lines (lines x subscribers), and of pongs to clients that have left.
    let (mut offered, mut pongs) = (0, 0);
    for step in steps {
        match step {
            Step::Connect { narrow } if peers.len() < MAX_CLIENTS => {
                peers.push(Peer::connect(&server, narrow));
                connected += 1;
            }
            Step::Subscribe { client, channel } => {
                if let Some(peer) = peers.get_mut(client) {
                    peer.command("subscribe", channel);
                }
            }
            Step::Unsubscribe { client, channel } => {
                // Lines that are not sealed when a client leaves are not offered to it. The test
                // must know what the client gets, so it waits for the seal.
                fanned_out(&server, offered, &peers, pongs);
                if let Some(peer) = peers.get_mut(client) {
                    peer.command("unsubscribe", channel);
                }
            }
            Step::Publish {
                channel,
                lines,
                times,
                at_once,
            } => {
                let subscribers = peers.iter().filter(|peer| peer.subscribed[channel]).count();
                offered += (lines.len() * times * subscribers) as u64;
                for _ in 0..times {
                    if at_once {
                        assert_eq!(
                            publishers[channel].send_lines(lines.iter().collect()),
                            subscribers
                        );
                    } else {
                        for line in &lines {
                            assert_eq!(publishers[channel].send_line(line), subscribers);
                        }
                    }
                    let texts = lines
                        .iter()
                        .map(|line| String::from_utf8_lossy(line).into_owned());
                    for peer in peers.iter_mut().filter(|peer| peer.subscribed[channel]) {
                        peer.expected[channel].extend(texts.clone());
                    }
                }
                for peer in &peers {
                    assert!(peer.client.queued() <= queue + 16);
                }
            }
            Step::Read { client } => {
                if let Some(peer) = peers.get_mut(client) {
                    peer.read();
                }
            }
            Step::Disconnect { client, abrupt } if client < peers.len() => {
                fanned_out(&server, offered, &peers, pongs);
                let peer = peers.swap_remove(client);
                pongs += peer.pongs;
                if abrupt {
                    peer.socket.reset()
                } else {
                    drop(peer.socket)
                }
                let left = peers.len();
                until("it has left", || server.hub.client_count() == left);
            }
            Step::Connect { .. } | Step::Disconnect { .. } => {}
        }
        for (channel, name) in CHANNELS.iter().enumerate() {
            let subscribers = peers.iter().filter(|peer| peer.subscribed[channel]).count();
            // A client that vanished leaves one channel after the other.
            until("the subscribers are those that are expected", || {
                server.hub.channel_subscriber_count(name) == subscribers
            });
        }
    }
    fanned_out(&server, offered, &peers, pongs);
    for peer in &mut peers {
        peer.read();
        until("its queue is empty", || peer.client.queued() == 0);
        peer.read();
        let expected = peer.expected.iter().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(peer.received() + peer.client.skipped(), expected);
        for (received, expected) in peer.received.iter().zip(&peer.expected) {
            assert!(
                is_subsequence(received, expected),
                "in order, and as they were published"
            );
        }
        until("all is counted", || {
            peer.client.written() == peer.received() + peer.pongs
        });
    }
    server.settle();
    drop(peers);
    until("everybody has left", || {
        server.hub.client_count() == 0 && server.hub.channel_count() == 0
    });
    until("every end is counted", || {
        server.hub.stats().closed.values().sum::<u64>() == connected
    });
    server.settle();
}

/// Waits until every line was offered to each of its subscribers, and every pong to its client, to
/// the unit.
fn fanned_out(server: &Server, lines: u64, peers: &[Peer], pongs_of_those_gone: u64) {
    let offered = lines + pongs_of_those_gone + peers.iter().map(|peer| peer.pongs).sum::<u64>();
    until("all is fanned out", || {
        server.hub.stats().offered == offered
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_program_adds_up(queue in 1..200_usize, steps in prop::collection::vec(step(), 1..40)) {
        run(queue, steps);
    }
}
