//! `outrace load --cluster`: every line is accounted for on each node, and what cannot be measured
//! is said in one sentence.

use std::process::{Command, Output, Stdio};

use outrace_testkit::Scratch;
use serde_json::Value;

use crate::program;

/// Runs `outrace load` and returns its output and its figures.
fn load(args: &[&str]) -> (Output, Value) {
    let folder = Scratch::new();
    let file = folder.folder().join("figures.json");
    let output = Command::new(program::PATH)
        .args(["load", "--quiet", "--json"])
        .arg(&file)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let figures = std::fs::read(&file)
        .map(|json| serde_json::from_slice(&json).unwrap())
        .unwrap_or_default();
    (output, figures)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns whether the program of a broker is there, and says so if it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is not installed"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn number(value: &Value, figure: &str) -> u64 {
    value[figure]
        .as_u64()
        .unwrap_or_else(|| panic!("{figure} of {value}"))
}

/// Checks the nodes of the only outcome of a cluster.
fn every_node_accounts_for_its_lines(broker: &str) {
    let (output, figures) = load(&[
        "--cluster",
        "3",
        "--broker",
        broker,
        "--clients-at",
        "everywhere",
        "--without-engine",
        "-n",
        "6",
        "--rate",
        "1000",
        "--seconds",
        "0.5",
        "--warmup",
        "0.1",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let outcome = &figures["suite"]["comparisons"][0]["outcomes"][0];
    assert_eq!(outcome["system"], "cluster");
    let published = number(outcome, "published");
    let nodes = outcome["nodes"].as_array().unwrap();
    let names: Vec<&str> = nodes
        .iter()
        .map(|node| node["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..3], ["home", "mirror 1", "mirror 2"]);
    assert_eq!(names.get(3), (broker != "relay").then_some(&"broker"));
    for node in &nodes[..3] {
        assert_eq!(number(node, "clients"), 2, "{node}");
        assert_eq!(number(node, "expected"), 2 * published, "{node}");
        assert_eq!(
            number(node, "received") + number(node, "skipped"),
            2 * published,
            "{node}"
        );
        assert!(number(node, "cpu_ns") > 0, "{node}");
        assert!(number(&node["latency_us"], "lines") > 0, "{node}");
    }
}

#[test]
fn every_node_of_a_cluster_of_relays_accounts_for_its_lines() {
    every_node_accounts_for_its_lines("relay");
}

#[test]
fn every_node_of_a_cluster_at_nats_accounts_for_its_lines() {
    if has("nats-server") {
        every_node_accounts_for_its_lines("nats");
    }
}

#[test]
fn every_node_of_a_cluster_at_redis_accounts_for_its_lines() {
    if has("redis-server") {
        every_node_accounts_for_its_lines("redis");
    }
}

#[test]
fn every_node_knows_the_status_of_every_channel_and_so_does_one_that_joins() {
    if !has("nats-server") {
        return;
    }
    let (output, figures) = load(&[
        "--cluster",
        "2",
        "--directory",
        "60",
        "--status-changes",
        "40",
        "--seconds",
        "1",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let directory = &figures["directory"];
    assert_eq!(number(directory, "wrong"), 0, "{directory}");
    assert_eq!(directory["nodes"].as_array().unwrap().len(), 2);
    assert!(
        directory["join_seconds"].as_f64() < Some(120.0),
        "{directory}"
    );
}

#[test]
fn a_simulation_shows_a_measured_case_beside_what_it_computes_for_it() {
    let folder = Scratch::new();
    let zero = |name: &str| format!("\"{name}\":0.0");
    let names = [
        "line_ns",
        "block_ns",
        "viewer_block_ns",
        "viewer_line_ns",
        "hop_line_ns",
        "hop_block_ns",
        "home_block_ns",
        "link_block_ns",
        "broker_line_ns",
        "broker_block_ns",
        "broker_link_block_ns",
        "viewer_line_bytes",
        "p50_us",
        "p99_us",
        "hop_p50_us",
        "hop_p99_us",
    ];
    let costs: Vec<String> = names.iter().map(|name| zero(name)).collect();
    let costs = format!(
        "{{\"costs\":{{\"broker\":\"relay\",\"line_bytes\":100,\"home_line_ns\":1000.0,\
         \"latency_viewers\":10,{}}}}}",
        costs.join(",")
    );
    let costs = folder.file("costs.json", costs);
    let (output, figures) = load(&[
        "--simulate",
        "100",
        "--relay-levels",
        "2",
        "--costs",
        &costs,
        "-n",
        "1000000",
        "--rate",
        "2000",
        "--seconds",
        "0.3",
        "--warmup",
        "0.1",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let levels = figures["levels"].as_array().unwrap();
    let nodes: Vec<u64> = levels.iter().map(|level| number(level, "nodes")).collect();
    assert_eq!(nodes, [1, 10, 100]);
    // 2,000 lines/s of 1,000 ns.
    let cores = levels[0]["cores"].as_f64().unwrap();
    assert!((cores - 0.002).abs() < 1e-9, "{cores}");
    let measured = &figures["small"]["measured"];
    assert!(number(measured, "published") > 0, "{measured}");
    assert_eq!(number(measured, "skipped"), 0, "{measured}");
}

#[test]
fn a_broker_that_is_not_installed_is_named_in_one_sentence() {
    let output = Command::new(program::PATH)
        .args(["load", "--quiet", "--cluster", "2"])
        .env("PATH", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nats-server is not installed"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn a_cluster_that_cannot_be_is_refused_by_its_flag() {
    for (args, says) in [
        (&["--cluster", "1"][..], "--cluster"),
        (&["--cluster", "3", "--homes", "2"], "--homes"),
        (
            &["--cluster", "2", "--broker", "relay", "--durable"],
            "--durable",
        ),
        (
            &["--cluster", "2", "--broker", "relay", "--directory", "9"],
            "--directory",
        ),
        (&["--cluster", "2", "--broker-stop", "5s"], "--broker-stop"),
        (&["--durable"], "--cluster"),
        (&["--cluster", "2", "--against", "relay"], "--against"),
    ] {
        let (output, _) = load(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}
