//! Which API server a connection goes to. No IO: who is asked and what they say comes in from outside.

/// How often in a row a server has to fail before it counts as lost: one slow answer is none.
const FAILURES: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    address: String,
    failures: u32,
}

/// The API servers that are known.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    servers: Vec<Server>,
    own: Option<String>,
    turn: usize,
}

impl Pool {
    /// All are taken to be well until they are asked; `own` is preferred.
    pub fn new(addresses: &[String], own: Option<String>) -> Self {
        let mut pool = Self { own, ..Self::default() };
        pool.replace(addresses);
        pool
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.address.clone()).collect()
    }

    /// Takes over a new list; says whether it is another one. What is known of servers that stay is kept.
    pub fn replace(&mut self, addresses: &[String]) -> bool {
        let mut wanted: Vec<&String> = addresses.iter().collect();
        wanted.sort();
        wanted.dedup();
        if wanted.len() == self.servers.len() && wanted.iter().zip(&self.servers).all(|(new, old)| **new == old.address)
        {
            return false;
        }
        let failures =
            |address: &str| self.servers.iter().find(|server| server.address == address).map_or(0, |old| old.failures);
        self.servers = wanted
            .into_iter()
            .map(|address| Server { address: address.clone(), failures: failures(address) })
            .collect();
        true
    }

    /// Takes over the list that the cluster tells; says whether there are others now. One that is not on it stays as long as
    /// it is well: it may only have been slow to say that it lives.
    pub fn follow(&mut self, told: &[String]) -> bool {
        let well = self.servers.iter().filter(|server| server.failures == 0).map(|server| server.address.clone());
        let all: Vec<String> = well.chain(told.iter().cloned()).collect();
        self.replace(&all)
    }

    /// Notes what a server said when it was asked how it is.
    pub fn asked(&mut self, address: &str, well: bool) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.address == address) {
            server.failures = if well { 0 } else { server.failures.saturating_add(1) };
        }
    }

    /// Those that connections may stay with: the ones that are well, or all if none is, because then there is nowhere to
    /// go from one that is not.
    pub fn usable(&self) -> Vec<String> {
        let well = self.servers.iter().filter(|server| server.failures < FAILURES);
        let well: Vec<String> = well.map(|server| server.address.clone()).collect();
        if well.is_empty() { self.addresses() } else { well }
    }

    /// The servers to try for one more connection, in their order: this node's own, the other usable ones beginning with
    /// another each time, the rest.
    pub fn order(&mut self) -> Vec<String> {
        let mut usable = self.usable();
        if !usable.is_empty() {
            let by = self.turn % usable.len();
            usable.rotate_left(by);
            self.turn = self.turn.wrapping_add(1);
        }
        let rest = self.addresses().into_iter().filter(|address| !usable.contains(address)).collect::<Vec<_>>();
        if let Some(at) = self.own.as_ref().and_then(|own| usable.iter().position(|address| address == own)) {
            usable[..=at].rotate_right(1);
        }
        usable.extend(rest);
        usable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(addresses: &[&str], own: Option<&str>) -> Pool {
        Pool::new(&addresses.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), own.map(str::to_owned))
    }

    #[test]
    fn connections_are_spread_and_what_is_lost_comes_last() {
        let mut all = pool(&["c", "a", "b", "a"], None);
        assert_eq!(all.order(), ["a", "b", "c"]);
        assert_eq!(all.order(), ["b", "c", "a"]);
        for _ in 0..FAILURES {
            all.asked("c", false);
        }
        assert_eq!(all.order().last().unwrap(), "c");
        assert_eq!(all.usable(), ["a", "b"]);
        all.asked("c", true);
        assert_eq!(all.usable().len(), 3);
    }

    #[test]
    fn the_nodes_own_server_is_preferred_while_it_is_well() {
        let mut all = pool(&["a", "b", "c"], Some("b"));
        for _ in 0..4 {
            assert_eq!(all.order()[0], "b");
        }
        all.asked("b", false);
        assert_eq!(all.order()[0], "b", "one slow answer is none");
        all.asked("b", false);
        assert_ne!(all.order()[0], "b");
        assert_eq!(all.order().len(), 3);
    }

    #[test]
    fn when_all_are_lost_all_are_tried() {
        let mut all = pool(&["a", "b"], None);
        for address in ["a", "b", "a", "b"] {
            all.asked(address, false);
        }
        assert_eq!(all.usable(), ["a", "b"]);
        assert_eq!(all.order().len(), 2);
        assert!(pool(&[], None).order().is_empty());
    }

    #[test]
    fn a_new_list_keeps_what_is_known() {
        let mut all = pool(&["a", "b"], None);
        all.asked("b", false);
        all.asked("b", false);
        assert!(!all.replace(&["b".into(), "a".into()]));
        assert!(all.replace(&["b".into(), "c".into()]));
        assert_eq!(all.usable(), ["c"]);
    }

    #[test]
    fn a_server_that_is_well_stays_though_it_is_not_told_of() {
        let mut all = pool(&["a", "b"], None);
        all.asked("a", false);
        assert!(all.follow(&["c".into()]));
        assert_eq!(all.addresses(), ["b", "c"]);
        assert!(!all.follow(&["c".into()]));
    }
}
