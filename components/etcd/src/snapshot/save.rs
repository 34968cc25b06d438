//! The state as a file that is sent while it is made.

use std::io::{self, Write};
use std::time::Instant;

use prost::Message as _;

use super::ahead::ahead;
use super::{AUTH_ENABLED, AUTH_REVISION, FINISHED_COMPACTION, SCHEDULED_COMPACTION, bucket, revision_key};
use crate::apply::Machine;
use crate::bolt::write::{Key, Layout, Unread, Value, Writer};
use crate::config::CLUSTER_VERSION;
use crate::membership::Roster;
use crate::mvcc::Revision;
use crate::mvcc::backend::BackendError;
use crate::mvcc::store::{History, Raw};
use crate::proto::lease::Lease;
use crate::proto::rpc::{AlarmMember, AlarmType, Member};

/// Why a snapshot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("cannot write the snapshot: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Before and behind all revisions.
const START: Revision = Revision { main: 0, sub: 0 };
const END: Revision = Revision { main: i64::MAX, sub: 0 };

/// Blocks of records that are read ahead, which keep the pages that they lie in; and of lengths alone.
const PAGES_AHEAD: usize = 2;
const SIZES_AHEAD: usize = 1024;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The state at one moment, to be written as a file any number of times. It needs no space of its own; the store's file
/// is not shrunk while there is one.
pub struct Snapshot {
    history: History,
    /// The buckets whose names come before that of the keys, and behind it.
    before: Vec<(&'static [u8], Rows)>,
    behind: Vec<(&'static [u8], Rows)>,
    layout: Layout,
}

impl Snapshot {
    /// The state as it is now.
    pub fn of(machine: &Machine) -> Result<Self, SaveError> {
        let (history, (leases, alarms, auth, roster)) = machine.store.snapshot(|| {
            let lessor = machine.lessor.lock();
            let leases = lessor.ids().into_iter().filter_map(|id| {
                let info = lessor.info(id, Instant::now()).ok()?;
                Some((id, info.granted))
            });
            let leases = leases.collect::<Vec<_>>();
            let alarms = machine.alarms.lock().list(AlarmType::None);
            (leases, alarms, machine.auth.read().rows(), machine.roster.read().clone())
        });
        let before = vec![
            (bucket::ALARM, alarm_rows(&alarms)),
            (bucket::AUTH, auth_rows(auth.enabled, auth.revision)),
            (bucket::AUTH_ROLES, auth.roles),
            (bucket::AUTH_USERS, auth.users),
            (bucket::CLUSTER, cluster_rows(&roster)),
        ];
        let behind = vec![
            (bucket::LEASE, lease_rows(leases)),
            (bucket::MEMBERS, member_rows(&roster)),
            (bucket::MEMBERS_REMOVED, removed_rows(&roster)),
            (bucket::META, meta_rows(&history, &roster)),
        ];
        let mut snapshot = Self { history, before, behind, layout: Layout::default() };
        snapshot.layout = snapshot.measure()?;
        Ok(snapshot)
    }

    /// The last entry of the log that is in it.
    pub fn index(&self) -> u64 {
        self.history.meta.applied
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// Writes the file from its beginning to its end.
    pub fn write_to<W: Write>(&self, sink: W) -> Result<W, SaveError> {
        let (sink, layout) = std::thread::scope(|scope| {
            let rows = self.history.rows(START, END)?.map(|row| {
                let (revision, record) = row?;
                Ok((revision_key(revision, is_tombstone(&record)), Behind(record)))
            });
            self.write(sink, ahead(scope, PAGES_AHEAD, rows))
        })?;
        if layout != self.layout {
            return Err(io::Error::other("it came out otherwise than it was measured").into());
        }
        Ok(sink)
    }

    /// Learns the layout, which only lengths matter for. Half of them are read on another thread.
    fn measure(&self) -> Result<Layout, SaveError> {
        let size = |row: Result<(Revision, Raw), BackendError>| {
            let (_, record) = row?;
            Ok::<_, SaveError>((record.as_ref().len(), is_tombstone(&record)))
        };
        let middle = self.history.middle();
        std::thread::scope(|scope| {
            let behind = ahead(scope, SIZES_AHEAD, self.history.rows(middle, END)?.map(size));
            let sizes = self.history.rows(START, middle)?.map(size).chain(behind);
            let rows = sizes.map(|size| {
                size.map(|(length, tombstone)| (revision_key(START, tombstone), Unread(length.saturating_sub(1))))
            });
            self.write(io::sink(), rows).map(|(_, layout)| layout)
        })
    }

    fn write<W: Write, V: Value>(
        &self,
        sink: W,
        rows: impl Iterator<Item = Result<(Key, V), SaveError>>,
    ) -> Result<(W, Layout), SaveError> {
        let mut writer = Writer::new(sink, self.layout)?;
        for (name, rows) in &self.before {
            writer.bucket(name, borrowed(rows))?;
        }
        writer.bucket(bucket::KEY, rows)?;
        for (name, rows) in &self.behind {
            writer.bucket(name, borrowed(rows))?;
        }
        Ok(writer.finish()?)
    }
}

fn is_tombstone(record: &Raw) -> bool {
    record.as_ref().first() == Some(&1)
}

/// What of a record stands behind the byte that says whether it is a tombstone.
struct Behind(Raw);

impl AsRef<[u8]> for Behind {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().get(1..).unwrap_or_default()
    }
}

fn borrowed(rows: &Rows) -> impl Iterator<Item = Result<(Key, &[u8]), SaveError>> {
    rows.iter().map(|(key, value)| Ok((key.as_slice().into(), value.as_slice())))
}

fn cluster_rows(roster: &Roster) -> Rows {
    let mut rows = vec![(b"clusterVersion".to_vec(), CLUSTER_VERSION.into())];
    if !roster.downgrade().is_empty() {
        let downgrade = serde_json::json!({ "target-version": roster.downgrade(), "enabled": true });
        rows.push((b"downgrade".to_vec(), downgrade.to_string().into_bytes()));
    }
    rows
}

fn alarm_rows(alarms: &[AlarmMember]) -> Rows {
    let mut rows: Rows = alarms.iter().map(|alarm| (alarm.encode_to_vec(), Vec::new())).collect();
    rows.sort();
    rows
}

fn auth_rows(enabled: bool, revision: u64) -> Rows {
    vec![(AUTH_ENABLED.to_vec(), vec![u8::from(enabled)]), (AUTH_REVISION.to_vec(), revision.to_be_bytes().to_vec())]
}

fn lease_rows(leases: Vec<(i64, i64)>) -> Rows {
    let mut rows: Rows = leases
        .into_iter()
        .map(|(id, ttl)| (id.to_be_bytes().to_vec(), Lease { id, ttl, remaining_ttl: 0 }.encode_to_vec()))
        .collect();
    rows.sort();
    rows
}

fn member_rows(roster: &Roster) -> Rows {
    let row = |member: Member| {
        let mut json = serde_json::json!({
            "id": member.id, "peerURLs": member.peer_ur_ls, "name": member.name, "clientURLs": member.client_ur_ls,
        });
        if member.is_learner {
            json["isLearner"] = true.into();
        }
        (format!("{:x}", member.id).into_bytes(), json.to_string().into_bytes())
    };
    let mut rows: Rows = roster.list().into_iter().map(row).collect();
    rows.sort();
    rows
}

fn removed_rows(roster: &Roster) -> Rows {
    let row = |id: &u64| (format!("{id:x}").into_bytes(), b"removed".to_vec());
    let mut rows: Rows = roster.removed().iter().map(row).collect();
    rows.sort();
    rows
}

fn meta_rows(history: &History, roster: &Roster) -> Rows {
    let meta = &history.meta;
    let members = roster.voting();
    let voters = serde_json::json!({
        "voters": members.voters, "learners": members.learners, "auto_leave": false,
    });
    let mut rows = vec![
        (b"confState".to_vec(), voters.to_string().into_bytes()),
        (b"consistent_index".to_vec(), meta.applied.to_be_bytes().to_vec()),
        (b"storageVersion".to_vec(), CLUSTER_VERSION.into()),
        (b"term".to_vec(), meta.term.to_be_bytes().to_vec()),
    ];
    for (name, main) in [(FINISHED_COMPACTION, meta.compaction_done), (SCHEDULED_COMPACTION, meta.compacted)] {
        if main >= 0 {
            rows.push((name.to_vec(), revision_key(Revision::start_of(main), false).to_vec()));
        }
    }
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mvcc::store::Store;
    use crate::proto::log::command::Op;
    use crate::proto::rpc::PutRequest;

    #[test]
    fn a_snapshot_stays_what_it_was() {
        let machine = Machine::new(Store::in_memory().expect("a store"), Instant::now()).expect("empty");
        let put = |index: u64| {
            let value = vec![index as u8; 700].into();
            let request =
                PutRequest { key: Bytes::from(format!("key {}", index % 50)), value, ..PutRequest::default() };
            machine.apply(index, 1, Op::Put(request), None, Instant::now()).expect("applied");
        };
        (1..100).for_each(put);
        machine.store.commit_now().expect("committed");
        (100..150).for_each(put);
        let snapshot = Snapshot::of(&machine).expect("taken");
        let first = snapshot.write_to(Vec::new()).expect("written");
        assert_eq!((snapshot.index(), snapshot.bytes()), (149, first.len() as u64));

        (150..300).for_each(put);
        machine.store.commit_now().expect("committed");
        assert!(snapshot.write_to(Vec::new()).expect("written") == first, "what came later is in it");
        drop(snapshot);
        machine.store.defragment().expect("nobody holds the file any more");
    }
}
