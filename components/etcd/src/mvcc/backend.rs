//! The store on disk: a table of revisions and the small tables beside it, in one file.
//!
//! A commit is atomic and durable and carries the index of the last log entry in it, so a start reads the backend and
//! replays the log from there on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::Revision;
use super::pending::Batch;
use crate::auth::Stored;
use crate::failpoint::pass;
use crate::proto::mvcc::KeyValue;

const HISTORY: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("history");
const LEASES: TableDefinition<'_, i64, i64> = TableDefinition::new("leases");
/// Seconds that leases had left at their last checkpoint.
const LEASES_LEFT: TableDefinition<'_, i64, i64> = TableDefinition::new("leases_left");
const ALARMS: TableDefinition<'_, (u64, i32), ()> = TableDefinition::new("alarms");
const USERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("users");
const ROLES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("roles");
const MEMBERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("members");
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");

/// The layout's version; a higher one was written by a newer server.
const FORMAT: i64 = 1;

/// Pages that the backend keeps in memory; what is beyond it the kernel's page cache serves.
const CACHE: usize = 16 << 20;

/// Why the backend failed. After any of these the member stops.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: Box<redb::Error> },
    #[error("{path}: written by a newer server (format {found}, this one knows {FORMAT}); start that one instead")]
    Format { path: PathBuf, found: i64 },
    #[error("{path}: revision {main}.{sub} is not readable: {reason}")]
    Record { path: PathBuf, main: i64, sub: i64, reason: String },
}

/// A change of one of the small tables.
#[derive(Clone, Debug)]
pub enum Change {
    LeaseGranted {
        id: i64,
        ttl: i64,
    },
    LeaseRevoked {
        id: i64,
    },
    LeaseCheckpoint {
        id: i64,
        remaining: i64,
    },
    AlarmRaised {
        member: u64,
        alarm: i32,
    },
    AlarmCleared {
        member: u64,
        alarm: i32,
    },
    /// A user as it is now, encoded; or that it is gone.
    User {
        name: String,
        user: Option<Vec<u8>>,
    },
    /// The same of a role.
    Role {
        name: String,
        role: Option<Vec<u8>>,
    },
    Auth {
        enabled: bool,
        revision: u64,
    },
    /// The member's own id and its cluster's.
    Identity {
        member: u64,
        cluster: u64,
    },
    /// A member of the cluster as it is now, encoded; or that it is gone, and its id is never given again.
    Member {
        id: u64,
        member: Option<Vec<u8>>,
    },
}

/// Figures that belong to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The last log entry in the backend.
    pub applied: u64,
    pub term: u64,
    /// The newest revision.
    pub revision: i64,
    /// The last compaction asked for, -1 before the first.
    pub compacted: i64,
    /// The last compaction carried out.
    pub compaction_done: i64,
}

impl Default for Meta {
    fn default() -> Self {
        Self { applied: 0, term: 0, revision: 1, compacted: -1, compaction_done: -1 }
    }
}

/// A revision's record: a flag byte (1 for a tombstone), then the encoded key and value.
pub struct Record;

impl Record {
    pub fn encode(key_value: &KeyValue, tombstone: bool) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1 + key_value.encoded_len());
        bytes.put_u8(u8::from(tombstone));
        key_value.encode_raw(&mut bytes);
        bytes.freeze()
    }

    /// The encoded key and value of a record.
    pub fn key_value(record: &[u8]) -> &[u8] {
        record.get(1..).unwrap_or_default()
    }

    /// Whether it is a tombstone, and the key and value, which share the record's memory.
    pub fn decode(mut record: Bytes) -> Result<(bool, KeyValue), prost::DecodeError> {
        let tombstone = record.first() == Some(&1);
        let encoded = record.split_off(1.min(record.len()));
        KeyValue::decode(encoded).map(|key_value| (tombstone, key_value))
    }
}

/// The backend's file.
pub struct Backend {
    path: PathBuf,
    database: Mutex<Database>,
    /// Bytes of the history's keys and records; the file holds more, for its own order and as free space.
    used: AtomicU64,
    /// The file's size. Every write asks for it, because of the quota, and only commits change it.
    size: AtomicU64,
}

/// A snapshot of the history, as of the last commit. Cheap to share.
pub struct View {
    path: PathBuf,
    history: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
}

