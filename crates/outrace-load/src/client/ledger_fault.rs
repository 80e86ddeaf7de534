//! The faults that a ledger finds in the announcements of a server.

/// A contradiction between what a server announced and what arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerFault {
    #[error("a first subscription without since was announced {replayed} replayed and {lost} lost")]
    FirstWithHistory { replayed: u64, lost: u64 },
    #[error("resumed in epoch {known}, but is subscribed to epoch {given}")]
    Epoch { known: String, given: String },
    #[error(
        "joined again without since, and was announced {replayed} replayed and {lost} lost after \
         message {seq}, when {published} had been published"
    )]
    RejoinWithHistory {
        replayed: u64,
        lost: u64,
        seq: u64,
        published: u64,
    },
    #[error(
        "resumed after message {position} with {lost} lost, which ends at {}, not at {seq}",
        position + lost
    )]
    ResumeStart { position: u64, lost: u64, seq: u64 },
    #[error(
        "resumed after message {position} with {lost} lost and {replayed} replayed, which ends at \
         {}, but {published} had been published",
        position + lost + replayed
    )]
    ResumeEnd {
        position: u64,
        lost: u64,
        replayed: u64,
        published: u64,
    },
    #[error("a gap from {from} to {to} was announced, which was not asked for")]
    GapNotRequested { from: u64, to: u64 },
    #[error("a gap from {from} to {to} was announced outside the subscription")]
    GapOutside { from: u64, to: u64 },
    #[error(
        "a gap from {from} to {to} was announced, but message {position} had been accounted for"
    )]
    GapOverlaps { from: u64, to: u64, position: u64 },
    #[error("a gap of {count} from {from} to {to} was announced where {expected} is next")]
    GapExtent {
        from: u64,
        to: u64,
        count: u64,
        expected: u64,
    },
    #[error("message {0} came outside the subscription")]
    Outside(u64),
    #[error("message {0} came, or was announced as missing, already")]
    Repeated(u64),
    #[error("messages {from} to {to} are missing without a gap")]
    Unannounced { from: u64, to: u64 },
    #[error(
        "a batch states that it begins with message {stated}, but its first line is message {first}"
    )]
    BatchNumber { stated: u64, first: u64 },
    #[error("a status that was not published came after message {0}")]
    Status(u64),
    #[error("is accounted for up to line {done} of {published} published")]
    Unfinished { done: u64, published: u64 },
    #[error(
        "received {received} and misses {missing} of {published} published, but was told of \
         {skipped} in gaps and {lost} lost"
    )]
    Totals {
        received: u64,
        missing: u64,
        published: u64,
        skipped: u64,
        lost: u64,
    },
}
