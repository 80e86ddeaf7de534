//! Any value of a setting is either refused in one sentence, or the hub works with it.

use std::time::Duration;

use outrace::{Hub, Message};
use outrace_testkit::{Server, labelled};
use proptest::prelude::*;

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
    // Most combinations are refused because of one of their values.
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_of_a_setting_is_refused_or_works(
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
            // The longest flush interval is part of the running time of the test.
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
        // The smallest settings let only one frame through. A burst of one is available again after
        // a second.
        let mut socket = server.connect();
        socket.send_text(r#"{"type":"subscribe","channel":"c"}"#);
        outrace_testkit::until("it is subscribed", || server.hub.channel_subscriber_count("c") == 1);
        server.hub.send_to_channel("c", Message::output("0:1")).unwrap();
        prop_assert_eq!(labelled(&socket.json()), Some((0, 1)));
    }
}
