//! The recipes of the README, with the proxies themselves. A proxy that is not installed is skipped
//! with a line.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use outrace_testkit::http::{Response, page_parts, read_response};
use outrace_testkit::socket::handshake;
use outrace_testkit::{Scratch, Socket, TIMEOUT, bounded, until};
use serde_json::json;

use crate::access::Authority;
use crate::program::Outrace;

/// The name that the recipes serve.
const NAME: &str = "logs.example.org";

/// A running proxy. It is killed when this is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: Scratch,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of a program, or says that its test is skipped.
fn installed(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {program} is not installed");
    }
    found.map(|path| path.to_str().unwrap().to_owned())
}

/// Returns the README's block of code in this language.
fn recipe(language: &str) -> &'static str {
    let readme = include_str!("../../../../README.md");
    let fence = format!("```{language}\n");
    let (_, rest) = readme.split_once(&fence).expect("the README has a recipe");
    rest.split("```").next().unwrap()
}

/// Replaces a part that a recipe has to have.
#[track_caller]
fn replaced(text: &str, part: &str, by: &str) -> String {
    assert!(text.contains(part), "no {part} in {text}");
    text.replace(part, by)
}

impl Proxy {
    /// Starts a proxy on a free port. `command` writes its files and returns its command.
    fn start(command: impl Fn(&Scratch, SocketAddr) -> Command) -> Self {
        loop {
            let folder = Scratch::new();
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = free.local_addr().unwrap();
            let mut command = command(&folder, address);
            drop(free);
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .env("HOME", folder.folder())
                .env("XDG_CONFIG_HOME", folder.folder())
                .env("XDG_DATA_HOME", folder.folder())
                .spawn()
                .unwrap();
            let mut has_ended = false;
            until("the proxy listens", || {
                has_ended = child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(address).is_ok()
            });
            if !has_ended {
                return Self {
                    child,
                    address,
                    _folder: folder,
                };
            }
            let mut said = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut said);
            // Something else may have taken the port in between.
            assert!(said.to_lowercase().contains("in use"), "it ended: {said}");
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends a request with further headers, and a body if it is not empty.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let mut stream = self.connect();
        let length = body.len();
        let port = self.address.port();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {NAME}:{port}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        read_response(&mut stream)
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "", "")
    }

    /// Returns the origin of the pages of this proxy.
    fn origin(&self) -> String {
        format!("Origin: http://{NAME}:{}\r\n", self.address.port())
    }

    /// Opens a WebSocket as the page does.
    fn socket(&self, path: &str) -> Socket {
        let mut stream = self.connect();
        let host = format!("Host: {NAME}:{}", self.address.port());
        let request = handshake(&self.origin())
            .replace("GET /ws", &format!("GET {path}"))
            .replace("Host: 127.0.0.1", &host);
        stream.write_all(request.as_bytes()).unwrap();
        let response = read_response(&mut stream);
        assert_eq!(response.status, 101, "{response:?}");
        Socket::over(stream, None)
    }

    /// Opens a stream and returns what has come when `is_enough`.
    fn stream(&self, path: &str, is_enough: impl Fn(&str) -> bool) -> String {
        let mut stream = self.connect();
        let port = self.address.port();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {NAME}:{port}\r\n\r\n").unwrap();
        let mut text = String::new();
        let mut chunk = [0; 1024];
        while !is_enough(&text) {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
        text
    }

    /// Asserts that everything works under `/logs`.
    fn assert_serves_logs(&self) {
        for path in ["/logs/", "/logs"] {
            let mut page = self.get(path);
            let mut path = path;
            if (301..=308).contains(&page.status) {
                let to = page.header("location").unwrap_or_default();
                assert!(to.ends_with("/logs/"), "{page:?}");
                path = "/logs/";
                page = self.get(path);
            }
            assert_eq!(page.status, 200, "{path}: {page:?}");
            let parts = page_parts(path, &page.body);
            assert!(parts.len() > 30, "{path}: {page:?}");
            for part in parts.iter().filter(|part| !part.contains("data:")) {
                assert_eq!(self.get(part).status, 200, "{part} of {path}");
            }
        }
        let help = self.get("/logs/nowhere");
        assert!(help.body.contains("GET  /logs/ws "), "{help:?}");

        let mut socket = self.socket("/logs/ws");
        socket.send_json(json!({"type": "subscribe", "channel": "process:web"}));
        assert!(socket.ping().is_empty());
        let publish = |headers: &str, line: &str| {
            let headers = format!("{headers}Content-Type: application/json\r\n");
            let action =
                json!({"action": "ws.send_process_output", "process_id": "web", "output": line});
            let action = action.to_string();
            self.ask("POST", "/logs/api/actions", &headers, &action)
                .status
        };
        assert_eq!(publish(&self.origin(), "a line"), 200);
        assert_eq!(socket.json()["data"], "a line");
        assert_eq!(publish("Origin: http://evil.example\r\n", "a line"), 403);

        let channel = "/logs/api/channels/process:web";
        let text = self.stream(&format!("{channel}/stream?tail=1&keep_alive=1"), |text| {
            // The line, then two empty lines in chunks of their own.
            text.contains("a line\n") && text.matches("\r\n1\r\n\n\r\n").count() >= 2
        });
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        self.stream(&format!("{channel}/events?tail=1"), |text| {
            text.contains("a line")
        });
    }
}

