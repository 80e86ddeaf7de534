//! `outrace serve --join`: a server that takes its channels from another one.

use outrace_testkit::http::{act, act_with, bearer, get};
use outrace_testkit::{Scratch, bounded, until};

use crate::program::{Outrace, run};

/// Publishes a line of the process `web` over HTTP.
fn publish(home: &Outrace, headers: &str, line: &str) {
    let body =
        format!(r#"{{"action":"ws.send_process_output","process_id":"web","output":"{line}"}}"#);
    let headers = format!("Content-Type: application/json\r\n{headers}");
    assert_eq!(act_with(home.address(), &headers, &body).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_watched_at_a_relay_of_a_relay() {
    bounded(async {
        let home = Outrace::serving(&["serve"]).await;
        let near = Outrace::serving(&["serve", "--join", &home.url]).await;
        let far = Outrace::serving(&["serve", "--join", &near.url]).await;
        publish(&home, "", "one");
        let mut watcher = Outrace::start(&["watch", &far.url, "process:web", "-n", "10"]);
        assert_eq!(watcher.printed().await, "one\n");
        publish(&home, "", "two");
        assert_eq!(watcher.printed().await, "two\n");
        let listed = get(far.address(), "/api/channels").json();
        assert_eq!(listed[0]["channel"], "process:web", "{listed}");
        assert_eq!(listed[0]["node"], home.address().to_string(), "{listed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_the_processes_of_the_home() {
    bounded(async {
        let home = Outrace::serving(&["serve"]).await;
        let relay = Outrace::serving(&["serve", "--join", &home.url]).await;
        let mut watcher = Outrace::start(&["watch", &relay.url, "process:*", "-n", "10"]);
        publish(&home, "", "one");
        assert_eq!(watcher.printed().await, "process:web: one\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_the_relay_in_and_is_not_shown() {
    bounded(async {
        let folder = Scratch::new();
        let secret = "a-secret-of-thirty-two-characters";
        let tokens = folder.file("tokens", format!("relay {secret} subscribe=* publish=*\n"));
        let token = folder.file("token", format!("{secret}\n"));
        let home = Outrace::serving(&["serve", "--token-file", &tokens]).await;
        let join = ["serve", "--join", &home.url, "--join-token-file", &token];
        let relay = Outrace::serving(&join).await;
        publish(&home, &bearer(secret), "one");
        let mut watcher = Outrace::start(&["watch", &relay.url, "process:web", "-n", "10"]);
        assert_eq!(watcher.printed().await, "one\n");
        let mut stranger = Outrace::serving(&["serve", "--join", &home.url]).await;
        let said = stranger.complaint_with("cannot connect").await;
        assert!(said.contains("401") && !said.contains(secret), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_curl_of_a_relay_gets_the_lines_of_the_home() {
    bounded(async {
        let home = Outrace::serving(&["serve"]).await;
        let relay = Outrace::serving(&["serve", "--join", &home.url]).await;
        publish(&home, "", "one");
        let address = relay.address();
        let stream = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request =
                "GET /api/channels/process:web/stream?tail=5 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            let mut buffer = [0; 1024];
            until("the line", || {
                let read = stream.read(&mut buffer).unwrap();
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                text.contains("one\n")
            });
        });
        stream.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_takes_no_lines_of_its_own() {
    bounded(async {
        let home = Outrace::serving(&["serve"]).await;
        let relay = Outrace::serving(&["serve", "--join", &home.url]).await;
        let body = r#"{"action":"ws.send_process_output","process_id":"web","output":"x"}"#;
        assert_eq!(act(relay.address(), body).status, 421);
        let event = r#"{"action":"ws.send_event","event":"e","data":1}"#;
        assert_eq!(act(relay.address(), event).status, 200);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_the_start() {
    let (code, _, stderr) = run(&["serve", "--join", "ftp://home/ws"]).await;
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("--join") && stderr.contains("ws://"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&["serve", "--join-token", "x"]).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--join <URL>"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_are_watched_as_one() {
    bounded(async {
        let (web, db) = (
            Outrace::serving(&["serve"]).await,
            Outrace::serving(&["serve"]).await,
        );
        let join = ["serve", "--join", &web.url, "--join", &db.url];
        let relay = Outrace::serving(&join).await;
        let mut watcher = Outrace::start(&["watch", &relay.url, "process:*", "-n", "10"]);
        publish(&web, "", "of web");
        assert_eq!(watcher.printed().await, "process:web: of web\n");
        let body = r#"{"action":"ws.send_process_output","process_id":"db","output":"of db"}"#;
        assert_eq!(act(db.address(), body).status, 200);
        assert_eq!(watcher.printed().await, "process:db: of db\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_runs_elsewhere_is_controlled_at_the_relay() {
    bounded(async {
        let home = Outrace::serving(&["run", "--control", "web=sleep 1000", "db=sleep 1000"]).await;
        let relay = Outrace::serving(&["serve", "--join", &home.url]).await;
        let list = get(relay.address(), "/api/processes").json();
        let id = list[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(list[0]["controllable"], true, "{list}");
        assert_eq!(list[0]["node"], home.address().to_string(), "{list}");
        let stop = format!(r#"{{"action":"process.stop","process_id":"{id}"}}"#);
        assert_eq!(act(relay.address(), &stop).json()["accepted"], true);
        until("the stop", || {
            get(home.address(), "/api/processes").json()[0]["status"] == "stopped"
        });
    })
    .await;
}

#[tokio::test]
async fn a_server_that_joins_itself_says_that_this_is_a_loop() {
    bounded(async {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap().to_string();
        drop(held);
        let url = format!("ws://{address}/ws");
        let mut server = Outrace::start(&["serve", "--listen", &address, "--join", &url]);
        let said = server.complaint_with("loop").await;
        assert!(said.contains("508") && said.contains(&url), "{said}");
    })
    .await;
}
