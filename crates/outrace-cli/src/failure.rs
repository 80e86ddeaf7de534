//! How the binary fails: one sentence on standard error and an exit code.

use std::fmt::Display;
use std::io;

/// Why the binary ends without having done its job.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// `sentence` says what failed, on what, and what to do about it; no capital, no full stop.
    pub(crate) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }

    /// The command line is wrong, in a way that clap does not see.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(2, sentence.to_string())
    }

    /// What clap found, in one sentence. Help and the version are no failure and leave from here, as does the
    /// help for a command line that asks for nothing.
    pub(crate) fn of_arguments(error: clap::Error) -> Self {
        use clap::error::ErrorKind::{
            DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
        };
        if let DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand =
            error.kind()
        {
            error.exit();
        }
        let text = error.render().to_string();
        let mut sentence = String::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty()
                || line.starts_with("Usage:")
                || line.starts_with("For more information")
            {
                continue;
            }
            match line.strip_prefix("tip: ") {
                Some(_) => sentence.push_str("; "),
                None if sentence.is_empty() => {}
                None => sentence.push(' '),
            }
            sentence.push_str(
                line.trim_start_matches("error: ")
                    .trim_start_matches("tip: "),
            );
        }
        Self::usage(sentence + "; --help tells more")
    }

    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    pub(crate) fn report(&self) {
        eprintln!("outrace: {}", self.sentence);
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

/// The system's words without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    match words.rfind(" (os error") {
        Some(at) => words[..at].to_lowercase(),
        None => words,
    }
}
