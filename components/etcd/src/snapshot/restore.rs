//! Makes a data directory of a snapshot, this server's or etcd's.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::{BufMut, BytesMut};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::{AUTH_ENABLED, AUTH_REVISION, FINISHED_COMPACTION, SCHEDULED_COMPACTION, bucket, parse_revision_key};
use crate::bolt::PAGE;
use crate::bolt::read::{Reader, Source};
use crate::membership::{Identity, Roster};
use crate::mvcc::backend::{BackendError, Change, Meta, Record};
use crate::mvcc::store::Store;
use crate::proto::lease::Lease;
use crate::proto::rpc::{AlarmMember, Member};
use crate::raft::Place;

/// Why a snapshot cannot be restored or read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{path}: {source}")]
    Snapshot { path: PathBuf, source: io::Error },
    #[error("{path}: its checksum does not match; it was cut or damaged, save it again")]
    Checksum { path: PathBuf },
    #[error(
        "{path}: it carries no checksum, as a file copied from a data directory; give --skip-hash-check to restore it \
         all the same"
    )]
    NoChecksum { path: PathBuf },
    #[error("{path}: exists already and is not empty; a snapshot is restored into a new data directory")]
    Occupied { path: PathBuf },
    #[error("{path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// What is in a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest revision.
    pub revision: i64,
    /// Records of the history, deletions included.
    pub records: u64,
    pub leases: u64,
    /// Bytes of the file without its checksum.
    pub bytes: u64,
}

/// Looks into a snapshot.
pub fn status(path: &Path, check_hash: bool) -> Result<Status, RestoreError> {
    let named = named(path);
    let bytes = check(path, check_hash)?;
    let reader = Reader::open(path).map_err(&named)?;
    let mut status = Status { bytes, ..Status::default() };
    reader
        .bucket(bucket::KEY, |key, _| {
            let (revision, _) = parse_revision_key(key).ok_or_else(not_a_revision)?;
            status.revision = status.revision.max(revision.main);
            status.records += 1;
            Ok(())
        })
        .map_err(&named)?;
    reader
        .bucket(bucket::LEASE, |_, _| {
            status.leases += 1;
            Ok(())
        })
        .map_err(&named)?;
    Ok(status)
}

/// Reads all that is in a snapshot's bytes and keeps nothing of it.
pub fn read_through(bytes: &[u8]) -> io::Result<()> {
    let reader = Reader::new(bytes)?;
    reader.buckets()?;
    reader.bucket(bucket::KEY, |key, value| {
        let (_, tombstone) = parse_revision_key(key).ok_or_else(not_a_revision)?;
        let mut record = BytesMut::with_capacity(value.len() + 1);
        record.put_u8(u8::from(tombstone));
        record.put_slice(value);
        Record::decode(record.freeze()).map(drop).map_err(io::Error::other)
    })?;
    reader.bucket(bucket::ALARM, |alarm, _| AlarmMember::decode(alarm).map(drop).map_err(io::Error::other))?;
    leases(&reader)?;
    members(&reader)?;
    users(&reader).map(drop)
}

/// Restores a snapshot into `data_dir`, which must not be there or be empty. The member that is started on it begins a
/// new cluster: ids and alarms of the old one are left behind.
pub fn restore(path: &Path, data_dir: &Path, check_hash: bool) -> Result<Status, RestoreError> {
    let bytes = check(path, check_hash)?;
    let failed = |source| RestoreError::DataDir { path: data_dir.to_owned(), source };
    if data_dir.exists() && std::fs::read_dir(data_dir).map_err(failed)?.next().is_some() {
        return Err(RestoreError::Occupied { path: data_dir.to_owned() });
    }
    let member = data_dir.join("member");
    std::fs::create_dir_all(&member).map_err(failed)?;
    let reader = Reader::open(path).map_err(named(path))?;
    let status = fill(path, &reader, &member.join("store"), Place::default(), Vec::new())?;
    Ok(Status { bytes, ..status })
}

/// Makes a store of a snapshot that another member of the same cluster sent: the same state at the same place. Its
/// checksum is the stream's.
pub fn restore_member(path: &Path, store: &Path, identity: Identity) -> Result<(Place, Roster), RestoreError> {
    let named = named(path);
    let reader = Reader::open(path).map_err(&named)?;
    let mut place = Place::default();
    reader
        .bucket(bucket::META, |name, value| {
            let number = <[u8; 8]>::try_from(value).map(u64::from_be_bytes);
            match (name, number) {
                (b"consistent_index", Ok(index)) => place.index = index,
                (b"term", Ok(term)) => place.term = term,
                _ => {}
            }
            Ok(())
        })
        .map_err(&named)?;
    let roster = members(&reader).map_err(&named)?;
    let mut beside = roster.changes();
    reader
        .bucket(bucket::ALARM, |alarm, _| {
            let alarm = AlarmMember::decode(alarm).map_err(io::Error::other)?;
            beside.push(Change::AlarmRaised { member: alarm.member_id, alarm: alarm.alarm });
            Ok(())
        })
        .map_err(&named)?;
    beside.push(Change::Identity { member: identity.member, cluster: identity.cluster });
    fill(path, &reader, store, place, beside)?;
    Ok((place, roster))
}

