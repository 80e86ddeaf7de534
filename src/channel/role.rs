//! Whether a channel's home is here: the state of a channel that may be home or mirror, and the
//! changes of its role.
//!
//! The role belongs to the sealer, and a change of it has a place in the channel's queue like a
//! message. So what was published before it is treated by the earlier role, and what came after it
//! by the later one.

use tokio::sync::oneshot;

use super::Channel;
use super::pending::{PendingRun, PendingRuns};
use super::seal::SealerCell;
use super::sharing::Sharing;
use crate::reason::RefusalReason;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// What a channel has in addition if its home can be here.
///
/// Only the sealer writes the atomics, and its flag orders its own accesses: Relaxed. Others read
/// them as hints.
#[derive(Debug, Default)]
pub(super) struct Role {
    /// The number of the home that the channel is; 0 while its home is elsewhere or unknown.
    home: AtomicU64,
    /// Whether its blocks are sent to other nodes.
    is_exported: AtomicBool,
    /// Whether its own first epoch has numbered a message or is over.
    is_used: AtomicBool,
    /// What was published here and waits for a home.
    pub(super) pending: SealerCell<PendingRuns>,
}

/// Which numbers a channel gives when it becomes a home.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HomeNumbering {
    /// Those of an epoch that no other node knows.
    New,
    /// Those of an epoch, after a number.
    Continue { epoch: String, seq: u64 },
}

/// A change of a channel's role, or of what depends on it.
#[derive(Debug)]
pub(crate) enum RoleChange {
    /// It becomes the home with this number, and exports its blocks if so said. Before all others
    /// it numbers these runs, in their order.
    Home(u64, HomeNumbering, Vec<PendingRun>, bool),
    /// It stops being the home with this number.
    Resign(u64),
    /// Its blocks are sent to other nodes, or not any more.
    Export(bool),
    /// A home begins an epoch that no other node knows, and exports nothing.
    Restart,
    /// The oldest runs that wait for a home are taken: so many bytes.
    Take(usize, oneshot::Sender<Vec<PendingRun>>),
    /// Runs that were taken wait again, before all others.
    GiveBack(Vec<PendingRun>),
}

impl Role {
    /// Returns the number of the home that the channel is; 0 if it is none.
    pub(super) fn home(&self) -> u64 {
        self.home.load(Ordering::Relaxed)
    }

    pub(super) fn set_home(&self, home: u64) {
        self.home.store(home, Ordering::Relaxed);
    }

    pub(super) fn is_exported(&self) -> bool {
        self.is_exported.load(Ordering::Relaxed)
    }

    /// Returns whether that is a change.
    pub(super) fn set_exported(&self, exported: bool) -> bool {
        let before = self.is_exported();
        self.is_exported.store(exported, Ordering::Relaxed);
        before != exported
    }

    /// Notes that the channel's first epoch is not a new one any more. Returns whether it was.
    pub(super) fn use_epoch(&self) -> bool {
        let is_new = !self.is_used.load(Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
        is_new
    }
}

impl Channel {
    /// Returns the role of a channel whose home can be here.
    pub(super) fn role(&self) -> Option<&Role> {
        self.mirror.as_ref()?.role.as_ref()
    }

    /// Returns whether the numbers of the channel's messages come from elsewhere.
    pub(super) fn is_mirror(&self) -> bool {
        match &self.mirror {
            None => false,
            Some(mirror) => mirror.role.as_ref().is_none_or(|role| role.home() == 0),
        }
    }

    /// Returns whether the channel is a home whose messages may be wanted elsewhere.
    pub(crate) fn is_home(&self) -> bool {
        self.role().is_some_and(|role| role.home() > 0)
    }

    /// Returns whether a message that is published without subscribers here may be wanted on other
    /// nodes.
    pub(super) fn is_wanted_elsewhere(&self) -> bool {
        match (&self.shared.sharing, self.role()) {
            (None, _) => false,
            // A message to all clients.
            (Some(_), None) => true,
            (Some(_), Some(role)) => role.home() == 0 || role.is_exported(),
        }
    }

    /// Returns whether the blocks sealed now are sent to other nodes.
    pub(super) fn export_to(&self) -> Option<&Sharing> {
        let exports = self.role().is_some_and(Role::is_exported);
        self.shared.sharing.as_ref().filter(|_| exports)
    }

    /// Counts messages that were published locally to a channel whose numbers come from elsewhere
    /// and that are discarded.
    pub(super) fn refuse_local(&self, messages: u64) {
        let reason = match self.role() {
            Some(_) => RefusalReason::PendingLimit,
            None => RefusalReason::Mirror,
        };
        self.shared.totals.count_all_refused(reason, messages);
    }

    /// Decides whether publishers push messages although the channel has no subscribers here.
    ///
    /// Relaxed: a publisher that was told of the change sees it, and any other may come before it.
    pub(super) fn set_pushed(&self, elsewhere: bool) {
        let pushed = self.is_always_pushed_here() || elsewhere;
        self.always_pushed.store(pushed, Ordering::Relaxed);
    }
}
