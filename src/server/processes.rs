//! Processes over HTTP: listing those of this node and of others, and starting and stopping them
//! if allowed.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

use super::refusal::AdmittedPeer;
use crate::Hub;
use crate::access::Identity;
use crate::backplane::{Directory, ForwardedOrder, ListedProcess, ON_BEHALF_OF, OrderError};
use crate::channel::{Client, ClientKind};
use crate::hub::Reply;
use crate::message::{Action, ChannelName, ProcessId, ProcessOrder, Status};
use crate::reason::RefusalReason;

#[cfg(feature = "process")]
pub use supervised::Processes;
#[cfg(not(feature = "process"))]
pub(super) use unsupervised::Processes;

/// The longest such list that is passed on, in bytes. The order is not refused for its length.
const MAX_ON_BEHALF_OF_BYTES: usize = 512;

/// A refusal of an order: the counter, the status, and the text.
pub(super) type OrderRefusal = (RefusalReason, StatusCode, String);

/// `GET /api/processes`: the processes whose channels the caller may subscribe to, those of this
/// node first.
///
/// `controllable` says whether the caller may control the process. Without a supervisor and other
/// nodes the list is empty.
pub(super) async fn list(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    processes: Option<Extension<Processes>>,
) -> Response {
    let engine = hub.engine();
    let client = engine.make_client(admitted.0, ClientKind::Http);
    let mut listed = processes.map_or_else(Vec::new, |Extension(processes)| processes.list());
    if let Some(directory) = engine.directory() {
        listed.extend(directory.processes().await);
    }
    let mut shown = Vec::with_capacity(listed.len());
    for process in listed {
        let channel = ChannelName::process(&process.id);
        if engine.authorizes(&client, &channel) {
            let action = Action::OrderProcess {
                process_id: process.id.clone(),
                order: ProcessOrder::Restart,
            };
            let controllable = process.controllable && engine.permits(&client, &action);
            shown.push(ProcessEntry::new(process, channel, controllable));
        }
    }
    Json(shown).into_response()
}

/// One process in the response.
#[derive(Serialize)]
struct ProcessEntry {
    id: ProcessId,
    channel: ChannelName,
    status: Status,
    #[serde(rename = "exitCode")]
    exit_code: i32,
    pid: Option<u32>,
    restarts: u64,
    since: String,
    controllable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

impl ProcessEntry {
    fn new(process: ListedProcess, channel: ChannelName, controllable: bool) -> Self {
        Self {
            id: process.id,
            channel,
            status: process.status,
            exit_code: process.exit_code,
            pid: process.pid,
            restarts: process.restarts,
            since: process.since,
            controllable,
            node: process.node,
        }
    }
}

/// Checks that the orders among these actions can be given, without giving them.
///
/// Returns the order that goes to another node, if the only action is one. The caller checks the
/// sender's permission separately.
///
/// # Errors
/// Returns the refusal of the first order that cannot be given.
pub(super) fn check<'a>(
    processes: Option<&Processes>,
    has_directory: bool,
    actions: &'a [Action],
) -> Result<Option<(&'a ProcessId, ProcessOrder)>, OrderRefusal> {
    for action in actions {
        let Action::OrderProcess { process_id, order } = action else {
            continue;
        };
        let is_here = processes.is_some_and(|processes| processes.knows(process_id));
        if has_directory && !is_here {
            if actions.len() > 1 {
                // The answers of several nodes cannot be all or none.
                let text = format!(
                    "{}: an order for a process of another node comes alone",
                    order.as_str()
                );
                return Err((RefusalReason::Actions, StatusCode::BAD_REQUEST, text));
            }
            return Ok(Some((process_id, *order)));
        }
        let order = order.as_str();
        if processes.is_none_or(|processes| !processes.controllable()) {
            let text = format!("{order}: {NOT_CONTROLLABLE}");
            return Err((RefusalReason::Forbidden, StatusCode::FORBIDDEN, text));
        }
        if !is_here {
            let text = format!("{order}: there is no process {process_id} here");
            return Err((RefusalReason::Actions, StatusCode::BAD_REQUEST, text));
        }
    }
    Ok(None)
}

const NOT_CONTROLLABLE: &str =
    "processes cannot be controlled here; outrace run --control allows it";

/// Gives an order that was checked. Does not wait for its result, since a stop may take the whole
/// grace period.
pub(super) fn order(processes: Option<&Processes>, id: &ProcessId, order: ProcessOrder) -> Reply {
    Reply::Ordered {
        accepted: processes.is_some_and(|processes| processes.order(id, order)),
    }
}

/// Gives an order to the node that has the process.
///
/// # Errors
/// Returns the refusal with a sentence that says why.
pub(super) async fn forward(
    directory: &dyn Directory,
    id: &ProcessId,
    order: ProcessOrder,
    on_behalf_of: String,
) -> Result<Reply, OrderRefusal> {
    let forwarded = ForwardedOrder::new(id.clone(), order, on_behalf_of);
    let accepted = directory.order(forwarded).await.map_err(|error| {
        let (reason, status) = match &error {
            OrderError::NoSuchProcess(_) => (RefusalReason::Actions, StatusCode::BAD_REQUEST),
            OrderError::Refused(_) => (RefusalReason::Forbidden, StatusCode::FORBIDDEN),
            OrderError::Unreachable(_) => {
                (RefusalReason::NodeGone, StatusCode::SERVICE_UNAVAILABLE)
            }
            OrderError::Unanswered => (RefusalReason::NodeGone, StatusCode::GATEWAY_TIMEOUT),
            OrderError::InvalidAnswer(_) => (RefusalReason::NodeGone, StatusCode::BAD_GATEWAY),
        };
        (reason, status, format!("{}: {error}", order.as_str()))
    })?;
    Ok(Reply::Ordered { accepted })
}

