//! What disturbers do: resets, broken protocol, streams over HTTP, actions good and bad, and looking.

use super::disturber::{Doings, Scenery};
use super::peer::Peer;
use crate::client::upgrade_request;
use crate::frame::{TEXT, push_client_frame};
use crate::http::Http;
use std::time::{Duration, Instant};

/// Channels beside those that are accounted for, to which actions publish.
pub(crate) const ASIDE: u64 = 4;

/// Violations that the server has to answer with a close frame: what each is, what it sends, and the code.
type Violation = (&'static str, fn(&mut Vec<u8>), u16);

pub(crate) const VIOLATIONS: [Violation; 5] = [
    (
        "reserved opcodes",
        |out| push_client_frame(out, 3, b"?"),
        1002,
    ),
    (
        "unmasked frames",
        |out| out.extend_from_slice(&[0x81, 2, b'h', b'i']),
        1002,
    ),
    // A continuation of nothing.
    (
        "lone continuations",
        |out| push_client_frame(out, 0, b"..."),
        1002,
    ),
    // A length that nobody will wait for.
    (
        "oversize frames",
        |out| out.extend_from_slice(&[0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4]),
        1009,
    ),
    (
        "invalid UTF-8",
        |out| push_client_frame(out, TEXT, b"ab\xff\xfecd"),
        1007,
    ),
];

/// The close code for who had no room for a message to everybody.
const OVERFLOW: u16 = 1013;

/// Disturbers that were closed for that instead.
const OVERFLOWS: &str = "overflows of disturbers";

fn subscribe(channel: &str, turn: u64) -> Vec<u8> {
    let message = if turn.is_multiple_of(2) {
        format!("{{\"type\":\"subscribe\",\"data\":\"{channel}\"}}")
    } else {
        format!(
            "{{\"type\":\"subscribe\",\"channel\":\"{channel}\",\"options\":{{\"gaps\":true,\"batch\":true,\"tail\":500}}}}"
        )
    };
    let mut out = Vec::new();
    push_client_frame(&mut out, TEXT, message.as_bytes());
    out
}

/// Of the channels that flow, another one each turn.
fn flowing(scenery: &Scenery, turn: u64) -> String {
    scenery
        .workload
        .channel_name((turn / 3) as usize % scenery.workload.channels)
}

/// Connections that are reset: in the middle of the handshake, right behind it, and while lines flow.
pub(super) fn reset(scenery: &Scenery, turn: u64, doings: &mut Doings) -> Result<(), String> {
    let target = &scenery.target;
    let request = upgrade_request(&target.host, &target.path, &target.headers);
    match turn % 4 {
        0 => {
            let mut peer = Peer::connect(target)?;
            peer.send(&request.as_bytes()[..request.len() / 2])?;
            peer.reset()?;
            doings.count("resets in a handshake");
        }
        1 => {
            let mut peer = Peer::connect(target)?;
            peer.send(request.as_bytes())?;
            peer.reset()?;
            doings.count("resets behind a handshake");
        }
        2 => {
            let mut peer = Peer::upgraded(target)?;
            peer.send(&subscribe(&flowing(scenery, turn), turn / 4))?;
            // A message for everybody may have ended it.
            let ended = peer.read_for(20_000, Duration::from_millis(200)).is_err();
            peer.reset()?;
            doings.count(if ended {
                "resets behind a stream"
            } else {
                "resets in a stream"
            });
        }
        _ => {
            // A channel that nobody else knows must be gone with its only subscriber.
            let mut peer = Peer::upgraded(target)?;
            peer.send(&subscribe(&format!("passing:{turn}"), turn / 4))?;
            peer.reset()?;
            doings.count("channels of one subscriber");
        }
    }
    Ok(())
}

/// Peers that break the protocol, half of them while lines flow to them.
pub(super) fn violate(scenery: &Scenery, turn: u64, doings: &mut Doings) -> Result<(), String> {
    let (what, push, code) = VIOLATIONS[turn as usize % VIOLATIONS.len()];
    let mut peer = Peer::upgraded(&scenery.target)?;
    let mut out = Vec::new();
    let listens = (turn / VIOLATIONS.len() as u64).is_multiple_of(2);
    if listens {
        out = subscribe(&flowing(scenery, turn), turn);
    }
    push(&mut out);
    peer.send(&out)?;
    match peer.close_code().map_err(|why| format!("{what}: {why}"))? {
        got if got == code => doings.count(what),
        // There was a message for everybody, and no room for it, before the server came to read the violation.
        OVERFLOW if listens => doings.count(OVERFLOWS),
        got => return Err(format!("{what} are closed with {got} instead of {code}")),
    }
    Ok(())
}

/// Text and event streams that are read for a while and left: by a reset where bytes were not read.
pub(super) fn stream(scenery: &Scenery, turn: u64, doings: &mut Doings) -> Result<(), String> {
    let channel = if turn % 3 == 2 {
        format!("process:aside-{}", turn % ASIDE)
    } else {
        flowing(scenery, turn)
    };
    let (kind, content_type, what) = if turn.is_multiple_of(2) {
        ("stream", "text/plain", "text streams")
    } else {
        ("events", "text/event-stream", "event streams")
    };
    let mut peer = Peer::connect(&scenery.target)?;
    let host = &scenery.target.host;
    peer.send(
        format!("GET /api/channels/{channel}/{kind}?tail=20 HTTP/1.1\r\nHost: {host}\r\n\r\n")
            .as_bytes(),
    )?;
    let head = peer.head()?;
    if !head.starts_with("HTTP/1.1 200") || !head.contains(content_type) {
        return Err(format!(
            "{what} are answered with {:?}",
            head.lines().next().unwrap_or_default()
        ));
    }
    peer.read_for(10_000, Duration::from_millis(150))?;
    doings.count(what);
    Ok(())
}

/// Actions, of which some are bad.
pub(super) fn act(scenery: &Scenery, turn: u64, doings: &mut Doings) -> Result<(), String> {
    let id = format!("aside-{}", turn % ASIDE);
    let line = format!(
        "{{\"action\":\"ws.send_process_output\",\"process_id\":\"{id}\",\"output\":\"line of turn {turn}\"}}"
    );
    let status = format!(
        "{{\"action\":\"ws.send_process_status\",\"process_id\":\"{id}\",\"status\":\"running\",\"exit_code\":0}}"
    );
    let good = format!("[{status},{}]", vec![line; 20].join(","));
    let deep = "[".repeat(32_000);
    let bad: [(&str, &str, &[u8], u16); 5] = [
        ("POST", "/api/actions", b"{\"action\":", 400),
        (
            "POST",
            "/api/actions",
            b"{\"action\":\"ws.send_process_output\"}",
            400,
        ),
        (
            "POST",
            "/api/actions",
            b"[{\"action\":\"ws.send_error\",\"message\":\"x\"},{\"action\":\"no.such\"}]",
            400,
        ),
        ("POST", "/api/actions", deep.as_bytes(), 400),
        ("GET", "/no/such/page", b"", 404),
    ];
    let mut http = Http::connect(&scenery.target)?;
    expect(&mut http, ("POST", "/api/actions", good.as_bytes(), 200))?;
    doings.count("actions");
    expect(&mut http, bad[turn as usize % bad.len()])?;
    doings.count("bad requests");
    Ok(())
}

fn expect(
    http: &mut Http,
    (method, path, body, code): (&str, &str, &[u8], u16),
) -> Result<(), String> {
    match http.request(method, path, body)? {
        (status, _) if status == code => Ok(()),
        (status, answer) => Err(format!(
            "{method} {path} is answered with {status} instead of {code}: {}",
            String::from_utf8_lossy(&answer[..answer.len().min(200)])
        )),
    }
}

/// A message for everybody, now and then: rests are moments.
pub(super) fn announce(scenery: &Scenery, turn: u64, doings: &mut Doings) -> Result<(), String> {
    let moments = (scenery.event_every.as_millis() / EVENT_MOMENT.as_millis()).max(1) as u64;
    if turn % moments != moments / 2 {
        return Ok(());
    }
    let body =
        format!("{{\"action\":\"ws.send_event\",\"event\":\"soak\",\"data\":{{\"turn\":{turn}}}}}");
    expect(
        &mut Http::connect(&scenery.target)?,
        ("POST", "/api/actions", body.as_bytes(), 200),
    )?;
    doings.count("messages for everybody");
    Ok(())
}

/// How long [`announce`] rests.
pub(super) const EVENT_MOMENT: Duration = Duration::from_millis(50);

/// Whoever watches a server: its figures have to be there, and to be what they are said to be.
pub(super) fn look(scenery: &Scenery, _: u64, doings: &mut Doings) -> Result<(), String> {
    let began = Instant::now();
    let mut http = Http::connect(&scenery.target)?;
    for path in ["/api/stats", "/api/channels"] {
        let (status, body) = http.request("GET", path, b"")?;
        if status != 200 || serde_json::from_slice::<serde_json::Value>(&body).is_err() {
            return Err(format!("GET {path} is answered with {status} and no JSON"));
        }
    }
    let (status, body) = http.request("GET", "/metrics", b"")?;
    if status != 200 || !body.ends_with(b"# EOF\n") {
        return Err(format!(
            "GET /metrics is answered with {status} and {} bytes without an end",
            body.len()
        ));
    }
    doings.count("looks");
    if began.elapsed() > Duration::from_secs(10) {
        return Err(format!(
            "a look took {:.1} s",
            began.elapsed().as_secs_f64()
        ));
    }
    Ok(())
}
