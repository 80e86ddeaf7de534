//! Executes an [`Action`] and makes its [`Reply`].

use serde::Serialize;

#[cfg(feature = "server")]
use super::Engine;
use super::Hub;
#[cfg(feature = "server")]
use crate::channel::is_publishable;
use crate::message::Action;
#[cfg(feature = "server")]
use crate::message::{ChannelName, Message};

/// The reply to an [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// A message was published.
    Sent {
        /// The number of subscribers, or of clients for a broadcast, at that moment.
        subscribers: usize,
    },
    /// The reply to a request for a count.
    Count {
        /// The count.
        count: usize,
    },
    /// The reply to `ws.stats`.
    Stats {
        /// The number of connected clients.
        clients: usize,
        /// The number of channels with at least one subscriber.
        channels: usize,
        /// The number of subscriptions of all clients together.
        subscribers: usize,
    },
    /// The reply to an order for a process. A hub accepts none, because it supervises no processes
    /// itself.
    Ordered {
        /// Whether the order will be carried out.
        accepted: bool,
    },
}

#[cfg(feature = "server")]
impl Engine {
    /// Returns the name of the first action whose message is longer than
    /// [`HubBuilder::max_outgoing_message`](crate::HubBuilder::max_outgoing_message) and can't be
    /// cut.
    pub(crate) fn find_too_long(&self, actions: &[Action]) -> Option<&'static str> {
        let max_message = self.config().max_outgoing_message;
        let fits = |channel: Option<&ChannelName>, message: &Message| {
            is_publishable(message, channel, max_message)
        };
        actions.iter().find_map(|action| {
            let (name, fits) = match action {
                // Its message names the channel itself.
                Action::Broadcast { channel, message } => {
                    ("ws.broadcast", fits(channel.as_ref(), message))
                }
                Action::SendChannel { channel, message } => {
                    ("ws.send_channel", fits(Some(channel), message))
                }
                Action::SendEvent { message } => ("ws.send_event", fits(None, message)),
                Action::SendError { message } => ("ws.send_error", fits(None, message)),
                Action::SendProcessStatus {
                    process_id,
                    status,
                    exit_code,
                } => {
                    let message = Message::status(status, *exit_code);
                    let channel = ChannelName::parse(&format!("process:{process_id}")).ok();
                    ("ws.send_process_status", fits(channel.as_ref(), &message))
                }
                _ => return None,
            };
            (!fits).then_some(name)
        })
    }
}

#[cfg(feature = "server")]
impl Engine {
    /// Returns whether there is room for what these actions publish to channels whose home is
    /// elsewhere or not known yet. Another publisher may take it before they are executed.
    pub(crate) fn has_room_for_homes(&self, actions: &[Action]) -> bool {
        let Some(sharing) = &self.shared().sharing else {
            return true;
        };
        let is_home = |channel: &str| {
            let channel = self.registry.find(channel);
            channel.is_some_and(|channel| channel.is_home())
        };
        let (mut bytes, mut reserved) = (0, 0);
        for action in actions {
            match action {
                Action::SendChannel { channel, message } if !is_home(channel.as_str()) => {
                    if message.is_reserved() {
                        reserved += 1;
                    } else {
                        bytes += message.size_hint();
                    }
                }
                Action::SendProcessOutput { process_id, output }
                    if !is_home(&format!("process:{process_id}")) =>
                {
                    bytes += output.len();
                }
                Action::SendProcessStatus { process_id, .. }
                    if !is_home(&format!("process:{process_id}")) =>
                {
                    reserved += 1;
                }
                _ => {}
            }
        }
        (bytes, reserved) == (0, 0) || sharing.budget.has_room(bytes, reserved)
    }
}

impl Hub {
    /// Executes an action.
    pub fn execute(&self, action: Action) -> Reply {
        match action {
            Action::Broadcast { channel, message } => Reply::Sent {
                subscribers: self.broadcast(match channel {
                    Some(channel) => message.in_channel(channel),
                    None => message,
                }),
            },
            Action::SendChannel { channel, message } => Reply::Sent {
                subscribers: self
                    .send_to_channel(channel.as_str(), message)
                    .expect("a ChannelName is valid"),
            },
            Action::SendEvent { message } | Action::SendError { message } => Reply::Sent {
                subscribers: self.broadcast(message),
            },
            Action::SendProcessOutput { process_id, output } => Reply::Sent {
                subscribers: self
                    .send_process_output(process_id.as_str(), output)
                    .expect("a ProcessId is valid"),
            },
            Action::SendProcessStatus {
                process_id,
                status,
                exit_code,
            } => Reply::Sent {
                subscribers: self
                    .send_process_status(process_id.as_str(), status, exit_code)
                    .expect("a ProcessId is valid"),
            },
            Action::ClientCount => Reply::Count {
                count: self.client_count(),
            },
            Action::ChannelCount => Reply::Count {
                count: self.channel_count(),
            },
            Action::SubscriberCount { channel } => Reply::Count {
                count: self.channel_subscriber_count(channel.as_str()),
            },
            Action::OrderProcess { .. } => Reply::Ordered { accepted: false },
            Action::Stats => {
                let stats = self.stats();
                Reply::Stats {
                    clients: stats.clients,
                    channels: stats.channels,
                    subscribers: stats.subscribers,
                }
            }
        }
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::access::PeerInfo;
    use crate::channel::ClientKind;
    use crate::encode::Encoding;
    use crate::message::{ChannelName, Message, ProcessId, ProcessOrder, Status};

    #[tokio::test]
    async fn an_action_replies_with_the_clients_or_subscribers_it_reached() {
        let hub = Hub::new();
        let engine = hub.engine();
        let channel = ChannelName::parse("process:web").unwrap();
        let process_id = ProcessId::parse("web").unwrap();
        let clients =
            [(); 3].map(|()| engine.make_client(PeerInfo::default(), ClientKind::WebSocket));
        for client in &clients {
            engine.register(client);
        }
        for client in &clients[1..] {
            let name = channel.clone();
            engine
                .join(client, name, Encoding::Json, None, None)
                .unwrap();
        }
        let message = || Message::output("line");
        let sent = |subscribers| Reply::Sent { subscribers };
        let count = |count| Reply::Count { count };
        for (action, reply) in [
            (
                Action::Broadcast {
                    channel: Some(channel.clone()),
                    message: message(),
                },
                sent(3),
            ),
            (Action::SendEvent { message: message() }, sent(3)),
            (Action::SendError { message: message() }, sent(3)),
            (
                Action::SendChannel {
                    channel: channel.clone(),
                    message: message(),
                },
                sent(2),
            ),
            (
                Action::SendProcessOutput {
                    process_id: process_id.clone(),
                    output: "line".to_owned(),
                },
                sent(2),
            ),
            (
                Action::SendProcessStatus {
                    process_id: process_id.clone(),
                    status: Status::Exited,
                    exit_code: 0,
                },
                sent(2),
            ),
            (Action::ClientCount, count(3)),
            (Action::ChannelCount, count(1)),
            (Action::SubscriberCount { channel }, count(2)),
            (
                Action::Stats,
                Reply::Stats {
                    clients: 3,
                    channels: 1,
                    subscribers: 2,
                },
            ),
            (
                Action::OrderProcess {
                    process_id,
                    order: ProcessOrder::Start,
                },
                Reply::Ordered { accepted: false },
            ),
        ] {
            let shown = format!("{action:?}");
            assert_eq!(hub.execute(action), reply, "{shown}");
        }
    }
}