impl Backend {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let database =
            Database::builder().set_cache_size(CACHE).create(path).map_err(|error| failed(path)(error.into()))?;
        Self::begin(path, database)
    }

    /// One that is kept nowhere.
    pub fn in_memory() -> Result<Self, BackendError> {
        let path = Path::new("memory");
        let kept = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(kept).map_err(|error| failed(path)(error.into()))?;
        Self::begin(path, database)
    }

    fn begin(path: &Path, database: Database) -> Result<Self, BackendError> {
        let (path, database) = (path.to_owned(), Mutex::new(database));
        let backend = Self { path, database, used: AtomicU64::new(0), size: AtomicU64::new(0) };
        // Tables are made at once, so that a view never misses one.
        backend.write(|transaction| {
            transaction.open_table(HISTORY)?;
            transaction.open_table(LEASES)?;
            transaction.open_table(LEASES_LEFT)?;
            transaction.open_table(ALARMS)?;
            transaction.open_table(USERS)?;
            transaction.open_table(ROLES)?;
            transaction.open_table(MEMBERS)?;
            let mut meta = transaction.open_table(META)?;
            if meta.get("format")?.is_none() {
                meta.insert("format", FORMAT)?;
            }
            Ok(())
        })?;
        let found =
            backend.read(|transaction| Ok(transaction.open_table(META)?.get("format")?.map(|found| found.value())))?;
        match found {
            Some(FORMAT) => Ok(backend),
            found => Err(BackendError::Format { path: backend.path, found: found.unwrap_or_default() }),
        }
    }

    /// A snapshot of the history.
    pub fn view(&self) -> Result<View, BackendError> {
        let history = self.read(|transaction| Ok(transaction.open_table(HISTORY)?))?;
        Ok(View { path: self.path.clone(), history })
    }

    /// What the last commit said.
    pub fn meta(&self) -> Result<Meta, BackendError> {
        self.read(|transaction| {
            let table = transaction.open_table(META)?;
            let number = |name: &str, default: i64| -> Result<i64, redb::Error> {
                Ok(table.get(name)?.map_or(default, |value| value.value()))
            };
            let default = Meta::default();
            Ok(Meta {
                applied: number("applied", 0)?.cast_unsigned(),
                term: number("term", 0)?.cast_unsigned(),
                revision: number("revision", default.revision)?,
                compacted: number("compacted", default.compacted)?,
                compaction_done: number("compaction_done", default.compaction_done)?,
            })
        })
    }

    /// The member's own id and its cluster's, as the first start wrote them.
    pub fn identity(&self) -> Result<Option<(u64, u64)>, BackendError> {
        self.read(|transaction| {
            let table = transaction.open_table(META)?;
            let (member, cluster) = (table.get("member_id")?, table.get("cluster_id")?);
            Ok(member
                .zip(cluster)
                .map(|(member, cluster)| (member.value().cast_unsigned(), cluster.value().cast_unsigned())))
        })
    }

    /// The leases with their time to live in seconds.
    pub fn leases(&self) -> Result<Vec<(i64, i64)>, BackendError> {
        self.numbers(LEASES)
    }

    /// What leases had left at their last checkpoint.
    pub fn leases_left(&self) -> Result<Vec<(i64, i64)>, BackendError> {
        self.numbers(LEASES_LEFT)
    }

    fn numbers(&self, table: TableDefinition<'_, i64, i64>) -> Result<Vec<(i64, i64)>, BackendError> {
        self.read(|transaction| {
            let table = transaction.open_table(table)?;
            table.iter()?.map(|row| row.map(|(id, ttl)| (id.value(), ttl.value())).map_err(Into::into)).collect()
        })
    }

    /// The alarms as member and kind.
    pub fn alarms(&self) -> Result<Vec<(u64, i32)>, BackendError> {
        self.read(|transaction| {
            let table = transaction.open_table(ALARMS)?;
            table.iter()?.map(|row| row.map(|(alarm, _)| alarm.value()).map_err(Into::into)).collect()
        })
    }

    /// The members by their ids, encoded; empty for one that is gone.
    pub fn members(&self) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.read(|transaction| {
            let table = transaction.open_table(MEMBERS)?;
            let rows = table.iter()?.map(|row| row.map(|(id, member)| (id.value(), member.value().to_vec())));
            rows.map(|row| row.map_err(Into::into)).collect()
        })
    }

    /// Users and roles.
    pub fn auth(&self) -> Result<Stored, BackendError> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let number =
                |name: &str| -> Result<i64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
            let rows = |table| -> Result<Vec<Vec<u8>>, redb::Error> {
                let table = transaction.open_table::<&str, &[u8]>(table)?;
                table.iter()?.map(|row| row.map(|(_, value)| value.value().to_vec()).map_err(Into::into)).collect()
            };
            Ok(Stored {
                enabled: number("auth_enabled")? != 0,
                revision: number("auth_revision")?.cast_unsigned(),
                users: rows(USERS)?,
                roles: rows(ROLES)?,
            })
        })
    }

    /// Writes a batch and its figures, durably.
    pub fn commit(&self, batch: &Batch, meta: &Meta) -> Result<(), BackendError> {
        self.write(|transaction| {
            let mut history = transaction.open_table(HISTORY)?;
            for (revision, record) in batch.records.iter() {
                history.insert(&revision.to_bytes(), record.as_ref())?;
                self.count_used(record.len());
            }
            let mut leases = transaction.open_table(LEASES)?;
            let mut alarms = transaction.open_table(ALARMS)?;
            for change in &batch.changes {
                match change {
                    Change::LeaseGranted { id, ttl } => drop(leases.insert(id, ttl)?),
                    Change::LeaseRevoked { id } => {
                        leases.remove(id)?;
                        transaction.open_table(LEASES_LEFT)?.remove(id)?;
                    }
                    Change::LeaseCheckpoint { id, remaining } => {
                        transaction.open_table(LEASES_LEFT)?.insert(id, remaining)?;
                    }
                    Change::AlarmRaised { member, alarm } => drop(alarms.insert((*member, *alarm), ())?),
                    Change::AlarmCleared { member, alarm } => drop(alarms.remove((*member, *alarm))?),
                    Change::User { name, user } => put_named(transaction, USERS, name, user.as_deref())?,
                    Change::Role { name, role } => put_named(transaction, ROLES, name, role.as_deref())?,
                    Change::Member { id, member } => {
                        let mut table = transaction.open_table(MEMBERS)?;
                        table.insert(id, member.as_deref().unwrap_or_default())?;
                    }
                    Change::Identity { member, cluster } => {
                        let mut table = transaction.open_table(META)?;
                        table.insert("member_id", member.cast_signed())?;
                        table.insert("cluster_id", cluster.cast_signed())?;
                    }
                    Change::Auth { enabled, revision } => {
                        let mut table = transaction.open_table(META)?;
                        table.insert("auth_enabled", i64::from(*enabled))?;
                        table.insert("auth_revision", revision.cast_signed())?;
                    }
                }
            }
            put_meta(transaction, meta)
        })
    }

    /// Removes revisions that a compaction dropped. `done` is given with the last of them.
    pub fn remove(&self, revisions: &[Revision], done: Option<i64>) -> Result<(), BackendError> {
        self.write(|transaction| {
            let mut history = transaction.open_table(HISTORY)?;
            for revision in revisions {
                if let Some(record) = history.remove(&revision.to_bytes())? {
                    self.used.fetch_sub(stored(record.value().len()), Ordering::Relaxed);
                }
            }
            if let Some(done) = done {
                transaction.open_table(META)?.insert("compaction_done", done)?;
            }
            Ok(())
        })
    }

    /// Gives free space back to the file system. No view may be open.
    pub fn shrink(&self) -> Result<(), BackendError> {
        let shrunk = self.database.lock().compact();
        self.look_at_size();
        shrunk.map(drop).map_err(|error| failed(&self.path)(error.into()))
    }

    /// A failure of the file, by its name.
    pub fn failure(&self, error: std::io::Error) -> BackendError {
        failed(&self.path)(redb::Error::Io(error))
    }

    /// Counts a record that is in the file.
    pub fn count_used(&self, record: usize) {
        self.used.fetch_add(stored(record), Ordering::Relaxed);
    }

    /// Bytes in use within the file, as far as records go.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of the file.
    pub fn file_size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn look_at_size(&self) {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        self.size.store(size, Ordering::Relaxed);
    }

    fn read<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, BackendError> {
        let transaction = self.database.lock().begin_read().map_err(|error| failed(&self.path)(error.into()))?;
        work(&transaction).map_err(failed(&self.path))
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, BackendError> {
        let named = failed(&self.path);
        let mut transaction = self.database.lock().begin_write().map_err(|error| named(error.into()))?;
        // Without this a start after a crash reads the whole file.
        transaction.set_quick_repair(true);
        let result = work(&transaction).map_err(&named)?;
        pass("store.commit").map_err(|error| named(redb::Error::Io(error)))?;
        transaction.commit().map_err(|error| named(error.into()))?;
        self.look_at_size();
        pass("store.committed").map_err(|error| named(redb::Error::Io(error)))?;
        Ok(result)
    }
}

