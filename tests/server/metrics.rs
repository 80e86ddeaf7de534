//! The counters of a hub, as a monitoring system reads them over HTTP.

use std::collections::BTreeMap;

use outrace::backplane::relay::Relay;
use outrace::{Hub, Message};
use outrace_testkit::http::{act, get};
use outrace_testkit::{Server, until};

/// Returns each series of the page with its value. Checks the part of the page's grammar on which a
/// reader depends: each series belongs to a family that was introduced with a type, and the page
/// has its end marker.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let answer = get(server.address, "/metrics");
    assert_eq!(answer.status, 200);
    let content_type = answer.header("content-type").unwrap();
    assert!(
        content_type.starts_with("application/openmetrics-text; version=1.0.0"),
        "{content_type}"
    );
    let text = answer.body;
    let body = text.strip_suffix("# EOF\n").expect("the end of the page");
    let mut types = BTreeMap::new();
    let mut series = BTreeMap::new();
    for line in body.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.split(' ');
            if words.next() == Some("TYPE") {
                let name = words.next().unwrap();
                assert!(
                    types
                        .insert(name.to_owned(), words.next().unwrap())
                        .is_none(),
                    "{name} twice"
                );
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let family = name.split('{').next().unwrap();
        let introduced = types.keys().any(|known| {
            family
                .strip_prefix(known.as_str())
                .is_some_and(|rest| matches!(rest, "" | "_total" | "_bucket" | "_sum" | "_count"))
        });
        assert!(introduced, "{name} has no type");
        assert!(
            series
                .insert(name.to_owned(), value.parse().unwrap())
                .is_none(),
            "{name} twice"
        );
    }
    series
}

#[test]
fn metrics_are_the_hubs_own_counters() {
    let server = Server::new();
    let (mut first, second) = (server.subscriber("a"), server.subscriber("a"));
    for _ in 0..10 {
        server
            .hub
            .send_to_channel("a", Message::output("0123456789"))
            .unwrap();
    }
    for _ in 0..10 {
        first.text();
    }
    first.send_json(serde_json::json!({"type": "subscribe", "channel": "no name"}));
    first.text();
    first.send_text("no command");
    assert_eq!(get(server.address, "/ws").status, 426);
    let id = server.client(&second).id();
    second.reset();
    until("the reset is seen", || {
        server.hub.clients().all(|client| client.id() != id)
    });
    server.settle();

    let (stats, series) = (server.hub.stats(), scrape(&server));
    let expected: [(&str, u64); 17] = [
        ("outrace_clients", 1),
        ("outrace_channels", 1),
        ("outrace_subscriptions", 1),
        ("outrace_queued_messages", 0),
        ("outrace_queued_bytes", 0),
        ("outrace_longest_queue_messages", 0),
        ("outrace_history_bytes", 0),
        ("outrace_connections_total", 2),
        ("outrace_closed_total{reason=\"peer gone\"}", 1),
        ("outrace_closed_total{reason=\"peer closed\"}", 0),
        ("outrace_refused_total{reason=\"invalid name\"}", 1),
        ("outrace_refused_total{reason=\"not a handshake\"}", 1),
        ("outrace_ignored_messages_total", 1),
        ("outrace_offered_messages_total", stats.offered),
        ("outrace_delivered_messages_total", stats.written),
        (
            "outrace_skipped_messages_total{reason=\"client queue full\"}",
            0,
        ),
        ("outrace_discarded_messages_total", stats.discarded),
    ];
    for (name, value) in expected {
        assert_eq!(series.get(name).copied(), Some(value as f64), "{name}");
    }
    assert_eq!(stats.offered, stats.written + stats.discarded);
    assert_eq!(series["outrace_block_messages_sum"], 10.0);
    assert_eq!(
        series["outrace_write_size_bytes_sum"],
        stats.written_bytes as f64
    );
    assert_eq!(
        series["outrace_write_size_bytes_count"],
        stats.writes as f64
    );
    assert_eq!(
        series["outrace_write_duration_seconds_bucket{le=\"+Inf\"}"],
        stats.writes as f64
    );
    assert!(series["outrace_flush_latency_seconds_count"] >= 1.0);
}

