//! Typical mistakes in a command line: each gets one sentence that says what to type.

use outrace_testkit::{JsonClient, Scratch, bounded};

use crate::program::{Outrace, run};

/// Command lines that are refused with code 2, and what the sentence says to type.
const REFUSED: [(&[&str], &str); 26] = [
    (&["npm", "start"], "type outrace run -- npm start"),
    (&["echo", "a b"], "type outrace run -- echo 'a b'"),
    (&["run", "npm", "start"], "type outrace run -- npm start"),
    (&["run", "ls", "-la"], "type outrace run -- ls -la"),
    (
        &["run", "--stay", "npm", "start"],
        "type outrace run --stay -- npm start",
    ),
    (
        &["run", "--id", "a", "npm", "-x"],
        "go after --: outrace run -- CMD",
    ),
    (&["run"], "type outrace run -- CMD"),
    (
        &["run", "--lossless", "10", "--", "true"],
        "type --lossless=10",
    ),
    (&["run", "-id", "web", "--", "true"], "type --id NAME"),
    (
        &["--port", "8080"],
        "type outrace serve --listen 127.0.0.1:8080",
    ),
    (&["serve", "--port", "8080"], "type --listen 127.0.0.1:8080"),
    (&["serve", "--port=8080"], "type --listen 127.0.0.1:8080"),
    (&["serve", "-p", "8080"], "type --listen 127.0.0.1:8080"),
    (
        &["serve", "--host", "0.0.0.0"],
        "type --listen 0.0.0.0:7223",
    ),
    (&["serve", "8080"], "type --listen 127.0.0.1:8080"),
    (
        &["serve", "--listen", "8080"],
        "type 127.0.0.1:8080 for this machine",
    ),
    (
        &["serve", "--listen", ":8080"],
        "0.0.0.0:8080 for all of its addresses",
    ),
    (
        &["serve", "--", "npm", "start"],
        "type outrace run -- npm start",
    ),
    (&["serve", "--lisen", "127.0.0.1:1"], "'--listen'"),
    (&["tail"], "type outrace tail FILE"),
    (
        &["tail", "-F", "a.log"],
        "leave it out: tail follows by itself",
    ),
    (&["logs", "a.log"], "type outrace tail FILE"),
    (&["pipe", "web"], "type CMD | outrace pipe --id web"),
    (&["wach"], "'watch'"),
    (&["watch", "localhost:7223"], "type ws://localhost:7223/ws"),
    (
        &["watch", "process:web", "http://127.0.0.1:1"],
        "outrace watch http://127.0.0.1:1 CHANNEL",
    ),
];

#[tokio::test]
async fn a_command_line_that_is_refused_gets_one_sentence_that_says_what_to_type() {
    bounded(async {
        for (arguments, advice) in REFUSED {
            let (code, stdout, stderr) = run(arguments).await;
            assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
            assert_eq!(stdout, "", "{arguments:?}");
            assert!(stderr.starts_with("outrace: "), "{arguments:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
            assert!(stderr.contains(advice), "{arguments:?}: {stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_whole_command_in_quotes_is_not_found_and_the_sentence_says_to_leave_them_out() {
    bounded(async {
        let arguments = [
            "run",
            "--quiet",
            "--listen",
            "127.0.0.1:0",
            "--",
            "no such program",
        ];
        let (code, _, stderr) = run(&arguments).await;
        assert_eq!(code, Some(127));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("leave out the quotes"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_missing_is_waited_for_and_that_is_said() {
    bounded(async {
        let scratch = Scratch::new();
        let path = scratch.path("missing.log");
        let mut tail = Outrace::serving(&["tail", &path]).await;
        let said = tail.complaint().await;
        assert!(said.ends_with("is not there; waiting for it"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn help_before_the_name_of_a_command_is_about_the_command() {
    bounded(async {
        let (code, before, _) = run(&["--help", "tail"]).await;
        assert_eq!(code, Some(0));
        let (_, behind, _) = run(&["tail", "--help"]).await;
        assert_eq!(before, behind);
        let (_, of_all, _) = run(&["--help"]).await;
        assert_ne!(before, of_all);
    })
    .await;
}

#[tokio::test]
async fn watch_says_which_channel_a_bare_name_may_mean_if_that_one_exists() {
    bounded(async {
        let mut pipe = Outrace::serving(&["pipe", "--id", "web"]).await;
        // The channel exists when it can be subscribed to.
        JsonClient::subscribed(&pipe.url, "process:web").await;
        let mut watch = Outrace::start(&["watch", &pipe.url, "web"]);
        assert_eq!(
            watch.complaint().await,
            "outrace: there is no channel web yet; to watch process:web, type process:web"
        );
        assert_eq!(pipe.code().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart_from_one_that_is_not_there() {
    bounded(async {
        let server = Outrace::serving(&["serve"]).await;
        let url = server.url.replace("ws://", "wss://");
        let (code, _, stderr) = run(&["watch", "--no-retry", &url]).await;
        assert_eq!(code, Some(1));
        assert!(
            stderr.contains("without TLS is reached with ws://"),
            "{stderr}"
        );
    })
    .await;
}
