//! Text files that people write by hand, in any encoding that an editor leaves.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// The most that is read. A larger file is no list of processes or variables.
const MAX_BYTES: usize = 1 << 20;

/// The reason why a text was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("{}", crate::failure::plain(.0))]
    Io(#[from] io::Error),
    #[error("it is larger than {} KiB", MAX_BYTES / 1024)]
    TooLarge,
    #[error("it has NUL bytes, and so is no text")]
    NotText,
}

/// Reads a file, or standard input for `-`, and returns its lines without their ends.
///
/// Blocks until the end of a pipe. A byte-order mark is no part of the text. UTF-16 becomes UTF-8.
/// Any other encoding is kept byte for byte, since a shell takes it so.
pub(super) fn read_lines(path: &Path) -> Result<Vec<Vec<u8>>, TextError> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    if is_standard_input(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() > MAX_BYTES {
        return Err(TextError::TooLarge);
    }
    let text = decode(bytes);
    if text.contains(&0) {
        return Err(TextError::NotText);
    }
    Ok(lines(&text))
}

/// Returns whether a path is `-`.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Removes a byte-order mark, and turns UTF-16 into UTF-8.
fn decode(bytes: Vec<u8>) -> Vec<u8> {
    let marked = Encoding::for_bom(&bytes);
    let (encoding, mark_bytes) = match (marked, bytes.as_slice()) {
        (Some(marked), _) => marked,
        // UTF-16 without a mark: the first character of such a file is an ASCII one.
        (None, [first, 0, ..]) if *first != 0 => (UTF_16LE, 0),
        (None, [0, second, ..]) if *second != 0 => (UTF_16BE, 0),
        (None, _) => return bytes,
    };
    let text = &bytes[mark_bytes..];
    if encoding == UTF_16LE || encoding == UTF_16BE {
        let (text, _) = encoding.decode_without_bom_handling(text);
        text.into_owned().into_bytes()
    } else {
        text.to_vec()
    }
}

/// Splits at `\n`, `\r\n` and a lone `\r`.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        lines.extend(line.split(|&byte| byte == b'\r').map(<[u8]>::to_vec));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn each_encoding_that_an_editor_leaves_is_the_same_text() {
        let text = "web: echo é\nworker: true\n";
        let marked = format!("\u{feff}{text}");
        for bytes in [
            text.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            assert_eq!(decode(bytes), text.as_bytes());
        }
        assert_eq!(decode(b"web: echo \xe9".to_vec()), b"web: echo \xe9");
        assert_eq!(decode(Vec::new()), b"");
    }

    #[test]
    fn a_line_ends_as_on_any_system() {
        assert_eq!(
            lines(b"a\nb\r\n\r\nc\rd"),
            [&b"a"[..], b"b", b"", b"c", b"d"]
        );
    }
}
