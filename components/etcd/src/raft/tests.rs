//! Single rules, each with as few members as show it. What whole clusters do is in [`super::sim`].

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;

const PROMISE: Nanos = 1000;
const AWAKE: Nanos = 1 + PROMISE;

fn members(voters: &[u64], learners: &[u64]) -> Members {
    Members { voters: voters.iter().copied().collect(), learners: learners.iter().copied().collect::<BTreeSet<_>>() }
}

fn member(id: u64, members: Members, entries: &[(u64, u64)]) -> Raft {
    let config = Config { id, promise: PROMISE, leases: true, seed: 7, ..Config::default() };
    let entry = |(index, term): &(u64, u64)| Entry { index: *index, term: *term, members: false, data: Bytes::new() };
    let entries: Vec<Entry> = entries.iter().map(entry).collect();
    let term = entries.last().map_or(1, |entry| entry.term);
    let state = HardState { term, vote: NONE, commit: 1 };
    let mut raft = Raft::new(config, state, Log::new(Place { index: 1, term: 1 }, entries, 1, 1), members);
    // Past what it may have promised before it started.
    raft.set_clock(AWAKE);
    raft
}

/// Everything done that is to be done; what is to be sent is returned.
fn settle(raft: &mut Raft) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let ready = raft.ready();
        if ready.is_empty() {
            return messages;
        }
        messages.extend(ready.messages);
        raft.persisted();
        if let Some(last) = ready.committed.last() {
            raft.applied(last.index);
        }
    }
}

fn from(from: u64, raft: &Raft, term: u64, body: Body) -> Message {
    Message { from, to: raft.id(), term, body }
}

/// Makes it the leader of its next term.
fn elect(raft: &mut Raft) {
    raft.campaign();
    for pre in [true, false] {
        settle(raft);
        let term = raft.term() + u64::from(pre);
        for id in raft.members().clone().voters {
            let vote = from(id, raft, term, Body::VoteReply { pre, granted: true });
            raft.step(vote);
        }
    }
    assert!(raft.leads());
    settle(raft);
}

#[test]
fn who_votes_alone_leads_at_once() {
    let mut raft = member(1, members(&[1], &[]), &[]);
    raft.campaign();
    assert!(raft.leads());
    settle(&mut raft);
    assert_eq!((raft.log().committed(), raft.log().applied()), (2, 2));
    let place = raft.propose(false, Bytes::from_static(b"a")).expect("it leads");
    assert_eq!(place, Some(Place { index: 3, term: 2 }));
    settle(&mut raft);
    assert_eq!(raft.log().applied(), 3);
    raft.read(9).expect("it leads");
    assert_eq!(raft.ready().reads, [(9, 3)]);
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut raft = member(2, members(&[1, 2, 3], &[]), &[]);
    let entry = Entry { index: 2, term: 2, members: false, data: Bytes::from_static(b"a") };
    let previous = Place { index: 1, term: 1 };
    raft.step(from(1, &raft, 2, Body::Append { previous, commit: 1, entries: vec![entry.clone()] }));
    let ready = raft.ready();
    assert_eq!((ready.messages.len(), ready.entries), (0, vec![entry]));
    raft.persisted();
    assert_eq!(raft.ready().messages[0].body, Body::Appended { matched: 2 });

    raft.step(from(3, &raft, 3, Body::Vote { pre: false, transfer: true, last: Place { index: 2, term: 2 } }));
    let ready = raft.ready();
    assert_eq!((ready.messages.len(), ready.must_sync), (0, true));
    raft.persisted();
    assert_eq!(raft.ready().messages[0].body, Body::VoteReply { pre: false, granted: true });
}

#[test]
fn votes_go_to_logs_that_have_everything() {
    let own = [(2, 2), (3, 4)];
    let table = [
        (Place { index: 3, term: 4 }, true),
        (Place { index: 2, term: 5 }, true),
        (Place { index: 9, term: 3 }, false),
        (Place { index: 2, term: 4 }, false),
    ];
    for (last, granted) in table {
        for pre in [true, false] {
            let mut raft = member(1, members(&[1, 2, 3], &[]), &own);
            raft.step(from(2, &raft, 5, Body::Vote { pre, transfer: false, last }));
            let messages = settle(&mut raft);
            assert_eq!(messages[0].body, Body::VoteReply { pre, granted }, "{last:?}");
            assert_eq!(raft.term(), if pre { 4 } else { 5 }, "being asked in advance changes nothing");
        }
    }
}

