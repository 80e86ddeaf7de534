//! Who looks on while a round runs.

use crate::clock::MILLISECOND;
use crate::control::Control;
use crate::progress::Progress;
use crate::server_process::ServerProcess;
use crate::target::Target;

/// What there is to look at.
pub(crate) struct Scene<'a> {
    /// Where it is a child.
    pub(crate) server: Option<&'a ServerProcess>,
    pub(crate) target: &'a Target,
    pub(crate) control: &'a Control,
    pub(crate) progress: &'a Progress,
}

/// Called by a round at its turns, on its own thread.
pub(crate) trait Watch {
    /// How often, in nanoseconds, [`Watch::running`] is to be called.
    fn step(&self) -> u64 {
        100 * MILLISECOND
    }

    /// Everybody is there, and no line has been fed.
    fn joined(&mut self, _: &Scene<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Lines flow. The sleep before this call ended so many nanoseconds late.
    fn running(&mut self, scene: &Scene<'_>, _late: u64) {
        let (received, skipped) = scene.control.received();
        scene
            .progress
            .running(received, skipped, scene.control.published());
    }

    /// The last line is fed.
    fn fed(&mut self, _: &Scene<'_>) {}

    /// Every line has come or is known to have been skipped, and the server still runs.
    fn drained(&mut self, _: &Scene<'_>) {}
}

/// Shows how it goes, and nothing else.
pub(crate) struct Bystander;

impl Watch for Bystander {}
