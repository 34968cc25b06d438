//! Leases: keys attached to one are deleted when it runs out or is revoked.
//!
//! Pure: time comes in as an argument. Grants and revocations come from the log; when a lease runs out is this member's
//! own business, so a restart gives every lease its whole time again, as etcd does.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Error;

/// A lease asked for with less gets this many seconds: one and a half election timeouts, rounded up, as in etcd.
pub const MIN_TTL: i64 = 2;
/// Seconds after which a long lease's time is written down.
pub const CHECKPOINT: i64 = 300;
/// A lease cannot be asked for with more seconds.
const MAX_TTL: i64 = 9_000_000_000;

struct Lease {
    ttl: i64,
    /// Seconds left as the last checkpoint said, 0 before the first and after a renewal.
    remaining: i64,
    expiry: Instant,
    keys: BTreeSet<Bytes>,
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Seconds it was granted for.
    pub granted: i64,
    /// Whole seconds left.
    pub remaining: i64,
    /// The keys attached to it, in order.
    pub keys: Vec<Bytes>,
}

/// All leases.
#[derive(Default)]
pub struct Lessor {
    leases: HashMap<i64, Lease>,
    by_expiry: BTreeSet<(Instant, i64)>,
    by_key: HashMap<Bytes, i64>,
}

impl Lessor {
    /// Grants a lease. Returns its time to live in seconds, which may be more than asked for.
    pub fn grant(&mut self, id: i64, ttl: i64, now: Instant) -> Result<i64, Error> {
        if id == 0 {
            return Err(Error::LeaseNotFound);
        }
        if ttl > MAX_TTL {
            return Err(Error::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists);
        }
        let ttl = ttl.max(MIN_TTL);
        let expiry = now + seconds(ttl);
        self.by_expiry.insert((expiry, id));
        self.leases.insert(id, Lease { ttl, remaining: 0, expiry, keys: BTreeSet::new() });
        Ok(ttl)
    }

    /// Removes a lease and returns the keys attached to it, in order; they must be deleted by the caller.
    pub fn revoke(&mut self, id: i64) -> Result<Vec<Bytes>, Error> {
        let lease = self.leases.remove(&id).ok_or(Error::LeaseNotFound)?;
        self.by_expiry.remove(&(lease.expiry, id));
        for key in &lease.keys {
            self.by_key.remove(key);
        }
        Ok(lease.keys.into_iter().collect())
    }

    /// Gives a lease its whole time again and returns that in seconds. One that has run out cannot be renewed.
    pub fn renew(&mut self, id: i64, now: Instant) -> Result<i64, Error> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.expiry > now).ok_or(Error::LeaseNotFound)?;
        self.by_expiry.remove(&(lease.expiry, id));
        lease.expiry = now + seconds(lease.ttl);
        self.by_expiry.insert((lease.expiry, id));
        Ok(lease.ttl)
    }

    /// A new leader does not know when leases were last renewed: each gets all of its time, or what a checkpoint left it.
    pub fn take_office(&mut self, now: Instant) {
        self.by_expiry.clear();
        for (id, lease) in &mut self.leases {
            let left = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            lease.expiry = now + seconds(left);
            self.by_expiry.insert((lease.expiry, *id));
        }
    }

    /// How much time is left of a lease, as the leader found. Says whether there is such a lease.
    pub fn checkpoint(&mut self, id: i64, remaining: i64) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.remaining = remaining).is_some()
    }

    /// Long leases of which the last checkpoint says too much by [`CHECKPOINT`], or too little because they were renewed;
    /// with the seconds that are right.
    pub fn due_checkpoints(&self, now: Instant, limit: usize) -> Vec<(i64, i64)> {
        let due = self.leases.iter().filter(|(_, lease)| lease.ttl > CHECKPOINT).filter_map(|(id, lease)| {
            let left = lease.expiry.saturating_duration_since(now).as_secs().cast_signed();
            let said = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            if said - left >= CHECKPOINT { Some((*id, left.max(1))) } else { (left > said).then_some((*id, 0)) }
        });
        due.take(limit).collect()
    }

    /// Whether there is such a lease.
    pub fn exists(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// What is known of a lease.
    pub fn info(&self, id: i64, now: Instant) -> Result<LeaseInfo, Error> {
        let lease = self.leases.get(&id).ok_or(Error::LeaseNotFound)?;
        let remaining = lease.expiry.saturating_duration_since(now).as_secs().cast_signed();
        Ok(LeaseInfo { granted: lease.ttl, remaining, keys: lease.keys.iter().cloned().collect() })
    }

    /// The keys attached to a lease; none for a lease that is not there.
    pub fn keys(&self, id: i64) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|lease| &lease.keys)
    }

    /// The leases, the one that runs out first leading.
    pub fn ids(&self) -> Vec<i64> {
        self.by_expiry.iter().map(|(_, id)| *id).collect()
    }

    /// A key was written with this lease, or with none (0).
    pub fn attach(&mut self, key: &Bytes, id: i64) {
        self.detach(key);
        if let Some(lease) = self.leases.get_mut(&id) {
            // The log's bytes are part of a larger buffer; a key that stays must not keep that alive.
            let key = Bytes::copy_from_slice(key);
            lease.keys.insert(key.clone());
            self.by_key.insert(key, id);
        }
    }

    /// A key was deleted.
    pub fn detach(&mut self, key: &Bytes) {
        if self.by_key.is_empty() {
            return;
        }
        if let Some(lease) = self.by_key.remove(key).and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.remove(key);
        }
    }

    /// Up to `limit` leases that have run out.
    pub fn expired(&self, now: Instant, limit: usize) -> Vec<i64> {
        self.by_expiry.iter().take_while(|(expiry, _)| *expiry <= now).take(limit).map(|(_, id)| *id).collect()
    }
}

