//! A supervisor's processes over HTTP: listing them, and starting and stopping them if allowed.

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use crate::Hub;
use crate::channel::ClientKind;
use crate::hub::Reply;
use crate::message::{Action, ProcessId, ProcessOrder};
use crate::reason::RefusalReason;

use super::refusal::AdmittedPeer;

#[cfg(feature = "process")]
pub use supervised::Processes;
#[cfg(not(feature = "process"))]
pub(super) use unsupervised::Processes;

/// `GET /api/processes`: the processes whose channels the caller may subscribe to.
///
/// `controllable` says whether the caller may control the process. Without a supervisor the list is
/// empty.
pub(super) async fn list(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    processes: Option<Extension<Processes>>,
) -> Response {
    match processes {
        Some(Extension(processes)) => {
            let client = hub.engine().make_client(admitted.0, ClientKind::Http);
            processes.list(hub.engine(), &client)
        }
        None => Json([(); 0]).into_response(),
    }
}

/// Checks that the orders among these actions can be given, without giving them.
///
/// The caller checks the sender's permission separately.
///
/// # Errors
/// Returns the refusal of the first order that cannot be given.
pub(super) fn check(
    processes: Option<&Processes>,
    actions: &[Action],
) -> Result<(), (RefusalReason, StatusCode, String)> {
    for action in actions {
        let Action::OrderProcess { process_id, order } = action else {
            continue;
        };
        let order = order.as_str();
        let Some(processes) = processes.filter(|processes| processes.controllable()) else {
            let text = format!(
                "{order}: processes cannot be controlled here; outrace run --control allows it"
            );
            return Err((RefusalReason::Forbidden, StatusCode::FORBIDDEN, text));
        };
        if !processes.knows(process_id) {
            let text = format!("{order}: there is no process {process_id} here");
            return Err((RefusalReason::Actions, StatusCode::BAD_REQUEST, text));
        }
    }
    Ok(())
}

/// Gives an order that was checked. Does not wait for its result, since a stop may take the whole
/// grace period.
pub(super) fn order(processes: Option<&Processes>, id: &ProcessId, order: ProcessOrder) -> Reply {
    Reply::Ordered {
        accepted: processes.is_some_and(|processes| processes.order(id, order)),
    }
}

#[cfg(feature = "process")]
mod supervised {
    use std::sync::Arc;
    use std::time::{SystemTime, UNIX_EPOCH};

    use axum::extract::Extension;
    use axum::response::{IntoResponse, Json, Response};
    use serde::Serialize;

    use crate::channel::Client;
    use crate::encode::Timestamp;
    use crate::hub::Engine;
    use crate::message::{Action, ChannelName, ProcessId, ProcessOrder, Status};
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

        pub(super) fn controllable(&self) -> bool {
            self.controllable
        }

        pub(super) fn knows(&self, id: &ProcessId) -> bool {
            self.control.contains(id.as_str())
        }

        pub(super) fn order(&self, id: &ProcessId, order: ProcessOrder) -> bool {
            self.control.submit(id.as_str(), order).is_ok()
        }

        pub(super) fn list(&self, hub: &Engine, client: &Arc<Client>) -> Response {
            let mut shown = Vec::new();
            for info in self.control.list() {
                let channel = ChannelName::process(&info.id);
                if hub.authorizes(client, &channel) {
                    let order = ProcessOrder::Restart;
                    let action = Action::OrderProcess {
                        process_id: info.id.clone(),
                        order,
                    };
                    let controllable = self.controllable && hub.permits(client, &action);
                    shown.push(ProcessEntry::new(info, channel, controllable));
                }
            }
            Json(shown).into_response()
        }
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
    }

    impl ProcessEntry {
        fn new(info: ProcessInfo, channel: ChannelName, controllable: bool) -> Self {
            Self {
                id: info.id,
                channel,
                status: info.status,
                exit_code: info.code,
                pid: info.pid,
                restarts: info.restarts,
                since: rfc3339(info.since),
                controllable,
            }
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
    use std::sync::Arc;

    use axum::response::Response;

    use crate::channel::Client;
    use crate::hub::Engine;
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

        pub(super) fn list(&self, _: &Engine, _: &Arc<Client>) -> Response {
            match *self {}
        }
    }
}