#[test]
fn the_distributions_of_the_statistics_add_up_to_their_counters() {
    let server = Server::new();
    let mut subscriber = server.subscriber("process:a");
    let body = r#"[{"action":"ws.send_process_output","process_id":"a","output":"x"}]"#;
    for _ in 0..50 {
        assert_eq!(act(server.address, body).status, 200);
        subscriber.text();
    }
    server.settle();
    let stats = get(server.address, "/api/stats").json();
    for (distribution, count) in [("block_messages", "blocks"), ("write_sizes", "writes")] {
        let within: u64 = stats[distribution]["within"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["count"].as_u64().unwrap())
            .sum();
        let all = within + stats[distribution]["beyond"].as_u64().unwrap();
        assert_eq!(
            (Some(all), Some(all)),
            (stats[distribution]["count"].as_u64(), stats[count].as_u64())
        );
    }
    assert_eq!(
        stats["write_sizes"]["sum"].as_f64(),
        stats["written_bytes"].as_f64()
    );
    assert_eq!(stats["block_messages"]["sum"], 50.0);
}

#[test]
fn skips_are_reported_by_reason_and_a_full_queue_by_its_depth() {
    let server = Server::with(Hub::builder().queue(4));
    let _stalled = server.narrow_subscriber("a");
    let line = "x".repeat(60_000);
    // Once the socket takes no more, four messages wait and all others are skipped.
    until("the queue is full and stays so", || {
        for _ in 0..20 {
            server
                .hub
                .send_to_channel("a", Message::output(line.clone()))
                .unwrap();
        }
        let before = server.hub.stats();
        before.longest_queue == 4
            && before.written == server.hub.stats().written
            && before.skipped > 100
    });
    let (stats, series) = (server.hub.stats(), scrape(&server));
    assert!(stats.overrun <= stats.skipped);
    let by_reason: f64 = ["client queue full", "channel queue full"]
        .map(|reason| series[&format!("outrace_skipped_messages_total{{reason=\"{reason}\"}}")])
        .iter()
        .sum();
    assert_eq!(by_reason, server.hub.stats().skipped as f64);
    assert!(
        stats.queued_bytes >= 60_000 * stats.longest_queue,
        "{stats:?}"
    );
}

#[test]
fn skips_by_the_channel_have_a_reason_of_their_own() {
    let server = Server::with(Hub::builder().queue(1));
    let _stalled = server.narrow_subscriber("process:a");
    let lines = outrace::Lines::split("line\n".repeat(1000));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    server.hub.send_process_lines("a", lines.clone()).unwrap();
                }
            });
        }
        until("a publisher came while another was sealing", || {
            server.hub.stats().overrun > 0
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    server.settle();
    let (stats, series) = (server.hub.stats(), scrape(&server));
    assert_eq!(
        series["outrace_skipped_messages_total{reason=\"channel queue full\"}"],
        stats.overrun as f64
    );
    assert_eq!(
        stats.offered,
        stats.written + stats.queued + stats.skipped + stats.discarded
    );
}

#[test]
fn a_relay_tells_the_state_of_its_connections() {
    let home = Server::new();
    let url = format!("ws://{}/ws", home.address);
    let relay = Relay::builder(&url).build().unwrap();
    let server = Server::with(Hub::builder().history(10).backplane(relay));
    let series = |name: &str| scrape(&server)[&format!("outrace_backplane_{name}")];
    assert_eq!(series("links{kind=\"relay\"}"), 1.0);
    let mut watcher = server.subscriber("process:a");
    home.hub.send_process_output("a", "x").unwrap();
    assert_eq!(watcher.json()["data"], "x");
    assert_eq!(series("connected{kind=\"relay\"}"), 1.0);
    assert_eq!(series("stale_channels{kind=\"relay\"}"), 0.0);
    assert!(series("latest_age_seconds{kind=\"relay\"}") < 60.0);
    for name in [
        "reconnects",
        "skipped_blocks",
        "repaired_messages",
        "lost_messages",
        "damaged",
        "lease_changes",
    ] {
        let value = series(&format!("{name}_total{{kind=\"relay\"}}"));
        assert_eq!(value, 0.0, "{name}");
    }
    assert_eq!(get(server.address, "/healthz").body, "ok\n");
    let stats = get(server.address, "/api/stats").json();
    assert_eq!(stats["backplane"]["kind"], "relay");
    home.hub.clients().for_each(|client| client.close());
    until("the connection comes back", || {
        series("reconnects_total{kind=\"relay\"}") == 1.0
    });
}
