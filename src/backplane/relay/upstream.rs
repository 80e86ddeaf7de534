//! One upstream server: whether it is there, what it lists, and the orders that it takes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::cache::{Cache, MAX_AGE};
use super::list;
use crate::backplane::{
    ForwardedOrder, ListedProcess, ON_BEHALF_OF, OrderError, PATH_HEADER, PathError, RelayPath,
};
use crate::client::{ChannelLister, Endpoint, HttpAnswer, ListError};
use crate::message::ChannelName;
use crate::stats::ChannelStats;
use crate::sync::lock;

/// The time between two requests for the next list, on average.
const INTERVAL: Duration = Duration::from_millis(100);
/// How far a burst of such requests may run ahead of the average.
const BURST: Duration = Duration::from_millis(500);
/// How long somebody who asks waits for the first connection.
const FIRST_LINK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to accept an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to say that a path leads to no loop.
const PATH_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest text of a refusal that is passed on.
const MAX_TEXT_BYTES: usize = 300;

/// The state of the connection to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// The first attempt is not over yet.
    First,
    Up,
    Down,
}

/// A channel as the server lists it, as far as it decides where the channel is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) node: Option<String>,
    pub(super) epoch: String,
    /// Something was published to it.
    pub(super) has_content: bool,
}

impl Listed {
    /// Returns whether two servers have the channel from the same home.
    pub(super) fn is_same_channel(&self, other: &Self) -> bool {
        self.node == other.node || (!self.epoch.is_empty() && self.epoch == other.epoch)
    }
}

/// An upstream server.
#[derive(Debug)]
pub(super) struct Upstream {
    endpoint: Endpoint,
    lister: ChannelLister,
    /// Its host and port, which name the node in lists.
    name: String,
    link: watch::Sender<LinkState>,
    channels: Cache<ChannelStats>,
    processes: Cache<ListedProcess>,
    /// `None` before the first list.
    listed: Mutex<Option<HashMap<ChannelName, Listed>>>,
}

impl Upstream {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            name: endpoint.authority(),
            lister: ChannelLister::new(endpoint.clone()),
            endpoint,
            link: watch::Sender::new(LinkState::First),
            channels: Cache::new(),
            processes: Cache::new(),
            listed: Mutex::default(),
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns whether the server is connected.
    pub(super) fn is_up(&self) -> bool {
        *self.link.borrow() == LinkState::Up
    }

    /// Says whether the server is connected. Returns whether it was otherwise before.
    pub(super) fn set_up(&self, up: bool) -> bool {
        let state = if up { LinkState::Up } else { LinkState::Down };
        self.link.send_if_modified(|link| {
            let is_new = *link != state;
            *link = state;
            is_new
        })
    }

    /// Returns whether the server is connected. Waits for the first attempt to connect.
    ///
    /// Nothing is asked of a server that is not connected: it may be gone for long, and the servers
    /// of a loop would ask each other without end.
    async fn is_reachable(&self) -> bool {
        let mut link = self.link.subscribe();
        let decided = link.wait_for(|&link| link != LinkState::First);
        matches!(timeout(FIRST_LINK_TIMEOUT, decided).await, Ok(Ok(state)) if *state == LinkState::Up)
    }

    /// Returns how the server lists a channel.
    pub(super) fn listed(&self, channel: &ChannelName) -> Option<Listed> {
        lock(&self.listed).as_ref()?.get(channel).cloned()
    }

    /// Returns whether a channel that is not in the list is surely not at the server.
    pub(super) fn is_listed_through(&self) -> bool {
        self.is_up() && lock(&self.listed).is_some()
    }

    /// Returns the channels of the server. Those of the last list are lost if it is gone.
    pub(super) async fn channels(&self) -> Vec<ChannelStats> {
        if self.is_reachable().await {
            match self.channels.fresh(self.fetch_channels()).await {
                Ok(channels) => return channels,
                Err(error) => {
                    let upstream = self.name.as_str();
                    tracing::debug!(%error, upstream, "the upstream server does not list its channels");
                }
            }
        }
        let mut channels = self.channels.last().await;
        list::mark_channels_lost(&mut channels);
        channels
    }

