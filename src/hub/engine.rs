//! The parts of a hub that its handles and its connections share.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::HeaderMap;

use super::callbacks::Callbacks;
use super::slots::Slots;
use super::start_once::StartOnce;
use crate::access::Gate;
#[cfg(feature = "server")]
use crate::backplane::BackplaneStats;
use crate::backplane::{Backplane, Directory, Node, PathError, ProcessSlot, RelayPath, Report};
use crate::bridge::{Bridge, Port};
use crate::channel::{Channel, HubShared, Overflow, Registry, start_ticker};
use crate::config::Config;
use crate::stats::Totals;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// The parts of one hub. Every [`Hub`](super::Hub) handle and every connection holds a reference.
pub(crate) struct Engine {
    pub(super) shared: Arc<HubShared>,
    pub(super) registry: Arc<Registry>,
    /// The channel of all clients. A client is in it from its registration to its end.
    pub(super) everyone: Arc<Channel>,
    pub(super) gate: Gate,
    pub(super) callbacks: Callbacks,
    pub(super) next_client: AtomicU64,
    pub(super) slots: Slots,
    stopping: AtomicBool,
    backplane: StartOnce<Box<dyn Backplane>>,
    bridge: StartOnce<Box<dyn Bridge>>,
    /// Names this node to others.
    node_id: Arc<str>,
    /// The processes that other nodes may give orders to.
    pub(super) processes: ProcessSlot,
    /// The counters of the backplane.
    pub(super) report: Option<Arc<dyn Report>>,
    directory: Option<Arc<dyn Directory>>,
}

impl Engine {
    pub(super) fn new(
        config: Config,
        gate: Gate,
        callbacks: Callbacks,
        backplane: Option<Box<dyn Backplane>>,
        bridge: Option<Box<dyn Bridge>>,
    ) -> Self {
        let shared = Arc::new(HubShared::new(config));
        Self {
            registry: Registry::new(Arc::clone(&shared)),
            everyone: Arc::new(Channel::new(
                Arc::clone(&shared),
                None,
                Overflow::Disconnect,
            )),
            shared,
            gate,
            callbacks,
            next_client: AtomicU64::new(1),
            slots: Slots::new(),
            stopping: AtomicBool::new(false),
            node_id: random_id().into(),
            processes: ProcessSlot::default(),
            report: backplane.as_ref().and_then(|backplane| backplane.report()),
            directory: backplane
                .as_ref()
                .and_then(|backplane| backplane.directory()),
            backplane: StartOnce::new(backplane),
            bridge: StartOnce::new(bridge),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn shared(&self) -> &HubShared {
        &self.shared
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.shared.totals
    }

    /// Starts the flush timer unless it runs. Must be called within a tokio runtime.
    pub(super) fn start(&self) {
        start_ticker(&self.shared, &self.registry);
        let parts = || {
            (
                Arc::clone(&self.shared),
                Arc::clone(&self.registry),
                Arc::clone(&self.everyone),
            )
        };
        self.backplane.start(|backplane| {
            let (shared, registry, everyone) = parts();
            let processes = self.processes.clone();
            let id = Arc::clone(&self.node_id);
            backplane.run(Node::new(shared, registry, everyone, processes, id))
        });
        self.bridge.start(|bridge| {
            let (shared, registry, everyone) = parts();
            bridge.run(Port::new(shared, registry, everyone))
        });
    }

    /// Returns whether a relay may connect that has come this way.
    ///
    /// # Errors
    /// If the way leads back to one of its nodes, or is too long.
    pub(crate) async fn check_path(&self, headers: &HeaderMap) -> Result<(), PathError> {
        let Some(path) = RelayPath::of(headers) else {
            return Ok(());
        };
        let path = path.through(&self.node_id)?;
        match &self.directory {
            Some(directory) => directory.check_path(path).await,
            None => Ok(()),
        }
    }

    /// Returns whether the flush timer runs.
    pub(super) fn is_started(&self) -> bool {
        self.shared.is_ticking()
    }

    /// Returns the list of the channels that can be had from elsewhere.
    #[cfg(feature = "server")]
    pub(crate) fn directory(&self) -> Option<&dyn Directory> {
        self.directory.as_deref()
    }

    /// Returns the counters of the backplane.
    #[cfg(feature = "server")]
    pub(crate) fn backplane_stats(&self) -> Option<BackplaneStats> {
        self.report.as_ref().map(|report| report.stats())
    }

    /// Returns whether all of the hub's channels are mirrors.
    #[cfg(feature = "server")]
    pub(crate) fn has_only_mirrors(&self) -> bool {
        self.shared.interest.is_some() && self.shared.sharing.is_none()
    }

    /// Seals the waiting messages of every channel.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub(crate) fn flush(&self) {
        for channel in self.registry.all() {
            channel.seal();
        }
        self.everyone.seal();
    }

    /// Returns whether the shutdown has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        // Acquire, paired with the Release in `stop`.
        self.stopping.load(Ordering::Acquire)
    }

    /// Marks the hub as shutting down.
    pub(super) fn stop(&self) {
        // Release, paired with the Acquire in `is_stopping`.
        self.stopping.store(true, Ordering::Release);
        // Requests that wait for another list of channels end.
        self.shared.listing.change();
    }
}

/// Returns 16 random hexadecimal digits. Every `RandomState` has keys of its own.
fn random_id() -> String {
    format!("{:016x}", RandomState::new().hash_one(0))
}
