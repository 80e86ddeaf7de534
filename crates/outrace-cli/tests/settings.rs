//! Every setting takes any value: it is refused with one sentence, or a hub with it works.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../../tests/sockets/mod.rs"]
mod sockets;

use std::process::{Command, Stdio};
use std::time::Duration;

use outrace::{Hub, Message};
use proptest::prelude::*;
use sockets::{Server, labelled};

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 1..5000usize,
        1 => prop_oneof![Just(0), Just(usize::MAX), Just(usize::MAX >> 1), Just(u32::MAX as usize)],
        1 => any::<usize>(),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    const YEAR: u64 = 365 * 24 * 3600;
    prop_oneof![
        4 => (1000..YEAR * 1000).prop_map(Duration::from_millis),
        1 => prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), Just(Duration::from_nanos(1)), Just(Duration::from_secs(YEAR))],
        1 => any::<Duration>(),
    ]
}

proptest! {
    // Most combinations are refused for one of their many values.
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_set_is_refused_or_works(
        which in 0..18usize,
        numbers in prop::collection::vec(number(), 3),
        times in prop::collection::vec(time(), 2),
    ) {
        let (n, m, t, u) = (numbers[0], numbers[1], times[0], times[1]);
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let builder = Hub::builder();
        let builder = match which {
            0 => builder.queue(n),
            1 => builder.queue_bytes(n),
            // The longest wait for a flush is part of the test's time.
            2 => builder.max_flush_interval(if t < Duration::from_secs(10) { t / 10 } else { t }),
            3 => builder.max_connections(n).max_connections_per_address(m),
            4 => builder.max_subscriptions(n),
            5 => builder.max_channels(n),
            6 => builder.max_message(n),
            7 => builder.max_fragments(n),
            8 => builder.message_rate(narrow(n)),
            9 => builder.message_rate(narrow(n)).message_burst(narrow(m)),
            10 => builder.max_body(n).body_timeout(t),
            11 => builder.handshake_timeout(t),
            12 => builder.history(n).history_bytes(m),
            13 => builder.history(10).history_bytes(1000).history_age(t),
            14 => builder.history(10).history_bytes(1000).history_total(n),
            15 => builder.ping_interval(t).idle_timeout(u),
            16 => builder.close_timeout(t).flush_timeout(u),
            _ => builder.max_subscriptions(n).message_burst(narrow(m)),
        };
        let Ok(hub) = builder.build().inspect_err(|error| {
            let text = error.to_string();
            assert!(text.contains("has to be between"), "{text}");
        }) else {
            return Ok(());
        };
        let server = Server::start(hub);
        // One frame each is all that the least settings let through; a burst of one has come back in a second.
        let mut socket = server.connect();
        socket.send_text(r#"{"type":"subscribe","channel":"c"}"#);
        sockets::until("it is subscribed", || server.hub.channel_subscriber_count("c") == 1);
        server.hub.send_to_channel("c", Message::output("0:1")).unwrap();
        prop_assert_eq!(labelled(&socket.json()), Some((0, 1)));
    }
}

/// The options of the servers that take a number, bytes or a time.
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
const BYTES: [&str; 6] = [
    "queue-bytes",
    "history-bytes",
    "history-total",
    "header-bytes",
    "max-body",
    "max-message",
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

/// Pipes nothing through the binary: its exit code and its standard error.
fn pipe(option: &str, value: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outrace"))
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
fn whatever_an_option_is_set_to_is_refused_with_one_sentence_or_works() {
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
fn the_options_of_the_binary_say_the_defaults_of_the_library() {
    let output = Command::new(env!("CARGO_BIN_EXE_outrace"))
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
