//! Events aimed at what leases could get wrong: leaders that are left alone and asked, while the others elect another.

use rand::Rng;

use super::world::World;

impl World {
    /// One step, with fewer operations than usual, so that they last until something has happened.
    pub(super) fn step_aimed(&mut self) {
        self.time += 1;
        self.deliver_due();
        match self.random.random_range(0..1000) {
            0..800 => {
                if let Some(id) = self.any_running() {
                    self.tick(id);
                }
            }
            800..830 => {
                if let Some(id) = self.leader().filter(|_| self.may_ask()) {
                    self.put(id);
                }
            }
            830..890 => {
                let leading = self.leading();
                if !leading.is_empty() && self.may_ask() {
                    let id = leading[self.random.random_range(0..leading.len())];
                    self.get_of(id, 0);
                }
            }
            890..896 => {
                let id = self.any_member();
                self.crash(id);
            }
            896..915 => {
                let id = self.any_member();
                self.restart(id);
            }
            // All but the leader forget what they have promised.
            915..921 => {
                let leader = self.leader();
                for id in self.ids().into_iter().filter(|id| Some(*id) != leader) {
                    self.crash(id);
                    self.restart(id);
                }
            }
            921..935 => {
                // All wait long enough for an election, by their ticks.
                let (ids, leader) = (self.ids(), self.leader());
                for id in ids.into_iter().filter(|id| Some(*id) != leader) {
                    for _ in 0..self.random.random_range(8..22) {
                        self.tick(id);
                    }
                }
            }
            935..950 => {
                self.cut.clear();
                self.cut.extend(self.leader());
            }
            950..958 => self.cut.clear(),
            958..966 => self.change_members(),
            966..978 => {
                if let (Some(id), to) = (self.leader(), self.any_member()) {
                    self.with(id, |running| running.raft.transfer(to));
                    // The others may be quicker than the word of it.
                    if self.random.random_bool(0.5) {
                        self.cut.clear();
                        self.cut.insert(id);
                    }
                }
            }
            _ => self.tidy_somewhere(),
        }
    }
}