    async fn fetch_channels(&self) -> Result<Vec<ChannelStats>, ListError> {
        let (_, body) = self.lister.fetch_list(None).await?;
        Ok(self.note_channels(&body))
    }

    fn note_channels(&self, body: &[u8]) -> Vec<ChannelStats> {
        let channels = list::channels(body, &self.name);
        let listed = channels
            .iter()
            .map(|channel| {
                let listed = Listed {
                    node: channel.node.clone(),
                    epoch: channel.epoch.clone(),
                    has_content: list::has_content(channel),
                };
                (channel.channel.clone(), listed)
            })
            .collect();
        *lock(&self.listed) = Some(listed);
        channels
    }

    /// Calls `changed` whenever another channel is in the server's list. The list is here by then,
    /// so that who asks because of it gets one that is as new.
    ///
    /// A server that cannot hold a request back is asked in intervals.
    pub(super) async fn follow(&self, changed: impl Fn()) {
        let mut link = self.link.subscribe();
        let mut version = None;
        let mut due = Instant::now();
        while link.wait_for(|&link| link == LinkState::Up).await.is_ok() {
            // The first requests of a burst are made at once. A delay here is one of each level of
            // relays.
            due = due.max(Instant::now()) + INTERVAL;
            if let Some(earliest) = due.checked_sub(BURST) {
                sleep_until(earliest).await;
            }
            match self.lister.fetch_list(version.clone()).await {
                Ok((next, body)) => {
                    if next.is_none() || next != version {
                        self.channels.put(self.note_channels(&body)).await;
                        changed();
                    }
                    if next.is_none() {
                        due = Instant::now() + BURST + MAX_AGE;
                    }
                    version = next;
                }
                Err(_) => {
                    version = None;
                    due = Instant::now() + BURST + MAX_AGE;
                }
            }
        }
    }

    /// Returns the processes of the server. Those of the last list are lost if it is gone.
    pub(super) async fn processes(&self) -> Vec<ListedProcess> {
        if self.is_reachable().await
            && let Ok(processes) = self.processes.fresh(self.fetch_processes()).await
        {
            return processes;
        }
        let mut processes = self.processes.last().await;
        list::mark_processes_lost(&mut processes);
        processes
    }

    async fn fetch_processes(&self) -> Result<Vec<ListedProcess>, ListError> {
        let request = Request::get(self.endpoint.beside("api/processes"));
        let answer = self.ask(request, Bytes::new(), ORDER_TIMEOUT).await?;
        match answer.status {
            StatusCode::OK => Ok(list::processes(&answer.body, &self.name)),
            status => Err(ListError::Status(status.as_u16())),
        }
    }

    /// Gives an order to the server, which has the process or passes the order on.
    pub(super) async fn order(&self, order: &ForwardedOrder) -> Result<bool, OrderError> {
        if !self.is_reachable().await {
            return Err(self.unreachable());
        }
        let body = json!({
            "action": order.order.as_str(),
            "process_id": order.process_id.as_str(),
        });
        let mut request = Request::post(self.endpoint.beside("api/actions"))
            .header(CONTENT_TYPE, "application/json");
        // A name that fits no header is left out: it is for logs.
        if let Ok(names) = HeaderValue::try_from(&order.on_behalf_of) {
            request = request.header(ON_BEHALF_OF, names);
        }
        match self
            .ask(request, body.to_string().into(), ORDER_TIMEOUT)
            .await
        {
            Ok(answer) => read_answer(&answer, order),
            // The connection was not made.
            Err(ListError::Connection(error)) if error.is::<std::io::Error>() => {
                Err(self.unreachable())
            }
            Err(_) => Err(OrderError::Unanswered),
        }
    }

    fn unreachable(&self) -> OrderError {
        OrderError::Unreachable(format!("{} is not connected", self.name))
    }

