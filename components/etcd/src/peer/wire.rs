//! Consensus' messages as they travel. A snapshot travels by itself, see [`super::transfer`].

use crate::proto::peer::message::Body as Wire;
use crate::proto::peer::{self as proto, Empty};
use crate::raft::{Body, Entry, Message, Place};

fn place(place: Place) -> Option<proto::Place> {
    Some(proto::Place { index: place.index, term: place.term })
}

fn placed(place: Option<proto::Place>) -> Place {
    place.map(|place| Place { index: place.index, term: place.term }).unwrap_or_default()
}

/// `None` for a snapshot.
pub fn encode(message: Message) -> Option<proto::Message> {
    let Message { from, to, term, body } = message;
    let clock = match body {
        Body::Heartbeat { sent: clock, .. } | Body::HeartbeatReply { until: clock, .. } => clock,
        _ => 0,
    };
    let body = match body {
        Body::Vote { pre, transfer, last } => Wire::Vote(proto::Vote { pre, transfer, last: place(last) }),
        Body::VoteReply { pre, granted } => Wire::VoteReply(proto::VoteReply { pre, granted }),
        Body::Append { previous, commit, entries } => {
            let entry = |entry: Entry| proto::Entry { term: entry.term, members: entry.members, data: entry.data };
            let entries = entries.into_iter().map(entry).collect();
            Wire::Append(proto::Append { previous: place(previous), commit, entries })
        }
        Body::Appended { matched } => Wire::Appended(matched),
        Body::AppendRefused { index, hint } => Wire::AppendRefused(proto::AppendRefused { index, hint: place(hint) }),
        Body::Heartbeat { commit, read, .. } => Wire::Heartbeat(proto::Heartbeat { commit, read }),
        Body::HeartbeatReply { read, .. } => Wire::HeartbeatReply(read),
        Body::Snapshot(_) => return None,
        Body::Propose { members, data } => Wire::Propose(proto::Propose { members, data }),
        Body::Read { context } => Wire::Read(context),
        Body::ReadReply { context, index } => Wire::ReadReply(proto::ReadReply { context, index }),
        Body::Transfer { to } => Wire::Transfer(to),
        Body::TimeoutNow => Wire::TimeoutNow(Empty {}),
    };
    Some(proto::Message { from, to, term, clock, body: Some(body) })
}

/// `None` for a message of a kind that is not known.
pub fn decode(message: proto::Message) -> Option<Message> {
    let proto::Message { from, to, term, clock, body } = message;
    let body = match body? {
        Wire::Vote(vote) => Body::Vote { pre: vote.pre, transfer: vote.transfer, last: placed(vote.last) },
        Wire::VoteReply(reply) => Body::VoteReply { pre: reply.pre, granted: reply.granted },
        Wire::Append(append) => {
            let previous = placed(append.previous);
            let entry = |(index, entry): (u64, proto::Entry)| Entry {
                index,
                term: entry.term,
                members: entry.members,
                data: entry.data,
            };
            let entries = (previous.index + 1..).zip(append.entries).map(entry).collect();
            Body::Append { previous, commit: append.commit, entries }
        }
        Wire::Appended(matched) => Body::Appended { matched },
        Wire::AppendRefused(refused) => Body::AppendRefused { index: refused.index, hint: placed(refused.hint) },
        Wire::Heartbeat(proto::Heartbeat { commit, read }) => Body::Heartbeat { commit, read, sent: clock },
        Wire::HeartbeatReply(read) => Body::HeartbeatReply { read, until: clock },
        Wire::Propose(propose) => Body::Propose { members: propose.members, data: propose.data },
        Wire::Read(context) => Body::Read { context },
        Wire::ReadReply(reply) => Body::ReadReply { context: reply.context, index: reply.index },
        Wire::Transfer(to) => Body::Transfer { to },
        Wire::TimeoutNow(Empty {}) => Body::TimeoutNow,
    };
    Some(Message { from, to, term, body })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn messages_travel_unchanged() {
        let at = Place { index: 7, term: 3 };
        let entry = |index, members| Entry { index, term: 3, members, data: Bytes::from_static(b"x") };
        let bodies = [
            Body::Vote { pre: true, transfer: false, last: at },
            Body::VoteReply { pre: false, granted: true },
            Body::Append { previous: at, commit: 5, entries: vec![entry(8, false), entry(9, true)] },
            Body::Appended { matched: 9 },
            Body::AppendRefused { index: 8, hint: at },
            Body::Heartbeat { commit: 4, read: 2, sent: 1 << 60 },
            Body::HeartbeatReply { read: 2, until: 1 << 60 },
            Body::Propose { members: true, data: Bytes::from_static(b"y") },
            Body::Read { context: 1 << 60 },
            Body::ReadReply { context: 1 << 60, index: 9 },
            Body::Transfer { to: 2 },
            Body::TimeoutNow,
        ];
        for body in bodies {
            let message = Message { from: 1, to: 2, term: 3, body };
            assert_eq!(encode(message.clone()).and_then(decode), Some(message));
        }
    }
}
