//! A supervisor's processes over HTTP: to look at, and to start and stop if that is allowed.

use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use crate::Hub;
use crate::hub::Reply;
use crate::message::{Action, ProcessId, ProcessOrder};
use crate::reason::RefusalReason;

#[cfg(feature = "process")]
pub use supervised::Processes;
#[cfg(not(feature = "process"))]
pub(super) use unsupervised::Processes;

/// `GET /api/processes`: none without a supervisor.
pub(super) async fn list(processes: Option<Extension<Processes>>) -> Response {
    match processes {
        Some(Extension(processes)) => processes.list(),
        None => Json([(); 0]).into_response(),
    }
}

/// Whether the orders among these actions may be given; what to answer if not. Nothing is carried out here.
pub(super) fn check(
    processes: Option<&Processes>,
    hub: &Hub,
    actions: &[Action],
) -> Result<(), (StatusCode, String)> {
    for action in actions {
        let Action::OrderProcess { process_id, order } = action else { continue };
        let order = order.as_str();
        let Some(processes) = processes.filter(|processes| processes.controllable()) else {
            hub.inner().core().totals.count_refused(RefusalReason::Forbidden);
            let text =
                format!("{order}: processes cannot be controlled here; outrace run --control allows it");
            return Err((StatusCode::FORBIDDEN, text));
        };
        if !processes.knows(process_id) {
            let text = format!("{order}: there is no process {process_id} here");
            return Err((StatusCode::BAD_REQUEST, text));
        }
    }
    Ok(())
}

/// Gives an order that was checked, and does not wait for what comes of it: a stop takes as long as its grace.
pub(super) fn order(processes: Option<&Processes>, id: &ProcessId, order: ProcessOrder) -> Reply {
    Reply::Ordered { accepted: processes.is_some_and(|processes| processes.order(id, order)) }
}

#[cfg(feature = "process")]
mod supervised {
    use std::time::{SystemTime, UNIX_EPOCH};

    use axum::extract::Extension;
    use axum::response::{IntoResponse, Json, Response};
    use serde::Serialize;

    use crate::encode::Timestamp;
    use crate::message::{ChannelName, ProcessId, ProcessOrder, Status};
    use crate::process::{Control, ProcessInfo};

    /// What a router shows of a supervisor, and whether it may be used to start and stop its processes.
    ///
    /// [`layer`](Self::layer)ed on a [router](crate::Hub::router), `GET /api/processes` lists the processes. If they are
    /// [controllable](Self::new), `POST /api/actions` takes `process.start`, `process.stop` and `process.restart` too. Then whoever may publish may do that.
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
        /// The processes of a supervisor; `controllable` says whether clients may start and stop them.
        pub fn new(control: Control, controllable: bool) -> Self {
            Self { control, controllable }
        }

        /// What to lay on a router.
        pub fn layer(self) -> Extension<Self> {
            Extension(self)
        }

        pub(super) fn controllable(&self) -> bool {
            self.controllable
        }

        pub(super) fn knows(&self, id: &ProcessId) -> bool {
            self.control.knows(id.as_str())
        }

        pub(super) fn order(&self, id: &ProcessId, order: ProcessOrder) -> bool {
            self.control.order(id.as_str(), order).is_ok()
        }

        pub(super) fn list(&self) -> Response {
            let shown = |info| Shown::of(info, self.controllable);
            Json(self.control.list().into_iter().map(shown).collect::<Vec<_>>()).into_response()
        }
    }

    /// One process as JSON.
    #[derive(Serialize)]
    struct Shown {
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

    impl Shown {
        fn of(info: ProcessInfo, controllable: bool) -> Self {
            Self {
                channel: ChannelName::process(&info.id),
                id: info.id,
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
        // A clock before 1970 shows 1970.
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX)).as_str().to_owned()
    }
}

/// Without processes there are none to show.
#[cfg(not(feature = "process"))]
mod unsupervised {
    use axum::response::Response;

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

        pub(super) fn list(&self) -> Response {
            match *self {}
        }
    }
}
