//! How the output of a process reaches Outrace.

use super::Pty;

/// How standard output and standard error of a process are connected.
///
/// The order of two lines on two pipes is not known: both may be there when the first one is read.
/// One pipe or terminal for both keeps the order, and does not know which stream a line came from.
///
/// ```
/// # use outrace::process::{OutputMode, Program, Pty, Supervised, WindowSize};
/// # fn main() -> Result<(), outrace::NameError> {
/// // In order, and written at once: `python3` fills no buffer before it writes to a terminal.
/// let terminal = Pty::new(WindowSize::default());
/// let worker = Supervised::new("worker", Program::new("python3").args(["w.py"]))?
///     .output(OutputMode::Pty(terminal));
/// // Each line with its stream, for subscriptions with `detail`.
/// let tests = Supervised::new("tests", Program::new("make").args(["test"]))?
///     .output(OutputMode::Split);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum OutputMode {
    /// [`Split`](Self::Split) if the output is [passed through](super::Spawn::tee) to two sinks,
    /// and [`Merged`](Self::Merged) otherwise.
    #[default]
    Auto,
    /// One pipe for both streams. Lines are published in the order in which they were written.
    Merged,
    /// A pipe for each stream. Lines are published in the order in which they arrive, with their
    /// [stream](crate::OutputStream).
    Split,
    /// A pseudo-terminal for both streams. Programs that collect output for a pipe write each line
    /// to a terminal at once, and in color.
    Pty(Pty),
}