    /// Asks the server whether a path may go on through it. A server that is not there, or knows no
    /// paths, has nothing against it.
    pub(super) async fn check_path(&self, path: &RelayPath) -> Result<(), PathError> {
        let request = Request::get(self.endpoint.target()).header(PATH_HEADER, path.header());
        match self.ask(request, Bytes::new(), PATH_TIMEOUT).await {
            Ok(answer) if answer.status == StatusCode::LOOP_DETECTED => {
                let is_too_long = answer.body == PathError::TooLong.text().as_bytes();
                Err(if is_too_long {
                    PathError::TooLong
                } else {
                    PathError::Loop
                })
            }
            _ => Ok(()),
        }
    }

    async fn ask(
        &self,
        request: http::request::Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<HttpAnswer, ListError> {
        let request = request
            .body(Full::new(body))
            .map_err(|error| ListError::InvalidResponse(error.into()))?;
        timeout(limit, self.endpoint.exchange(request))
            .await
            .map_err(|_| ListError::Timeout)?
    }
}

#[derive(Deserialize)]
struct Accepted {
    accepted: bool,
}

/// Reads the answer to an order.
fn read_answer(answer: &HttpAnswer, order: &ForwardedOrder) -> Result<bool, OrderError> {
    let text = || cause(&answer.body, order.order.as_str());
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body)
            .map(|Accepted { accepted }| accepted)
            .map_err(|error| OrderError::InvalidAnswer(error.to_string())),
        StatusCode::BAD_REQUEST => Err(OrderError::NoSuchProcess(order.process_id.clone())),
        StatusCode::UNAUTHORIZED => Err(OrderError::Refused(
            "the token of the relay is not accepted there".to_owned(),
        )),
        StatusCode::FORBIDDEN => Err(OrderError::Refused(match text() {
            text if text == "Forbidden" => {
                "the token of the relay may not control it there".to_owned()
            }
            text => text,
        })),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Err(OrderError::Unreachable(text()))
        }
        StatusCode::GATEWAY_TIMEOUT => Err(OrderError::Unanswered),
        status => Err(OrderError::InvalidAnswer(status.to_string())),
    }
}

/// Returns what a server says of an order, without what the servers on the way say before it.
fn cause(body: &[u8], order: &str) -> String {
    let text = String::from_utf8_lossy(body);
    let mut text = text.trim();
    let before = [
        &format!("{order}: "),
        "the node that has the process refuses: ",
        "the node that has the process is not reachable: ",
    ];
    while let Some(rest) = before.iter().find_map(|start| text.strip_prefix(start)) {
        text = rest;
    }
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.contains(['<', '\n']) {
        return "it does not say why".to_owned();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ProcessId, ProcessOrder};

    fn read(status: u16, body: &str) -> Result<bool, OrderError> {
        let order = ForwardedOrder::new(
            ProcessId::parse("web").unwrap(),
            ProcessOrder::Stop,
            "alice",
        );
        let answer = HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            version: None,
            body: body.as_bytes().to_vec(),
        };
        read_answer(&answer, &order)
    }

    #[test]
    fn each_answer_to_an_order_has_a_meaning() {
        assert_eq!(read(200, r#"{"accepted":true}"#), Ok(true));
        assert_eq!(read(200, r#"{"accepted":false}"#), Ok(false));
        for (status, body, text) in [
            (400, "x", "there is no process web on any node"),
            (
                401,
                "Unauthorised",
                "the node that has the process refuses: the token of the relay is not accepted there",
            ),
            (
                403,
                "Forbidden",
                "the node that has the process refuses: the token of the relay may not control it there",
            ),
            (
                403,
                "process.stop: the node that has the process refuses: process.stop: not here",
                "the node that has the process refuses: not here",
            ),
            (
                503,
                "process.stop: the node that has the process is not reachable: h:1 is not connected",
                "the node that has the process is not reachable: h:1 is not connected",
            ),
            (
                503,
                "<html>",
                "the node that has the process is not reachable: it does not say why",
            ),
            (
                504,
                "",
                "the node that has the process did not answer: whether it has the order is unknown",
            ),
            (
                502,
                "",
                "the node that has the process gave no valid answer: 502 Bad Gateway",
            ),
        ] {
            assert_eq!(read(status, body).unwrap_err().to_string(), text);
        }
    }
}
