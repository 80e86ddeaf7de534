//! Failures of the program: one sentence on standard error and an exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;

use crate::color::has_color;
use crate::console::{self, notice};
use crate::mistakes;
use crate::output::Output;

/// The reason why the program ends without having done its job.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// Creates a failure. `sentence` says what failed, on what, and what to do about it. It begins
    /// without a capital and ends without a full stop.
    pub(crate) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }

    /// Creates a failure with code 2: the command line is wrong in a way that clap does not see.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(2, sentence.to_string())
    }

    /// Returns the sentence.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Writes the sentence to standard error.
    pub(crate) fn report(&self) {
        notice!("{}", self.sentence);
    }

    /// Returns the exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

/// Prints the help or the version that a command line asks for, and returns the exit code. Turns
/// any other error of clap into one sentence. `words` are the words of the command line.
pub(crate) fn of_arguments(error: &clap::Error, words: &[OsString]) -> Result<u8, Failure> {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    let text = |is_colored| match is_colored {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            Output::stdout().write(text(has_color(&io::stdout())).as_bytes());
            Ok(0)
        }
        // A command line that asks for nothing is an error, which the help explains.
        DisplayHelpOnMissingArgumentOrSubcommand => {
            console::write_text(text(has_color(&io::stderr())).as_bytes());
            Ok(2)
        }
        _ => Err(Failure::usage(one_sentence(
            &text(false),
            mistakes::advice(error, words).as_deref(),
        ))),
    }
}

/// Returns the sentence that the lines of an error of clap make, with `advice` instead of clap's.
fn one_sentence(text: &str, advice: Option<&str>) -> String {
    let mut sentence = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with("Usage:") || line.starts_with("For more information")
        {
            continue;
        }
        match line.strip_prefix("tip: ") {
            Some(_) if advice.is_some() => continue,
            Some(_) => sentence.push_str("; "),
            None if sentence.is_empty() => {}
            None => sentence.push(' '),
        }
        sentence.push_str(
            line.trim_start_matches("error: ")
                .trim_start_matches("tip: "),
        );
    }
    sentence + "; " + advice.unwrap_or("--help tells more")
}

/// Returns what to do about an error of the system where no more is known than the error; empty
/// when there is nothing to say.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise the limit of open files with ulimit -n",
        Some(Errno::NFILE) => "; raise the system's limit of open files, fs.file-max",
        _ => "",
    }
}

/// Returns the system's words for an error, without the number of the error.
pub(crate) fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    match words.rfind(" (os error") {
        Some(at) => words[..at].to_lowercase(),
        None => words,
    }
}
