//! The options that concern proxies and pages: what comes from where, and under which path.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use outrace_testkit::http::{self, Response, exchange, get_with, read_response};
use outrace_testkit::socket::handshake;
use outrace_testkit::{TIMEOUT, bounded};

use crate::program::{Outrace, run};

/// Sends a handshake and returns the response with the connection, which counts while it is open.
fn shake_hands(address: SocketAddr, before: &[u8], headers: &str) -> (Response, TcpStream) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(before).unwrap();
    stream.write_all(handshake(headers).as_bytes()).unwrap();
    (read_response(&mut stream), stream)
}

#[tokio::test]
async fn only_allowed_origins_admits_no_other_page_not_even_the_servers_own() {
    bounded(async {
        let ask = |server: &Outrace, origin: &str| {
            let own = format!("http://{}", server.address());
            let origin = origin.replace("OWN", &own);
            get_with(server.address(), "/api/stats", &origin).status
        };
        let all = [
            "",
            "Origin: https://app.example.org\r\n",
            "Origin: https://a.sub.example.org\r\n",
            "Origin: vscode-webview://0abc123\r\n",
            "Origin: OWN\r\n",
            "Origin: http://localhost:3000\r\n",
            "Origin: https://sub.example.org\r\n",
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
        ];
        let listed = [
            "serve",
            "--allow-origin",
            "https://app.example.org",
            "--allow-origin",
            "https://*.sub.example.org",
            "--allow-origin",
            "vscode-webview://*",
        ];
        for (exclusive, expected) in [
            (true, [200, 200, 200, 200, 403, 403, 403, 403, 403]),
            (false, [200, 200, 200, 200, 200, 200, 403, 403, 403]),
        ] {
            let mut arguments = listed.to_vec();
            arguments.extend(exclusive.then_some("--only-allowed-origins"));
            let server = Outrace::serving(&arguments).await;
            let found = all.map(|origin| ask(&server, origin));
            assert_eq!(found, expected, "exclusive: {exclusive}");
            let (page, _) = shake_hands(
                server.address(),
                b"",
                all[4].replace("OWN", "http://localhost").as_str(),
            );
            assert_eq!(page.status, if exclusive { 403 } else { 101 });
        }
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_that_the_bounds_count() {
    bounded(async {
        let one = ["serve", "--max-connections-per-address", "1"];
        let trusting = [
            &one[..],
            &[
                "--trusted-proxy",
                "10.0.0.0/8",
                "--trusted-proxy",
                "127.0.0.1",
            ],
        ];
        let server = Outrace::serving(&trusting.concat()).await;
        let mut open = Vec::new();
        for (headers, status) in [
            ("X-Forwarded-For: 192.0.2.7\r\n", 101),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", 429),
            ("X-Forwarded-For: 192.0.2.7, 10.1.2.3\r\n", 429),
            ("Forwarded: for=\"192.0.2.7:4711\";proto=https\r\n", 429),
            ("Forwarded: for=\"[2001:db8::7]\"\r\n", 101),
            ("X-Forwarded-For: 2001:db8::8\r\n", 429),
            ("X-Forwarded-For: 192.0.2.8\r\n", 101),
            // The proxy itself is on this machine, which is not counted.
            ("", 101),
            ("", 101),
        ] {
            let (response, stream) = shake_hands(server.address(), b"", headers);
            assert_eq!(response.status, status, "{headers:?}");
            open.push(stream);
        }
        for arguments in [
            &one[..],
            &[&one[..], &["--trusted-proxy", "10.0.0.0/8"]].concat(),
        ] {
            let server = Outrace::serving(arguments).await;
            for _ in 0..2 {
                let (response, stream) =
                    shake_hands(server.address(), b"", "X-Forwarded-For: 192.0.2.7\r\n");
                assert_eq!(response.status, 101, "{arguments:?}");
                open.push(stream);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_by_the_proxy_protocol_and_has_to() {
    bounded(async {
        let server = Outrace::serving(&[
            "serve",
            "--max-connections-per-address",
            "1",
            "--trusted-proxy",
            "127.0.0.0/8",
            "--proxy-protocol",
        ])
        .await;
        let mut open = Vec::new();
        for (header, status) in [
            (&b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n"[..], 101),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4712 80\r\n", 429),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x67\0\x50",
                429,
            ),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", 101),
            (b"PROXY UNKNOWN\r\n", 101),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 101),
        ] {
            let (response, stream) = shake_hands(server.address(), header, "");
            assert_eq!(response.status, status, "{header:?}");
            open.push(stream);
        }
        let mut bare = TcpStream::connect(server.address()).unwrap();
        bare.set_read_timeout(Some(TIMEOUT)).unwrap();
        bare.write_all(handshake("").as_bytes()).unwrap();
        assert_eq!(
            bare.read(&mut [0; 9]).unwrap_or_default(),
            0,
            "it is closed"
        );
    })
    .await;
}

#[tokio::test]
async fn a_subprotocol_is_chosen_only_if_an_option_names_it() {
    bounded(async {
        for (arguments, offer, expected) in [
            (&["serve"][..], "chat.v2", None),
            (&["serve"], "graphql-ws, mqtt", None),
            (&["serve"], "chat.v2, outrace", Some("outrace")),
            (
                &["serve", "--subprotocol", "chat.v2"],
                "chat.v1, chat.v2",
                Some("chat.v2"),
            ),
            (&["serve", "--subprotocol", "chat.v2"], "chat.v1", None),
            (&["serve", "--subprotocol", "chat.v2"], "CHAT.V2", None),
            (
                &["serve", "--subprotocol", "a", "--subprotocol", "b"],
                "outrace.token.secret, b, a",
                Some("b"),
            ),
        ] {
            let server = Outrace::serving(arguments).await;
            let offered = format!("Sec-WebSocket-Protocol: {offer}\r\n");
            let (response, _) = shake_hands(server.address(), b"", &offered);
            assert_eq!(response.status, 101, "{response:?}");
            let chosen = response.header("sec-websocket-protocol");
            assert_eq!(chosen, expected, "{arguments:?}, offered {offer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_base_path_is_served_printed_and_named_in_the_help_and_the_root_is_served_too() {
    bounded(async {
        for (given, base) in [
            ("/logs", "/logs"),
            ("/tools/logs/", "/tools/logs"),
            ("/", ""),
        ] {
            let server = Outrace::serving(&["serve", "--base-path", given]).await;
            assert_eq!(server.url, format!("ws://{}{base}/ws", server.address()));
            for path in [format!("{base}/"), format!("{base}?a=b"), "/".to_owned()] {
                if path.starts_with('?') {
                    continue;
                }
                let page = http::get(server.address(), &path);
                assert_eq!(page.status, 200, "{path}");
                for part in http::page_parts(&path, &page.body) {
                    if !part.contains("data:") {
                        assert_eq!(http::get(server.address(), &part).status, 200, "{part}");
                    }
                }
            }
            for path in [format!("{base}/nowhere"), "/nowhere".to_owned()] {
                let help = http::get(server.address(), &path);
                assert_eq!(help.status, 404);
                assert!(
                    help.body.contains(&format!("  {base}/ws ")),
                    "{}",
                    help.body
                );
            }
            let upgrade = handshake("").replace("/ws", &format!("{base}/ws"));
            assert_eq!(exchange(server.address(), upgrade.as_bytes()).status, 101);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_option_about_proxies_or_pages_ends_the_program_with_one_sentence() {
    bounded(async {
        for (arguments, says) in [
            (&["--base-path", "logs"][..], "such as /logs"),
            (&["--base-path", "http://example.org/logs"], "such as /logs"),
            (&["--base-path", "/a/../b"], "such as /logs"),
            (&["--base-path", "/{id}"], "such as /logs"),
            (&["--base-path", ""], "such as /logs"),
            (&["--only-allowed-origins"], "--allow-origin"),
            (
                &["--only-allowed-origins", "--allow-origin", "*"],
                "leave one of them out",
            ),
            (&["--allow-origin", "https://*"], "no origin"),
            (
                &["--allow-origin", "vscode-webview://"],
                "vscode-webview://*",
            ),
            (&["--allow-origin", "https://example.org/"], "no origin"),
            (&["--trusted-proxy", "10.0.0.0/33"], "no network"),
            (&["--trusted-proxy", "nginx"], "no network"),
            (&["--proxy-protocol"], "--trusted-proxy"),
            (&["--subprotocol", "a b"], "subprotocol"),
            (&["--subprotocol", "outrace.token.x"], "subprotocol"),
        ] {
            let command = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
            let (code, stdout, stderr) = run(&command).await;
            assert_eq!(
                (code, stdout.as_str()),
                (Some(2), ""),
                "{command:?}: {stderr}"
            );
            assert!(stderr.contains(says), "{command:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
        }
    })
    .await;
}
