//! The actions of disturbers: resets, protocol violations, streams over HTTP, valid and invalid
//! actions, and monitoring.

use super::action_log::ActionLog;
use super::peer::{Peer, PeerError};
use crate::wire::frame::{TEXT, push_client_frame};
use crate::wire::http::{HttpConnection, HttpError};
use crate::wire::target::Target;
use crate::wire::upgrade::upgrade_request;
use crate::workload::Workload;
use std::time::{Duration, Instant};

/// The data of the run that a disturber needs.
pub(super) struct DisturberContext {
    pub(super) target: Target,
    pub(super) workload: Workload,
    /// The time between two broadcasts. Each disconnects the clients whose queues are full.
    pub(super) broadcast_interval: Duration,
}

/// The number of channels to which actions publish. Their lines are not accounted for.
pub(super) const SIDE_CHANNELS: u64 = 4;

/// A violation that the server has to answer with a close frame: its name, what it sends, and the
/// close code.
type Violation = (&'static str, fn(&mut Vec<u8>), u16);

pub(super) const VIOLATIONS: [Violation; 5] = [
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
    // There is no message to continue.
    (
        "lone continuations",
        |out| push_client_frame(out, 0, b"..."),
        1002,
    ),
    // The length is beyond every limit.
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

/// The close code for a client whose queue has no room for a broadcast.
const OVERFLOW: u16 = 1013;

/// The count of disturbers that were closed with this code instead of that of their violation.
const OVERFLOWS: &str = "overflows of disturbers";

/// The longest time that fetching all figures may take.
const MAX_MONITORING: Duration = Duration::from_secs(10);

/// The reason why an action failed, or what is wrong with the response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActionError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{what}: {error}")]
    Violation {
        what: &'static str,
        error: PeerError,
    },
    #[error("{what} are closed with {got} instead of {code}")]
    CloseCode {
        what: &'static str,
        got: u16,
        code: u16,
    },
    #[error("{what} are answered with {line:?}")]
    Stream { what: &'static str, line: String },
    #[error("GET {path} is answered with {status} and no JSON")]
    NotJson { path: &'static str, status: u16 },
    #[error("GET /metrics is answered with {status} and {bytes} bytes without an end")]
    Metrics { status: u16, bytes: usize },
    #[error("fetching all figures took {:.1} s", .0.as_secs_f64())]
    SlowMonitoring(Duration),
}

/// Returns the frame that subscribes to a channel, with options in every other turn.
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

/// Returns one of the channels with lines, by turns.
fn flowing_channel(context: &DisturberContext, turn: u64) -> String {
    context
        .workload
        .channel_name((turn / 3) as usize % context.workload.channels)
}

/// Resets a connection: in the middle of the handshake, right behind it, or while lines flow.
pub(super) fn reset(
    context: &DisturberContext,
    turn: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let target = &context.target;
    let request = upgrade_request(&target.host, &target.path, &target.headers);
    match turn % 4 {
        0 => {
            let mut peer = Peer::connect(target)?;
            peer.send(&request.as_bytes()[..request.len() / 2])?;
            peer.reset()?;
            log.count("resets in a handshake");
        }
        1 => {
            let mut peer = Peer::connect(target)?;
            peer.send(request.as_bytes())?;
            peer.reset()?;
            log.count("resets behind a handshake");
        }
        2 => {
            let mut peer = Peer::upgraded(target)?;
            peer.send(&subscribe(&flowing_channel(context, turn), turn / 4))?;
            // A broadcast may have ended it.
            let ended = peer.read_for(20_000, Duration::from_millis(200)).is_err();
            peer.reset()?;
            log.count(if ended {
                "resets behind a stream"
            } else {
                "resets in a stream"
            });
        }
        _ => {
            // A channel must disappear with its only subscriber.
            let mut peer = Peer::upgraded(target)?;
            peer.send(&subscribe(&format!("passing:{turn}"), turn / 4))?;
            peer.reset()?;
            log.count("channels of one subscriber");
        }
    }
    Ok(())
}

/// Violates the protocol. Half of the peers receive lines meanwhile.
pub(super) fn violate(
    context: &DisturberContext,
    turn: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let (what, push, code) = VIOLATIONS[turn as usize % VIOLATIONS.len()];
    let mut peer = Peer::upgraded(&context.target)?;
    let mut out = Vec::new();
    let listens = (turn / VIOLATIONS.len() as u64).is_multiple_of(2);
    if listens {
        out = subscribe(&flowing_channel(context, turn), turn);
    }
    push(&mut out);
    peer.send(&out)?;
    let close_code = peer
        .read_close_code()
        .map_err(|error| ActionError::Violation { what, error })?;
    match close_code {
        got if got == code => log.count(what),
        // A broadcast found no room before the server read the violation.
        OVERFLOW if listens => log.count(OVERFLOWS),
        got => return Err(ActionError::CloseCode { what, got, code }),
    }
    Ok(())
}

/// Reads a text or an event stream for a while and leaves it. Unread bytes make that a reset.
pub(super) fn stream(
    context: &DisturberContext,
    turn: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let channel = if turn % 3 == 2 {
        format!("process:aside-{}", turn % SIDE_CHANNELS)
    } else {
        flowing_channel(context, turn)
    };
    let (kind, content_type, what) = if turn.is_multiple_of(2) {
        ("stream", "text/plain", "text streams")
    } else {
        ("events", "text/event-stream", "event streams")
    };
    let mut peer = Peer::connect(&context.target)?;
    let host = &context.target.host;
    peer.send(
        format!("GET /api/channels/{channel}/{kind}?tail=20 HTTP/1.1\r\nHost: {host}\r\n\r\n")
            .as_bytes(),
    )?;
    let head = peer.read_head()?;
    if !head.starts_with("HTTP/1.1 200") || !head.contains(content_type) {
        let line = head.lines().next().unwrap_or_default().to_owned();
        return Err(ActionError::Stream { what, line });
    }
    peer.read_for(10_000, Duration::from_millis(150))?;
    log.count(what);
    Ok(())
}

/// Publishes valid actions, and sends an invalid request.
pub(super) fn act(
    context: &DisturberContext,
    turn: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let id = format!("aside-{}", turn % SIDE_CHANNELS);
    let line = format!(
        "{{\"action\":\"ws.send_process_output\",\"process_id\":\"{id}\",\"output\":\"line of turn {turn}\"}}"
    );
    let status = format!(
        "{{\"action\":\"ws.send_process_status\",\"process_id\":\"{id}\",\"status\":\"running\",\"exit_code\":0}}"
    );
    let good = format!("[{status},{}]", vec![line; 20].join(","));
    let deep = "[".repeat(32_000);
    let bad: [(&'static str, &str, &[u8], u16); 5] = [
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
    let mut http = HttpConnection::connect(&context.target)?;
    http.expect("POST", "/api/actions", good.as_bytes(), 200)?;
    log.count("actions");
    let (method, path, body, status) = bad[turn as usize % bad.len()];
    http.expect(method, path, body, status)?;
    log.count("bad requests");
    Ok(())
}

/// Broadcasts a message once per broadcast interval.
///
/// It is called once per [`BROADCAST_TICK`], so that the thread notices its end in time.
pub(super) fn broadcast(
    context: &DisturberContext,
    turn: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let ticks = (context.broadcast_interval.as_millis() / BROADCAST_TICK.as_millis()).max(1) as u64;
    if turn % ticks != ticks / 2 {
        return Ok(());
    }
    let body =
        format!("{{\"action\":\"ws.send_event\",\"event\":\"soak\",\"data\":{{\"turn\":{turn}}}}}");
    HttpConnection::connect(&context.target)?.expect(
        "POST",
        "/api/actions",
        body.as_bytes(),
        200,
    )?;
    log.count("messages for everybody");
    Ok(())
}

/// The pause between two calls of [`broadcast`].
pub(super) const BROADCAST_TICK: Duration = Duration::from_millis(50);

/// Monitors the server. Its figures must be available and well-formed.
pub(super) fn monitor(
    context: &DisturberContext,
    _: u64,
    log: &mut ActionLog,
) -> Result<(), ActionError> {
    let began = Instant::now();
    let mut http = HttpConnection::connect(&context.target)?;
    for path in ["/api/stats", "/api/channels"] {
        let (status, body) = http.request("GET", path, b"")?;
        if status != 200 || serde_json::from_slice::<serde_json::Value>(&body).is_err() {
            return Err(ActionError::NotJson { path, status });
        }
    }
    let (status, body) = http.request("GET", "/metrics", b"")?;
    if status != 200 || !body.ends_with(b"# EOF\n") {
        return Err(ActionError::Metrics {
            status,
            bytes: body.len(),
        });
    }
    log.count("looks");
    if began.elapsed() > MAX_MONITORING {
        return Err(ActionError::SlowMonitoring(began.elapsed()));
    }
    Ok(())
}