/// Bytes of a record with its revision.
fn stored(record: usize) -> u64 {
    (record + size_of::<[u8; 16]>()) as u64
}

fn put_named(
    transaction: &redb::WriteTransaction,
    table: TableDefinition<'_, &str, &[u8]>,
    name: &str,
    value: Option<&[u8]>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(table)?;
    match value {
        Some(value) => drop(table.insert(name, value)?),
        None => drop(table.remove(name)?),
    }
    Ok(())
}

fn put_meta(transaction: &redb::WriteTransaction, meta: &Meta) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(META)?;
    table.insert("applied", meta.applied.cast_signed())?;
    table.insert("term", meta.term.cast_signed())?;
    table.insert("revision", meta.revision)?;
    table.insert("compacted", meta.compacted)?;
    Ok(())
}

fn failed(path: &Path) -> impl Fn(redb::Error) -> BackendError {
    let path = path.to_owned();
    move |source| BackendError::File { path: path.clone(), source: Box::new(source) }
}

impl View {
    /// The record of a revision.
    pub fn get(&self, revision: Revision) -> Result<Bytes, BackendError> {
        self.with(revision, Bytes::copy_from_slice)
    }

    /// Looks at the record of a revision where it lies.
    pub fn with<T>(&self, revision: Revision, look: impl FnOnce(&[u8]) -> T) -> Result<T, BackendError> {
        let found = self.history.get(&revision.to_bytes()).map_err(|error| failed(&self.path)(error.into()))?;
        match found {
            Some(record) => Ok(look(record.value())),
            None => Err(self.unreadable(revision, "it is missing".to_owned())),
        }
    }

