//! Names: what is accepted is what the rule says, everywhere where a name comes in, and nothing is changed on the way.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::{ChannelName, Hub, NameError, ProcessId};

#[derive(Arbitrary, Debug)]
struct Given<'a> {
    of_a_process: bool,
    text: &'a str,
    /// To reach the limits of length.
    times: u8,
    command: &'a [u8],
}

static HUB: LazyLock<Hub> = LazyLock::new(Hub::new);

fuzz_target!(|given: Given<'_>| {
    let text = given.text.repeat(usize::from(given.times % 40));
    check_process(&text);
    check_channel(&text);
    if given.of_a_process {
        check_channel(&format!("process:{text}"));
    }
    let id = ProcessId::from_command(OsStr::from_bytes(given.command));
    assert!(
        is_process_id(id.as_str()),
        "{id:?} is made of {:?}",
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
    let of_a_process = text.strip_prefix("process:");
    let valid = of_a_process.map_or_else(|| is_channel(text), is_process_id);
    let parsed = ChannelName::parse(text);
    assert_eq!(parsed.is_ok(), valid, "{text:?}");
    assert_eq!(HUB.publisher(text).is_ok(), valid);
    assert_eq!(HUB.channel_subscriber_count(text), 0);
    match parsed {
        Ok(name) => {
            assert_eq!((name.as_str(), name.process_id()), (text, of_a_process));
            assert_eq!(text.parse::<ChannelName>().as_ref(), Ok(&name));
        }
        Err(error) => check_error(&error, of_a_process.is_none()),
    }
}

/// An error shows little of what it refuses, and nothing raw.
fn check_error(error: &NameError, of_a_channel: bool) {
    assert_eq!(matches!(error, NameError::Channel(_)), of_a_channel);
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
