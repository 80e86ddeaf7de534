//! A channel that is given up while calls fail: its record must not name this node for long.

use super::*;

/// One node, whose calls the test answers.
struct Lessee {
    leases: Leases,
    now_ms: u64,
}

fn channel() -> ChannelName {
    ChannelName::parse("process:web").unwrap()
}

impl Lessee {
    /// Starts a node with a session.
    fn new() -> Self {
        let leases = Leases::new(NodeId::new("node", 1).unwrap());
        let mut lessee = Self { leases, now_ms: 0 };
        let calls = lessee.act(|leases, now, effects| leases.tick(now, effects));
        let [(id, LeaseKey::Session(_), StoreCall::Create(_))] = &calls[..] else {
            panic!("{calls:?}")
        };
        assert_eq!(lessee.replied(*id, StoreReply::Written(1)), []);
        lessee
    }

    fn act(
        &mut self,
        act: impl FnOnce(&mut Leases, Now, &mut Vec<Effect>),
    ) -> Vec<(u64, LeaseKey, StoreCall)> {
        let now = Now {
            monotonic_ms: self.now_ms,
            unix_ms: 1_700_000_000_000 + self.now_ms,
        };
        let mut effects = Vec::new();
        act(&mut self.leases, now, &mut effects);
        let calls = effects.into_iter().filter_map(|effect| match effect {
            Effect::Call { id, key, call } => Some((id, key, call)),
            _ => None,
        });
        calls.collect()
    }

    fn replied(&mut self, id: u64, reply: StoreReply) -> Vec<(u64, LeaseKey, StoreCall)> {
        self.act(|leases, now, effects| leases.replied(id, reply, now, effects))
    }

    /// Wants the channel, and returns the claim of a record where there is none.
    fn claim(&mut self) -> (u64, Bytes) {
        let calls = self.act(|leases, now, effects| leases.want(&channel(), "e", now, effects));
        let calls = self.replied(read(&calls), StoreReply::Found(None));
        let [(id, _, StoreCall::Create(claim))] = &calls[..] else {
            panic!("{calls:?}")
        };
        (*id, claim.clone())
    }

    fn release(&mut self) -> Vec<(u64, LeaseKey, StoreCall)> {
        self.act(|leases, now, effects| leases.release(&channel(), now, effects))
    }

    /// Lets the outcome of a call be unknown. Returns the id of the read that follows.
    fn fail(&mut self, id: u64) -> u64 {
        assert_eq!(self.replied(id, StoreReply::Unknown), []);
        self.now_ms += RETRY_MS;
        let calls = self.act(|leases, now, effects| leases.tick(now, effects));
        read(&calls)
    }
}

/// Returns the id of the one call, which reads the channel's record.
fn read(calls: &[(u64, LeaseKey, StoreCall)]) -> u64 {
    match calls {
        [(id, LeaseKey::Home(_), StoreCall::Read)] => *id,
        _ => panic!("{calls:?}"),
    }
}

/// Returns the id of the one call, which writes a record of no home, and the revision that it takes
/// the place of.
fn given_up(calls: &[(u64, LeaseKey, StoreCall)]) -> (u64, Bytes, Option<u64>) {
    let (id, value, revision) = match calls {
        [(id, LeaseKey::Home(_), StoreCall::Replace(value, revision))] => {
            (*id, value, Some(*revision))
        }
        [(id, LeaseKey::Home(_), StoreCall::Create(value))] => (*id, value, None),
        _ => panic!("{calls:?}"),
    };
    assert!(HomeRecord::decode(value).unwrap().is_given_up());
    (id, value.clone(), revision)
}

#[test]
fn a_record_is_given_up_until_the_broker_has_that() {
    let mut lessee = Lessee::new();
    let (id, claim) = lessee.claim();
    assert_eq!(lessee.replied(id, StoreReply::Written(2)), []);
    assert!(matches!(
        lessee.leases.state(&channel()),
        HomeState::Home { .. }
    ));
    let (id, _, revision) = given_up(&lessee.release());
    assert_eq!(revision, Some(2));
    // It never arrived.
    let id = lessee.fail(id);
    let calls = lessee.replied(id, StoreReply::Found(Some((claim, 2))));
    let (id, value, revision) = given_up(&calls);
    assert_eq!(revision, Some(2));
    // It did, and its reply did not.
    let id = lessee.fail(id);
    assert_eq!(lessee.replied(id, StoreReply::Found(Some((value, 3)))), []);
    assert_eq!(lessee.leases.state(&channel()), HomeState::Unknown);
}

#[test]
fn a_claim_that_comes_after_its_channel_was_given_up_is_given_up_too() {
    let mut lessee = Lessee::new();
    let (id, claim) = lessee.claim();
    assert_eq!(lessee.release(), []);
    let id = lessee.fail(id);
    // The claim is still on its way. Another record keeps it from taking effect.
    let (id, _, revision) = given_up(&lessee.replied(id, StoreReply::Found(None)));
    assert_eq!(revision, None);
    // It came first.
    let id = read(&lessee.replied(id, StoreReply::Conflict));
    let calls = lessee.replied(id, StoreReply::Found(Some((claim, 5))));
    let (id, _, revision) = given_up(&calls);
    assert_eq!(revision, Some(5));
    assert_eq!(lessee.replied(id, StoreReply::Written(6)), []);
}

#[test]
fn a_claim_whose_reply_comes_after_its_channel_was_given_up_is_given_up_too() {
    let mut lessee = Lessee::new();
    let (id, _) = lessee.claim();
    assert_eq!(lessee.release(), []);
    let (id, _, revision) = given_up(&lessee.replied(id, StoreReply::Written(2)));
    assert_eq!(revision, Some(2));
    assert_eq!(lessee.replied(id, StoreReply::Written(3)), []);
}

#[test]
fn a_channel_that_is_wanted_again_is_claimed_anew_while_giving_it_up_is_under_way() {
    let mut lessee = Lessee::new();
    let (id, claim) = lessee.claim();
    assert_eq!(lessee.release(), []);
    let (id, _, revision) = given_up(&lessee.replied(id, StoreReply::Written(2)));
    assert_eq!(revision, Some(2));
    let calls = lessee.act(|leases, now, effects| leases.want(&channel(), "e", now, effects));
    assert_eq!(calls, []);
    // What gives the record up may still come. The claim that was there is no home.
    let id = read(&lessee.replied(id, StoreReply::Unknown));
    let calls = lessee.replied(id, StoreReply::Found(Some((claim, 2))));
    let [(id, _, StoreCall::Replace(value, 2))] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert!(!HomeRecord::decode(value).unwrap().is_given_up());
    assert_eq!(lessee.leases.state(&channel()), HomeState::Claiming);
    assert_eq!(lessee.replied(*id, StoreReply::Written(3)), []);
    assert!(matches!(
        lessee.leases.state(&channel()),
        HomeState::Home { .. }
    ));
}

#[test]
fn the_record_of_another_home_stays() {
    let mut lessee = Lessee::new();
    let (id, _) = lessee.claim();
    assert_eq!(lessee.replied(id, StoreReply::Written(2)), []);
    let (id, ..) = given_up(&lessee.release());
    let other = HomeRecord {
        node: NodeId::new("other", 2).unwrap(),
        generation: 1,
        least_term: 7,
        epoch: "e".into(),
    };
    let id = read(&lessee.replied(id, StoreReply::Conflict));
    assert_eq!(
        lessee.replied(id, StoreReply::Found(Some((other.encode(), 4)))),
        []
    );
}
