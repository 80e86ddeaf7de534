//! Authentication by options of the program: tokens, signed tokens, origins, TLS, and their reload
//! on SIGHUP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use outrace_testkit::http::{self, bearer, get_with};
use outrace_testkit::{JsonClient, Scratch, base64url, bounded};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;

use crate::program::{Outrace, outrace, run};

const ALICE: &str = "SECRETalice0123456789";
const BOB: &str = "SECRETbob012345678901";

/// Publishes a line of a process, and returns the response's status.
fn publish(outrace: &Outrace, token: &str, id: &str) -> u16 {
    let body = format!(
        r#"{{"action":"ws.send_process_output","process_id":"{id}","output":"from {id}"}}"#
    );
    let headers = format!("Content-Type: application/json\r\n{}", bearer(token));
    http::post(outrace.address(), "/api/actions", &headers, &body).status
}

/// Returns the command `outrace watch`, with a token in its environment.
fn watch(arguments: &[&str], token: Option<&str>) -> tokio::process::Command {
    let mut command = outrace(&["watch"]);
    command
        .args(arguments)
        .env_remove("OUTRACE_TOKEN")
        .kill_on_drop(true);
    command.stdin(std::process::Stdio::null());
    if let Some(token) = token {
        command.env("OUTRACE_TOKEN", token);
    }
    command
}