/// Starts the program as the README does.
async fn outrace(more: &[&str]) -> Outrace {
    let recipe = [
        "serve",
        "--base-path",
        "/logs",
        "--allow-host",
        NAME,
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let command = format!("outrace {}\n", recipe.join(" "));
    assert!(
        include_str!("../../../../README.md").contains(&command),
        "no {command}"
    );
    Outrace::serving(&[&recipe[..], more].concat()).await
}

/// Starts nginx with this configuration of its `http` block.
fn nginx(program: &str, block: &str, server: &Outrace) -> Proxy {
    Proxy::start(|folder, address| {
        let block = replaced(block, "listen 80;", &format!("listen {address};"));
        let block = replaced(&block, "127.0.0.1:7223", &server.address().to_string());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", folder.path(kind)))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{block}\n}}\n",
            folder.path("pid")
        );
        let mut command = Command::new(program);
        command
            .args([
                "-e",
                "stderr",
                "-c",
                &folder.file("nginx.conf", configuration),
            ])
            .arg("-p")
            .arg(folder.folder());
        command
    })
}

#[tokio::test]
async fn the_recipe_for_nginx_serves_the_page_and_the_streams_however_it_passes_the_path_on() {
    let Some(program) = installed("nginx") else {
        return;
    };
    bounded(async {
        let server = outrace(&[]).await;
        let block = recipe("nginx");
        // Streams live longer than nginx waits, if they are kept alive.
        let hasty = replaced(block, "proxy_read_timeout 1h;", "proxy_read_timeout 3s;");
        nginx(&program, &hasty, &server).assert_serves_logs();
        let target = "proxy_pass http://127.0.0.1:7223;";
        for (location, passes) in [
            ("location /logs/ {", "proxy_pass http://127.0.0.1:7223/;"),
            ("location /logs {", target),
            ("location /logs {", "proxy_pass http://127.0.0.1:7223/;"),
            (
                "location /logs {",
                "proxy_pass http://127.0.0.1:7223/logs/;",
            ),
        ] {
            let block = replaced(block, target, passes);
            let block = replaced(&block, "location /logs/ {", location);
            nginx(&program, &block, &server).assert_serves_logs();
        }
    })
    .await;
}

#[tokio::test]
async fn behind_nginx_that_removes_the_path_the_page_works_without_a_base_path_too() {
    let Some(program) = installed("nginx") else {
        return;
    };
    bounded(async {
        let server = Outrace::serving(&["serve", "--allow-host", NAME]).await;
        let target = "proxy_pass http://127.0.0.1:7223;";
        let block = replaced(
            recipe("nginx"),
            target,
            "proxy_pass http://127.0.0.1:7223/;",
        );
        let proxy = nginx(&program, &block, &server);
        let page = proxy.get("/logs/");
        let parts = page_parts("/logs/", &page.body);
        assert!(parts.len() > 30, "{page:?}");
        for part in parts.iter().filter(|part| !part.contains("data:")) {
            assert_eq!(proxy.get(part).status, 200, "{part}");
        }
        assert_eq!(proxy.get("/logs").status, 301);
        drop(proxy.socket("/logs/ws"));
    })
    .await;
}

