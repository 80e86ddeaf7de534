//! A handle that does not keep its hub.

use std::fmt;
use std::sync::{Arc, Weak};

use super::{Engine, Hub};

/// A handle that does not keep its hub, for callbacks of the hub itself. Returned by
/// [`Hub::downgrade`].
///
/// A callback that holds a [`Hub`] keeps it for ever, since the hub keeps its callbacks:
///
/// ```
/// use std::sync::OnceLock;
/// use outrace::{Hub, WeakHub};
///
/// static HUB: OnceLock<WeakHub> = OnceLock::new();
///
/// let hub = Hub::builder()
///     .on_connect(|client| {
///         if let Some(hub) = HUB.get().and_then(WeakHub::upgrade) {
///             hub.send_error(&format!("{} has come", client.id()));
///         }
///     })
///     .build()?;
/// HUB.get_or_init(|| hub.downgrade());
/// # Ok::<(), outrace::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct WeakHub(Weak<Engine>);

impl Hub {
    /// Returns a handle that does not keep the hub.
    pub fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.engine))
    }
}

impl WeakHub {
    /// Returns the hub, if a handle or a connection still keeps it.
    pub fn upgrade(&self) -> Option<Hub> {
        self.0.upgrade().map(|engine| Hub { engine })
    }
}

impl fmt::Debug for WeakHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakHub").finish_non_exhaustive()
    }
}