#[tokio::test]
async fn a_token_file_grants_watching_and_publishing() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file(
            "tokens",
            format!(
                "alice {ALICE} subscribe=process:web*\nbob {BOB} subscribe= publish=process:web*\n"
            ),
        );
        let server = Outrace::serving(&["serve", "--token-file", &tokens]).await;
        get_with(server.address(), "/api/stats", "").assert_refusal(401, "Unauthorised");
        assert_eq!(
            get_with(server.address(), "/api/stats", &bearer(ALICE)).status,
            200
        );
        assert_eq!(
            get_with(server.address(), &format!("/api/stats?token={BOB}"), "").status,
            200
        );
        assert_eq!(get_with(server.address(), "/healthz", "").status, 200);
        assert_eq!(
            get_with(server.address(), "/", "").status,
            200,
            "the page asks for a token itself"
        );
        assert_eq!(
            (publish(&server, ALICE, "web"), publish(&server, BOB, "db")),
            (403, 403)
        );
        assert_eq!(publish(&server, BOB, "web"), 200);

        // `outrace watch` takes a token from the environment, from an option, and from a file.
        let file = folder.file("alice", format!("{ALICE}\n"));
        for (arguments, token) in [
            (vec![], Some(ALICE)),
            (vec!["--token", ALICE], None),
            (vec!["--token-file", &file], Some(BOB)),
        ] {
            let mut all = vec!["--tail", "1", "--no-retry", &server.url, "process:web"];
            all.extend(arguments);
            let mut child = watch(&all, token)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line)
                .await
                .unwrap();
            assert_eq!(line, "from web\n");
        }
        let refused = watch(&["--no-retry", &server.url, "process:web"], None)
            .output()
            .await
            .unwrap();
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            complaint.contains("401") && complaint.contains("Unauthorised"),
            "{complaint}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_signed_token_grants_watching_and_publishing() {
    bounded(async {
        const SECRET: &str = "SECRET0123456789abcdef0123456789";
        let signed = |claims: &str| {
            let part = |text: &str| base64url(text.as_bytes());
            let message = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
            let signature = base64url(ring::hmac::sign(&key, message.as_bytes()).as_ref());
            format!("{message}.{signature}")
        };
        let folder = Scratch::new();
        let key = folder.file("key", format!("{SECRET}\n"));
        let tokens = folder.file("tokens", format!("alice {ALICE}\n"));
        let all = [
            "serve",
            "--jwt-key",
            &key,
            "--jwt-issuer",
            "me",
            "--token-file",
            &tokens,
        ];
        let server = Outrace::serving(&all).await;
        let status = |claims: &str| {
            get_with(server.address(), "/api/stats", &bearer(&signed(claims))).status
        };
        assert_eq!(status(r#"{"sub":"u","iss":"me","exp":4102444800}"#), 200);
        assert_eq!(status(r#"{"sub":"u","iss":"you","exp":4102444800}"#), 401);
        assert_eq!(status(r#"{"sub":"u","iss":"me","exp":1}"#), 401);
        assert_eq!(status(r#"{"sub":"u","iss":"me"}"#), 401);
        assert_eq!(
            get_with(server.address(), "/api/stats", &bearer(ALICE)).status,
            200,
            "either does"
        );
        let ci = signed(
            r#"{"sub":"ci","iss":"me","exp":4102444800,"subscribe":[],"publish":["process:ci*"]}"#,
        );
        assert_eq!(
            (publish(&server, &ci, "ci-1"), publish(&server, &ci, "web")),
            (200, 403)
        );
        let stream = get_with(
            server.address(),
            "/api/channels/process:ci-1/stream",
            &bearer(&ci),
        );
        stream.assert_refusal(403, "Subscribe: subscription unauthorised");
    })
    .await;
}

#[tokio::test]
async fn listening_for_other_machines_without_an_option_about_access_is_refused() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", format!("alice {ALICE}\n"));
        for command in [
            &["serve", "--listen", "0.0.0.0:0"][..],
            &["serve", "--listen", "[::]:0"],
            &["pipe", "--id", "a", "--listen", "0.0.0.0:0"],
            &["run", "--listen", "0.0.0.0:0", "--", "true"],
        ] {
            let (code, stdout, stderr) = run(command).await;
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
            assert!(
                stderr.contains("--token-file") && stderr.contains("--no-auth"),
                "{stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
        for allowed in [&["--no-auth"][..], &["--token-file", &tokens]] {
            let mut server =
                Outrace::start(&[&["serve", "--listen", "0.0.0.0:0"], allowed].concat());
            let said = server.complaint().await;
            assert!(said.contains("listening on ws://0.0.0.0:"), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_option_about_access_ends_the_program_with_one_sentence() {
    bounded(async {
        let folder = Scratch::new();
        let bad_tokens = folder.file("bad-tokens", "alice SECRET\n");
        let no_tokens = folder.file("no-tokens", "# nobody\n");
        let short_key = folder.file("short", "SECRET\n");
        let missing = folder.path("missing");
        for (arguments, code, says) in [
            (vec!["--token-file", &bad_tokens], 2, "line 1"),
            (vec!["--token-file", &no_tokens], 2, "no token"),
            (vec!["--token-file", &missing], 1, "cannot read"),
            (vec!["--jwt-key", &short_key], 2, "at least 32 bytes"),
            (vec!["--allow-origin", "example.org"], 2, "no origin"),
            (
                vec!["--tls-cert", &bad_tokens, "--tls-key", &bad_tokens],
                2,
                "no certificate",
            ),
            (vec!["--tls-cert", &bad_tokens], 2, "--tls-key"),
            (
                vec!["--no-auth", "--token-file", &bad_tokens],
                2,
                "cannot be used with",
            ),
        ] {
            let mut command = vec!["serve", "--listen", "127.0.0.1:0"];
            command.extend(arguments);
            let (found, _, stderr) = run(&command).await;
            assert_eq!(found, Some(code), "{command:?}: {stderr}");
            assert!(
                stderr.contains(says) && !stderr.contains("SECRET"),
                "{command:?}: {stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_token_is_in_any_log() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", format!("alice {ALICE} publish=*\n"));
        let mut server =
            Outrace::serving(&["serve", "--token-file", &tokens, "--log", "trace"]).await;
        for token in [ALICE, "SECRETwrong"] {
            for (path, headers) in [
                (format!("/ws?token={token}"), handshake()),
                (format!("/api/stats?token={token}"), String::new()),
                (
                    format!("/api/channels/process:a/stream?token={token}"),
                    "Connection: close\r\n".to_owned(),
                ),
                ("/api/stats".to_owned(), bearer(token)),
                (
                    "/api/stats".to_owned(),
                    format!("X-API-Key: {token}\r\nCookie: SECRET=SECRET\r\n"),
                ),
                ("/nowhere?token=SECRET".to_owned(), bearer(token)),
            ] {
                let answer = get_with(server.address(), &path, &headers);
                assert!([101, 200, 401, 404].contains(&answer.status), "{answer:?}");
            }
            publish(&server, token, "a");
        }
        // A request that the server cannot parse is logged too.
        let broken =
            format!("GET /?token={ALICE} HTTP/1.1\r\nHost: a\r\nAuth{{}}: Bearer {ALICE}\r\n\r\n");
        http::exchange(server.address(), broken.as_bytes());
        server.signal(Signal::TERM);
        assert_eq!(server.code().await, Some(0));
        let mut log = Vec::new();
        while let Some(line) = server.stderr.next_line().await.unwrap() {
            log.push(line);
        }
        assert!(
            log.iter().any(|line| line.contains("refused a request")),
            "it logs at all: {log:?}"
        );
        assert!(log.iter().any(|line| line.contains("connected")), "{log:?}");
        assert!(log.iter().all(|line| !line.contains("SECRET")), "{log:#?}");

        // The client does not print a token of a URL either.
        let url = "ws://127.0.0.1:1/ws?token=SECRET";
        let refused = watch(&["--no-retry", url, "process:a"], Some("SECRET"))
            .output()
            .await
            .unwrap();
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert!(
            complaint.contains("ws://127.0.0.1:1/ws") && !complaint.contains("SECRET"),
            "{complaint}"
        );
    })
    .await;
}

fn handshake() -> String {
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        .to_owned()
}

#[tokio::test]
async fn sighup_reads_the_tokens_again_and_a_bad_file_leaves_the_old_ones() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", format!("alice {ALICE}\n"));
        let mut server =
            Outrace::serving(&["serve", "--token-file", &tokens, "--log", "info"]).await;
        let status = |server: &Outrace, token| {
            get_with(server.address(), "/api/stats", &bearer(token)).status
        };
        assert_eq!((status(&server, ALICE), status(&server, BOB)), (200, 401));
        // The new table still knows one connected client, and not the other.
        let url = format!("{}?token={ALICE}", server.url);
        let mut alice = JsonClient::subscribed(&url, "process:a").await;

        folder.file("tokens", "bob too-short\n");
        server.signal(Signal::HUP);
        let said = server.complaint_with("kept the old tokens").await;
        assert!(
            said.contains("line 1") && !said.contains("too-short"),
            "{said}"
        );
        assert_eq!((status(&server, ALICE), status(&server, BOB)), (200, 401));

        folder.file("tokens", format!("alice {ALICE}\nbob {BOB} publish=*\n"));
        server.signal(Signal::HUP);
        server
            .complaint_with("read the tokens and keys again")
            .await;
        assert_eq!((status(&server, ALICE), status(&server, BOB)), (200, 200));
        assert_eq!(publish(&server, BOB, "a"), 200);
        assert_eq!(
            alice.line().await,
            "from a",
            "who is still known stays connected"
        );

        folder.file("tokens", format!("bob {BOB}\n"));
        server.signal(Signal::HUP);
        server
            .complaint_with("read the tokens and keys again")
            .await;
        assert_eq!((status(&server, ALICE), status(&server, BOB)), (401, 200));
        assert_eq!(alice.message_or_end().await, None, "who is not is closed");
    })
    .await;
}

#[tokio::test]
async fn a_file_of_secrets_that_others_can_read_is_warned_of() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", format!("alice {ALICE}\n"));
        fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).unwrap();
        let mut server =
            Outrace::start(&["serve", "--listen", "127.0.0.1:0", "--token-file", &tokens]);
        let said = server.complaint().await;
        assert!(
            said.contains("can be read by others") && said.contains(&tokens),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_loopback_server_serves_other_names_and_pages_only_when_allowed() {
    bounded(async {
        let foreign =
            "GET /api/channels HTTP/1.1\r\nHost: app.example:80\r\nOrigin: https://pages.example\r\n\r\n";
        let ask = |server: &Outrace| http::exchange(server.address(), foreign.as_bytes()).status;
        for (arguments, status) in [
            (vec!["serve"], 403),
            (vec!["serve", "--allow-host", "app.example"], 403),
            (vec!["serve", "--allow-origin", "https://pages.example"], 403),
            (vec!["serve", "--allow-host", "app.example", "--allow-origin", "https://pages.example"], 200),
            (vec!["serve", "--allow-host", "app.example", "--allow-origin", "*"], 200),
        ] {
            let server = Outrace::serving(&arguments).await;
            assert_eq!(ask(&server), status, "{arguments:?}");
        }
    })
    .await;
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns the certificate of the authority itself, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Returns a certificate for this machine, and its key.
    pub(crate) fn certify(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

#[tokio::test]
async fn tls_serves_clients_that_trust_its_authority_and_reloads_the_certificate_on_sighup() {
    bounded(async {
        let folder = Scratch::new();
        let (first, second) = (Authority::new(), Authority::new());
        let trust_first = folder.file("first.pem", first.0.pem());
        let trust_second = folder.file("second.pem", second.0.pem());
        let (certificate, key) = first.certify();
        let certificate = folder.file("cert.pem", certificate);
        let key = folder.file("key.pem", key);
        let tokens = folder.file("tokens", format!("alice {ALICE} publish=*\n"));
        let arguments = [
            "pipe",
            "--id",
            "a",
            "--stay",
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            "--log",
            "info",
        ];
        let mut server = Outrace::serving_at(
            "wss",
            &[&arguments[..], &["--token-file", &tokens]].concat(),
        )
        .await;
        server.say("over TLS\n").await;

        // A client that trusts the authority gets lines. A client that trusts another one does not
        // connect.
        let seen_by = async |server: &Outrace, ca: &str, host: &str| {
            let url = server.url.replace("127.0.0.1", host);
            let arguments = ["--no-retry", "--tail", "1", "--ca", ca, &url, "process:a"];
            let mut command = watch(&arguments, Some(ALICE));
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
            tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
                .await
                .unwrap();
            line
        };
        assert_eq!(
            seen_by(&server, &trust_first, "127.0.0.1").await,
            "over TLS\n"
        );
        assert_eq!(
            seen_by(&server, &trust_first, "localhost").await,
            "over TLS\n"
        );
        assert_eq!(seen_by(&server, &trust_second, "127.0.0.1").await, "");
        // The system's authorities do not include this one.
        let refused = watch(&["--no-retry", &server.url, "process:a"], Some(ALICE))
            .output()
            .await
            .unwrap();
        assert_eq!(refused.status.code(), Some(1));

        // The key does not belong to the certificate, so the server keeps the old pair.
        let (other_certificate, other_key) = second.certify();
        folder.file("key.pem", &other_key);
        server.signal(Signal::HUP);
        server.complaint_with("kept the old certificate").await;
        assert_eq!(
            seen_by(&server, &trust_first, "127.0.0.1").await,
            "over TLS\n"
        );

        folder.file("cert.pem", &other_certificate);
        server.signal(Signal::HUP);
        server.complaint_with("read the certificate again").await;
        assert_eq!(
            seen_by(&server, &trust_second, "127.0.0.1").await,
            "over TLS\n"
        );
        assert_eq!(seen_by(&server, &trust_first, "127.0.0.1").await, "");
        assert!(Path::new(&trust_first).exists());
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_tls_handshake_does_not_delay_others() {
    bounded(async {
        let folder = Scratch::new();
        let authority = Authority::new();
        let trust = folder.file("ca.pem", authority.0.pem());
        let (certificate, key) = authority.certify();
        let (certificate, key) = (
            folder.file("cert.pem", certificate),
            folder.file("key.pem", key),
        );
        let mut server = Outrace::serving_at(
            "wss",
            &[
                "pipe",
                "--id",
                "a",
                "--stay",
                "--tls-cert",
                &certificate,
                "--tls-key",
                &key,
                "--header-timeout",
                "1s",
            ],
        )
        .await;
        server.say("still here\n").await;
        // One peer sends nothing, one begins a handshake and stops, and one speaks HTTP without
        // TLS.
        let mut peers = Vec::new();
        for said in [
            &b""[..],
            &[0x16, 0x03, 0x01, 0x02, 0x00][..],
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ] {
            let mut peer = tokio::net::TcpStream::connect(server.address())
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut peer, said)
                .await
                .unwrap();
            peers.push(peer);
        }
        let arguments = [
            "--no-retry",
            "--tail",
            "1",
            "--ca",
            &trust,
            &server.url,
            "process:a",
        ];
        let mut child = watch(&arguments, None)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
            .await
            .unwrap();
        assert_eq!(line, "still here\n");
        // The server closes each of them.
        for mut peer in peers {
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut rest).await;
        }
    })
    .await;
}
