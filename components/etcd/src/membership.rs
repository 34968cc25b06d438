//! Who is in the cluster. Ids are made as etcd makes them, so that they are the same for the same cluster.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use ring::digest;

use crate::error::Error;
use crate::mvcc::backend::Change;
use crate::proto::log::command::Op;
use crate::proto::rpc::Member;
use crate::raft::Members;

/// This member and its cluster, from the first start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub member: u64,
    pub cluster: u64,
}

/// Learners that a cluster may have at once, unless it is said otherwise.
const MOST_LEARNERS: usize = 1;

/// The members as of the last applied entry. Entries change them and nothing else does.
#[derive(Clone, Debug)]
pub struct Roster {
    members: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
    most_learners: usize,
    /// Empty while the cluster goes back to no version.
    downgrade: String,
}

impl Default for Roster {
    fn default() -> Self {
        let most_learners = MOST_LEARNERS;
        Self { members: BTreeMap::new(), removed: BTreeSet::new(), most_learners, downgrade: String::new() }
    }
}

impl Roster {
    /// The row that is no member's: the version that the cluster is to go back to.
    pub const DOWNGRADE: u64 = 0;

    /// The members that a cluster begins with, as names with URLs, and the cluster's id.
    pub fn begin(named: &BTreeMap<String, Vec<String>>, token: &str) -> (Self, u64) {
        let member = |(name, urls): (&String, &Vec<String>)| {
            let id = member_id(urls, token);
            let member = Member { id, name: name.clone(), peer_ur_ls: sorted(urls), ..Member::default() };
            (id, member)
        };
        let members: BTreeMap<u64, Member> = named.iter().map(member).collect();
        let cluster = cluster_id(&members.keys().copied().collect::<Vec<_>>());
        (Self { members, ..Self::default() }, cluster)
    }

    /// From what was stored; an empty row is of a member that is gone.
    pub fn stored(rows: Vec<(u64, Vec<u8>)>) -> Result<Self, prost::DecodeError> {
        let mut roster = Self::default();
        for (id, row) in rows {
            if id == Self::DOWNGRADE {
                roster.downgrade = String::from_utf8_lossy(&row).into_owned();
            } else if row.is_empty() {
                roster.removed.insert(id);
            } else {
                roster.members.insert(id, Member::decode(row.as_slice())?);
            }
        }
        Ok(roster)
    }

    /// The same with another id for one of them.
    pub fn renamed(mut self, id: u64, to: u64) -> Self {
        if let Some(mut member) = self.members.remove(&id) {
            member.id = to;
            self.members.insert(to, member);
        }
        self
    }

    /// What stores it as it is.
    pub fn changes(&self) -> Vec<Change> {
        let gone = self.removed.iter().map(|id| Change::Member { id: *id, member: None });
        let downgrade = (!self.downgrade.is_empty()).then(|| self.put_downgrade());
        self.members.values().map(put).chain(gone).chain(downgrade).collect()
    }

    fn put_downgrade(&self) -> Change {
        Change::Member { id: Self::DOWNGRADE, member: Some(self.downgrade.clone().into_bytes()) }
    }

    /// The version that the cluster is to go back to; empty while there is none.
    pub fn downgrade(&self) -> &str {
        &self.downgrade
    }

    /// So many learners the cluster may have at once. All members are to be told the same.
    pub fn allow_learners(&mut self, most: usize) {
        self.most_learners = most;
    }

    pub fn list(&self) -> Vec<Member> {
        self.members.values().cloned().collect()
    }