#[test]
fn a_leader_that_is_heard_is_not_disturbed() {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[]);
    raft.step(from(2, &raft, 2, Body::Heartbeat { commit: 1, read: 0, sent: 0 }));
    settle(&mut raft);
    let vote = Body::Vote { pre: false, transfer: false, last: Place { index: 9, term: 9 } };
    raft.step(from(3, &raft, 9, vote.clone()));
    assert_eq!((settle(&mut raft).len(), raft.term(), raft.leader()), (0, 2, 2));
    (0..10).for_each(|_| raft.tick());
    raft.step(from(3, &raft, 9, vote.clone()));
    assert_eq!((settle(&mut raft).len(), raft.term()), (0, 2), "ticks may leap, and it goes by its clock");
    raft.set_clock(AWAKE + PROMISE);
    raft.step(from(3, &raft, 9, vote));
    assert_eq!((settle(&mut raft).len(), raft.term()), (1, 9));
}

#[test]
fn a_leader_that_nobody_hears_steps_down() {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[]);
    elect(&mut raft);
    (0..20).for_each(|_| raft.tick());
    assert_eq!((raft.role(), raft.leader()), (Role::Follower, NONE));
    assert_eq!(raft.propose(false, Bytes::new()), Err(Refused::NoLeader));
}

#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting() {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[(2, 2)]);
    elect(&mut raft);
    raft.step(from(2, &raft, 3, Body::Appended { matched: 2 }));
    settle(&mut raft);
    assert_eq!(raft.log().committed(), 1);
    raft.step(from(2, &raft, 3, Body::Appended { matched: 3 }));
    settle(&mut raft);
    assert_eq!(raft.log().committed(), 3);
}

#[test]
fn what_contradicts_the_leader_is_dropped() {
    let mut raft = member(2, members(&[1, 2, 3], &[]), &[(2, 2), (3, 2), (4, 2)]);
    let entry = Entry { index: 3, term: 5, members: false, data: Bytes::new() };
    let append = |previous, entries| Body::Append { previous, commit: 1, entries };
    raft.step(from(1, &raft, 5, append(Place { index: 4, term: 5 }, Vec::new())));
    let messages = settle(&mut raft);
    assert_eq!(messages[0].body, Body::AppendRefused { index: 4, hint: Place { index: 4, term: 2 } });
    raft.step(from(1, &raft, 5, append(Place { index: 2, term: 2 }, vec![entry.clone()])));
    assert_eq!(raft.ready().entries, [entry]);
    raft.persisted();
    assert_eq!(raft.last(), Place { index: 3, term: 5 });
}

#[test]
fn a_read_waits_for_a_quorum_to_confirm_the_leader() {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[]);
    elect(&mut raft);
    raft.read(7).expect("it leads");
    assert!(raft.ready().reads.is_empty(), "nothing of its term is committed yet");
    raft.step(from(2, &raft, 2, Body::Appended { matched: 2 }));
    let messages = settle(&mut raft);
    let asked = messages.iter().find_map(|message| match message.body {
        Body::Heartbeat { read, .. } if read > 0 => Some(read),
        _ => None,
    });
    let asked = asked.expect("the leader asks");
    raft.step(from(3, &raft, 2, Body::HeartbeatReply { read: asked - 1, until: 0 }));
    assert!(raft.ready().reads.is_empty());
    raft.step(from(3, &raft, 2, Body::HeartbeatReply { read: asked, until: 0 }));
    assert_eq!(raft.ready().reads, [(7, 2)]);
}

#[test]
fn members_change_one_at_a_time() {
    let mut raft = member(1, members(&[1], &[]), &[]);
    raft.campaign();
    assert_eq!(raft.propose(true, Bytes::new()), Err(Refused::MembersChanging), "its term has not begun yet");
    settle(&mut raft);
    raft.propose(true, Bytes::new()).expect("the first");
    assert_eq!(raft.propose(true, Bytes::new()), Err(Refused::MembersChanging));
    settle(&mut raft);
    raft.set_members(members(&[1], &[2]));
    raft.propose(false, Bytes::new()).expect("a learner does not count");
    settle(&mut raft);
    assert_eq!(raft.log().applied(), 4);
    raft.set_members(members(&[1, 2], &[]));
    raft.propose(false, Bytes::new()).expect("it leads");
    settle(&mut raft);
    assert_eq!(raft.log().applied(), 4, "a voter does");
    raft.set_members(members(&[2], &[]));
    assert!(!raft.leads(), "a leader that was removed goes");
}

