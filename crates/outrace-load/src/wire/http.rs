//! A minimal HTTP/1.1 client. It reads a server's figures and feeds a server that is not a child.

use super::target::Target;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response body that is read.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The most bytes of a response that an error shows.
const MAX_SHOWN_BYTES: usize = 200;

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("could not connect to {addr}: {error}")]
    Connect {
        addr: SocketAddr,
        error: std::io::Error,
    },
    #[error("{method} {path} failed: {error}")]
    Request {
        method: &'static str,
        path: String,
        error: std::io::Error,
    },
    #[error("the server answered {method} {path} with {status} instead of {expected}: {body}")]
    Status {
        method: &'static str,
        path: String,
        status: u16,
        expected: u16,
        body: String,
    },
}

/// One connection that is kept alive between requests.
pub(crate) struct HttpConnection {
    stream: BufReader<TcpStream>,
    host: String,
    headers: Vec<String>,
}

impl HttpConnection {
    pub(crate) fn connect(target: &Target) -> Result<HttpConnection, HttpError> {
        let stream = TcpStream::connect_timeout(&target.addr, CONNECT_TIMEOUT)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(IO_TIMEOUT))?;
                stream.set_write_timeout(Some(IO_TIMEOUT))?;
                Ok(stream)
            })
            .map_err(|error| HttpError::Connect {
                addr: target.addr,
                error,
            })?;
        Ok(HttpConnection {
            stream: BufReader::new(stream),
            host: target.host.clone(),
            headers: target.headers.clone(),
        })
    }

    /// Sends a request and returns the status and the body of the response.
    pub(crate) fn request(
        &mut self,
        method: &'static str,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), HttpError> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for header in &self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.exchange(&request).map_err(|error| HttpError::Request {
            method,
            path: path.to_owned(),
            error,
        })
    }

    /// Sends a request and returns the body of the response. Fails unless its status is `expected`.
    pub(crate) fn expect(
        &mut self,
        method: &'static str,
        path: &str,
        body: &[u8],
        expected: u16,
    ) -> Result<Vec<u8>, HttpError> {
        match self.request(method, path, body)? {
            (status, body) if status == expected => Ok(body),
            (status, body) => {
                let shown = &body[..body.len().min(MAX_SHOWN_BYTES)];
                Err(HttpError::Status {
                    method,
                    path: path.to_owned(),
                    status,
                    expected,
                    body: String::from_utf8_lossy(shown).into_owned(),
                })
            }
        }
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        self.stream.get_mut().write_all(request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| {
            std::io::Error::other(format!("the response is not HTTP and begins with {line:?}"))
        })?;
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let length =
            length.ok_or_else(|| std::io::Error::other("the response has no Content-Length"))?;
        let mut body = vec![0; length.min(MAX_BODY_BYTES)];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}
