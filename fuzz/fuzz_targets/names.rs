//! The names of channels and processes. Every function that takes a name accepts exactly the names
//! that the rule allows, and keeps them unchanged.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::{ChannelName, Hub, NameError, ProcessId};

#[derive(Arbitrary, Debug)]
struct NameInput<'a> {
    with_process_prefix: bool,
    text: &'a str,
    /// How often the text is repeated, to reach the limits of length.
    repetitions: u8,
    command: &'a [u8],
}

static HUB: LazyLock<Hub> = LazyLock::new(Hub::new);

fuzz_target!(|given: NameInput<'_>| {
    let text = given.text.repeat(usize::from(given.repetitions % 40));
    check_process(&text);
    check_channel(&text);
    if given.with_process_prefix {
        check_channel(&format!("process:{text}"));
    }
    let id = ProcessId::from_command(OsStr::from_bytes(given.command));
    assert!(
        is_process_id(id.as_str()),
        "the id {id:?} for the command {:?}",
        given.command
    );
});

fn check_process(text: &str) {
    let parsed = ProcessId::parse(text);
    assert_eq!(parsed.is_ok(), is_process_id(text), "{text:?}");
    assert_eq!(
        HUB.send_process_output(text, "line").is_ok(),
        parsed.is_ok()
    );
    assert_eq!(
        HUB.send_process_status(text, "running", 0).is_ok(),
        parsed.is_ok()
    );
    match parsed {
        Ok(id) => {
            assert_eq!(id.as_str(), text);
            let channel = ChannelName::process(&id);
            assert_eq!(channel.process_id(), Some(text));
            assert_eq!(ChannelName::parse(channel.as_str()), Ok(channel));
        }
        Err(error) => check_error(&error, false),
    }
}

fn check_channel(text: &str) {
    let process_id = text.strip_prefix("process:");
    let valid = process_id.map_or_else(|| is_channel(text), is_process_id);
    let parsed = ChannelName::parse(text);
    assert_eq!(parsed.is_ok(), valid, "{text:?}");
    assert_eq!(HUB.publisher(text).is_ok(), valid);
    assert_eq!(HUB.channel_subscriber_count(text), 0);
    match parsed {
        Ok(name) => {
            assert_eq!((name.as_str(), name.process_id()), (text, process_id));
            assert_eq!(text.parse::<ChannelName>().as_ref(), Ok(&name));
        }
        Err(error) => check_error(&error, process_id.is_none() || !is_channel(text)),
    }
}

/// An error shows only a part of the name, and no raw control characters.
fn check_error(error: &NameError, is_of_channel: bool) {
    assert_eq!(matches!(error, NameError::Channel(_)), is_of_channel);
    let shown = error.to_string();
    assert!(shown.chars().count() < 64 * 12 + 100, "{shown}");
    assert!(!shown.contains(['\n', '\r', '\u{1b}', '\0']), "{shown:?}");
}

fn is_process_id(text: &str) -> bool {
    is_channel(text) && text.len() <= 128 && !text.contains(':')
}

fn is_channel(text: &str) -> bool {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
    (1..=256).contains(&text.len()) && text.chars().all(|letter| LETTERS.contains(letter))
}
