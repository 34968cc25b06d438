//! The simulated world: time, network, faults, clients, and what must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::history::{self, Kind, Operation};
use super::member::{Change, Clock, Member, Running, State};
use crate::raft::{Body, Config, Entry, Members, Message, Nanos, Place, Role, SnapshotMeta};

const STEPS: usize = 1200;
const KEYS: u8 = 3;
const OPERATIONS: usize = 90;
/// Entries that a member keeps for others.
const KEPT: u64 = 12;

struct Letter {
    message: Message,
    /// What travels beside a snapshot's message.
    state: Option<State>,
}

pub struct World {
    pub(super) random: StdRng,
    pub(super) time: u64,
    members: BTreeMap<u64, Member>,
    letters: BTreeMap<(u64, u64), Letter>,
    sent: u64,
    /// Members that hear only one another; none while the network is whole.
    pub(super) cut: BTreeSet<u64>,
    /// Whether faults happen.
    calm: bool,
    pre_vote: bool,
    /// How many of ten members lead by leases.
    leases: u8,
    /// Whether what happens is aimed at leaders that were left behind.
    aimed: bool,
    operations: Vec<Operation>,
    leaders: BTreeMap<u64, u64>,
    /// With the term of the member that applied it first: whoever leads in a later one has it.
    committed: BTreeMap<u64, (Entry, u64)>,
    states: BTreeMap<u64, BTreeMap<u8, u64>>,
    next_id: u64,
}

impl World {
    pub fn new(seed: u64, count: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let voters: BTreeSet<u64> = (1..=count).collect();
        let begin = State {
            applied: Place { index: 1, term: 1 },
            members: Members { voters: voters.clone(), learners: BTreeSet::new() },
            keys: BTreeMap::new(),
        };
        let pre_vote = random.random_bool(0.8);
        let leases = [0, 5, 10, 10][random.random_range(0..4)];
        let aimed = leases > 0 && random.random_bool(0.7);
        let mut members = BTreeMap::new();
        for id in voters {
            let mut member = Member::new(id, Clock::draw(&mut random));
            (member.disk.base, member.disk.state) = (begin.applied, begin.clone());
            (member.disk.hard_state.term, member.disk.hard_state.commit) = (1, 1);
            let by_lease = random.random_range(0..10) < leases;
            member.start(0, Member::config(random.random(), pre_vote, by_lease));
            members.insert(id, member);
        }
        Self {
            random,
            time: 0,
            members,
            letters: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            calm: false,
            pre_vote,
            leases,
            aimed,
            operations: Vec::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            states: BTreeMap::new(),
            next_id: count + 1,
        }
    }

    pub fn run(mut self) {
        self.play();
        self.settle();
        history::check(&self.operations);
    }

    /// What happened, to be compared with another run.
    pub fn trace(&self) -> String {
        format!("{:?} {:?} {}", self.operations, self.committed, self.sent)
    }

    pub fn play(&mut self) {
        for _ in 0..STEPS {
            if self.aimed { self.step_aimed() } else { self.step() }
        }
    }

    /// Left in peace, the members elect a leader and commit what they are asked to.
    fn settle(&mut self) {
        self.calm = true;
        self.cut.clear();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in &ids {
            self.restart(*id);
        }
        for round in 0..3000 {
            self.time += 1;
            self.deliver_due();
            for id in &ids {
                if self.members[id].running.is_some() {
                    self.tick(*id);
                }
            }
            let leader = self.leader();
            if let Some(leader) = leader.filter(|_| round % 100 == 99) {
                let before = self.operations.len() as u64;
                self.put(leader);
                for _ in 0..10 {
                    self.time += 1;
                    self.deliver_due();
                }
                if self.operations[before as usize].end.is_some() && self.all_caught_up() {
                    for key in 0..KEYS {
                        self.get_of(leader, key);
                    }
                    for _ in 0..20 {
                        self.time += 1;
                        self.deliver_due();
                    }
                    let reads = &self.operations[self.operations.len() - usize::from(KEYS)..];
                    assert!(reads.iter().all(|read| read.end.is_some()), "reads are answered");
                    return;
                }
            }
        }
        let roles: Vec<_> = self.members.values().filter_map(|member| member.running.as_ref()).collect();
        let roles: Vec<_> = roles
            .iter()
            .map(|running| {
                let raft = &running.raft;
                (raft.id(), raft.role(), raft.term(), raft.leader(), raft.last(), running.state.applied, raft.members())
            })
            .collect();
        panic!("the cluster did not come to rest: {roles:#?}");
    }

