//! Orders for processes over several nodes.

use std::fmt;
use std::sync::{Arc, OnceLock};

#[cfg(any(feature = "server", feature = "relay"))]
use http::HeaderName;

use crate::message::{ProcessId, ProcessOrder, Status};

/// The header that names the users whom a forwarded order comes from.
#[cfg(any(feature = "server", feature = "relay"))]
pub(crate) const ON_BEHALF_OF: HeaderName = HeaderName::from_static("outrace-for");

/// An order for a process that another node supervises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedOrder {
    /// The process.
    pub process_id: ProcessId,
    /// The order.
    pub order: ProcessOrder,
    /// The users that the order comes from, separated by commas: first the one who gave it, then
    /// the nodes that passed it on. The nodes have checked their rights. It is for logs.
    pub on_behalf_of: String,
}

impl ForwardedOrder {
    /// Creates an order that a node passes on for a user whose rights it has checked.
    pub fn new(
        process_id: ProcessId,
        order: ProcessOrder,
        on_behalf_of: impl Into<String>,
    ) -> Self {
        Self {
            process_id,
            order,
            on_behalf_of: on_behalf_of.into(),
        }
    }
}

/// The reason why an order did not reach its process.
///
/// Each text is a sentence for the one who gave the order, without a period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// No node has such a process.
    #[error("there is no process {0} on any node")]
    NoSuchProcess(ProcessId),
    /// The node that has the process refuses the order.
    #[error("the node that has the process refuses: {0}")]
    Refused(String),
    /// The node that has the process cannot be reached. The order was not given.
    #[error("the node that has the process is not reachable: {0}")]
    Unreachable(String),
    /// The node that has the process did not answer. The order may have been given.
    #[error("the node that has the process did not answer: whether it has the order is unknown")]
    Unanswered,
    /// The node that has the process gave an answer that is none. The order may have been given.
    #[error("the node that has the process gave no valid answer: {0}")]
    InvalidAnswer(String),
}

/// A process of a supervisor, as a node tells the others of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedProcess {
    /// The process.
    pub id: ProcessId,
    /// Its last status.
    pub status: Status,
    /// The exit code of its last run.
    pub exit_code: i32,
    /// The system's number of the process, if it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// When the status was published, in RFC 3339.
    pub since: String,
    /// Whether the node that has it takes orders for it.
    pub controllable: bool,
    /// The node that has it. `None` is this one.
    pub node: Option<String>,
}

impl ListedProcess {
    /// Creates the entry of a process that has not been started and takes no orders.
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            status: Status::from("waiting"),
            exit_code: 0,
            pid: None,
            restarts: 0,
            since: String::new(),
            controllable: false,
            node: None,
        }
    }
}

/// The processes that a supervisor runs beside a hub, for orders of other nodes.
pub trait LocalProcesses: Send + Sync + 'static {
    /// Returns the processes in the order of their start.
    fn list(&self) -> Vec<ListedProcess>;

    /// Gives an order without waiting until it is carried out. Returns whether it was accepted:
    /// not if all processes are being stopped or too many orders wait.
    ///
    /// # Errors
    /// If there is no such process, or if the processes may not be controlled.
    fn order(&self, process_id: &ProcessId, order: ProcessOrder) -> Result<bool, OrderError>;
}

/// The processes beside a hub, once its program has named them.
#[derive(Clone, Default)]
pub(crate) struct ProcessSlot(Arc<OnceLock<Box<dyn LocalProcesses>>>);

impl ProcessSlot {
    /// Names the processes. Returns false if they were named before: those stay.
    pub(crate) fn fill(&self, processes: Box<dyn LocalProcesses>) -> bool {
        self.0.set(processes).is_ok()
    }

    pub(crate) fn list(&self) -> Vec<ListedProcess> {
        self.0
            .get()
            .map_or_else(Vec::new, |processes| processes.list())
    }

    pub(crate) fn order(&self, order: &ForwardedOrder) -> Result<bool, OrderError> {
        let Some(processes) = self.0.get() else {
            return Err(OrderError::NoSuchProcess(order.process_id.clone()));
        };
        let given = processes.order(&order.process_id, order.order);
        tracing::info!(
            process = order.process_id.as_str(),
            order = order.order.as_str(),
            on_behalf_of = order.on_behalf_of,
            accepted = ?given,
            "an order of another node"
        );
        given
    }
}

impl fmt::Debug for ProcessSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProcessSlot")
            .field(&self.0.get().is_some())
            .finish()
    }
}
