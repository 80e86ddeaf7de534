//! `outrace healthcheck`: whether a server is up, for containers and supervisors.

mod any_certificate;

use std::io;
use std::str;
use std::time::Duration;

use axum::http::Uri;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::DEFAULT_URL;
use crate::exit::Exit;
use crate::failure::{Failure, plain};
use crate::flags::values::duration;
use crate::output::Output;

/// The most bytes of a response that are read. Its first line is all that counts.
const MAX_RESPONSE_BYTES: u64 = 4096;

/// Asks for /healthz, which needs no token. Ends with 0 if the server is up. Ends with 1 and one
/// sentence if it is stopping, cannot be reached or does not answer. The certificate of https:// is
/// not checked: it is seldom made for the address of a check, and nothing secret is sent.
#[derive(Args)]
pub(crate) struct HealthCheck {
    /// The address of the server, of its page or of its WebSocket endpoint
    #[arg(value_name = "URL", default_value = DEFAULT_URL)]
    url: String,

    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

impl HealthCheck {
    pub(crate) async fn start(self) -> Result<Exit, Failure> {
        let target = Target::parse(&self.url).ok_or_else(|| {
            Failure::usage(format!(
                "{:?} is not an address such as http://127.0.0.1:7223",
                self.url
            ))
        })?;
        let shown = format!("{}{}", target.authority, target.path);
        let failed = |reason: String| Failure::new(1, format!("{shown}: {reason}"));
        let status = timeout(self.timeout, target.ask())
            .await
            .map_err(|_| failed(format!("no answer within {:?}", self.timeout)))?
            .map_err(|error| failed(format!("cannot connect: {}", plain(&error))))?;
        match status {
            200 => {
                Output::stdout().write(format!("outrace: {shown} is up\n").as_bytes());
                Ok(Exit::Code(0))
            }
            503 => Err(failed("the server is stopping".to_owned())),
            404 => Err(failed(
                "this server is not Outrace, or serves it under another path".to_owned(),
            )),
            status => Err(failed(format!("the server answers {status}"))),
        }
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    is_tls: bool,
    host: String,
    port: u16,
    /// The host and the port as they were written.
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let mount = uri.path().trim_end_matches('/');
        let mount = mount
            .strip_suffix("/ws")
            .or(mount.strip_suffix("/healthz"))
            .unwrap_or(mount);
        Some(Self {
            is_tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            authority: format!("{}{}", authority.host(), port_of(authority.port_u16())),
            path: format!("{mount}/healthz"),
        })
    }

    /// Returns the status code of the answer.
    async fn ask(&self) -> io::Result<u16> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        if self.is_tls {
            let stream = any_certificate::connect(&self.host, stream).await?;
            self.ask_over(stream).await
        } else {
            self.ask_over(stream).await
        }
    }

    async fn ask_over(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<u16> {
        let (path, authority) = (&self.path, &self.authority);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut response = Vec::new();
        let mut stream = stream.take(MAX_RESPONSE_BYTES);
        // A server that ends TLS without its alert has answered all the same.
        let read = stream.read_to_end(&mut response).await;
        status_of(&response).ok_or_else(|| {
            read.err()
                .unwrap_or_else(|| io::Error::other("the answer is not HTTP"))
        })
    }
}

fn port_of(port: Option<u16>) -> String {
    port.map_or_else(String::new, |port| format!(":{port}"))
}

/// Returns the status code in the first line of a response.
fn status_of(response: &[u8]) -> Option<u16> {
    let line = response.split(|&byte| byte == b'\r').next()?;
    let rest = str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_server_stands_for_its_health() {
        for (url, asked) in [
            ("ws://127.0.0.1:7223/ws", "127.0.0.1:7223/healthz"),
            ("http://127.0.0.1:7223", "127.0.0.1:7223/healthz"),
            ("http://[::1]:80/healthz", "[::1]:80/healthz"),
            ("https://h/logs/", "h/logs/healthz"),
            ("wss://user@h/logs/ws?token=secret", "h/logs/healthz"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(format!("{}{}", target.authority, target.path), asked);
        }
        assert_eq!(Target::parse("https://h/").unwrap().port, 443);
        assert_eq!(Target::parse("http://[::1]:1/").unwrap().host, "::1");
        for url in ["", "127.0.0.1:7223", "ftp://h", "/healthz"] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }

    #[test]
    fn the_first_line_of_a_response_has_the_status() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\n\r\nok"), Some(200));
        assert_eq!(
            status_of(b"HTTP/1.0 503 Service Unavailable\r\n"),
            Some(503)
        );
        for wrong in [
            &b""[..],
            b"HTTP/1.1",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 ok\r\n",
            &[255],
        ] {
            assert_eq!(status_of(wrong), None);
        }
    }
}
