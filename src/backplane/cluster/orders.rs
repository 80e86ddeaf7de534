//! Orders for processes of other nodes, and of other nodes for processes here.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::message::{Asker, ClusterMessage, Order, Ordered};
use super::names::NodeId;
use super::peers::PlacedOrder;
use super::wire::Wire;
use crate::backplane::{ForwardedOrder, Node, OrderError};

/// How long a reply is expected.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is said when a process takes no order now.
const NOT_ACCEPTED: &str = "all processes are being stopped, or too many orders wait";

/// The orders that wait for the reply of another node.
#[derive(Debug, Default)]
pub(super) struct Orders {
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    since: Instant,
    reply: oneshot::Sender<Result<bool, OrderError>>,
}

impl Orders {
    /// Sends an order to its node.
    pub(super) fn place(&mut self, placed: PlacedOrder, wire: &Wire) {
        let PlacedOrder { node, order, reply } = placed;
        self.last += 1;
        let id = self.last;
        let message = Order {
            id,
            process_id: order.process_id,
            order: order.order,
            asker: Asker::new(&order.on_behalf_of),
        };
        wire.tell(&node, &ClusterMessage::Order(message));
        let since = Instant::now();
        self.waiting.insert(id, Waiting { node, since, reply });
    }

    /// Takes the reply to an order.
    pub(super) fn ordered(&mut self, from: &NodeId, ordered: Ordered) {
        let Ordered { id, refusal } = ordered;
        if self
            .waiting
            .get(&id)
            .is_none_or(|waiting| waiting.node != *from)
        {
            return;
        }
        if let Some(waiting) = self.waiting.remove(&id) {
            // Who asked may have gone.
            let _ = waiting.reply.send(match refusal {
                None => Ok(true),
                Some(reason) => Err(OrderError::Refused(reason)),
            });
        }
    }

    /// Forgets the orders that are not replied to.
    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting
            .retain(|_, waiting| waiting.since + REPLY_TIMEOUT > now);
    }
}

/// Carries out an order of another node, and replies.
pub(super) fn carry_out(node: &Node, from: &NodeId, order: Order, wire: &Wire) {
    let Order {
        id,
        process_id,
        order,
        asker,
    } = order;
    let name = from.name();
    let on_behalf_of = match asker.as_str() {
        "" => name,
        asker => format!("{asker}, {name}"),
    };
    let forwarded = ForwardedOrder::new(process_id, order, on_behalf_of);
    let refusal = match node.carry_out(&forwarded) {
        Ok(true) => None,
        Ok(false) => Some(NOT_ACCEPTED.to_owned()),
        Err(error) => Some(error.to_string()),
    };
    wire.tell(from, &ClusterMessage::Ordered(Ordered { id, refusal }));
}
