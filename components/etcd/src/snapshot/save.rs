//! Writes the state into a file that is then streamed to a client.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use prost::Message as _;

use super::{AUTH_ENABLED, AUTH_REVISION, FINISHED_COMPACTION, SCHEDULED_COMPACTION, bucket, revision_key};
use crate::apply::Machine;
use crate::bolt::write::Writer;
use crate::config::CLUSTER_VERSION;
use crate::membership::Roster;
use crate::mvcc::Revision;
use crate::mvcc::backend::BackendError;
use crate::mvcc::store::History;
use crate::proto::lease::Lease;
use crate::proto::rpc::{AlarmMember, AlarmType, Member};

/// Why a snapshot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("cannot write the snapshot's file: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Makes a snapshot of the state as it is now, in a file of `directory` that has no name any more and goes with its last
/// handle. Says up to which entry it goes.
pub fn save(machine: &Machine, directory: &Path) -> Result<(File, u64), SaveError> {
    let path = directory.join(format!("snapshot-{:x}.tmp", rand::random::<u64>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
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

    let mut writer = Writer::new(file.try_clone()?)?;
    let mut bucket = |name: &[u8], rows: Rows| writer.bucket(name, rows.into_iter().map(Ok::<_, SaveError>));
    bucket(bucket::ALARM, alarm_rows(&alarms))?;
    bucket(bucket::AUTH, auth_rows(auth.enabled, auth.revision))?;
    bucket(bucket::AUTH_ROLES, auth.roles)?;
    bucket(bucket::AUTH_USERS, auth.users)?;
    bucket(bucket::CLUSTER, cluster_rows(&roster))?;
    let keys = history.rows()?.map(|row| {
        let (revision, record) = row?;
        let tombstone = record.first() == Some(&1);
        Ok::<_, SaveError>((revision_key(revision, tombstone), record.get(1..).unwrap_or_default().to_vec()))
    });
    writer.bucket(bucket::KEY, keys)?;
    let mut bucket = |name: &[u8], rows: Rows| writer.bucket(name, rows.into_iter().map(Ok::<_, SaveError>));
    bucket(bucket::LEASE, lease_rows(leases))?;
    bucket(bucket::MEMBERS, member_rows(&roster))?;
    bucket(bucket::MEMBERS_REMOVED, removed_rows(&roster))?;
    bucket(bucket::META, meta_rows(&history, &roster))?;
    writer.finish()?;
    Ok((file, history.meta.applied))
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
            rows.push((name.to_vec(), revision_key(Revision::start_of(main), false)));
        }
    }
    rows.sort();
    rows
}
