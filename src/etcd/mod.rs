//! etcd as a bootstrapper uses it: its members, their state, and snapshots of its data.
//!
//! [`Members`] is what joining and leaving need; [`Etcd`] does it over etcd's own wire, [`MemoryMembers`] is for tests.
//! [`snapshot`] saves, checks and prunes files.

mod client;
mod memory;
pub mod snapshot;

use async_trait::async_trait;
use serde::Serialize;

pub use client::{Credentials, Etcd};
pub use memory::MemoryMembers;

/// What can go wrong towards etcd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No member answers, or not in a way that can be trusted.
    #[error("etcd at {endpoint}: {reason}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// etcd refused.
    #[error("etcd refused to {what}: {reason}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A file of keys or of a snapshot.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A snapshot is not whole.
    #[error("{path} is no whole snapshot: {reason}")]
    Torn {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether the same request may succeed a moment later, as a member comes up or a leader is chosen.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { reason, .. } => [
                "not ready",
                "not in sync",
                "no leader",
                "unhealthy",
                "too many requests",
                "timed out",
                "leader changed",
                // Others join at the same time, and one learns after the other.
                "too many learner",
            ]
            .iter()
            .any(|passing| reason.contains(passing)),
            _ => false,
        }
    }
}

/// One member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number.
    #[serde(serialize_with = "hexadecimal")]
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it only learns and does not vote yet.
    pub is_learner: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn hexadecimal<S: serde::Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{id:x}"))
}

/// What one member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Where it was asked.
    pub endpoint: String,
    /// Its number.
    #[serde(serialize_with = "hexadecimal")]
    pub id: u64,
    /// Its version.
    pub version: String,
    /// Bytes of its data.
    pub db_size: i64,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it only learns.
    pub is_learner: bool,
    /// The term that it is in.
    pub raft_term: u64,
    /// How far its log goes.
    pub raft_index: u64,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// The members of a cluster.
#[async_trait]
pub trait Members: Send + Sync {
    /// All members.
    async fn list(&self) -> Result<Vec<Member>, Error>;

    /// Adds a member that learns first; gives all members.
    async fn add_learner(&self, peer_url: &str) -> Result<Vec<Member>, Error>;

    /// Makes a learner one that votes.
    async fn promote(&self, id: u64) -> Result<(), Error>;

    /// Takes a member out.
    async fn remove(&self, id: u64) -> Result<(), Error>;

    /// Tells the others that a member is reached at another URL.
    async fn update(&self, id: u64, peer_url: &str) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_asked_again() {
        for (reason, wanted) in [
            ("etcdserver: too many learner members in cluster", true),
            ("etcdserver: unhealthy cluster", true),
            ("etcdserver: Peer URLs already exists", false),
        ] {
            assert_eq!(
                Error::Refused { what: "add the member", reason: reason.into() }.is_passing(),
                wanted,
                "{reason}"
            );
        }
    }
}
