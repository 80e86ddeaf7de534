//! HTTP/1.1 by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub header: String,
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks that this is a refusal: its status and, if it is given, its whole text.
    #[track_caller]
    pub fn refuses(&self, status: u16, text: &str) {
        assert_eq!(
            (self.status, self.body.as_str()),
            (status, text),
            "{self:?}"
        );
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{self:?}"
        );
    }
}

/// Sends a request as it is and reads the answer.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    read_answer(&mut stream)
}

/// Reads one answer, which has to say how long it is.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let status = header.split(' ').nth(1).unwrap().parse().unwrap();
            let mut answer = Answer {
                status,
                header,
                body: String::new(),
            };
            let length: usize = answer
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                answer.body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
                return answer;
            }
        }
        let n = stream.read(&mut chunk).unwrap();
        assert!(
            n > 0,
            "the server hung up: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&chunk[..n]);
    }
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes(),
    )
}

/// Posts with headers of one's own, each ended by CRLF.
pub fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(address, request.as_bytes())
}

/// Posts actions.
pub fn act(address: SocketAddr, body: &str) -> Answer {
    post(
        address,
        "/api/actions",
        "Content-Type: application/json\r\n",
        body,
    )
}
