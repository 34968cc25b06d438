//! One simulated member: what it has on disk, and what it loses when it crashes.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::raft::{Config, Entry, HardState, Log, Members, Nanos, Place, Raft};

/// A change that an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put { operation: u64, key: u8, value: u64 },
    AddLearner(u64),
    Promote(u64),
    Remove(u64),
}

impl Change {
    pub fn encode(&self) -> Bytes {
        let (kind, numbers): (u8, [u64; 3]) = match *self {
            Self::Put { operation, key, value } => (0, [operation, u64::from(key), value]),
            Self::AddLearner(id) => (1, [id, 0, 0]),
            Self::Promote(id) => (2, [id, 0, 0]),
            Self::Remove(id) => (3, [id, 0, 0]),
        };
        std::iter::once(kind).chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
    }

    pub fn decode(data: &[u8]) -> Option<Self> {
        let number = |place: usize| {
            let start = 1 + 8 * place;
            data.get(start..start + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        let first = number(0)?;
        match data[0] {
            0 => Some(Self::Put { operation: first, key: number(1)? as u8, value: number(2)? }),
            1 => Some(Self::AddLearner(first)),
            2 => Some(Self::Promote(first)),
            _ => Some(Self::Remove(first)),
        }
    }
}

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub applied: Place,
    pub members: Members,
    pub keys: BTreeMap<u8, u64>,
}

impl State {
    pub fn apply(&mut self, entry: &Entry) -> Option<Change> {
        assert_eq!(entry.index, self.applied.index + 1, "entries are applied in order");
        self.applied = Place { index: entry.index, term: entry.term };
        let change = Change::decode(&entry.data)?;
        match change {
            Change::Put { key, value, .. } => drop(self.keys.insert(key, value)),
            Change::AddLearner(id) if !self.members.voters.contains(&id) => drop(self.members.learners.insert(id)),
            Change::AddLearner(_) => {}
            Change::Promote(id) => {
                if self.members.learners.remove(&id) {
                    self.members.voters.insert(id);
                }
            }
            Change::Remove(id) => {
                self.members.learners.remove(&id);
                self.members.voters.remove(&id);
            }
        }
        Some(change)
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub base: Place,
    pub entries: Vec<Entry>,
    pub state: State,
}

impl Disk {
    pub fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            let keep = (entry.index - self.base.index - 1) as usize;
            self.entries.truncate(keep);
            assert_eq!(self.entries.len(), keep, "no gap is written");
            self.entries.push(entry.clone());
        }
    }

    /// Drops entries up to `index`, which the stored state has.
    pub fn compact(&mut self, index: u64) {
        while let Some(first) = self.entries.first()
            && first.index <= index.min(self.state.applied.index)
        {
            self.base = Place { index: first.index, term: first.term };
            self.entries.remove(0);
        }
    }
}

/// What a crash ends.
pub struct Running {
    pub raft: Raft,
    pub state: State,
    /// Reads that may be answered once so much is applied, as index and operation.
    pub reads: Vec<(u64, u64)>,
}

pub struct Member {
    pub id: u64,
    pub disk: Disk,
    pub running: Option<Running>,
    /// Its operator has taken it away for good.
    pub removed: bool,
    pub clock: Clock,
}

/// A clock that nobody sets, and that is up to a tenth too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub began: Nanos,
    /// What it counts in a unit of time.
    pub speed: Nanos,
}

impl Clock {
    pub fn draw(random: &mut StdRng) -> Self {
        Self { began: random.random_range(1..1_000_000), speed: random.random_range(900..=1100) }
    }

    pub fn at(self, time: u64) -> Nanos {
        self.began + time * self.speed
    }
}

/// As long as members take for about ten ticks of theirs.
const PROMISE: Nanos = 70_000;

impl Member {
    /// How members of a world are set up; `leases` is for one member alone, as operators may do it.
    pub fn config(seed: u64, pre_vote: bool, leases: bool) -> Config {
        Config { heartbeat_ticks: 2, promise: PROMISE, pre_vote, leases, seed, ..Config::default() }
    }

    pub fn new(id: u64, clock: Clock) -> Self {
        Self { id, disk: Disk::default(), running: None, removed: false, clock }
    }

    pub fn start(&mut self, time: u64, config: Config) {
        let config = Config { id: self.id, started: self.clock.at(time), ..config };
        let Disk { hard_state, base, entries, state } = self.disk.clone();
        let log = Log::new(base, entries, hard_state.commit, state.applied.index);
        let raft = Raft::new(config, hard_state, log, state.members.clone());
        self.running = Some(Running { raft, state, reads: Vec::new() });
    }
}