#[tokio::test]
async fn the_recipe_for_caddy_serves_the_page_and_the_streams() {
    let Some(program) = installed("caddy") else {
        return;
    };
    bounded(async {
        let server = outrace(&[]).await;
        let proxy = Proxy::start(|folder, address| {
            let site = format!("http://{NAME}:{} {{", address.port());
            let block = replaced(recipe("caddyfile"), "logs.example.org {", &site);
            let block = replaced(&block, "127.0.0.1:7223", &server.address().to_string());
            let configuration =
                format!("{{\nadmin off\nauto_https off\ndefault_bind 127.0.0.1\n}}\n{block}");
            let file = folder.file("Caddyfile", configuration);
            let mut command = Command::new(&program);
            command.args(["run", "--adapter", "caddyfile", "--config", &file]);
            command
        });
        proxy.assert_serves_logs();
    })
    .await;
}

#[tokio::test]
async fn the_recipe_for_traefik_serves_the_page_and_the_streams() {
    let Some(program) = installed("traefik") else {
        return;
    };
    bounded(async {
        let server = outrace(&[]).await;
        let proxy = Proxy::start(|folder, address| {
            let target = server.address().to_string();
            let file = replaced(recipe("yaml"), "127.0.0.1:7223", &target);
            let file = folder.file("logs.yml", file);
            let mut command = Command::new(&program);
            command.args([
                format!("--entrypoints.web.address={address}"),
                format!("--providers.file.filename={file}"),
            ]);
            command
        });
        until("traefik has read its file", || {
            proxy.get("/logs/").status == 200
        });
        proxy.assert_serves_logs();
    })
    .await;
}

/// Starts HAProxy with the recipe, with this way to name the client.
fn haproxy(program: &str, version: &str, server: &Outrace) -> Proxy {
    Proxy::start(|folder, address| {
        let block = replaced(recipe("haproxy"), "bind :80", &format!("bind {address}"));
        let block = replaced(&block, "127.0.0.1:7223", &server.address().to_string());
        let block = replaced(&block, "send-proxy-v2", version);
        let file = folder.file("haproxy.cfg", block);
        let mut command = Command::new(program);
        command.args(["-db", "-f", &file]);
        command
    })
}

#[tokio::test]
async fn the_recipe_for_haproxy_names_the_client_by_the_proxy_protocol() {
    let Some(program) = installed("haproxy") else {
        return;
    };
    bounded(async {
        let server = outrace(&["--proxy-protocol"]).await;
        for version in ["send-proxy-v2", "send-proxy", "check send-proxy-v2"] {
            haproxy(&program, version, &server).assert_serves_logs();
        }
    })
    .await;
}

#[tokio::test]
async fn haproxy_names_the_client_before_the_tls_that_it_passes_on() {
    let Some(program) = installed("haproxy") else {
        return;
    };
    bounded(async {
        let folder = Scratch::new();
        let authority = Authority::new();
        let (certificate, key) = authority.certify();
        let certificate = folder.file("cert.pem", certificate);
        let key = folder.file("key.pem", key);
        let ca = folder.file("ca.pem", authority.pem());
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let proxied = ["--trusted-proxy", "127.0.0.1", "--proxy-protocol"];
        let pipe = ["pipe", "--id", "a", "--stay"];
        let mut server =
            Outrace::serving_at("wss", &[&pipe[..], &tls[..], &proxied[..]].concat()).await;
        server.say("over TLS\n").await;
        let proxy = haproxy(&program, "send-proxy-v2", &server);
        let url = format!("wss://{}/ws", proxy.address);
        let mut watch = Outrace::start(&["watch", "--tail", "1", "--ca", &ca, &url, "process:a"]);
        assert_eq!(watch.printed().await, "over TLS\n");
    })
    .await;
}