#[test]
fn who_is_too_far_behind_gets_a_snapshot() {
    let mut raft = member(1, members(&[1], &[]), &[]);
    raft.campaign();
    settle(&mut raft);
    raft.set_members(members(&[1], &[2]));
    raft.compact(2);
    raft.step(from(2, &raft, 2, Body::AppendRefused { index: 1, hint: Place::default() }));
    let snapshots = |messages: Vec<Message>| -> Vec<u64> {
        messages.into_iter().filter(|message| matches!(message.body, Body::Snapshot(_))).map(|m| m.to).collect()
    };
    assert_eq!(snapshots(settle(&mut raft)), [2]);
    raft.snapshot_sent(2, None);
    raft.step(from(2, &raft, 2, Body::HeartbeatReply { read: 0, until: 0 }));
    assert_eq!(snapshots(settle(&mut raft)), [2], "a failure is tried again when it is heard of");

    let mut learner = member(2, Members::default(), &[]);
    let meta = SnapshotMeta { place: Place { index: 9, term: 2 }, members: members(&[1], &[2]) };
    learner.step(from(1, &learner, 2, Body::Snapshot(meta.clone())));
    let ready = learner.ready();
    assert_eq!((ready.snapshot, ready.messages.len()), (Some(meta), 0));
    learner.persisted();
    assert_eq!(learner.ready().messages[0].body, Body::Appended { matched: 9 });
    learner.campaign();
    assert_eq!(learner.role(), Role::Follower, "a learner never stands");
}

#[test]
fn the_office_is_handed_over() {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[]);
    elect(&mut raft);
    raft.transfer(2);
    assert_eq!(raft.propose(false, Bytes::new()), Err(Refused::Transferring));
    settle(&mut raft);
    raft.step(from(2, &raft, 2, Body::Appended { matched: 2 }));
    let messages = settle(&mut raft);
    assert!(messages.iter().any(|message| message.to == 2 && message.body == Body::TimeoutNow));

    let mut other = member(2, members(&[1, 2, 3], &[]), &[(2, 2)]);
    other.step(from(1, &other, 2, Body::TimeoutNow));
    let messages = settle(&mut other);
    assert!(matches!(messages[0].body, Body::Vote { pre: false, transfer: true, .. }));
    assert_eq!(other.term(), 3);
}

/// A leader of three in term 2 with a lease until [`AWAKE`] + 500, that 2 has given.
fn with_lease() -> Raft {
    let mut raft = member(1, members(&[1, 2, 3], &[]), &[]);
    elect(&mut raft);
    raft.step(from(2, &raft, 2, Body::HeartbeatReply { read: 0, until: AWAKE + 500 }));
    assert_eq!(raft.lease_until(), 0, "nothing of its term is committed");
    raft.step(from(2, &raft, 2, Body::Appended { matched: 2 }));
    settle(&mut raft);
    assert_eq!(raft.lease_until(), AWAKE + 500);
    raft
}

/// Whether a read is answered without asking.
fn answers_alone(raft: &mut Raft) -> bool {
    raft.read(7).expect("it leads");
    let ready = raft.ready();
    assert_eq!(ready.messages.is_empty(), !ready.reads.is_empty(), "it asks, or it answers");
    ready.reads == [(7, raft.log().committed())]
}

#[test]
fn a_leader_with_a_lease_answers_alone_while_it_lasts() {
    let mut raft = with_lease();
    assert!(answers_alone(&mut raft));
    raft.set_clock(AWAKE + 499);
    assert!(answers_alone(&mut raft));
    raft.set_clock(AWAKE + 500);
    assert!(!answers_alone(&mut raft), "it is over");

    let mut raft = with_lease();
    raft.config.leases = false;
    assert!(!answers_alone(&mut raft), "nobody has asked for leases");
}

