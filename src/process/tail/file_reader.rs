//! Publishes the content of one open file. Does file I/O only: it waits for nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decoder::TextDecoder;
use super::encoding::{Encoding, MAX_MARK_BYTES};
use super::holes::{self, HoleEnd};
use super::open_file::{FileIdentity, OpenFile};
use super::rewrite::RewriteCheck;
use super::start::StartPosition;
use super::watch::FileWatch;
use crate::process::{LinePublisher, LineSender};

/// The most bytes of NULs that one check passes over.
const MAX_SCAN_BYTES: u64 = 64 << 20;

/// The size of a read of text that has to be decoded.
const DECODE_READ_BYTES: usize = 64 * 1024;

/// The size of the first read of a text, which finds its encoding.
const FIRST_READ_BYTES: usize = 512;

/// How long ago a file must have been changed for its unchanged time to say that it was not changed
/// again: far more than a tick of any file system.
const SETTLED_TIME: Duration = Duration::from_secs(2);

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Something was read, and there may be more.
    Read,
    /// There is nothing to read now.
    Idle,
    /// The file was truncated. It will be read from its beginning.
    Truncated,
}

pub(super) struct FileReader {
    open: OpenFile,
    /// `None` if the system's limits are reached.
    watch: Option<FileWatch>,
    decoder: TextDecoder,
    lines: LinePublisher,
    /// The space that text is read into before it is decoded. Empty if that is not necessary.
    encoded: Vec<u8>,
    /// The length of the file when the following began. Lines before it are the past.
    past_bytes: u64,
    rewrite: RewriteCheck,
    /// How far a hole at the read position was searched for its end.
    scanned_bytes: u64,
    /// When something was read last, or the file was opened.
    read_at: Instant,
}

impl FileReader {
    /// Begins at the beginning of a file.
    pub(super) fn new(
        open: OpenFile,
        watch: Option<FileWatch>,
        sender: &LineSender,
        now: Instant,
    ) -> Self {
        Self {
            open,
            watch,
            decoder: TextDecoder::new(),
            lines: LinePublisher::new(sender.clone()),
            encoded: Vec::new(),
            past_bytes: 0,
            rewrite: RewriteCheck::default(),
            scanned_bytes: 0,
            read_at: now,
        }
    }

    /// Moves to `start` in a file that existed when the following began.
    pub(super) fn begin_at(&mut self, start: StartPosition) -> io::Result<()> {
        let file = Arc::clone(self.open.file());
        let length = file.metadata()?.len();
        let mut head = [0; MAX_MARK_BYTES];
        let n = self.open.read(&mut head)?;
        let (encoding, mark_bytes) = Encoding::detect(&head[..n]).unwrap_or((Encoding::Utf8, 0));
        let offset = start.offset(&file, length, encoding)?;
        if offset > mark_bytes as u64 {
            self.decoder = TextDecoder::resumed(encoding);
            self.open.move_to(offset)?;
        }
        self.past_bytes = length;
        Ok(())
    }

    pub(super) fn identity(&self) -> FileIdentity {
        self.open.identity()
    }

    /// Returns when something was read last, or the file was opened.
    pub(super) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// Begins the time anew for which the file is quiet.
    pub(super) fn restart_quiet_time(&mut self, now: Instant) {
        self.read_at = now;
    }

