//! A model of nodes whose clocks drift, and of a store that delays calls, loses requests and
//! replies, and forgets everything.

mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use proptest::prelude::*;

use self::world::{World, worlds};
use super::*;

const NODES: usize = 3;
/// Faults end then, in true milliseconds.
const FAULTS_MS: u64 = 60_000;
const END_MS: u64 = 110_000;
const CALL_LIMIT_MS: u64 = 2_000;
/// The longest time that a call is on its way.
const LATE_MS: u64 = 9_000;
const TRY_MS: u64 = 97;

#[derive(Debug)]
enum Event {
    /// The node does what is due at this time, unless it was scheduled anew.
    Tick(u64),
    /// The node publishes.
    Publish,
    /// The store carries out a call of the node.
    Carry(u64, LeaseKey, StoreCall),
    Reply(u64, StoreReply),
    /// The node's limit of the time of a call.
    Limit(u64),
    /// The node hears of a block.
    Hear(usize, u64),
    /// The store loses everything.
    Forget,
}

struct Simulation {
    world: World,
    random: u64,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    details: HashMap<u64, (usize, Event)>,
    last_event: u64,
    ids: Vec<NodeId>,
    nodes: Vec<Leases>,
    open: Vec<HashSet<u64>>,
    /// The next tick of each node.
    ticks: Vec<u64>,
    /// Until when each node stands still, as a stopped process does.
    stopped_until: Vec<u64>,
    /// Whether each node publishes.
    publishes: Vec<bool>,
    store: HashMap<LeaseKey, (Bytes, u64, Option<u64>)>,
    revision: u64,
    /// Until when homes may be unaware of a loss of the store's data.
    unaware_until: u64,
    /// Who exported in which term.
    terms: BTreeMap<u64, usize>,
    last_export: (u64, usize),
    exports: u64,
}

fn channel() -> ChannelName {
    ChannelName::parse("process:web").unwrap()
}

