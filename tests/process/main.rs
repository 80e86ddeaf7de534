//! Child processes, supervisors and followed files, whose lines are read over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod spawn;
mod streams;
mod supervisor;
mod tail;
mod unfinished;