    /// Hands records from `from` on to `each` in order, until it returns false or the end.
    pub fn scan(
        &self,
        from: Revision,
        mut each: impl FnMut(Revision, &[u8]) -> Result<bool, prost::DecodeError>,
    ) -> Result<(), BackendError> {
        let named = failed(&self.path);
        for row in self.history.range::<&[u8; 16]>(&from.to_bytes()..).map_err(|error| named(error.into()))? {
            let (revision, record) = row.map_err(|error| named(error.into()))?;
            let revision = Revision::from_bytes(revision.value());
            match each(revision, record.value()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.unreadable(revision, error.to_string())),
            }
        }
        Ok(())
    }

    /// The records from one revision to before another, in their order, as they lie in the file.
    pub fn rows(
        &self,
        from: Revision,
        to: Revision,
    ) -> Result<impl Iterator<Item = Result<(Revision, Held), BackendError>> + use<'_>, BackendError> {
        let (from, to) = (from.to_bytes(), to.to_bytes());
        let rows = self.history.range::<&[u8; 16]>(&from..&to).map_err(|error| failed(&self.path)(error.into()))?;
        let named = failed(&self.path);
        Ok(rows.map(move |row| {
            let (revision, record) = row.map_err(|error| named(error.into()))?;
            Ok((Revision::from_bytes(revision.value()), Held(record)))
        }))
    }

    /// An error that names this file and a revision.
    pub fn unreadable(&self, revision: Revision, reason: String) -> BackendError {
        BackendError::Record { path: self.path.clone(), main: revision.main, sub: revision.sub, reason }
    }
}

/// A record in a page of the file that is kept for it.
pub struct Held(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

/// A view that is shared.
pub type SharedView = Arc<View>;