/// Far beyond any uptime, so that adding it to an instant cannot overflow.
const FOREVER: Duration = Duration::from_secs(MAX_TTL as u64);

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.max(0).cast_unsigned()).min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    #[test]
    fn a_lease_runs_out_unless_renewed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lessor = Lessor::default();
        assert_eq!(lessor.grant(1, 10, start), Ok(10));
        assert_eq!(lessor.grant(2, 0, start), Ok(MIN_TTL));
        assert_eq!(lessor.ids(), [2, 1]);
        assert_eq!(lessor.expired(at(1), 9), [0i64; 0]);
        assert_eq!(lessor.expired(at(2), 9), [2]);
        assert_eq!(lessor.renew(2, at(2)), Err(Error::LeaseNotFound));
        assert_eq!(lessor.renew(1, at(9)), Ok(10));
        assert_eq!(lessor.expired(at(18), 9), [2]);
        assert_eq!(lessor.expired(at(19), 9), [2, 1]);
        assert_eq!(lessor.expired(at(19), 1), [2]);
    }

    #[test]
    fn a_new_leader_goes_by_checkpoints() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lessor = Lessor::default();
        lessor.grant(1, 1000, start).expect("granted");
        lessor.grant(2, 100, start).expect("granted");
        assert_eq!(lessor.due_checkpoints(at(200), 9), []);
        assert_eq!(lessor.due_checkpoints(at(310), 9), [(1, 690)]);
        assert!(lessor.checkpoint(1, 690) && !lessor.checkpoint(3, 1));
        assert_eq!(lessor.due_checkpoints(at(320), 9), []);
        lessor.take_office(at(400));
        assert_eq!(lessor.expired(at(499), 9), [0i64; 0]);
        assert_eq!(lessor.expired(at(500), 9), [2]);
        assert_eq!(lessor.expired(at(1090), 9), [2, 1]);
        lessor.renew(1, at(500)).expect("there");
        assert_eq!(lessor.due_checkpoints(at(510), 9), [(1, 0)]);
    }

    #[test]
    fn what_cannot_be_granted() {
        let now = Instant::now();
        let mut lessor = Lessor::default();
        assert_eq!(lessor.grant(0, 10, now), Err(Error::LeaseNotFound));
        assert_eq!(lessor.grant(1, MAX_TTL + 1, now), Err(Error::LeaseTtlTooLarge));
        assert_eq!(lessor.grant(1, MAX_TTL, now), Ok(MAX_TTL));
        assert_eq!(lessor.grant(1, 5, now), Err(Error::LeaseExists));
    }

    #[test]
    fn a_key_belongs_to_its_last_lease() {
        let now = Instant::now();
        let mut lessor = Lessor::default();
        lessor.grant(1, 10, now).expect("granted");
        lessor.grant(2, 10, now).expect("granted");
        for name in ["b", "a", "c"] {
            lessor.attach(&key(name), 1);
        }
        lessor.attach(&key("a"), 2);
        lessor.attach(&key("c"), 0);
        assert_eq!(lessor.info(1, now).map(|info| info.keys), Ok(vec![key("b")]));
        lessor.detach(&key("b"));
        assert_eq!(lessor.revoke(1), Ok(vec![]));
        assert_eq!(lessor.revoke(2), Ok(vec![key("a")]));
        assert_eq!(lessor.revoke(2), Err(Error::LeaseNotFound));
    }
}