    pub(super) fn leader(&self) -> Option<u64> {
        let leading = self.running().filter(|running| running.raft.leads());
        leading.max_by_key(|running| running.raft.term()).map(|running| running.raft.id())
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        self.members.values().filter_map(|member| member.running.as_ref())
    }

    fn all_caught_up(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(leader) = self.members[&leader].running.as_ref() else { return false };
        let newest = leader.state.applied.index;
        let members = leader.raft.members();
        self.running()
            .filter(|running| members.contains(running.raft.id()))
            .all(|running| running.state.applied.index + 1 >= newest)
    }

    pub(super) fn any_member(&mut self) -> u64 {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        ids[self.random.random_range(0..ids.len())]
    }

    pub(super) fn any_running(&mut self) -> Option<u64> {
        let id = self.any_member();
        self.members[&id].running.is_some().then_some(id)
    }

    fn step(&mut self) {
        self.time += 1;
        self.deliver_due();
        match self.random.random_range(0..1000) {
            0..560 => {
                if let Some(id) = self.any_running() {
                    self.tick(id);
                }
            }
            560..700 => self.put_somewhere(),
            700..800 => {
                if let Some(id) = self.any_running() {
                    let key = self.any_key();
                    if self.may_ask() {
                        self.get_of(id, key);
                    }
                }
            }
            800..830 => {
                let id = self.any_member();
                self.crash(id);
            }
            830..880 => {
                let id = self.any_member();
                self.restart(id);
            }
            880..890 => self.cut_somewhere(),
            890..910 => self.cut.clear(),
            910..925 => {
                // A clock leaps.
                if let Some(id) = self.any_running() {
                    for _ in 0..self.random.random_range(5..40) {
                        self.tick(id);
                    }
                }
            }
            925..955 => self.tidy_somewhere(),
            955..975 => self.change_members(),
            975..985 => {
                if let (Some(id), to) = (self.any_running(), self.any_member()) {
                    self.with(id, |running| running.raft.transfer(to));
                }
            }
            _ => {
                if let (Some(id), other) = (self.any_running(), self.any_member()) {
                    self.with(id, |running| running.raft.unreachable(other));
                }
            }
        }
    }

    /// A member drops entries that it does not need.
    pub(super) fn tidy_somewhere(&mut self) {
        let Some(id) = self.any_running() else { return };
        let member = self.members.get_mut(&id).expect("there");
        let running = member.running.as_mut().expect("running");
        member.disk.state = running.state.clone();
        let unneeded = running.state.applied.index.saturating_sub(KEPT);
        running.raft.compact(unneeded);
        member.disk.compact(unneeded);
    }

    pub(super) fn may_ask(&self) -> bool {
        self.operations.len() < if self.aimed { 55 } else { OPERATIONS }
    }