#[test]
fn a_lease_is_what_a_quorum_has_promised() {
    type Words = &'static [(u64, Nanos)];
    let table: [(&[u64], Words, Nanos); 6] = [
        (&[1], &[], Nanos::MAX),
        (&[1, 2, 3], &[(2, 900)], 900),
        (&[1, 2, 3], &[(2, 900), (3, 700)], 900),
        (&[1, 2, 3], &[(2, 900), (2, 800)], 900),
        (&[1, 2, 3, 4, 5], &[(2, 900)], 0),
        (&[1, 2, 3, 4, 5], &[(2, 900), (9, 950), (4, 700)], 700),
    ];
    for (voters, words, expected) in table {
        let mut raft = member(1, members(voters, &[9]), &[]);
        raft.campaign();
        if voters.len() > 1 {
            elect(&mut raft);
        }
        for id in voters {
            raft.step(from(*id, &raft, 2, Body::Appended { matched: 2 }));
        }
        settle(&mut raft);
        for (id, until) in words {
            raft.step(from(*id, &raft, 2, Body::HeartbeatReply { read: 0, until: *until }));
        }
        assert_eq!(raft.lease_until(), expected, "{voters:?} {words:?}");
    }
}

#[test]
fn what_ends_a_lease() {
    let mut raft = with_lease();
    raft.transfer(3);
    assert!(!answers_alone(&mut raft), "another may be elected at any time");
    (0..10).for_each(|_| raft.tick());
    assert_eq!((raft.leads(), raft.lease_until()), (true, 0), "the offer may still be taken after it was given up");

    let mut raft = with_lease();
    let place = raft.propose(true, Bytes::new()).expect("it leads").expect("by itself");
    assert_eq!(raft.lease_until(), 0, "a change of members is under way");
    raft.step(from(2, &raft, 2, Body::Appended { matched: place.index }));
    settle(&mut raft);
    assert_eq!(raft.lease_until(), AWAKE + 500);
    raft.set_members(members(&[1, 3, 4], &[]));
    assert_eq!(raft.lease_until(), 0, "those who vote now have promised nothing");
    raft.set_members(members(&[2, 3], &[]));
    assert_eq!((raft.leads(), raft.lease_until()), (false, 0));

    let mut raft = with_lease();
    raft.step(from(3, &raft, 5, Body::HeartbeatReply { read: 0, until: 0 }));
    assert_eq!((raft.leads(), raft.lease_until()), (false, 0), "another term has begun");
}

#[test]
fn a_promise_is_kept_whatever_comes() {
    let vote = |term, transfer| Message {
        from: 3,
        to: 2,
        term,
        body: Body::Vote { pre: false, transfer, last: Place { index: 9, term: 9 } },
    };
    let grants = |raft: &mut Raft, term, transfer| {
        raft.step(vote(term, transfer));
        settle(raft).iter().any(|message| matches!(message.body, Body::VoteReply { granted: true, .. }))
    };
    let promised = || {
        let mut raft = member(2, members(&[1, 2, 3], &[]), &[]);
        raft.step(from(1, &raft, 2, Body::Heartbeat { commit: 1, read: 0, sent: 5000 }));
        let said = Body::HeartbeatReply { read: 0, until: 5000 + PROMISE * 4 / 5 };
        assert_eq!(settle(&mut raft)[0].body, said, "by the leader's clock, and less than is kept");
        raft
    };

    let mut raft = promised();
    // Word of a later term, as an answer that comes late brings it, makes it forget the leader.
    raft.step(from(3, &raft, 8, Body::VoteReply { pre: true, granted: false }));
    assert_eq!((raft.term(), raft.leader()), (8, NONE));
    raft.set_clock(AWAKE + PROMISE - 1);
    assert!(!grants(&mut raft, 8, false) && !grants(&mut raft, 9, false));
    (0..50).for_each(|_| raft.tick());
    assert_eq!(raft.role(), Role::Follower, "nor does it vote for itself");
    raft.set_clock(AWAKE + PROMISE);
    assert!(grants(&mut raft, 9, false));

    assert!(grants(&mut promised(), 3, true), "the leader itself wants it");

    // A start knows nothing of what was promised before.
    for (term, waits) in [(1, false), (2, true)] {
        let entries: &[(u64, u64)] = if term == 1 { &[] } else { &[(2, 2)] };
        let stopped = member(2, members(&[1, 2, 3], &[]), entries);
        let state = HardState { term, vote: NONE, commit: 1 };
        let log = Log::new(Place { index: 1, term: 1 }, stopped.log().slice(2, u64::MAX, 1 << 20), 1, 1);
        let config = Config { id: 2, promise: PROMISE, ..Config::default() };
        let mut raft = Raft::new(config, state, log, stopped.members().clone());
        assert_eq!(grants(&mut raft, 9, false), !waits, "term {term}");
        raft.set_clock(1 + PROMISE);
        assert!(grants(&mut raft, 9, false) || !waits);
    }
}
