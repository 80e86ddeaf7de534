//! The footprint of a whole process: memory, allocations, descriptors, tasks.
//!
//! Nothing else may run in a process that is measured. So this program has no test harness: it
//! starts itself again for each test, one after another, and shows what the test prints.
//! `cargo test --test footprint NAME` runs the tests whose name contains NAME.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(clippy::print_stdout, reason = "the program is its own test harness")]

#[cfg(target_os = "linux")]
mod allocations;
#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod history;
#[cfg(target_os = "linux")]
mod resets;

/// The variable that tells a new process which test to run.
#[cfg(target_os = "linux")]
const TEST: &str = "OUTRACE_FOOTPRINT_TEST";

#[cfg(target_os = "linux")]
const TESTS: [(&str, fn()); 5] = [
    (
        "a_delivered_line_allocates_nothing_and_a_block_a_constant",
        allocations::a_delivered_line_allocates_nothing_and_a_block_a_constant,
    ),
    (
        "an_idle_subscribed_client_costs_under_8_kib",
        clients::an_idle_subscribed_client_costs_under_8_kib,
    ),
    (
        "a_peer_that_pings_on_without_reading_costs_no_memory",
        clients::a_peer_that_pings_on_without_reading_costs_no_memory,
    ),
    (
        "ten_thousand_channels_of_garbage_take_no_more_memory_than_the_bound_and_half_of_it",
        history::ten_thousand_channels_of_garbage_take_no_more_memory_than_the_bound_and_half_of_it,
    ),
    (
        "resets_leave_no_descriptor_task_or_memory_behind_and_other_clients_get_everything",
        resets::resets_leave_no_descriptor_task_or_memory_behind_and_other_clients_get_everything,
    ),
];

#[cfg(target_os = "linux")]
fn main() {
    if std::env::var_os(clients::SERVER).is_some() {
        return clients::serve();
    }
    if let Ok(name) = std::env::var(TEST) {
        let (_, test) = TESTS.iter().find(|(test, _)| *test == name).unwrap();
        return test();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let is_chosen = |name: &str| {
        let matches = |filter: &&String| match has("--exact") {
            true => name == *filter,
            false => name.contains(filter.as_str()),
        };
        filters.is_empty() || filters.iter().any(matches)
    };
    // Runners of tests ask for a list, and for one of the ignored tests, of which there are none.
    if has("--list") || has("--ignored") {
        let listed = TESTS.iter().filter(|_| !has("--ignored"));
        listed.for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let mut failed: Vec<&str> = Vec::new();
    for (name, _) in TESTS.iter().filter(|(name, _)| is_chosen(name)) {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        let passed = process.env(TEST, name).status().unwrap().success();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed.extend((!passed).then_some(name));
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[cfg(not(target_os = "linux"))]
fn main() {}
