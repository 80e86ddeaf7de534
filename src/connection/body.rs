//! The body of an answer to a handshake.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

/// The body of the response to a handshake: empty, or the text of a refusal.
///
/// It is a body for hyper and everything built on it. Other servers take its bytes with
/// [`into_bytes`](Self::into_bytes).
#[derive(Clone, Debug, Default)]
pub struct UpgradeBody {
    text: &'static str,
    body: Full<Bytes>,
}

impl UpgradeBody {
    /// Returns the whole body.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_static(self.text.as_bytes())
    }
}

impl From<&'static str> for UpgradeBody {
    fn from(text: &'static str) -> Self {
        Self {
            text,
            body: Full::new(Bytes::from_static(text.as_bytes())),
        }
    }
}

impl Body for UpgradeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