    pub fn get(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    pub fn removed(&self) -> &BTreeSet<u64> {
        &self.removed
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Voters and learners, as consensus sees them.
    pub fn voting(&self) -> Members {
        let ids = |learners: bool| {
            let members = self.members.values().filter(move |member| member.is_learner == learners);
            members.map(|member| member.id).collect()
        };
        Members { voters: ids(false), learners: ids(true) }
    }

    /// The member that listens on one of these URLs.
    pub fn by_urls(&self, urls: &[String]) -> Option<&Member> {
        self.members.values().find(|member| member.peer_ur_ls.iter().any(|url| urls.contains(url)))
    }

    /// Whether an entry would be carried out.
    pub fn check(&self, op: &Op) -> Result<(), Error> {
        match op {
            Op::MemberAdd(request) => {
                let member = request.member.as_ref().ok_or(Error::MemberBadUrls)?;
                if self.members.contains_key(&member.id) || self.removed.contains(&member.id) {
                    return Err(Error::MemberExists);
                }
                if self.by_urls(&member.peer_ur_ls).is_some() {
                    return Err(Error::PeerUrlExists);
                }
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if member.is_learner && learners >= self.most_learners {
                    return Err(Error::TooManyLearners);
                }
                Ok(())
            }
            Op::MemberRemove(request) => {
                self.known(request.id)?;
                let voters = self.voting().voters;
                // Nobody would be left to say that it is gone.
                if voters.len() == 1 && voters.contains(&request.id) { Err(Error::NotEnoughStarted) } else { Ok(()) }
            }
            Op::MemberPromote(request) => {
                if self.known(request.id)?.is_learner {
                    Ok(())
                } else {
                    Err(Error::MemberNotLearner)
                }
            }
            Op::MemberUpdate(request) => {
                self.known(request.id)?;
                match self.by_urls(&request.peer_ur_ls) {
                    Some(other) if other.id != request.id => Err(Error::PeerUrlExists),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn known(&self, id: u64) -> Result<&Member, Error> {
        if self.removed.contains(&id) {
            return Err(Error::MemberNotFound);
        }
        self.members.get(&id).ok_or(Error::MemberNotFound)
    }

    /// Carries an entry out that is about members, and says what must be stored; `None` for any other entry.
    pub fn apply(&mut self, op: &Op) -> Option<Result<Vec<Change>, Error>> {
        if !matches!(
            op,
            Op::MemberAdd(_)
                | Op::MemberRemove(_)
                | Op::MemberPromote(_)
                | Op::MemberUpdate(_)
                | Op::MemberPublish(_)
                | Op::Downgrade(_)
        ) {
            return None;
        }
        Some(self.check(op).map(|()| match op {
            Op::MemberAdd(request) => {
                let member = request.member.clone().unwrap_or_default();
                let change = put(&member);
                self.members.insert(member.id, member);
                vec![change]
            }
            Op::MemberRemove(request) => {
                self.members.remove(&request.id);
                self.removed.insert(request.id);
                vec![Change::Member { id: request.id, member: None }]
            }
            Op::MemberPromote(request) => self.change(request.id, |member| member.is_learner = false),
            Op::MemberUpdate(request) => {
                self.change(request.id, |member| member.peer_ur_ls = sorted(&request.peer_ur_ls))
            }
            Op::MemberPublish(request) => self.change(request.id, |member| {
                member.name.clone_from(&request.name);
                member.client_ur_ls = sorted(&request.client_urls);
            }),
            Op::Downgrade(request) => {
                self.downgrade.clone_from(&request.target);
                vec![self.put_downgrade()]
            }
            _ => Vec::new(),
        }))
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Member)) -> Vec<Change> {
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        change(member);
        vec![put(member)]
    }
}

fn put(member: &Member) -> Change {
    Change::Member { id: member.id, member: Some(member.encode_to_vec()) }
}

fn sorted(urls: &[String]) -> Vec<String> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

/// The first eight bytes of the SHA-1 of the sorted peer URLs and the cluster's token.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    first_bytes(&[sorted(peer_urls).concat().as_bytes(), token.as_bytes()].concat())
}

/// The first eight bytes of the SHA-1 of the sorted member ids.
fn cluster_id(members: &[u64]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    let bytes: Vec<u8> = members.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_bytes(&bytes)
}

fn first_bytes(bytes: &[u8]) -> u64 {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    u64::from_be_bytes(digest.as_ref()[..8].try_into().expect("a SHA-1 has twenty bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> BTreeMap<String, Vec<String>> {
        names.iter().map(|name| (name.to_string(), vec![format!("http://{name}:2380")])).collect()
    }

    #[test]
    fn ids_are_etcds_own() {
        let alone = BTreeMap::from([("default".to_owned(), vec!["http://localhost:2380".to_owned()])]);
        let (roster, cluster) = Roster::begin(&alone, "etcd-cluster");
        // What etcd prints for a member started without any flag.
        assert_eq!(format!("{:x}", roster.list()[0].id), "8e9e05c52164694d");
        assert_eq!(format!("{cluster:x}"), "cdf818194e3a8c32");
    }

    #[test]
    fn members_come_and_go() {
        let (mut roster, _) = Roster::begin(&named(&["a", "b"]), "token");
        let add = |id, name: &str, is_learner| {
            let peer_ur_ls = vec![format!("http://{name}:2380")];
            let member = Member { id, peer_ur_ls, is_learner, ..Member::default() };
            Op::MemberAdd(crate::proto::log::MemberAdd { member: Some(member) })
        };
        let promote = Op::MemberPromote(crate::proto::rpc::MemberPromoteRequest { id: 7 });
        let remove = |id| Op::MemberRemove(crate::proto::rpc::MemberRemoveRequest { id });
        let table = [
            (promote.clone(), Err(Error::MemberNotFound)),
            (add(7, "c", true), Ok(1)),
            (add(7, "d", true), Err(Error::MemberExists)),
            (add(8, "c", true), Err(Error::PeerUrlExists)),
            (add(8, "d", true), Err(Error::TooManyLearners)),
            (promote.clone(), Ok(1)),
            (promote, Err(Error::MemberNotLearner)),
            (remove(7), Ok(1)),
            (remove(7), Err(Error::MemberNotFound)),
            (add(7, "c", false), Err(Error::MemberExists)),
        ];
        for (op, expected) in table {
            let outcome = roster.apply(&op).expect("about members").map(|changes| changes.len());
            assert_eq!(outcome, expected, "{op:?}");
        }
        let rows = roster.changes().into_iter().map(|change| match change {
            Change::Member { id, member } => (id, member.unwrap_or_default()),
            other => panic!("{other:?}"),
        });
        let stored = Roster::stored(rows.collect()).expect("readable");
        assert_eq!((stored.list(), stored.removed()), (roster.list(), roster.removed()));
    }
}