/// Returns the users that an order comes from: those that the request names, and its sender.
pub(super) fn on_behalf_of(headers: &HeaderMap, client: &Client) -> String {
    let named = headers
        .get(ON_BEHALF_OF)
        .and_then(|value| value.to_str().ok())
        .filter(|named| named.len() <= MAX_ON_BEHALF_OF_BYTES);
    let sender = client.identity().map_or("anonymous", Identity::user);
    // A header holds visible ASCII alone, and a comma separates the names.
    let sender: String = sender
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && c != ',' {
                c
            } else {
                '_'
            }
        })
        .take(MAX_ON_BEHALF_OF_BYTES)
        .collect();
    match named {
        Some(named) => format!("{named}, {sender}"),
        None => sender,
    }
}

/// Notes an order that another node passed on to this one.
pub(super) fn log_forwarded(headers: &HeaderMap, client: &Client, actions: &[Action]) {
    if !headers.contains_key(ON_BEHALF_OF) {
        return;
    }
    for action in actions {
        if let Action::OrderProcess { process_id, order } = action {
            tracing::info!(
                process = process_id.as_str(),
                order = order.as_str(),
                on_behalf_of = on_behalf_of(headers, client),
                "an order of another node"
            );
        }
    }
}

#[cfg(feature = "process")]
mod supervised {
    use std::time::{SystemTime, UNIX_EPOCH};

    use axum::extract::Extension;

    use super::NOT_CONTROLLABLE;
    use crate::Hub;
    use crate::backplane::{ListedProcess, LocalProcesses, OrderError};
    use crate::encode::Timestamp;
    use crate::message::{ProcessId, ProcessOrder};
    use crate::process::{Control, ProcessInfo};

    /// The processes of a supervisor, as a layer for the [router](crate::Hub::router).
    ///
    /// With this [layer](Self::layer), `GET /api/processes` lists the processes. If they are
    /// [controllable](Self::new), `POST /api/actions` also accepts `process.start`, `process.stop`
    /// and `process.restart` from callers that may [control](crate::access::Grants::control) the
    /// process.
    ///
    /// ```no_run
    /// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
    /// use outrace::process::{Program, Supervised, Supervisor};
    /// use outrace::server::Processes;
    ///
    /// let web = Supervised::new("web", Program::shell("npm start"))?;
    /// let supervisor = Supervisor::builder().process(web).start(&hub)?;
    /// let app = hub.router().layer(Processes::new(supervisor.control(), true).layer());
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Clone, Debug)]
    pub struct Processes {
        control: Control,
        controllable: bool,
    }

    impl Processes {
        /// Wraps the control of a supervisor. `controllable` says whether clients may start and
        /// stop its processes.
        pub fn new(control: Control, controllable: bool) -> Self {
            Self {
                control,
                controllable,
            }
        }

        /// Returns the layer to add to a router.
        pub fn layer(self) -> Extension<Self> {
            Extension(self)
        }

        /// Lets the other nodes of the hub's backplane list the processes, and give them orders if
        /// they are controllable. Returns false if the hub has other processes already.
        pub fn share(&self, hub: &Hub) -> bool {
            hub.share_processes(self.clone())
        }

        pub(super) fn controllable(&self) -> bool {
            self.controllable
        }

        pub(super) fn knows(&self, id: &ProcessId) -> bool {
            self.control.contains(id.as_str())
        }

        pub(super) fn order(&self, id: &ProcessId, order: ProcessOrder) -> bool {
            self.control.submit(id.as_str(), order).is_ok()
        }

        pub(super) fn list(&self) -> Vec<ListedProcess> {
            let listed = self.control.list().into_iter();
            listed
                .map(|info| listed_process(info, self.controllable))
                .collect()
        }
    }

    impl LocalProcesses for Processes {
        fn list(&self) -> Vec<ListedProcess> {
            Self::list(self)
        }

        fn order(&self, process_id: &ProcessId, order: ProcessOrder) -> Result<bool, OrderError> {
            if !self.controllable {
                return Err(OrderError::Refused(NOT_CONTROLLABLE.to_owned()));
            }
            if !self.knows(process_id) {
                return Err(OrderError::NoSuchProcess(process_id.clone()));
            }
            Ok(Self::order(self, process_id, order))
        }
    }

    fn listed_process(info: ProcessInfo, controllable: bool) -> ListedProcess {
        ListedProcess {
            status: info.status,
            exit_code: info.code,
            pid: info.pid,
            restarts: info.restarts,
            since: rfc3339(info.since),
            controllable,
            ..ListedProcess::new(info.id)
        }
    }

    fn rfc3339(time: SystemTime) -> String {
        // A time before 1970 is shown as 1970.
        let millis = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
            .as_str()
            .to_owned()
    }
}

/// Without the feature `process` no value of this type exists.
#[cfg(not(feature = "process"))]
mod unsupervised {
    use crate::backplane::ListedProcess;
    use crate::message::{ProcessId, ProcessOrder};

    #[derive(Clone, Debug)]
    pub(in crate::server) enum Processes {}

    impl Processes {
        pub(super) fn controllable(&self) -> bool {
            match *self {}
        }

        pub(super) fn knows(&self, _: &ProcessId) -> bool {
            match *self {}
        }

        pub(super) fn order(&self, _: &ProcessId, _: ProcessOrder) -> bool {
            match *self {}
        }

        pub(super) fn list(&self) -> Vec<ListedProcess> {
            match *self {}
        }
    }
}