impl Simulation {
    fn new(world: World) -> Self {
        let ids: Vec<_> = (0..NODES as u64)
            .map(|index| NodeId::new("node", index).unwrap())
            .collect();
        Self {
            random: world.seed,
            world,
            now_ms: 0,
            events: BinaryHeap::new(),
            details: HashMap::new(),
            last_event: 0,
            nodes: ids.iter().cloned().map(Leases::new).collect(),
            ids,
            open: vec![HashSet::new(); NODES],
            ticks: vec![0; NODES],
            stopped_until: vec![0; NODES],
            publishes: vec![false; NODES],
            store: HashMap::new(),
            revision: 0,
            unaware_until: 0,
            terms: BTreeMap::new(),
            last_export: (0, 0),
            exports: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn suffers(&mut self) -> bool {
        self.now_ms < FAULTS_MS && self.random(100) < self.world.faults
    }

    fn at(&mut self, delay_ms: u64, node: usize, event: Event) {
        self.last_event += 1;
        self.events
            .push(Reverse((self.now_ms + delay_ms, self.last_event)));
        self.details.insert(self.last_event, (node, event));
    }

    fn clock(&self, node: usize) -> Now {
        Now {
            monotonic_ms: self.world.clocks[node].at(self.now_ms),
            unix_ms: self.world.walls[node] + self.now_ms,
        }
    }

    fn store_ms(&self) -> u64 {
        self.now_ms * self.world.store_per_mille / 1000
    }

    fn stored(&self, key: &LeaseKey) -> Option<&(Bytes, u64, Option<u64>)> {
        let stored = self.store.get(key);
        stored.filter(|(_, _, until)| until.is_none_or(|until| self.store_ms() < until))
    }

    fn run(&mut self) {
        for node in 0..NODES {
            self.at(0, node, Event::Tick(0));
            let first = self.random(TRY_MS);
            self.at(first, node, Event::Publish);
        }
        if self.world.loses_data {
            for _ in 0..3 {
                let at = self.random(FAULTS_MS);
                self.at(at, 0, Event::Forget);
            }
        }
        while let Some(Reverse((at, id))) = self.events.pop()
            && at < END_MS
        {
            self.now_ms = at;
            assert!(
                self.last_event < 200_000,
                "the nodes call without end: {:?}",
                self.nodes
            );
            let (node, event) = self.details.remove(&id).unwrap();
            let is_stopped = at < self.stopped_until[node];
            if is_stopped && !matches!(event, Event::Carry(..) | Event::Forget) {
                // A stopped process goes on in any order: its timers and sockets are all ready.
                let delay = self.stopped_until[node] - at + self.random(3);
                self.at(delay, node, event);
                continue;
            }
            self.happen(node, event);
            self.check();
        }
    }

    fn happen(&mut self, node: usize, event: Event) {
        let now = self.clock(node);
        let mut effects = Vec::new();
        match event {
            Event::Tick(at) if at != self.ticks[node] => return,
            Event::Tick(_) => {
                self.ticks[node] = u64::MAX;
                self.nodes[node].tick(now, &mut effects);
            }
            Event::Publish => {
                self.publish(node, now, &mut effects);
                self.at(TRY_MS, node, Event::Publish);
            }
            Event::Carry(id, key, call) => return self.carry(node, id, key, call),
            Event::Reply(id, reply) => {
                if self.open[node].remove(&id) {
                    self.nodes[node].replied(id, reply, now, &mut effects);
                }
            }
            Event::Limit(id) => {
                if self.open[node].remove(&id) {
                    self.nodes[node].replied(id, StoreReply::Unknown, now, &mut effects);
                }
            }
            Event::Hear(from, term) => {
                let id = self.ids[from].clone();
                self.nodes[node].heard(&channel(), &id, term, now, &mut effects);
            }
            Event::Forget => {
                self.store.clear();
                self.revision = 0;
                // A late call may bring back a session that the node has lost, until it looks.
                self.unaware_until = self.now_ms + (LATE_MS + LEASE_MS) * 1000 / 950;
                return;
            }
        }
        for effect in effects {
            self.carry_out(node, effect);
        }
        if let Some(due) = self.nodes[node].due() {
            let at = self.world.clocks[node].when(due).max(self.now_ms + 1);
            if at < self.ticks[node] {
                self.ticks[node] = at;
                self.at(at - self.now_ms, node, Event::Tick(at));
            }
        }
    }

    /// A node publishes: it exports as home, and otherwise asks to become it.
    fn publish(&mut self, node: usize, now: Now, effects: &mut Vec<Effect>) {
        if self.now_ms < FAULTS_MS {
            if self.random(100) == 0 {
                self.publishes[node] = !self.publishes[node];
                if !self.publishes[node] {
                    self.nodes[node].release(&channel(), now, effects);
                }
            }
            if self.random(600) == 0 {
                self.stopped_until[node] = self.now_ms + self.random(15_000);
            }
        } else {
            self.publishes[node] |= node == 0;
        }
        if !self.publishes[node] {
            return;
        }
        match self.nodes[node].term(&channel(), now) {
            Some(term) => self.export(node, term),
            // As after messages that were not acknowledged in time.
            None if self.random(10) == 0 => {
                self.nodes[node].want(&channel(), "", now, effects);
            }
            None => {}
        }
    }

    fn export(&mut self, node: usize, term: u64) {
        let owner = *self.terms.entry(term).or_insert(node);
        assert_eq!(owner, node, "two nodes numbered in term {term}");
        if self.now_ms >= self.unaware_until && !self.world.loses_data {
            let (&highest, _) = self.terms.last_key_value().unwrap();
            assert_eq!(highest, term, "a home exports in a term that mirrors drop");
        }
        self.last_export = (self.now_ms, node);
        self.exports += 1;
        for other in 0..NODES {
            if other != node && !self.suffers() {
                let delay = self.random(30);
                self.at(delay, other, Event::Hear(node, term));
            }
        }
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        let Effect::Call { id, key, call } = effect else {
            return;
        };
        self.open[node].insert(id);
        let limit = CALL_LIMIT_MS * 1000 / self.world.clocks[node].per_mille;
        self.at(limit, node, Event::Limit(id));
        let mut delay = self.random(5);
        if self.suffers() {
            match self.random(4) {
                // It never arrives.
                0 => return,
                // It arrives long after its limit.
                1 => delay += self.random(LATE_MS),
                _ => delay += self.random(2_500),
            }
        }
        self.at(delay, node, Event::Carry(id, key, call));
    }

    fn carry(&mut self, node: usize, id: u64, key: LeaseKey, call: StoreCall) {
        let found = self
            .stored(&key)
            .map(|(value, revision, _)| (value.clone(), *revision));
        let write = match call {
            StoreCall::Read => None,
            StoreCall::Create(value) => Some((value, found.is_none())),
            StoreCall::Replace(value, revision) => {
                let is_same = found.as_ref().is_some_and(|(_, found)| *found == revision);
                Some((value, is_same))
            }
        };
        let reply = match write {
            None => StoreReply::Found(found),
            Some((_, false)) => StoreReply::Conflict,
            Some((value, true)) => {
                self.revision += 1;
                let until = matches!(key, LeaseKey::Session(_)).then(|| self.store_ms() + LEASE_MS);
                self.store.insert(key, (value, self.revision, until));
                StoreReply::Written(self.revision)
            }
        };
        let mut delay = self.random(5);
        if self.suffers() {
            match self.random(3) {
                0 => return,
                _ => delay += self.random(2_500),
            }
        }
        self.at(delay, node, Event::Reply(id, reply));
    }

    /// What holds at every true time, whatever the nodes believe.
    fn check(&self) {
        let homes: Vec<_> = (0..NODES)
            .filter(|&node| self.now_ms >= self.stopped_until[node])
            .filter_map(|node| {
                let term = self.nodes[node].term(&channel(), self.clock(node));
                term.map(|term| (node, term))
            })
            .collect();
        let terms: HashSet<_> = homes.iter().map(|(_, term)| term).collect();
        assert_eq!(
            terms.len(),
            homes.len(),
            "two nodes number in one term: {homes:?}"
        );
        if self.now_ms < self.unaware_until {
            return;
        }
        assert!(homes.len() <= 1, "two homes at {}: {homes:?}", self.now_ms);
        for (node, term) in homes {
            let session = LeaseKey::Session(self.ids[node].clone());
            let (session, ..) = self.stored(&session).expect("a home has a session");
            let session = SessionRecord::decode(session).unwrap();
            let stored = self.stored(&LeaseKey::Home(channel()));
            let (home, revision, _) = stored.expect("a home has a record");
            let home = HomeRecord::decode(home).unwrap();
            assert_eq!(
                (&home.node, home.generation),
                (&self.ids[node], session.generation)
            );
            assert!(home.term(*revision) >= term);
        }
    }
}

fn check(world: World) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(world);
    simulation.run();
    let (last, node) = simulation.last_export;
    prop_assert!(
        last + 2 * TRY_MS >= END_MS,
        "the channel has a publisher, and was last exported at {last} by {node}: {:?}",
        simulation
            .nodes
            .iter()
            .map(|node| node.state(&channel()))
            .collect::<Vec<_>>()
    );
    prop_assert!(simulation.exports > 100);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_has_one_home_at_a_time_and_a_home_again_after_faults(world in worlds(false)) {
        check(world)?;
    }

    #[test]
    fn homes_have_terms_of_their_own_even_when_the_store_forgets(world in worlds(true)) {
        check(world)?;
    }
}
