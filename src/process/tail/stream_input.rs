//! The bytes of a stream: read by a task when there are some, or by a thread where a task cannot
//! wait for them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::descriptor::register_readable;

/// The size of a read: a pipe of the default size.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct StreamInput {
    source: Source,
    bytes: Vec<u8>,
}

enum Source {
    /// A pipe, a terminal, or another device that can be polled.
    Polled(AsyncFd<OwnedFd>),
    /// A device that is always ready, such as `/dev/null`.
    Blocking(BlockingSource),
}

struct BlockingSource {
    fd: Arc<OwnedFd>,
    /// The read under way, which returns the buffer.
    reading: Option<JoinHandle<(Vec<u8>, rustix::io::Result<usize>)>>,
}

impl StreamInput {
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub(super) fn new(fd: OwnedFd) -> Self {
        let fd = Arc::new(fd);
        let registered = fd.try_clone().and_then(register_readable);
        Self {
            source: match registered {
                Ok(polled) => Source::Polled(polled),
                Err(_) => Source::Blocking(BlockingSource { fd, reading: None }),
            },
            bytes: vec![0; READ_BYTES],
        }
    }

    /// Returns the buffer, which begins with the bytes that were read last.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Waits for bytes and reads them. Returns their number, which is 0 at the end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        match &mut self.source {
            Source::Polled(fd) => loop {
                let mut ready = fd.readable().await?;
                match ready.try_io(|fd| Ok(read(fd.get_ref(), &mut self.bytes)?)) {
                    Ok(read) => return read,
                    Err(_would_block) => {}
                }
            },
            Source::Blocking(source) => {
                let reading = source.reading.get_or_insert_with(|| {
                    let (fd, mut bytes) = (Arc::clone(&source.fd), std::mem::take(&mut self.bytes));
                    tokio::task::spawn_blocking(move || {
                        let outcome = read(&fd, &mut bytes);
                        (bytes, outcome)
                    })
                });
                let outcome = reading.await;
                source.reading = None;
                let (bytes, outcome) = outcome?;
                self.bytes = bytes;
                Ok(outcome?)
            }
        }
    }

    /// Reads what is there, without waiting. Returns `None` if there is nothing, or no way to know.
    pub(super) fn read_now(&mut self) -> Option<usize> {
        match &self.source {
            Source::Polled(fd) => read(fd.get_ref(), &mut self.bytes).ok().filter(|&n| n > 0),
            Source::Blocking(_) => None,
        }
    }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            // Records of the kernel's log were overwritten before they were read.
            Err(Errno::PIPE) => {}
            read => return read,
        }
    }
}
