//! The options that set a bound of the hub or the server.

use std::process::{Command, Stdio};

use outrace::Hub;

use crate::program;

/// The options of servers that take a number, a size or a time.
const NUMBERS: [&str; 10] = [
    "queue",
    "history",
    "max-connections",
    "max-connections-per-address",
    "max-requests",
    "max-fragments",
    "message-rate",
    "message-burst",
    "max-subscriptions",
    "max-channels",
];
const BYTES: [&str; 7] = [
    "queue-bytes",
    "history-bytes",
    "history-total",
    "header-bytes",
    "max-body",
    "max-message",
    "max-outgoing-message",
];
const TIMES: [&str; 10] = [
    "max-flush-interval",
    "history-age",
    "header-timeout",
    "handshake-timeout",
    "body-timeout",
    "request-timeout",
    "idle-timeout",
    "close-timeout",
    "flush-timeout",
    "shutdown-spread",
];

/// Runs `outrace pipe` with an empty standard input. Returns its exit code and its standard error.
fn pipe(option: &str, value: &str) -> (Option<i32>, String) {
    let output = Command::new(program::PATH)
        .args([
            "pipe",
            "--quiet",
            "--id",
            "p",
            "--listen",
            "127.0.0.1:0",
            &format!("--{option}={value}"),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn any_value_of_an_option_is_refused_with_one_sentence_or_works() {
    let cases = [
        (
            &NUMBERS[..],
            &[
                "0",
                "1",
                "-1",
                "18446744073709551615",
                "18446744073709551616",
                "1e3",
                "",
            ][..],
        ),
        (
            &BYTES[..],
            &[
                "0",
                "1",
                "-1",
                "65536",
                "17179869184GiB",
                "18446744073709551615",
                "4 parsecs",
            ][..],
        ),
        (
            &TIMES[..],
            &[
                "0s",
                "1us",
                "-1s",
                "1e300h",
                "8760h",
                "8761h",
                "99999999999999999999s",
                "soon",
                "10",
            ][..],
        ),
    ];
    let mut worked = 0;
    for (options, values) in cases {
        for option in options {
            for value in values {
                let (code, said) = pipe(option, value);
                match code {
                    Some(0) => {
                        assert_eq!(said, "", "--{option}={value}");
                        worked += 1;
                    }
                    Some(2) => {
                        assert!(
                            said.starts_with("outrace: ") && said.lines().count() == 1,
                            "{said}"
                        );
                        assert!(
                            said.contains(&format!("--{option}")),
                            "--{option}={value}: {said}"
                        );
                    }
                    code => panic!("--{option}={value}: {code:?} {said}"),
                }
            }
        }
    }
    assert!(
        worked > 20,
        "only {worked} values were taken: this tests refusals alone"
    );
}

#[test]
fn the_options_of_the_program_show_the_defaults_of_the_library() {
    let output = Command::new(program::PATH)
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let defaults = format!("{:?}", Hub::builder());
    for (option, shown, setting) in [
        ("max-connections", "100000", "max_connections: 100000"),
        (
            "max-connections-per-address",
            "1000",
            "max_connections_per_address: 1000",
        ),
        ("handshake-timeout", "10s", "handshake_timeout: 10s"),
        ("max-body", "4MiB", "max_body: 4194304"),
        ("body-timeout", "30s", "body_timeout: 30s"),
        ("max-message", "64KiB", "max_message: 65536"),
        (
            "max-outgoing-message",
            "64KiB",
            "max_outgoing_message: 65536",
        ),
        ("max-fragments", "1024", "max_fragments: 1024"),
        ("message-rate", "100", "message_rate: 100"),
        ("message-burst", "2048, or twice", "message_burst: None"),
        ("max-subscriptions", "1024", "max_subscriptions: 1024"),
        ("max-channels", "100000", "max_channels: 100000"),
        ("ping-interval", "30s", "ping_interval: 30s"),
        ("idle-timeout", "60s", "idle_timeout: 60s"),
        ("close-timeout", "2s", "close_timeout: 2s"),
        ("flush-timeout", "5s", "flush_timeout: 5s"),
        ("shutdown-spread", "0s", "shutdown_spread: 0ns"),
    ] {
        assert!(defaults.contains(setting), "{setting}: {defaults}");
        let at = help
            .find(&format!("--{option} "))
            .unwrap_or_else(|| panic!("--{option}: {help}"));
        let told = help[at..].find("[default: ").unwrap() + at + "[default: ".len();
        assert!(
            help[told..].starts_with(shown),
            "--{option}: {}",
            &help[told..told + 20]
        );
    }
}
