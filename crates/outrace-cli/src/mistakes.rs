//! Typical mistakes in a command line, and what to type instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::flags::{DEFAULT_ADDRESS, DEFAULT_PORT};

/// Options by which other servers are told where to listen.
const LISTEN_OPTIONS: [&str; 8] = [
    "-p",
    "-l",
    "-b",
    "--port",
    "--host",
    "--bind",
    "--addr",
    "--address",
];

/// Names that other programs have for the commands, and the commands.
const SYNONYMS: [(&[&str], &str); 6] = [
    (&["log", "logs", "follow", "file"], "outrace tail FILE"),
    (&["start", "exec", "spawn", "up"], "outrace run -- CMD"),
    (&["server", "listen", "daemon"], "outrace serve"),
    (
        &["view", "viewer", "connect", "subscribe", "client"],
        "outrace watch",
    ),
    (&["stdin", "tee"], "CMD | outrace pipe --id NAME"),
    (&["health", "ping", "status"], "outrace healthcheck"),
];

/// Moves a `--help` before the name of a command behind it: `outrace --help run` is about `run`.
pub(crate) fn help_last(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_help = |word: &OsString| word == "--help" || word == "-h";
    if let [_, first, second] = &words[..]
        && is_help(first)
        && !second.to_string_lossy().starts_with('-')
    {
        words.swap(1, 2);
    }
    words
}

/// Returns what to type instead of a command line that clap refuses, where that is known.
pub(crate) fn advice(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let line = CommandLine(
        words
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
    );
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(error, ContextKind::InvalidSubcommand)?;
            let synonym = SYNONYMS.iter().find(|(names, _)| names.contains(&name));
            match synonym {
                Some((_, command)) => Some(format!("type {command}")),
                None if error.get(ContextKind::SuggestedSubcommand).is_some() => None,
                None => Some(format!(
                    "to run it, type outrace run -- {}",
                    quoted(&line.0)
                )),
            }
        }
        ErrorKind::UnknownArgument => line.unknown(context(error, ContextKind::InvalidArg)?, error),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            line.invalid_process(context(error, ContextKind::InvalidValue)?)
        }
        ErrorKind::MissingRequiredArgument => match line.command() {
            "run" => Some(
                "type outrace run -- CMD, or outrace run NAME='CMD' for one or several".to_owned(),
            ),
            "tail" => Some("type outrace tail FILE".to_owned()),
            "pipe" => Some("type CMD | outrace pipe --id NAME".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

/// The words behind the name of the program.
struct CommandLine(Vec<String>);

impl CommandLine {
    fn command(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// Returns the advice for an argument that the command does not have.
    fn unknown(&self, argument: &str, error: &clap::Error) -> Option<String> {
        let command = self.command();
        if let Some(advice) = self.without_dashes() {
            return Some(advice);
        }
        if LISTEN_OPTIONS.contains(&argument) {
            let option = format!("--listen {}", self.address_of(argument));
            return match command {
                "run" | "pipe" | "tail" | "serve" => Some(format!("type {option}")),
                _ if command.starts_with('-') => Some(format!("type outrace serve {option}")),
                _ => None,
            };
        }
        match (command, argument) {
            ("tail" | "watch", "-f" | "-F" | "--follow") => {
                Some(format!("leave it out: {command} follows by itself"))
            }
            (_, "-i") if self.0.iter().any(|word| word.starts_with("-id")) => {
                Some("type --id NAME".to_owned())
            }
            ("run", _) if !self.has_dashes() && error.get(ContextKind::SuggestedArg).is_none() => {
                Some("a command and its arguments go after --: outrace run -- CMD".to_owned())
            }
            ("serve", port) if port.parse::<u16>().is_ok() => {
                Some(format!("type --listen 127.0.0.1:{port}"))
            }
            ("serve", _) if !argument.starts_with('-') => {
                let words = self.0.iter().skip(1).filter(|word| *word != "--");
                let words: Vec<_> = words.cloned().collect();
                Some(format!(
                    "to run a command, type outrace run -- {}",
                    quoted(&words)
                ))
            }
            ("pipe", _) if !argument.starts_with('-') => Some(match self.has_dashes() {
                true => "type CMD | outrace pipe --id NAME".to_owned(),
                false => format!(
                    "type CMD | outrace pipe --id {}",
                    quoted(&[argument.into()])
                ),
            }),
            _ if error.get(ContextKind::SuggestedArg).is_some() => None,
            _ if argument.starts_with('-') => Some("--help lists the options".to_owned()),
            _ => None,
        }
    }

    /// Returns the advice for a process of `run` that is not ID=COMMAND.
    fn invalid_process(&self, value: &str) -> Option<String> {
        if self.command() != "run" || value.contains('=') {
            return None;
        }
        let at = self.0.iter().position(|word| word == value)?;
        let (before, rest) = self.0.split_at(at);
        if before.last().is_some_and(|word| word == "--lossless") {
            return Some(format!("type --lossless={value}"));
        }
        let before = before.join(" ");
        let rest: Vec<_> = rest.iter().filter(|word| *word != "--").cloned().collect();
        Some(format!(
            "for a single command, type outrace {before} -- {}",
            quoted(&rest)
        ))
    }

    /// Returns the advice for a `run` whose command was written without `--`.
    fn without_dashes(&self) -> Option<String> {
        let first = self.0.get(1)?;
        (self.command() == "run" && !self.has_dashes() && !first.starts_with('-'))
            .then(|| self.invalid_process(first))
            .flatten()
    }

    fn has_dashes(&self) -> bool {
        self.0.iter().any(|word| word == "--")
    }

    /// Returns the address that an option for it was meant to give.
    fn address_of(&self, option: &str) -> String {
        let mut words = self.0.iter().skip_while(|word| !word.starts_with(option));
        let value = words.next().and_then(|word| match word.split_once('=') {
            Some((_, value)) => Some(value),
            None => words.next().map(String::as_str),
        });
        match value {
            Some(port) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
            Some(host) if !host.contains(':') && !host.starts_with('-') => {
                format!("{host}:{DEFAULT_PORT}")
            }
            Some(address) if !address.starts_with([':', '-']) => address.to_owned(),
            _ => DEFAULT_ADDRESS.to_owned(),
        }
    }
}

/// Joins words as a shell reads them.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
