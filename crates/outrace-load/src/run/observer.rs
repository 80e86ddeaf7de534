//! Observers of a running round.

use super::error::ObserverError;
use super::outcome::BrokerFault;
use crate::clock::NS_PER_MS;
use crate::measure::control::RoundControl;
use crate::progress::Progress;
use crate::server::cluster::ClusterProcesses;
use crate::server::process::ServerProcess;
use crate::wire::target::Target;
use crate::workload::Workload;

/// The parts of a round that an observer sees.
pub(crate) struct RoundView<'a> {
    /// The server, if it is a child, or the first home of a cluster.
    pub(crate) server: Option<&'a ServerProcess>,
    pub(crate) cluster: Option<&'a ClusterProcesses>,
    pub(crate) workload: &'a Workload,
    pub(crate) target: &'a Target,
    pub(crate) control: &'a RoundControl,
    pub(crate) progress: &'a Progress,
}

/// A round calls its observer at certain points, on its own thread.
pub(crate) trait RoundObserver {
    /// Returns the interval at which [`RoundObserver::running`] is called.
    fn step_ns(&self) -> u64 {
        100 * NS_PER_MS
    }

    /// All clients have joined, and no line has been fed.
    fn joined(&mut self, _: &RoundView<'_>) -> Result<(), ObserverError> {
        Ok(())
    }

    /// Lines flow. The sleep before this call ended `_late_ns` too late.
    fn running(&mut self, view: &RoundView<'_>, _late_ns: u64) {
        let (received, skipped) = view.control.received();
        view.progress
            .show_deliveries(received, skipped, view.control.published());
    }

    /// The last line was fed.
    fn fed(&mut self, _: &RoundView<'_>) {}

    /// Every line was received or is known to have been skipped. The server still runs.
    fn drained(&mut self, _: &RoundView<'_>) {}

    /// Returns what was seen of a fault of the broker.
    fn broker_fault(&mut self) -> Option<BrokerFault> {
        None
    }
}

/// Shows the progress, and nothing else.
pub(crate) struct ProgressObserver;

impl RoundObserver for ProgressObserver {}