    /// One key where it is about who sees its changes.
    fn any_key(&mut self) -> u8 {
        if self.aimed { 0 } else { self.random.random_range(0..KEYS) }
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// All that believe they lead.
    pub(super) fn leading(&self) -> Vec<u64> {
        self.running().filter(|running| running.raft.leads()).map(|running| running.raft.id()).collect()
    }

    fn cut_somewhere(&mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        self.cut = ids.into_iter().filter(|_| self.random.random_bool(0.4)).collect();
    }

    pub(super) fn crash(&mut self, id: u64) {
        self.members.get_mut(&id).expect("there").running = None;
    }

    pub(super) fn restart(&mut self, id: u64) {
        let (config, time) = (self.config(), self.time);
        let member = self.members.get_mut(&id).expect("there");
        if member.running.is_none() && !member.removed {
            member.start(time, config);
        }
    }

    /// Of a member that starts now.
    fn config(&mut self) -> Config {
        let by_lease = self.random.random_range(0..10) < self.leases;
        Member::config(self.random.random(), self.pre_vote, by_lease)
    }

    pub(super) fn tick(&mut self, id: u64) {
        self.with(id, |running| running.raft.tick());
    }

    fn put_somewhere(&mut self) {
        if let Some(id) = self.any_running().filter(|_| self.may_ask()) {
            self.put(id);
        }
    }

    pub(super) fn put(&mut self, id: u64) {
        let operation = self.operations.len() as u64;
        let key = self.any_key();
        // Values are never written twice, so that a read says which write it saw.
        let value = operation + 1;
        self.operations.push(Operation { key, kind: Kind::Put(value), start: self.time, end: None });
        let data = Change::Put { operation: operation << 8 | id, key, value }.encode();
        self.with(id, |running| {
            let _ = running.raft.propose(false, data);
        });
    }

    pub(super) fn get_of(&mut self, id: u64, key: u8) {
        let operation = self.operations.len() as u64;
        self.operations.push(Operation { key, kind: Kind::Get(None), start: self.time, end: None });
        self.with(id, |running| {
            let _ = running.raft.read(operation);
        });
    }

    pub(super) fn change_members(&mut self) {
        let Some(leader) = self.leader() else { return };
        let members = self.members[&leader].running.as_ref().expect("it leads").raft.members().clone();
        let change = match self.random.random_range(0..3) {
            0 if members.all().count() < 6 => {
                let id = self.next_id;
                self.next_id += 1;
                let mut member = Member::new(id, Clock::draw(&mut self.random));
                member.start(self.time, self.config());
                self.members.insert(id, member);
                Change::AddLearner(id)
            }
            1 => match members.learners.first() {
                Some(id) => Change::Promote(*id),
                None => return,
            },
            _ if members.voters.len() > 2 => {
                let ids: Vec<u64> = members.all().collect();
                Change::Remove(ids[self.random.random_range(0..ids.len())])
            }
            _ => return,
        };
        self.with(leader, |running| {
            let _ = running.raft.propose(true, change.encode());
        });
    }

    pub(super) fn deliver_due(&mut self) {
        while let Some(entry) = self.letters.first_entry()
            && entry.key().0 <= self.time
        {
            let Letter { message, state } = entry.remove();
            let (from, to) = (message.from, message.to);
            let apart = self.cut.contains(&from) != self.cut.contains(&to);
            let is_snapshot = matches!(message.body, Body::Snapshot(_));
            let there = self.members.get(&to).is_some_and(|member| member.running.is_some());
            if apart || !there {
                if is_snapshot {
                    self.with(from, |running| running.raft.snapshot_sent(to, None));
                }
                continue;
            }
            let index = state.as_ref().map(|state| state.applied.index);
            self.deliver(to, message, state);
            if is_snapshot {
                self.with(from, |running| running.raft.snapshot_sent(to, index));
            }
        }
    }

    fn deliver(&mut self, to: u64, message: Message, state: Option<State>) {
        if let (Some(state), Some((clock, running))) = (&state, self.awake(to)) {
            running.raft.set_clock(clock);
            running.raft.step(message);
            let incoming = Some(state.clone());
            return self.drive(to, incoming);
        }
        self.with(to, |running| running.raft.step(message));
    }

    /// A member that runs, and what its clock shows.
    fn awake(&mut self, id: u64) -> Option<(Nanos, &mut Running)> {
        let member = self.members.get_mut(&id)?;
        let clock = member.clock.at(self.time);
        member.running.as_mut().map(|running| (clock, running))
    }

    pub(super) fn with(&mut self, id: u64, act: impl FnOnce(&mut Running)) {
        if let Some((clock, running)) = self.awake(id) {
            running.raft.set_clock(clock);
            act(running);
            running.raft.flush();
            self.drive(id, None);
        }
    }

    fn send(&mut self, mut message: Message, state: &State) {
        let mut copies = 1;
        let mut delay = self.random.random_range(0..3);
        if !self.calm {
            match self.random.random_range(0..100) {
                0..6 => copies = 0,
                // A proposal is sent once, over a stream that delivers once: twice it would be two entries.
                6..10 if !matches!(message.body, Body::Propose { .. }) => copies = 2,
                10..20 => delay = self.random.random_range(0..80),
                _ => {}
            }
        }
        let mut beside = None;
        if let Body::Snapshot(meta) = &mut message.body {
            *meta = SnapshotMeta { place: state.applied, members: state.members.clone() };
            beside = Some(state.clone());
            // Its sender always hears what became of it, or is gone itself.
            copies = copies.max(1);
        }
        for copy in 0..copies {
            self.sent += 1;
            let letter = Letter { message: message.clone(), state: beside.clone() };
            self.letters.insert((self.time + delay + copy * 7, self.sent), letter);
        }
    }

    /// Does what the member wants done, until there is nothing more; or it crashes on the way.
    fn drive(&mut self, id: u64, mut incoming: Option<State>) {
        loop {
            let Some(member) = self.members.get_mut(&id) else { return };
            let Some(running) = member.running.as_mut() else { return };
            let ready = running.raft.ready();
            if ready.is_empty() {
                break;
            }
            let state = running.state.clone();
            for message in ready.messages {
                self.send(message, &state);
            }
            let crash = if self.calm { 100 } else { self.random.random_range(0..400) };
            let Some(member) = self.members.get_mut(&id) else { return };
            if crash == 0 {
                member.running = None;
                return;
            }
            if let Some(meta) = ready.snapshot {
                let state = incoming.take().expect("the state came with the message");
                assert_eq!((state.applied, &state.members), (meta.place, &meta.members));
                member.disk.state = state.clone();
                (member.disk.base, member.disk.entries) = (meta.place, Vec::new());
                member.running.as_mut().expect("running").state = state;
            }
            if let Some(state) = ready.hard_state {
                member.disk.hard_state = state;
            }
            member.disk.append(&ready.entries);
            if crash == 1 {
                // All of it is durable, and nobody was told.
                member.running = None;
                return;
            }
            member.running.as_mut().expect("running").raft.persisted();
            for entry in ready.committed {
                self.apply(id, &entry);
            }
            let running = self.members.get_mut(&id).and_then(|member| member.running.as_mut()).expect("running");
            running.reads.extend(ready.reads.into_iter().map(|(operation, index)| (index, operation)));
            self.answer_reads(id);
        }
        self.check(id);
    }

    fn apply(&mut self, id: u64, entry: &Entry) {
        let running = self.members.get_mut(&id).and_then(|member| member.running.as_mut()).expect("running");
        let known = self.committed.entry(entry.index).or_insert_with(|| (entry.clone(), running.raft.term()));
        assert_eq!(known.0, *entry, "member {id} applies something else than another");
        let change = running.state.apply(entry);
        let same = self.states.entry(entry.index).or_insert_with(|| running.state.keys.clone());
        assert_eq!(*same, running.state.keys, "member {id} came to another state");
        running.raft.applied(entry.index);
        if entry.members {
            running.raft.set_members(running.state.members.clone());
        }
        match change {
            // The member that was asked answers.
            Some(Change::Put { operation, .. }) if operation & 0xff == id => {
                if let Some(operation) = self.operations.get_mut((operation >> 8) as usize) {
                    operation.end.get_or_insert(self.time);
                }
            }
            Some(Change::Remove(gone)) if gone == id => {
                let member = self.members.get_mut(&id).expect("there");
                member.removed = true;
            }
            _ => {}
        }
    }

    fn answer_reads(&mut self, id: u64) {
        let running = self.members.get_mut(&id).and_then(|member| member.running.as_mut()).expect("running");
        let applied = running.state.applied.index;
        let (done, waiting) = std::mem::take(&mut running.reads).into_iter().partition(|(index, _)| *index <= applied);
        running.reads = waiting;
        let done: Vec<(u64, u64)> = done;
        for (_, operation) in done {
            let operation = &mut self.operations[operation as usize];
            let value = running.state.keys.get(&operation.key).copied().unwrap_or_default();
            operation.kind = Kind::Get(Some(value));
            operation.end = Some(self.time);
        }
    }

    /// What must hold for a member after each of its steps.
    fn check(&mut self, id: u64) {
        let running = self.members[&id].running.as_ref().expect("running");
        let raft = &running.raft;
        if raft.role() == Role::Leader {
            let known = *self.leaders.entry(raft.term()).or_insert(id);
            assert_eq!(known, id, "two leaders in term {}", raft.term());
            for (index, (entry, term)) in self.committed.range(raft.log().first_index()..) {
                let older = *term < raft.term();
                assert!(!older || raft.log().term(*index) == Some(entry.term), "leader {id} lacks entry {index}");
            }
        }
        if self.members[&id].removed {
            self.members.get_mut(&id).expect("there").running = None;
        }
    }
}
