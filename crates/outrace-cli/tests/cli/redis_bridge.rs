//! `--redis-bridge`: messages cross to other nodes over Redis.

use outrace_testkit::http::get;
use outrace_testkit::{RedisServer, bounded, until};

use crate::program::{Outrace, run};

/// Waits until the node's bridge is connected.
async fn until_connected(node: &Outrace) {
    let address = node.address();
    let connected = move || get(address, "/api/stats").json()["bridge"]["connected"] == true;
    let wait = move || until("the bridge is connected", connected);
    tokio::task::spawn_blocking(wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_watched_at_another_node_to_its_final_status() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let url = redis.url();
        let node = Outrace::serving(&["serve", "--redis-bridge", &url]).await;
        until_connected(&node).await;
        let mut pipe = Outrace::serving(&["pipe", "--id", "web", "--redis-bridge", &url]).await;
        until_connected(&pipe).await;
        let mut watcher = Outrace::start(&["watch", &node.url, "process:web", "-n", "10"]);
        pipe.say("one\n").await;
        assert_eq!(watcher.printed().await, "one\n");
        // The end of its input ends the program: its last status still crosses.
        drop(pipe.stdin.take());
        assert_eq!(pipe.code().await, Some(0));
        let address = node.address();
        let wait = move || {
            until("the final status is there", || {
                get(address, "/api/channels").json()[0]["status"]["status"] == "exited"
            });
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
        let metrics = get(node.address(), "/metrics").body;
        assert!(
            metrics.contains("outrace_bridge_connected 1\n"),
            "{metrics}"
        );
        assert!(
            metrics.contains("outrace_bridge_imported_messages_total"),
            "{metrics}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_is_told_once_and_the_node_serves_without_it() {
    bounded(async {
        let Some(mut redis) = RedisServer::start().await else {
            return;
        };
        let mut node = Outrace::serving(&["serve", "--redis-bridge", &redis.url()]).await;
        until_connected(&node).await;
        redis.stop().await;
        node.complaint_with("lost the connection to Redis").await;
        assert_eq!(get(node.address(), "/healthz").status, 200);
        redis.restart_with_listener("ws:*").await;
        node.complaint_with("connected to Redis").await;
        let stats = get(node.address(), "/api/stats").json();
        assert_eq!(stats["bridge"]["reconnects"], 1, "{stats}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    bounded(async {
        for url in ["http://user:secret@host", "redis://user:secret@host:port"] {
            let (code, _, said) = run(&["serve", "--redis-bridge", url]).await;
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains("--redis-bridge") && !said.contains("secret"),
                "{said}"
            );
        }
        let both = [
            "serve",
            "--join",
            "ws://h/ws",
            "--redis-bridge",
            "redis://h",
        ];
        let (code, _, said) = run(&both).await;
        assert!(
            code == Some(2) && said.contains("cannot be used with"),
            "{said}"
        );
    })
    .await;
}
