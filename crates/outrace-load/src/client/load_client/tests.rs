use super::*;
use crate::measure::tally::ReceiverTally;
use crate::wire::frame::push_server_text;
use crate::wire::line_template::LineTemplate;
use crate::wire::stamp::Stamp;
use proptest::prelude::*;

const HEAD: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn push_line(out: &mut Vec<u8>, template: &LineTemplate, publisher: u16, sequence: u64) {
    let mut line = template.line();
    Stamp {
        publisher,
        sequence,
        sent_ns: 5,
    }
    .write(&mut line);
    let line = String::from_utf8(line).unwrap();
    let json = format!(
        "{{\"type\":\"process_output\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":\"{line}\",\"timestamp\":\"t\"}}"
    );
    push_server_text(out, json.as_bytes());
}

fn push_status(out: &mut Vec<u8>) {
    push_server_text(
        out,
        br#"{"type":"process_status","data":{"status":"exited","exitCode":0}}"#,
    );
}

/// Receives `stream` in pieces of the lengths `cuts`, as a receiver thread does.
fn feed(
    client: &mut LoadClient,
    stream: &[u8],
    cuts: &[usize],
    workload: &Workload,
    tally: &mut ReceiverTally,
) -> Result<(u64, u64), ConnectionEnd> {
    let template = LineTemplate::new(workload.line_bytes);
    let (mut lines, mut skipped) = (0, 0);
    let mut kept = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let n = (*cuts.next().unwrap()).clamp(1, rest.len());
        kept.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        let summary = client.receive(
            &kept,
            &mut ReceiveContext {
                now_ns: 10,
                template: &template,
                workload,
                tally,
            },
        )?;
        kept.drain(..summary.bytes);
        lines += summary.lines;
        skipped += summary.skipped;
    }
    Ok((lines, skipped))
}