/// Fills a new store with a snapshot's history, leases and users, and with what is given beside.
fn fill(path: &Path, reader: &Reader, store: &Path, place: Place, beside: Vec<Change>) -> Result<Status, RestoreError> {
    let named = named(path);
    let mut compacted = -1;
    reader
        .bucket(bucket::META, |name, value| {
            if (name == FINISHED_COMPACTION || name == SCHEDULED_COMPACTION)
                && let Some((revision, _)) = parse_revision_key(value)
            {
                compacted = compacted.max(revision.main);
            }
            Ok(())
        })
        .map_err(&named)?;
    let mut changes = leases(reader).map_err(&named)?;
    let mut status = Status { leases: changes.len() as u64, ..Status::default() };
    changes.extend(users(reader).map_err(&named)?);
    changes.extend(beside);

    let store = Store::open(store)?.store;
    let mut import = store.importer(Meta { compacted, applied: place.index, term: place.term, ..Meta::default() });
    let mut problem = None;
    let read = reader.bucket(bucket::KEY, |key, value| {
        let (revision, tombstone) = parse_revision_key(key).ok_or_else(not_a_revision)?;
        let mut record = BytesMut::with_capacity(value.len() + 1);
        record.put_u8(u8::from(tombstone));
        record.put_slice(value);
        status.records += 1;
        import.push(revision, record.freeze()).map_err(|error| {
            problem = Some(error);
            io::Error::other("the store cannot be written")
        })
    });
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    read.map_err(&named)?;
    let meta = import.finish(changes)?;
    status.revision = meta.revision;
    Ok(status)
}

/// A member as its row has it.
#[derive(serde::Deserialize)]
struct MemberRow {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

fn members(reader: &Reader<impl Source>) -> io::Result<Roster> {
    let mut rows = Vec::new();
    reader.bucket(bucket::MEMBERS, |_, row| {
        let row: MemberRow = serde_json::from_slice(row)?;
        let member = Member {
            id: row.id,
            name: row.name,
            peer_ur_ls: row.peer_urls,
            client_ur_ls: row.client_urls,
            is_learner: row.is_learner,
        };
        rows.push((row.id, member.encode_to_vec()));
        Ok(())
    })?;
    reader.bucket(bucket::MEMBERS_REMOVED, |id, _| {
        let id = std::str::from_utf8(id).ok().and_then(|id| u64::from_str_radix(id, 16).ok());
        rows.extend(id.map(|id| (id, Vec::new())));
        Ok(())
    })?;
    reader.bucket(bucket::CLUSTER, |name, row| {
        if name == b"downgrade" {
            let row: DowngradeRow = serde_json::from_slice(row)?;
            rows.extend(row.enabled.then_some((Roster::DOWNGRADE, row.target.into_bytes())));
        }
        Ok(())
    })?;
    Roster::stored(rows).map_err(io::Error::other)
}

/// The version that a cluster is to go back to, as its row has it.
#[derive(serde::Deserialize)]
struct DowngradeRow {
    #[serde(rename = "target-version", default)]
    target: String,
    #[serde(default)]
    enabled: bool,
}

fn leases(reader: &Reader<impl Source>) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    reader.bucket(bucket::LEASE, |_, value| {
        let lease = Lease::decode(value).map_err(io::Error::other)?;
        changes.push(Change::LeaseGranted { id: lease.id, ttl: lease.ttl });
        Ok(())
    })?;
    Ok(changes)
}

/// Users, roles, and whether they count.
fn users(reader: &Reader<impl Source>) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).map_err(io::Error::other);
    reader.bucket(bucket::AUTH_USERS, |name, user| {
        changes.push(Change::User { name: text(name)?, user: Some(user.to_vec()) });
        Ok(())
    })?;
    reader.bucket(bucket::AUTH_ROLES, |name, role| {
        changes.push(Change::Role { name: text(name)?, role: Some(role.to_vec()) });
        Ok(())
    })?;
    let (mut enabled, mut revision) = (false, 0);
    reader.bucket(bucket::AUTH, |name, value| {
        match (name, <[u8; 8]>::try_from(value)) {
            (AUTH_ENABLED, _) => enabled = value == [1],
            (AUTH_REVISION, Ok(bytes)) => revision = u64::from_be_bytes(bytes),
            _ => {}
        }
        Ok(())
    })?;
    changes.push(Change::Auth { enabled, revision });
    Ok(changes)
}

/// Checks the SHA-256 that stands behind a saved snapshot. Returns the bytes before it.
fn check(path: &Path, check_hash: bool) -> Result<u64, RestoreError> {
    let named = named(path);
    let mut file = File::open(path).map_err(&named)?;
    let length = file.metadata().map_err(&named)?.len();
    let hashed = length % (PAGE as u64 / 8) == 32;
    if !hashed || !check_hash {
        return if check_hash { Err(RestoreError::NoChecksum { path: path.to_owned() }) } else { Ok(length) };
    }
    let content = length - 32;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut rest = (&mut file).take(content);
    loop {
        let count = rest.read(&mut buffer).map_err(&named)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let mut expected = [0; 32];
    file.seek(SeekFrom::Start(content)).and_then(|_| file.read_exact(&mut expected)).map_err(&named)?;
    if hasher.finalize().as_slice() != expected {
        return Err(RestoreError::Checksum { path: path.to_owned() });
    }
    Ok(content)
}

fn named(path: &Path) -> impl Fn(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Snapshot { path: path.clone(), source }
}

fn not_a_revision() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a key of the history is no revision")
}
