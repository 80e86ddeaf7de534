//! The first minute: the address of the page, a browser that opens it, examples.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use outrace_testkit::{Scratch, bounded, http, until};
use rcgen::generate_simple_self_signed;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::program::{Outrace, outrace, run};

/// Returns a `PATH` whose `xdg-open` is this script.
fn path_with_opener(scratch: &Scratch, script: &str) -> String {
    for name in ["xdg-open", "open"] {
        let opener = scratch.file(name, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folder = scratch.folder().display();
    format!("{folder}:{}", std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn the_address_of_the_page_ends_the_first_line_and_is_the_page() {
    bounded(async {
        let scratch = Scratch::new();
        let log = scratch.file("a.log", "");
        for command in [
            &["serve"][..],
            &["run", "--stay", "--", "true"],
            &["pipe", "--id", "p"],
            &["tail", &log],
            &["serve", "--base-path", "/logs"],
        ] {
            let (name, rest) = command.split_first().unwrap();
            let mut all = vec![*name, "--listen", "127.0.0.1:0"];
            all.extend(rest);
            let mut server = Outrace::start(&all);
            let said = server.complaint().await;
            let (ws, page) = said.rsplit_once(", page http://").expect(&said);
            let (_, ws) = ws.split_once("ws://").unwrap();
            assert_eq!(ws.split(',').next().unwrap(), format!("{page}ws"));
            let (address, path) = page.split_once('/').unwrap();
            let response = http::get(address.parse().unwrap(), &format!("/{path}"));
            assert_eq!(response.status, 200, "{command:?}: {response:?}");
            assert!(response.body.contains("<html"), "{command:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_of_a_server_with_tls_on_all_addresses_is_https_on_loopback() {
    bounded(async {
        let (scratch, certificate, key) = self_signed();
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let arguments = [&["serve", "--listen", "0.0.0.0:0", "--no-auth"][..], &tls].concat();
        let said = Outrace::start(&arguments).complaint().await;
        assert!(said.contains(", page https://127.0.0.1:"), "{said}");
        drop(scratch);
    })
    .await;
}

#[tokio::test]
async fn open_passes_the_page_to_the_opener_which_outlives_the_command() {
    bounded(async {
        let scratch = Scratch::new();
        let (begun, ended) = (scratch.path("begun"), scratch.path("ended"));
        let fifo = scratch.path("fifo");
        let script = format!(
            "mkfifo {fifo}; echo \"$1\" > {begun}.new; mv {begun}.new {begun}; \
             read line < {fifo}; echo \"$line\" > {ended}"
        );
        let mut child = outrace(&["run", "--open", "--listen", "127.0.0.1:0", "--", "cat"])
            .env("PATH", path_with_opener(&scratch, &script))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = stderr.lines().next_line().await.unwrap().unwrap();
        let (_, page) = said.split_once(", page ").unwrap();
        until("the page is opened", || std::fs::exists(&begun).unwrap());
        assert_eq!(std::fs::read_to_string(&begun).unwrap().trim_end(), page);
        drop(child.stdin.take());
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
        // All that the command has started has been ended; the browser has not.
        std::fs::write(&fifo, "still here\n").unwrap();
        until("the opener ends by itself", || {
            std::fs::read_to_string(&ended).is_ok_and(|text| text == "still here\n")
        });
    })
    .await;
}

#[tokio::test]
async fn a_page_that_cannot_be_opened_costs_one_sentence() {
    bounded(async {
        let scratch = Scratch::new();
        let path = path_with_opener(&scratch, "exit 3");
        let mut server = outrace(&["serve", "--open", "--listen", "127.0.0.1:0"])
            .env("PATH", path)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stderr.take().unwrap()).lines();
        let listening = said.next_line().await.unwrap().unwrap();
        let (_, page) = listening.split_once(", page ").unwrap();
        let complaint = said.next_line().await.unwrap().unwrap();
        assert!(
            complaint.starts_with("outrace: cannot open the page: "),
            "{complaint}"
        );
        assert!(complaint.ends_with(&format!("ended with code 3; open {page} yourself")));
    })
    .await;
}

#[tokio::test]
async fn without_arguments_three_examples_are_shown() {
    bounded(async {
        let (code, stdout, stderr) = run(&[]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        let (_, examples) = stderr.split_once("Examples:\n").expect(&stderr);
        assert_eq!(examples.matches("  outrace ").count(), 3, "{examples}");
    })
    .await;
}

#[tokio::test]
async fn healthcheck_ends_with_0_while_the_server_is_up_and_with_1_and_a_sentence_otherwise() {
    bounded(async {
        let server = Outrace::serving(&["serve", "--base-path", "/logs"]).await;
        let address = server.address();
        for url in [
            &server.url,
            &format!("http://{address}"),
            &format!("http://{address}/logs/"),
        ] {
            let (code, stdout, stderr) = run(&["healthcheck", url]).await;
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{url}");
            assert!(stdout.ends_with("healthz is up\n"), "{stdout}");
        }
        let (code, _, stderr) = run(&["healthcheck", &format!("http://{address}/other")]).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains("serves it under another path"), "{stderr}");
        drop(server);
        let (code, stdout, stderr) = run(&["healthcheck", &format!("http://{address}")]).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("cannot connect"), "{stderr}");
        assert_eq!(run(&["healthcheck", "no-url"]).await.0, Some(2));
    })
    .await;
}

#[tokio::test]
async fn healthcheck_needs_no_token_and_takes_any_certificate() {
    bounded(async {
        let (scratch, certificate, key) = self_signed();
        let tokens = scratch.file("tokens", "alice SECRETalice0123456789\n");
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let arguments = [&["serve", "--token-file", &tokens][..], &tls].concat();
        let server = Outrace::serving_at("wss", &arguments).await;
        let (code, stdout, stderr) = run(&["healthcheck", &server.url]).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        let plain = server.url.replace("wss://", "ws://");
        assert_eq!(run(&["healthcheck", &plain]).await.0, Some(1));
    })
    .await;
}

#[tokio::test]
async fn healthcheck_gives_up_on_a_server_that_does_not_answer() {
    bounded(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let (code, _, stderr) = run(&["healthcheck", "--timeout", "100ms", &url]).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains("no answer within 100ms"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn completions_and_manual_pages_name_every_command_that_the_help_does() {
    bounded(async {
        let (_, help, _) = run(&["--help"]).await;
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let (commands, _) = commands.split_once("\n\n").unwrap();
        let names = commands
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let names: Vec<_> = names.filter(|name| *name != "help").collect();
        assert!(
            names.contains(&"run") && names.contains(&"healthcheck"),
            "{names:?}"
        );

        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let (code, script, _) = run(&["completions", shell]).await;
            assert_eq!(code, Some(0));
            for name in names.iter().chain(&["flush-timeout", "catch-up"]) {
                assert!(script.contains(name), "{shell}: {name}");
            }
        }
        assert_eq!(run(&["completions", "cmd"]).await.0, Some(2));

        let scratch = Scratch::new();
        let folder = scratch.folder().join("man/man1");
        assert_eq!(run(&["man", folder.to_str().unwrap()]).await.0, Some(0));
        for name in &names {
            let page = std::fs::read_to_string(folder.join(format!("outrace-{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME"), "{page}");
        }
        let page = std::fs::read_to_string(folder.join("outrace.1")).unwrap();
        assert_eq!(run(&["man"]).await.1, page);
        // Children of `load` and `run` are nothing to read about.
        assert!(!folder.join("outrace-guard.1").exists());

        let (code, _, stderr) = run(&["man", "/dev/null/x"]).await;
        assert_eq!(code, Some(1));
        assert!(
            stderr.starts_with("outrace: cannot write to /dev/null/x: "),
            "{stderr}"
        );
    })
    .await;
}

/// Returns the files of a certificate for localhost and its key.
fn self_signed() -> (Scratch, String, String) {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let scratch = Scratch::new();
    let certificate = scratch.file("cert.pem", made.cert.pem());
    let key = scratch.file("key.pem", made.signing_key.serialize_pem());
    (scratch, certificate, key)
}
