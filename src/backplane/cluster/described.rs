//! Messages as texts that are equal when all that is known of the messages is.

use bytes::Bytes;

use crate::backplane::{Part, Runs};

/// Returns each message with its detail, whatever runs they are in.
pub(super) fn each(runs: &Runs) -> Vec<String> {
    let mut all = Vec::new();
    for part in runs.parts() {
        match part {
            Part::Line(line) => all.push(format!("{line:?} None false false")),
            Part::Lines(lines) => all.extend((0u32..).zip(lines.iter()).map(|(index, line)| {
                let line = Bytes::copy_from_slice(line);
                let continued = lines.continued().contains(&index);
                format!(
                    "{line:?} {:?} {} {continued}",
                    lines.stream(),
                    lines.is_past()
                )
            })),
            Part::Message(message) => all.push(format!("{message:?}")),
            Part::Pieces(pieces) => all.extend(
                pieces
                    .iter()
                    .enumerate()
                    .map(|(index, piece)| format!("{piece:?} {}", index + 1 < pieces.len())),
            ),
        }
    }
    all
}
