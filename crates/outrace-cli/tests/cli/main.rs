//! The program `outrace`, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod access;
mod bad_days;
mod load;
mod lossless;
mod pipe;
mod program;
mod resume;
mod run;
mod settings;
mod supervisor;
mod tail;
mod terminal;
mod watch;
