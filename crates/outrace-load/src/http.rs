//! A plain HTTP/1.1 request, for a server's figures and for feeding one that is not a child.

use crate::target::Target;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A kept-alive connection.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    host: String,
    headers: Vec<String>,
}

impl Http {
    pub(crate) fn connect(target: &Target) -> Result<Http, String> {
        let stream = TcpStream::connect_timeout(&target.addr, Duration::from_secs(5))
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.set_write_timeout(Some(Duration::from_secs(10)))?;
                Ok(stream)
            })
            .map_err(|e| format!("could not connect to {}: {e}", target.addr))?;
        Ok(Http {
            stream: BufReader::new(stream),
            host: target.host.clone(),
            headers: target.headers.clone(),
        })
    }

    /// Status and body.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), String> {
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
        self.exchange(&request)
            .map_err(|e| format!("{method} {path} failed: {e}"))
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        self.stream.get_mut().write_all(request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status =
            status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer but {line:?}")))?;
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
            length.ok_or_else(|| std::io::Error::other("the answer has no Content-Length"))?;
        let mut body = vec![0; length.min(64 << 20)];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}
