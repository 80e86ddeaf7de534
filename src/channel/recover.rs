//! Passes that survive a panic. A panic in a pass would be a bug; it loses no more than the block
//! that was being delivered, which is skipped and told as skipped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::block::Block;
use super::ingest::Entry;
use super::pass::SealPass;
use super::role::RoleChange;
use super::sealer::Sealer;

/// Makes one pass.
///
/// Does not panic: a publisher that seals has no part in a failure here, and the flag would stay
/// raised.
pub(super) fn pass(sealer: &Sealer<'_>) {
    let channel = sealer.channel();
    let mut carried = None;
    loop {
        let entries = channel.ingest.len();
        let mut pass = SealPass::new(entries, channel.take_asked());
        let again = carried.is_some();
        pass.next = carried.take();
        // Unwind safe: `recover` repairs what a panic left half done.
        if catch_unwind(AssertUnwindSafe(|| pass.run(sealer, entries))).is_ok() {
            return;
        }
        carried = recover(sealer, pass);
        // The rest of the queue is sealed now, since there may be no further request. Each pass
        // takes at least one entry of it.
        if entries == 0 && (again || carried.is_none()) {
            return;
        }
    }
}

/// Ends a pass that panicked. Joins and leaves are kept, the queue's room is released, and the
/// block is skipped for the subscribers that it did not reach. Returns the entry that was not
/// handled.
#[cold]
fn recover(sealer: &Sealer<'_>, mut pass: SealPass) -> Option<Entry> {
    let channel = sealer.channel();
    channel.shared.recorder.panicked();
    tracing::error!(
        channel = channel.name().map(|name| name.as_str()),
        "sealing a block panicked"
    );
    let recovered = catch_unwind(AssertUnwindSafe(|| {
        skip_undelivered(sealer, &mut pass);
        // The block in hand was not taken out of the pass by `deliver` yet.
        let block = std::mem::replace(&mut pass.block, Block::with_capacity(0));
        pass.overflowed += block.len() as u64;
        pass.finish(sealer);
    }));
    if recovered.is_err() {
        // The rest would only panic again. These two steps cannot.
        sealer.apply(&mut pass.changes);
        channel.ingest.release(std::mem::take(&mut pass.taken));
    }
    let left = std::mem::take(&mut pass.waited);
    if left.is_empty() {
        return pass.next.take();
    }
    // Only the entry that was being handled numbers these, so there is no other one.
    Some(Entry::Role(Box::new(RoleChange::GiveBack(left.into()))))
}

/// Skips the block that was being delivered, for the subscribers that it did not reach.
fn skip_undelivered(sealer: &Sealer<'_>, pass: &mut SealPass) {
    let Some(block) = pass.delivering.take() else {
        return;
    };
    let channel = sealer.channel();
    let last = block.first + block.messages - 1;
    sealer.advance_to(channel.seq().max(last));
    // The last subscriber that was offered something may not have got it.
    let had = (pass.tally.reached.clients - block.reached).saturating_sub(1);
    let subscribers = channel.subscribers.load();
    let reached = subscribers
        .iter()
        .filter(|subscription| channel.profile.reaches(subscription));
    for subscription in reached.skip(had) {
        sealer.offer_nothing(subscription, block.first..=last, &mut pass.tally);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::super::Client;
    use super::super::ingest::Waiting;
    use super::super::testing::{channel, client, join, line, received, subscription_of};
    use super::*;
    use crate::outbox::OutboxReader;
    use crate::protocol::SubscribeOptions;
    use crate::stats::Queues;

    /// A task that panics when it is woken. The sealer wakes the tasks of the clients that it
    /// offers something.
    struct Unwakeable;

    impl Wake for Unwakeable {
        fn wake(self: Arc<Self>) {
            panic!("this is the test's own panic, and belongs in its output");
        }
    }

    fn sleep_badly(client: &Client) {
        client
            .outbox
            .register(&Context::from_waker(&Waker::from(Arc::new(Unwakeable))));
        assert!(!OutboxReader::default().take_or_sleep(&client.outbox));
    }

    #[test]
    fn after_a_panic_the_channel_goes_on_and_a_client_that_did_not_get_the_block_is_told() {
        let channel = channel();
        let before = join(&channel, 1, None);
        let panicking = join(&channel, 2, None);
        let after = join(&channel, 3, None);
        let told = join(
            &channel,
            4,
            Some(SubscribeOptions {
                gaps: true,
                ..SubscribeOptions::default()
            }),
        );
        received(&told);
        sleep_badly(&panicking);
        // Neither the publisher nor the next one notices.
        assert_eq!(channel.publish(line("lost")), 4);
        assert_eq!(channel.publish(line("next")), 4);
        assert_eq!(channel.ingest.waiting(), Waiting::default());
        let texts = [&before, &panicking, &after, &told].map(|client| received(client));
        assert!(
            texts[0].contains("lost") && texts[0].contains("next"),
            "{texts:?}"
        );
        assert!(
            !texts[2].contains("lost") && texts[2].contains("next"),
            "{texts:?}"
        );
        assert!(
            texts[3].contains(r#""data":{"from":1,"to":1,"count":1}"#),
            "{texts:?}"
        );
        assert!(
            !texts[3].contains("lost") && texts[3].contains("next"),
            "{texts:?}"
        );
        let stats = channel.shared.totals.stats(4, 1, 4, Queues::default(), 0);
        let written: u64 = [&before, &panicking, &after, &told]
            .map(|client| client.written())
            .iter()
            .sum();
        assert_eq!(
            (stats.panicked, stats.offered),
            (1, written + stats.skipped),
            "{stats:?}"
        );
        assert_eq!((channel.seq(), channel.listeners()), (2, 4));
    }

    #[test]
    fn a_join_or_leave_in_the_pass_that_panics_is_kept() {
        let channel = channel();
        let panicking = join(&channel, 1, None);
        sleep_badly(&panicking);
        // All in one pass: while this sealer lives, no other thread seals.
        let sealer = Sealer::request(&channel).unwrap();
        let leaving = subscription_of(client(&channel, 2), &channel, None);
        channel.join(&leaving);
        channel.publish(line("one"));
        let joining = join(&channel, 3, None);
        channel.leave(&leaving);
        channel.publish(line("two"));
        pass(&sealer);
        sealer.give_up();
        channel.publish(line("three"));
        let ids: Vec<u64> = channel
            .clients()
            .iter()
            .map(|client| client.id().0)
            .collect();
        assert_eq!(ids, [1, 3]);
        let text = received(&joining);
        assert!(
            !text.contains("one") && text.contains("two") && text.contains("three"),
            "{text}"
        );
        assert_eq!(
            (channel.seq(), channel.ingest.waiting()),
            (3, Waiting::default())
        );
    }
}
