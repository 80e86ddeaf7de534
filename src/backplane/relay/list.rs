//! The lists of an upstream server, as JSON.
//!
//! Pure: no I/O, no clock.

use serde::Deserialize;

use crate::backplane::ListedProcess;
use crate::message::{ChannelName, LOST, ProcessId, Status, StatusReport};
use crate::stats::ChannelStats;

/// A channel in the server's list.
#[derive(Deserialize)]
struct ChannelEntry {
    channel: String,
    #[serde(default)]
    subscribers: usize,
    #[serde(default)]
    published: u64,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    kept_bytes: usize,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    status: Option<StatusEntry>,
    #[serde(default)]
    node: Option<String>,
}

#[derive(Deserialize)]
struct StatusEntry {
    status: String,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
}

/// A process in the server's list.
#[derive(Deserialize)]
struct ProcessEntry {
    id: String,
    status: String,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    restarts: u64,
    #[serde(default)]
    since: String,
    #[serde(default)]
    controllable: bool,
    #[serde(default)]
    node: Option<String>,
}

/// Parses the list of channels. Those without a node are those of `node` itself. A list that cannot
/// be parsed is empty, and so is an entry with an invalid name.
pub(super) fn channels(body: &[u8], node: &str) -> Vec<ChannelStats> {
    let listed: Vec<ChannelEntry> = serde_json::from_slice(body).unwrap_or_default();
    listed
        .into_iter()
        .filter_map(|entry| {
            Some(ChannelStats {
                channel: ChannelName::parse(&entry.channel).ok()?,
                subscribers: entry.subscribers,
                published: entry.published,
                epoch: entry.epoch,
                seq: entry.seq,
                kept_bytes: entry.kept_bytes,
                skipped: entry.skipped,
                dropped: entry.dropped,
                status: entry.status.map(|status| StatusReport {
                    status: Status::from(status.status),
                    code: status.exit_code,
                }),
                node: Some(entry.node.unwrap_or_else(|| node.to_owned())),
            })
        })
        .collect()
}

/// Parses the list of processes in the same way.
pub(super) fn processes(body: &[u8], node: &str) -> Vec<ListedProcess> {
    let listed: Vec<ProcessEntry> = serde_json::from_slice(body).unwrap_or_default();
    listed
        .into_iter()
        .filter_map(|entry| {
            Some(ListedProcess {
                status: Status::from(entry.status),
                exit_code: entry.exit_code,
                pid: entry.pid,
                restarts: entry.restarts,
                since: entry.since,
                controllable: entry.controllable,
                node: Some(entry.node.unwrap_or_else(|| node.to_owned())),
                ..ListedProcess::new(ProcessId::parse(&entry.id).ok()?)
            })
        })
        .collect()
}

/// Returns whether a channel has its home at the server that lists it, or above: something was
/// published to it. A channel that is only subscribed to is in the list too.
pub(super) fn has_content(channel: &ChannelStats) -> bool {
    channel.seq > 0 || channel.published > 0 || channel.status.is_some()
}

/// Marks the channels of a server that is gone, unless their process is known to have ended.
pub(super) fn mark_channels_lost(channels: &mut [ChannelStats]) {
    for channel in channels {
        let has_ended = |report: &StatusReport| has_ended(&report.status);
        if !channel.status.as_ref().is_some_and(has_ended) {
            channel.status = Some(StatusReport {
                status: lost(),
                code: 0,
            });
        }
    }
}

/// Marks the processes of a server that is gone. They take no orders.
pub(super) fn mark_processes_lost(processes: &mut [ListedProcess]) {
    for process in processes {
        process.controllable = false;
        if !has_ended(&process.status) {
            process.status = lost();
            process.pid = None;
        }
    }
}

fn has_ended(status: &Status) -> bool {
    matches!(status, Status::Exited | Status::Crashed | Status::Stopped)
}

fn lost() -> Status {
    Status::from(LOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_without_a_node_is_the_servers_own_and_a_bad_name_is_left_out() {
        let body = br#"[{"channel":"process:a","status":{"status":"running","exitCode":0}},
            {"channel":"process:b","node":"x:1"},{"channel":"no name"}]"#;
        let mut listed = channels(body, "h:7");
        let nodes: Vec<_> = listed
            .iter()
            .map(|channel| channel.node.as_deref())
            .collect();
        assert_eq!(nodes, [Some("h:7"), Some("x:1")]);
        assert!(has_content(&listed[0]) && !has_content(&listed[1]));
        mark_channels_lost(&mut listed);
        for channel in &listed {
            assert_eq!(channel.status.as_ref().unwrap().status.as_str(), "lost");
        }
        assert!(channels(b"<html>", "h:7").is_empty());
    }

    #[test]
    fn a_process_of_a_lost_server_takes_no_orders_and_one_that_ended_stays_so() {
        let body = br#"[{"id":"a","status":"running","pid":7,"controllable":true},
            {"id":"b","status":"exited","exitCode":3,"controllable":true}]"#;
        let mut listed = processes(body, "h:7");
        assert!(listed[0].controllable && listed[1].exit_code == 3);
        mark_processes_lost(&mut listed);
        assert!(listed.iter().all(|process| !process.controllable));
        assert_eq!(listed[0].status.as_str(), "lost");
        assert_eq!(listed[0].pid, None);
        assert_eq!(listed[1].status, Status::Exited);
    }
}