fn joined(workload: &Workload) -> (LoadClient, Vec<u8>) {
    let mut client = LoadClient::new(0, workload);
    client.begin("h", "/ws", &[]);
    let mut stream = HEAD.to_vec();
    push_server_text(&mut stream, br#"{"type":"pong","timestamp":"t"}"#);
    (client, stream)
}

proptest! {
    #[test]
    fn every_line_is_counted_however_the_bytes_are_cut(
        kept in prop::collection::vec(any::<bool>(), 0..60),
        cuts in prop::collection::vec(1usize..700, 1..20),
        line_bytes in 35usize..300,
    ) {
        let workload = Workload { line_bytes, ..Workload::default() };
        let template = LineTemplate::new(line_bytes);
        let (mut client, mut stream) = joined(&workload);
        for (sequence, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            push_line(&mut stream, &template, 0, sequence as u64);
        }
        push_status(&mut stream);
        let mut tally = ReceiverTally::new();
        let (lines, skipped) = feed(&mut client, &stream, &cuts, &workload, &mut tally).unwrap();
        let received = kept.iter().filter(|kept| **kept).count() as u64;
        let last = kept.iter().rposition(|kept| *kept).map_or(0, |at| at as u64 + 1);
        prop_assert_eq!((lines, skipped), (received, last - received));
        prop_assert!(client.has_ended());
        prop_assert_eq!(client.state, ClientState::Live);
        prop_assert_eq!(tally.faults, Vec::<String>::new());
    }
}

fn subscribed(subscribe_options: SubscribeOptions) -> (Workload, LoadClient, Vec<u8>) {
    let workload = Workload {
        subscribe_options,
        ..Workload::default()
    };
    let (mut client, stream) = joined(&workload);
    feed(
        &mut client,
        &stream,
        &[9],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    assert_eq!(
        client.state,
        ClientState::Joining,
        "the pong alone does not prove a subscription with options"
    );
    let mut reply = Vec::new();
    push_server_text(
        &mut reply,
        br#"{"type":"subscribed","channel":"process:load","data":{"epoch":"e","seq":5,"replayed":0,"lost":0},"timestamp":"t"}"#,
    );
    feed(
        &mut client,
        &reply,
        &[9],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    assert_eq!(client.state, ClientState::Live);
    (workload, client, Vec::new())
}

fn push_gap(out: &mut Vec<u8>, from: u64, to: u64) {
    let count = to + 1 - from;
    let json = format!(
        "{{\"type\":\"gap\",\"channel\":\"process:load\",\"data\":{{\"from\":{from},\"to\":{to},\"count\":{count}}},\"timestamp\":\"t\"}}"
    );
    push_server_text(out, json.as_bytes());
}

fn push_batch(out: &mut Vec<u8>, template: &LineTemplate, lines: std::ops::Range<u64>, seq: u64) {
    let quoted: Vec<String> = lines
        .map(|sequence| {
            let mut line = template.line();
            Stamp {
                publisher: 0,
                sequence,
                sent_ns: 5,
            }
            .write(&mut line);
            format!("\"{}\"", String::from_utf8(line).unwrap())
        })
        .collect();
    let json = format!(
        "{{\"type\":\"process_output_batch\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":[{}],\"seq\":{seq},\"timestamp\":\"t\"}}",
        quoted.join(",")
    );
    push_server_text(out, json.as_bytes());
}

proptest! {
    #[test]
    fn gaps_and_lines_and_batches_add_up_however_the_bytes_are_cut(
        runs in prop::collection::vec((any::<bool>(), 1u64..9), 0..20),
        cuts in prop::collection::vec(1usize..900, 1..20),
        batch in any::<bool>(),
    ) {
        let (workload, mut client, mut stream) = subscribed(SubscribeOptions { gaps: true, batch });
        let template = LineTemplate::new(workload.line_bytes);
        let (mut at, mut received, mut skipped) = (0, 0, 0);
        // Adjacent holes are one gap, as a server announces them.
        let mut hole = 0;
        for (comes, lines) in runs.into_iter().chain([(true, 1)]) {
            if !comes {
                hole += lines;
                continue;
            }
            if hole > 0 {
                push_gap(&mut stream, 6 + at, 5 + at + hole);
                at += hole;
                skipped += std::mem::take(&mut hole);
            }
            if batch {
                push_batch(&mut stream, &template, at..at + lines, 6 + at);
            } else {
                (at..at + lines).for_each(|sequence| push_line(&mut stream, &template, 0, sequence));
            }
            at += lines;
            received += lines;
        }
        let mut tally = ReceiverTally::new();
        let summary = feed(&mut client, &stream, &cuts, &workload, &mut tally).unwrap();
        prop_assert_eq!(&tally.faults, &Vec::<String>::new());
        prop_assert_eq!(summary, (received, skipped));
        prop_assert_eq!(client.progress(), at);
        prop_assert_eq!(client.ledgers[0].close(at, received, skipped), Ok(()));
    }
}

#[test]
fn a_hole_without_a_gap_and_a_batch_with_a_hole_are_faults() {
    let template = LineTemplate::new(Workload::default().line_bytes);
    let (workload, mut client, mut stream) = subscribed(SubscribeOptions {
        gaps: true,
        batch: false,
    });
    push_line(&mut stream, &template, 0, 0);
    push_line(&mut stream, &template, 0, 2);
    let mut tally = ReceiverTally::new();
    feed(&mut client, &stream, &[50], &workload, &mut tally).unwrap();
    assert!(
        tally.faults[0].contains("without a gap"),
        "{:?}",
        tally.faults
    );

    let (workload, mut client, mut stream) = subscribed(SubscribeOptions {
        gaps: false,
        batch: true,
    });
    push_batch(&mut stream, &template, 0..3, 6);
    push_batch(&mut stream, &template, 3..5, 8);
    let mut tally = ReceiverTally::new();
    feed(&mut client, &stream, &[50], &workload, &mut tally).unwrap();
    assert_eq!(tally.fault_count, 1, "{:?}", tally.faults);
    assert!(
        tally.faults[0].contains("begins with message 8"),
        "{:?}",
        tally.faults
    );
}

#[test]
fn who_counts_gaps_resumes_where_it_left_off() {
    let template = LineTemplate::new(Workload::default().line_bytes);
    let (workload, mut client, mut stream) = subscribed(SubscribeOptions {
        gaps: true,
        batch: false,
    });
    push_line(&mut stream, &template, 0, 0);
    feed(
        &mut client,
        &stream,
        &[50],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    client.begin("h", "/ws", &[]);
    client.outbox.clear();
    feed(
        &mut client,
        HEAD,
        &[4_096],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    // A short frame has its length in the second byte. A longer one has it in the next two bytes.
    let header = if client.outbox[1] & 0x7f < 126 { 2 } else { 4 };
    let (mask, masked) = client.outbox[header..].split_at(4);
    let asked: Vec<u8> = masked
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let asked = String::from_utf8_lossy(&asked);
    assert!(
        asked.contains(r#""since":{"epoch":"e","seq":6}"#),
        "{asked}"
    );
}

#[test]
fn a_line_of_a_channel_never_subscribed_to_is_a_fault() {
    let workload = Workload {
        channels: 10,
        channels_per_client: 2,
        ..Workload::default()
    };
    let template = LineTemplate::new(workload.line_bytes);
    let (mut client, mut stream) = joined(&workload);
    push_line(&mut stream, &template, 1, 0);
    push_line(&mut stream, &template, 2, 0);
    let mut tally = ReceiverTally::new();
    assert_eq!(
        feed(&mut client, &stream, &[4_096], &workload, &mut tally),
        Ok((1, 0))
    );
    assert!(
        tally.faults[0].contains("publisher 2"),
        "{:?}",
        tally.faults
    );
}

#[test]
fn a_changed_line_and_a_repeated_one_are_faults() {
    let workload = Workload::default();
    let template = LineTemplate::new(workload.line_bytes);
    let (mut client, mut stream) = joined(&workload);
    push_line(&mut stream, &template, 0, 0);
    push_line(&mut stream, &template, 0, 0);
    push_line(&mut stream, &LineTemplate::new(101), 0, 1);
    let mut tally = ReceiverTally::new();
    assert_eq!(
        feed(&mut client, &stream, &[100], &workload, &mut tally),
        Ok((1, 0))
    );
    assert!(tally.faults[0].contains("came twice"), "{:?}", tally.faults);
    assert!(tally.faults[1].contains("not fed"), "{:?}", tally.faults);
}

#[test]
fn a_refused_upgrade_says_what_the_server_said() {
    let workload = Workload::default();
    let mut client = LoadClient::new(0, &workload);
    client.begin("h", "/ws", &[]);
    let end = feed(
        &mut client,
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        &[100],
        &workload,
        &mut ReceiverTally::new(),
    );
    assert!(matches!(end, Err(ConnectionEnd::Invalid(why)) if why.contains("403 Forbidden")));
}

#[test]
fn a_close_frame_ends_the_connection_with_its_code() {
    let workload = Workload::default();
    let (mut client, mut stream) = joined(&workload);
    stream.extend_from_slice(&[0x88, 2, 0x03, 0xf5]);
    let end = feed(
        &mut client,
        &stream,
        &[7],
        &workload,
        &mut ReceiverTally::new(),
    );
    assert_eq!(
        end,
        Err(ConnectionEnd::Closed("close code 1013".to_owned()))
    );
}

#[test]
fn a_servers_ping_is_answered() {
    let workload = Workload::default();
    let (mut client, mut stream) = joined(&workload);
    feed(
        &mut client,
        &stream.clone(),
        &[4_096],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    client.outbox.clear();
    stream = vec![0x89, 2, b'h', b'i'];
    feed(
        &mut client,
        &stream,
        &[1],
        &workload,
        &mut ReceiverTally::new(),
    )
    .unwrap();
    assert_eq!(client.outbox[..2], [0x8a, 0x82]);
}
