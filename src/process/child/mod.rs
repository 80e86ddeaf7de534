//! One child process: [`spawn`] starts it as [`setup`] says, [`output`] reads it and reports its
//! end, [`reap`] and [`suspension`] notice that it has ended or is suspended, and [`target`],
//! [`end`] and [`stop`] signal and end it.

mod end;
mod handle;
mod interpreter;
mod output;
mod output_mode;
mod pipe_reader;
mod pty;
mod reap;
mod report;
mod setup;
mod signal;
mod spawn;
mod start_failure;
mod stop;
mod suspension;
mod target;

pub(super) use end::end_members;
pub use handle::Process;
pub use interpreter::BrokenInterpreter;
pub use output::{DRAIN_IDLE_TIMEOUT, DRAIN_TIMEOUT};
pub use output_mode::OutputMode;
pub(super) use pipe_reader::OutputSink;
pub use pty::{Pty, PtyInput, WindowSize};
pub use report::ExitReport;
pub use signal::Signal;
pub use spawn::{Spawn, SpawnError};
pub(super) use start_failure::locate;
pub use stop::StopReport;
pub use suspension::Suspension;
pub(super) use target::SignalTarget;
