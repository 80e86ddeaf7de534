//! Orders for processes that are given at a relay.

use std::net::SocketAddr;

use outrace::access::TokenTable;
use outrace::backplane::relay::Relay;
use outrace::process::{Control, Program, Supervised, Supervisor};
use outrace::server::{Processes, ServeOptions, serve_with};
use outrace::{Hub, HubBuilder};
use outrace_testkit::{Proxy, bounded, eventually, http, serve};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::relay::{ANY_PORT, address, relay_of, relay_of_all, relay_with};

/// A server with the process `web`, which runs until it is stopped.
struct ProcessHome {
    url: String,
    hub: Hub,
    supervisor: Supervisor,
}

impl ProcessHome {
    async fn start(id: &str, hub: HubBuilder) -> Self {
        let hub = hub.history(100).build().unwrap();
        let process = Supervised::new(id, Program::shell("sleep 1000")).unwrap();
        let supervisor = Supervisor::builder().process(process).start(&hub).unwrap();
        let router = hub
            .router()
            .layer(Processes::new(supervisor.control(), true).layer());
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let never = std::future::pending();
        let options = ServeOptions::default();
        tokio::spawn(serve_with(listener, hub.clone(), router, options, never));
        Self {
            url,
            hub,
            supervisor,
        }
    }

    async fn is(&self, status: &str) {
        let control: Control = self.supervisor.control();
        control
            .wait_until(|all| all[0].status.as_str() == status)
            .await;
    }
}

async fn order(url: &str, headers: &str, body: &str) -> http::Response {
    let (address, headers, body) = (address(url), headers.to_owned(), body.to_owned());
    let posted = move || http::act_with(address, &headers, &body);
    tokio::task::spawn_blocking(posted).await.unwrap()
}

fn action(name: &str) -> String {
    format!(r#"{{"action":"process.{name}","process_id":"web"}}"#)
}

async fn processes(url: &str, headers: &str) -> Value {
    let (address, headers): (SocketAddr, String) = (address(url), headers.to_owned());
    let get = move || http::get_with(address, "/api/processes", &headers).json();
    tokio::task::spawn_blocking(get).await.unwrap()
}

fn tokens(lines: &str) -> TokenTable {
    TokenTable::parse(lines).unwrap()
}

const SECRET: &str = "a-secret-of-thirty-two-characters";
const OTHER_SECRET: &str = "another-secret-of-many-characters";

#[tokio::test]
async fn a_process_is_stopped_and_started_at_a_relay_of_a_relay() {
    bounded(async {
        let home = ProcessHome::start("web", Hub::builder()).await;
        home.is("running").await;
        let near = serve(&relay_of(&home.url)).await;
        let far = serve(&relay_of(&near)).await;
        let list = processes(&far, "").await;
        assert_eq!(list[0]["id"], "web", "{list}");
        assert_eq!(list[0]["controllable"], true);
        assert_eq!(list[0]["node"], address(&home.url).to_string());
        let answer = order(&far, "", &action("stop")).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (200, r#"{"accepted":true}"#)
        );
        home.is("stopped").await;
        let answer = order(&far, "", &format!("[{}]", action("start"))).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (200, r#"[{"accepted":true}]"#)
        );
        home.is("running").await;
        let unknown = action("stop").replace("web", "db");
        order(&far, "", &unknown)
            .await
            .assert_refusal(400, "process.stop: there is no process db on any node");
        order(
            &far,
            "",
            &format!(r#"[{},{{"action":"ws.stats"}}]"#, action("stop")),
        )
        .await
        .assert_refusal(
            400,
            "process.stop: an order for a process of another node comes alone",
        );
    })
    .await;
}

#[tokio::test]
async fn the_relay_checks_the_rights_of_its_clients_and_the_home_those_of_the_relay() {
    bounded(async {
        let watcher_and_operator = format!(
            "watcher {OTHER_SECRET} subscribe=*\noperator {SECRET} subscribe=* control=*\n"
        );
        let home = ProcessHome::start("web", Hub::builder()).await;
        home.is("running").await;
        let relay = Relay::builder(&home.url).build().unwrap();
        let hub = Hub::builder()
            .authenticator(tokens(&watcher_and_operator))
            .backplane(relay)
            .build()
            .unwrap();
        hub.start();
        let url = serve(&hub).await;
        let (watcher, operator) = (http::bearer(OTHER_SECRET), http::bearer(SECRET));
        assert_eq!(processes(&url, &watcher).await[0]["controllable"], false);
        assert_eq!(processes(&url, &operator).await[0]["controllable"], true);
        order(&url, &watcher, &action("stop"))
            .await
            .assert_refusal(403, "Forbidden");
        assert_eq!(order(&url, &operator, &action("stop")).await.status, 200);
        home.is("stopped").await;

        // A home that lets the relay watch only.
        let hub = Hub::builder().authenticator(tokens(&watcher_and_operator));
        let home = ProcessHome::start("web", hub).await;
        let relay = relay_with(Relay::builder(&home.url).token(OTHER_SECRET), &[]);
        let url = serve(&relay).await;
        order(&url, "", &action("stop")).await.assert_refusal(
            403,
            "process.stop: the node that has the process refuses: \
             the token of the relay may not control it there",
        );
        let refused = &home.hub.stats().refused;
        assert_eq!(refused["forbidden"], 1);
    })
    .await;
}

#[tokio::test]
async fn an_order_for_a_home_that_is_gone_is_refused_with_a_sentence_at_each_relay() {
    bounded(async {
        let home = ProcessHome::start("web", Hub::builder()).await;
        let proxy = Proxy::start(address(&home.url)).await;
        let near_hub = relay_of(&format!("ws://{}/ws", proxy.address));
        let near = serve(&near_hub).await;
        let far = serve(&relay_of(&near)).await;
        assert_eq!(processes(&far, "").await[0]["controllable"], true);
        proxy.cut();
        eventually(|| near_hub.stats().backplane.unwrap().connected == 0).await;
        let text = format!(
            "process.stop: the node that has the process is not reachable: {} is not connected",
            proxy.address
        );
        for url in [&near, &far] {
            order(url, "", &action("stop"))
                .await
                .assert_refusal(503, &text);
        }
        let list = processes(&near, "").await;
        assert_eq!(list[0]["controllable"], false, "{list}");
        assert_eq!(list[0]["status"], "lost");
        assert_eq!(near_hub.stats().refused["node gone"], 2);
        home.is("running").await;
    })
    .await;
}

#[tokio::test]
async fn an_order_goes_to_the_server_that_has_the_process() {
    bounded(async {
        let web = ProcessHome::start("web", Hub::builder()).await;
        let db = ProcessHome::start("db", Hub::builder()).await;
        db.is("running").await;
        let url = serve(&relay_of_all(&[&web.url, &db.url])).await;
        let stop = action("stop").replace("web", "db");
        assert_eq!(order(&url, "", &stop).await.status, 200);
        db.is("stopped").await;
        web.is("running").await;
        let list = processes(&url, "").await;
        let ids: Vec<_> = list.as_array().unwrap().iter().map(|p| &p["id"]).collect();
        assert_eq!(ids, ["db", "web"]);
        let unknown = action("stop").replace("web", "nobody");
        order(&url, "", &unknown)
            .await
            .assert_refusal(400, "process.stop: there is no process nobody on any node");
    })
    .await;
}
