//! Consensus: raft as a pure state machine.
//!
//! Nothing here does IO, reads a clock or draws a number that was not seeded. Messages, ticks and proposals go in; a
//! [`Ready`] comes out and says what to send, what to make durable and what to apply, in this order:
//!
//! 1. send [`Ready::messages`];
//! 2. make [`Ready::hard_state`] and [`Ready::entries`] durable, both or none, and call [`Raft::persisted`];
//! 3. apply [`Ready::committed`], and call [`Raft::applied`] (after an entry with a membership, [`Raft::set_members`]).
//!
//! What may only be said once it is durable (votes, acknowledgements) is held back until [`Raft::persisted`], so the
//! shell cannot get that wrong. A leader's own write and the sending of it to others go on at the same time.
//!
//! - [`log`]: the entries in memory. [`members`]: who votes, and quorums. [`progress`]: what a leader knows of another.
//! - [`node`]: the state, time, [`Ready`]. [`election`], [`leader`], [`follower`], [`reads`]: what each role does.
//!   [`lease`]: what may be answered without asking anybody.
//!
//! Beyond the paper: pre-vote, check quorum, learners, leader transfer, read index, leases, and membership changes of one
//! member at a time that count from the moment they are applied, as in etcd.

mod election;
mod follower;
mod leader;
mod lease;
mod log;
mod members;
mod node;
mod progress;
mod reads;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use log::Log;
pub use members::Members;
pub use node::{Config, Raft, Ready, Role};

/// Nobody: no leader, no vote.
pub const NONE: u64 = 0;

/// What a member's clock shows: nanoseconds since a moment of its own. It never goes back.
pub type Nanos = u64;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    /// Whether it changes who is a member; such entries come one at a time.
    pub members: bool,
    /// Empty in the entry with which a leader begins its term.
    pub data: Bytes,
}

/// What a member must remember besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    /// Known to be committed. It may be behind after a crash.
    pub commit: u64,
}

/// An entry's place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub index: u64,
    pub term: u64,
}

/// The state up to a place; the state itself travels beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub place: Place,
    pub members: Members,
}

/// From one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub from: u64,
    pub to: u64,
    /// 0 in what a member asks of the leader, whichever term it leads.
    pub term: u64,
    pub body: Body,
}

/// See [`Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Asks for a vote, or (`pre`) whether one would be given. In a `transfer` the leader itself wants the election.
    Vote {
        pre: bool,
        transfer: bool,
        last: Place,
    },
    VoteReply {
        pre: bool,
        granted: bool,
    },
    /// Entries that follow `previous`.
    Append {
        previous: Place,
        commit: u64,
        entries: Vec<Entry>,
    },
    /// The log is the leader's up to `matched`.
    Appended {
        matched: u64,
    },
    /// The log has no such entry as was given at `index`; the leader should look at or before `hint`.
    AppendRefused {
        index: u64,
        hint: Place,
    },
    /// `read` is the newest read that waits for its acknowledgement, `sent` what the leader's clock shows.
    Heartbeat {
        commit: u64,
        read: u64,
        sent: Nanos,
    },
    /// Until the leader's clock shows `until`, who answers votes for nobody else. Both are 0 from who does not follow.
    HeartbeatReply {
        read: u64,
        until: Nanos,
    },
    Snapshot(SnapshotMeta),
    /// Data of an entry that a follower proposes.
    Propose {
        members: bool,
        data: Bytes,
    },
    /// Asks up to where a linearizable read must have applied.
    Read {
        context: u64,
    },
    ReadReply {
        context: u64,
        index: u64,
    },
    /// Asks the leader to give its office to a member.
    Transfer {
        to: u64,
    },
    /// The leader asks for an election at once.
    TimeoutNow,
}

/// Why a proposal is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no leader is known")]
    NoLeader,
    #[error("the leader is giving its office away")]
    Transferring,
    #[error("another change of members is under way")]
    MembersChanging,
    #[error("too much is waiting for being committed")]
    TooMuch,
}
