//! The few calls of JetStream that a cluster needs.
//!
//! Only requests and answers, no consumers: an ordered consumer stood still for 17 to 60 s after a
//! restart of the broker.

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::names::{Names, Store};
use crate::backplane::cluster::broker::{BrokerError, BrokerSettings, CALL_TIMEOUT};

/// The newest message of a subject has another sequence.
const WRONG_LAST_SEQUENCE: u64 = 10071;
const NO_MESSAGE_FOUND: u64 = 10037;
const SEQUENCE_NOT_FOUND: u64 = 10043;
const MESSAGE_DELETE_FAILED: u64 = 10057;
const STREAM_EXISTS_OTHERWISE: u64 = 10058;
const STREAM_NOT_FOUND: u64 = 10059;
const NOT_ENABLED: [u64; 2] = [10039, 10076];

/// The least that NATS takes. No message has an id that could make it a duplicate.
const DUPLICATE_WINDOW_NANOS: u64 = 100_000_000;

/// What the message of a stream holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

/// The outcome of a conditional publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    Stored(u64),
    /// The last sequence of the subject is another one.
    Conflict,
    /// No stream keeps the subject.
    NoStream,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
    #[serde(flatten)]
    rest: Value,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<ApiError> for BrokerError {
    fn from(error: ApiError) -> Self {
        if NOT_ENABLED.contains(&error.err_code) {
            return no_jetstream();
        }
        Self::Refused(error.description)
    }
}

fn no_jetstream() -> BrokerError {
    let text = "NATS runs without JetStream, which a cluster keeps its leases in: \
                start it as `nats-server -js`";
    BrokerError::Unsupported(text.to_owned())
}

fn malformed() -> BrokerError {
    BrokerError::Refused("an answer of JetStream that cannot be read".to_owned())
}

/// Sends a request. No responder is `None`.
async fn request(
    client: &Client,
    subject: String,
    request: Request,
) -> Result<Option<Message>, BrokerError> {
    let sent = timeout(CALL_TIMEOUT, client.send_request(subject, request)).await;
    let error = match sent {
        Err(_) => return Err(BrokerError::Unknown),
        Ok(Ok(message)) => return Ok(Some(message)),
        Ok(Err(error)) => error,
    };
    match error.kind() {
        RequestErrorKind::NoResponders => Ok(None),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            Err(BrokerError::Refused(error.to_string()))
        }
        // The connection went, perhaps after the request.
        RequestErrorKind::TimedOut | RequestErrorKind::Other => Err(BrokerError::Unknown),
    }
}

/// Calls the API of JetStream. The outer error is that of the call, the inner the API's.
async fn api(
    client: &Client,
    subject: String,
    body: &Value,
) -> Result<Result<Value, ApiError>, BrokerError> {
    let body = Request::new().payload(body.to_string().into());
    let message = request(client, format!("$JS.API.{subject}"), body).await?;
    let message = message.ok_or_else(no_jetstream)?;
    let answer: Answer = serde_json::from_slice(&message.payload).map_err(|_| malformed())?;
    Ok(answer.error.map_or(Ok(answer.rest), Err))
}

/// A call that changes nothing has no unknown outcome.
pub(super) fn as_read(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::Unknown => BrokerError::TimedOut,
        other => other,
    }
}

/// Returns after everything that this client sent before has reached the server.
pub(super) async fn sync(client: &Client, names: &Names) -> Result<(), BrokerError> {
    // The server answers itself that nobody is subscribed, in the order of the connection. The
    // client's own `flush` waits for its socket only.
    let answered = request(client, names.nobody(), Request::new()).await;
    answered.map(drop).map_err(as_read)
}

/// Publishes to a stream if the newest message of the subject has this sequence, 0 for none.
pub(super) async fn put(
    client: &Client,
    subject: String,
    payload: Bytes,
    expected: u64,
) -> Result<Put, BrokerError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    let publish = Request::new().headers(headers).payload(payload);
    let Some(message) = request(client, subject, publish).await? else {
        return Ok(Put::NoStream);
    };
    let answer: Answer =
        serde_json::from_slice(&message.payload).map_err(|_| BrokerError::Unknown)?;
    match answer.error {
        Some(error) if error.err_code == WRONG_LAST_SEQUENCE => Ok(Put::Conflict),
        Some(error) => Err(error.into()),
        None => {
            let sequence = answer.rest["seq"].as_u64().ok_or(BrokerError::Unknown)?;
            Ok(Put::Stored(sequence))
        }
    }
}

/// Reads the newest message of a subject.
pub(super) async fn last(
    client: &Client,
    stream: &str,
    subject: &str,
) -> Result<Option<Kept>, BrokerError> {
    read(client, stream, &json!({ "last_by_subj": subject })).await
}