    /// Returns whether the file has content.
    pub(super) fn has_content(&self) -> bool {
        let metadata = self.open.file().metadata();
        metadata.is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Returns whether no path leads to the file any more.
    pub(super) fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.open.file().metadata();
        metadata.is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Reads and publishes new content until at least `max_bytes` are read. Linear in the new
    /// content.
    ///
    /// # Errors
    /// Returns the system's error. For example, the file system is gone. The next call tries again.
    pub(super) fn read(&mut self, max_bytes: usize, now: Instant) -> io::Result<ReadOutcome> {
        match self.look(now)? {
            Look::Unchanged => return Ok(ReadOutcome::Idle),
            Look::Rewritten => {
                self.rewind();
                return Ok(ReadOutcome::Truncated);
            }
            Look::Readable => {}
        }
        let mut read_bytes = 0;
        while read_bytes < max_bytes {
            let n = match self.read_chunk()? {
                Chunk::Text(n) => n,
                Chunk::Hole => {
                    let Some(passed) = self.pass_hole()? else {
                        break;
                    };
                    passed
                }
                Chunk::End => break,
                Chunk::Truncated => {
                    self.rewind();
                    return Ok(ReadOutcome::Truncated);
                }
            };
            read_bytes = read_bytes.saturating_add(n);
        }
        if let Some(watch) = &self.watch {
            watch.set_read_bytes(self.open.offset());
        }
        if read_bytes == 0 {
            return Ok(ReadOutcome::Idle);
        }
        self.rewrite.reset();
        self.read_at = now;
        Ok(ReadOutcome::Read)
    }

    /// Looks at the length and the times of the file. Costs one system call, and saves three if the
    /// file is unchanged.
    fn look(&mut self, now: Instant) -> io::Result<Look> {
        // Precedes the look at the file: a change in between is found by the next check.
        let modified = match &self.watch {
            Some(watch) if watch.is_truncated() => return Ok(Look::Rewritten),
            Some(watch) if watch.is_reporting() => Some(watch.take_modified()),
            _ => None,
        };
        let file = self.open.file();
        let (metadata, offset) = (file.metadata()?, self.open.offset());
        let rewrite = &mut self.rewrite;
        if rewrite.is_rewritten(file, &metadata, offset, modified, now) {
            return Ok(Look::Rewritten);
        }
        let is_settled = metadata
            .modified()
            .is_ok_and(|time| time.elapsed().is_ok_and(|ago| ago > SETTLED_TIME));
        // A file of /proc has content and no length.
        if offset > 0 && self.rewrite.is_unchanged(&metadata, offset) && is_settled {
            return Ok(Look::Unchanged);
        }
        Ok(Look::Readable)
    }

    /// Reads once, and publishes the text up to the next hole.
    fn read_chunk(&mut self) -> io::Result<Chunk> {
        let past_left = self.past_bytes.saturating_sub(self.open.offset());
        self.lines.set_past(past_left > 0);
        let is_identity = self.decoder.is_identity();
        let mut spare = if is_identity {
            self.encoded = Vec::new();
            self.lines.spare_mut()
        } else {
            let length = match self.decoder {
                TextDecoder::Start { .. } => FIRST_READ_BYTES,
                _ => DECODE_READ_BYTES,
            };
            self.encoded.resize(length, 0);
            &mut self.encoded
        };
        // A run of lines is either past or not.
        if let Ok(past_left @ 1..) = usize::try_from(past_left) {
            let length = spare.len().min(past_left);
            spare = &mut spare[..length];
        }
        let n = match self.open.read(spare) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read_chunk(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        // Follows the read: a check before it would not tell which content the read returns.
        if self.open.is_truncated()? {
            return Ok(Chunk::Truncated);
        }
        // Half a unit waits for its other half.
        let unit_bytes = self.decoder.unit_bytes(spare.first().copied().unwrap_or(0));
        let n = n - n % unit_bytes;
        if n == 0 {
            return Ok(Chunk::End);
        }
        let n = holes::text_len(&spare[..n], self.open.is_at_line_start(), unit_bytes);
        if n == 0 {
            return Ok(Chunk::Hole);
        }
        self.open.advance(&spare[..n]);
        if is_identity {
            self.lines.commit(n);
        } else {
            let lines = &mut self.lines;
            self.decoder
                .decode(&self.encoded[..n], &mut |text| lines.push(text));
        }
        Ok(Chunk::Text(n))
    }

    /// Moves behind a hole, and returns a count of bytes that ends the check if the search for the
    /// end has to go on. Returns `None` if the file ends before the hole does: the writer may fill
    /// the hole.
    fn pass_hole(&mut self) -> io::Result<Option<usize>> {
        let start = self.open.offset().max(self.scanned_bytes);
        let end = holes::hole_end(self.open.file(), start, MAX_SCAN_BYTES)?;
        self.scanned_bytes = 0;
        match end {
            HoleEnd::Text(text) => {
                let unit_bytes = self.decoder.encoding().unit_bytes() as u64;
                self.open.move_to(text - text % unit_bytes)?;
                self.decoder.skip();
                Ok(Some(1))
            }
            HoleEnd::Unknown(scanned) => {
                self.scanned_bytes = scanned;
                Ok(Some(usize::MAX))
            }
            HoleEnd::EndOfFile => Ok(None),
        }
    }

    /// Publishes an unterminated last line and begins anew.
    fn rewind(&mut self) {
        self.finish();
        self.open.rewind();
        if let Some(watch) = &self.watch {
            watch.rewind();
        }
        self.decoder = TextDecoder::restarted(self.decoder.encoding());
        self.rewrite.reset();
        self.past_bytes = 0;
        self.scanned_bytes = 0;
    }

    /// Publishes an unterminated last line.
    pub(super) fn finish(&mut self) {
        let lines = &mut self.lines;
        lines.set_past(self.past_bytes > 0 && self.open.offset() <= self.past_bytes);
        self.decoder.finish(&mut |text| lines.push(text));
        lines.finish();
    }

    /// Publishes what waits for subscribers.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn flush(&mut self) {
        self.lines.flush().await;
    }
}

/// The outcome of a look at the length and the times of the file.
enum Look {
    /// It was read to its end, and nothing was changed since then.
    Unchanged,
    /// It was truncated, whatever its content is.
    Rewritten,
    Readable,
}

/// The outcome of one read.
enum Chunk {
    /// The number of bytes that were published.
    Text(usize),
    /// A hole is at the read position.
    Hole,
    End,
    Truncated,
}
