//! How the binary fails: one sentence on standard error and an exit code.

use std::fmt::Display;

/// Why the binary ends without having done its job.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// `sentence` says what failed, on what, and what to do about it; no capital, no full stop.
    pub(crate) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    /// The command line is wrong, in a way that clap does not see.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(2, sentence.to_string())
    }

    pub(crate) fn report(&self) {
        eprintln!("outrace: {}", self.sentence);
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}