/// Reads the first message of a subject from a sequence on.
///
/// Any server that has the stream answers, with the payload as it is: 0.4 ms for 64 KiB without
/// optimization, where `STREAM.MSG.GET` took 3.2 ms, since the leader sends it in base64. A server
/// that lags behind the leader may not have the newest messages.
pub(super) async fn first_from(
    client: &Client,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<Option<Kept>, BrokerError> {
    // 0 is "no sequence" there.
    let wanted = json!({ "seq": sequence.max(1), "next_by_subj": subject });
    let body = Request::new().payload(wanted.to_string().into());
    let answer = request(client, format!("$JS.API.DIRECT.GET.{stream}"), body).await;
    let Some(message) = answer.map_err(as_read)? else {
        // There is no such stream, or an operator made it without direct reads.
        return read(client, stream, &wanted).await;
    };
    if message.status == Some(StatusCode::NOT_FOUND) {
        return Ok(None);
    }
    let headers = message.headers.as_ref().ok_or_else(malformed)?;
    let sequence = headers.get("Nats-Sequence");
    let sequence = sequence.and_then(|sequence| sequence.as_str().parse().ok());
    Ok(Some(Kept {
        sequence: sequence.ok_or_else(malformed)?,
        payload: message.payload,
    }))
}

/// Asks the leader of a stream, and none that lags behind it.
async fn read(client: &Client, stream: &str, wanted: &Value) -> Result<Option<Kept>, BrokerError> {
    let answer = api(client, format!("STREAM.MSG.GET.{stream}"), wanted).await;
    let answer = match answer.map_err(as_read)? {
        Ok(answer) => answer,
        Err(error) if matches!(error.err_code, NO_MESSAGE_FOUND | STREAM_NOT_FOUND) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let message = &answer["message"];
    let sequence = message["seq"].as_u64().ok_or_else(malformed)?;
    // An empty payload is left out.
    let payload = message["data"].as_str().unwrap_or_default();
    let payload = BASE64.decode(payload).map_err(|_| malformed())?.into();
    Ok(Some(Kept { sequence, payload }))
}

/// Deletes a message. It is no error if it is gone.
pub(super) async fn delete(
    client: &Client,
    stream: &str,
    sequence: u64,
) -> Result<(), BrokerError> {
    let body = json!({ "seq": sequence, "no_erase": true });
    match api(client, format!("STREAM.MSG.DELETE.{stream}"), &body).await? {
        Ok(_) => Ok(()),
        Err(error) => match error.err_code {
            NO_MESSAGE_FOUND | SEQUENCE_NOT_FOUND | MESSAGE_DELETE_FAILED | STREAM_NOT_FOUND => {
                Ok(())
            }
            _ => Err(error.into()),
        },
    }
}

/// Creates a stream, or changes how long it keeps messages where it has another age. Returns
/// whether it is stored in files.
///
/// Everything else stays as an operator set it, such as the number of replicas.
pub(super) async fn ensure(
    client: &Client,
    names: &Names,
    store: Store,
    settings: &BrokerSettings,
) -> Result<bool, BrokerError> {
    let stream = names.stream(store);
    let wanted = config(names, store, settings);
    let created = api(client, format!("STREAM.CREATE.{stream}"), &wanted).await?;
    match created {
        Ok(info) => return Ok(info["config"]["storage"] == "file"),
        Err(error) if error.err_code == STREAM_EXISTS_OTHERWISE => {}
        Err(error) => return Err(error.into()),
    }
    let mut info = api(client, format!("STREAM.INFO.{stream}"), &json!({})).await??;
    let config = &mut info["config"];
    let is_file = config["storage"] == "file";
    if config["max_age"] != wanted["max_age"] {
        config["max_age"] = wanted["max_age"].clone();
        config["duplicate_window"] = wanted["duplicate_window"].clone();
        api(client, format!("STREAM.UPDATE.{stream}"), config).await??;
    }
    Ok(is_file)
}

fn config(names: &Names, store: Store, settings: &BrokerSettings) -> Value {
    let max_age = match store {
        Store::Sessions => Some(settings.session_ttl),
        Store::Homes => None,
        Store::Blocks => settings.storing.and_then(|storing| storing.max_age),
    };
    // 0 is for ever.
    let nanos = |age: std::time::Duration| u64::try_from(age.as_nanos()).unwrap_or(0);
    let mut config = json!({
        "name": names.stream(store),
        "subjects": [names.kept(store)],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": 1,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": max_age.map_or(0, nanos),
        "duplicate_window": DUPLICATE_WINDOW_NANOS,
        "allow_direct": true,
    });
    if store != Store::Blocks {
        // What NATS's tools expect of a key-value bucket with a history of one.
        config["max_msgs_per_subject"] = json!(1);
        config["discard"] = json!("new");
        config["allow_rollup_hdrs"] = json!(true);
    }
    config
}
