//! The state machine: committed log entries in, replies and events out. Nothing else writes the store.
//!
//! Given the same entries, every member comes to the same state, so nothing here may depend on time (except when leases
//! run out, which is decided elsewhere and comes back as an entry), on chance or on this member.

pub mod alarm;
pub mod check;
mod range;
mod txn;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

use self::alarm::Alarms;
use crate::auth::token::Tokens;
use crate::auth::{Asker, Auth};
use crate::error::Error;
use crate::lease::Lessor;
use crate::membership::Roster;
use crate::mvcc::backend::Change;
use crate::mvcc::range::KeyRange;
use crate::mvcc::store::{Restored, Store};
use crate::mvcc::txn::WriteTxn;
use crate::proto::log::command::Op;
use crate::proto::rpc::{
    AlarmResponse, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseRevokeResponse, Member, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use crate::watch::hub::Hub;

/// An entry's outcome. Headers carry the revision alone; who answers fills the rest in.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    Alarm(AlarmResponse),
    /// Users or roles were changed; there is nothing more to say.
    Auth,
    /// The members are these now.
    Members(Vec<Member>),
    /// It is done.
    Done,
}

/// The replicated state of one member.
pub struct Machine {
    pub store: Arc<Store>,
    pub lessor: Mutex<Lessor>,
    pub alarms: Mutex<Alarms>,
    pub auth: RwLock<Auth>,
    /// The tokens given out. They are not stored: after a start clients prove themselves again.
    pub tokens: Mutex<Tokens>,
    pub roster: RwLock<Roster>,
    pub hub: Hub,
}

impl Machine {
    /// Takes over what was found on disk.
    pub fn new(restored: Restored, now: Instant) -> Result<Self, prost::DecodeError> {
        let mut lessor = Lessor::default();
        for (id, ttl) in restored.leases {
            // What was granted once is granted again; it came from the same checks.
            if let Err(error) = lessor.grant(id, ttl, now) {
                tracing::warn!(id, %error, "a stored lease is not usable and is ignored");
            }
        }
        for (id, remaining) in restored.leases_left {
            lessor.checkpoint(id, remaining);
        }
        for (key, id) in restored.attached {
            lessor.attach(&key, id);
        }
        let hub = Hub::new(restored.store.revision());
        Ok(Self {
            store: Arc::new(restored.store),
            lessor: Mutex::new(lessor),
            alarms: Mutex::new(Alarms::new(restored.alarms)),
            auth: RwLock::new(Auth::new(restored.auth)?),
            tokens: Mutex::default(),
            roster: RwLock::new(Roster::stored(restored.members)?),
            hub,
        })
    }

    /// Applies one entry. Entries come in the order of the log, each once. Without an asker it is a member's own.
    pub fn apply(&self, index: u64, term: u64, op: Op, asker: Option<&Asker>, now: Instant) -> Result<Reply, Error> {
        self.store.entry(index, term, || {
            if let Some(asker) = asker {
                let auth = self.auth.read();
                if auth.enabled() {
                    auth.may_apply(asker, &op, &self.lessor.lock())?;
                }
            }
            self.apply_op(op, now)
        })
    }

    fn apply_op(&self, op: Op, now: Instant) -> Result<Reply, Error> {
        let refusal = self.alarms.lock().refusal(&op);
        if let Some(error) = refusal {
            return Err(error);
        }
        match op {
            Op::Put(request) => self.put(&request).map(Reply::Put),
            Op::DeleteRange(request) => {
                let mut txn = self.store.write();
                let response = txn::delete_range(&mut txn, &request)?;
                self.end(txn);
                Ok(Reply::DeleteRange(response))
            }
            Op::Txn(request) => self.txn(&request).map(Reply::Txn),
            Op::Compact(request) => self.compact(&request).map(Reply::Compact),
            Op::LeaseGrant(request) => self.grant(&request, now).map(Reply::LeaseGrant),
            Op::LeaseRevoke(request) => self.revoke(request.id).map(Reply::LeaseRevoke),
            Op::Alarm(request) => {
                let (alarms, changes) = self.alarms.lock().apply(&request);
                for change in changes {
                    self.store.change(change);
                }
                Ok(Reply::Alarm(AlarmResponse { header: self.header(), alarms }))
            }
            Op::AuthToken(request) => {
                self.tokens.lock().hold(request.token, &request.user, now);
                Ok(Reply::Done)
            }
            Op::LeaseCheckpoints(request) => {
                let mut lessor = self.lessor.lock();
                for checkpoint in request.checkpoints {
                    if lessor.checkpoint(checkpoint.id, checkpoint.remaining_ttl) {
                        let (id, remaining) = (checkpoint.id, checkpoint.remaining_ttl);
                        self.store.change(Change::LeaseCheckpoint { id, remaining });
                    }
                }
                Ok(Reply::Done)
            }
            op => {
                let outcome = self.roster.write().apply(&op);
                if let Some(outcome) = outcome {
                    for change in outcome? {
                        self.store.change(change);
                    }
                    return Ok(Reply::Members(self.roster.read().list()));
                }
                let changes = self.auth.write().apply(&op).unwrap_or_else(|| Ok(Vec::new()))?;
                match &op {
                    Op::AuthDisable(_) => self.tokens.lock().forget(None),
                    Op::AuthUserDelete(request) => self.tokens.lock().forget(Some(&request.name)),
                    Op::AuthUserChangePassword(request) => self.tokens.lock().forget(Some(&request.name)),
                    _ => {}
                }
                for change in changes {
                    self.store.change(change);
                }
                Ok(Reply::Auth)
            }
        }
    }

    fn put(&self, request: &PutRequest) -> Result<PutResponse, Error> {
        // Outside of a transaction a missing lease is found before a missing key.
        if request.lease != 0 && !self.lessor.lock().exists(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let mut txn = self.store.write();
        let response = txn::put(&mut txn, request)?;
        self.end(txn);
        Ok(response)
    }

    fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let mut txn = self.store.write();
        let path = txn::choose(&txn, request);
        txn::check(&txn, &self.lessor.lock(), request, &path)?;
        let response = txn::execute(&mut txn, request, &path)?;
        self.end(txn);
        Ok(response)
    }

    fn compact(&self, request: &CompactionRequest) -> Result<CompactionResponse, Error> {
        self.store.compact(request.revision)?;
        Ok(CompactionResponse { header: self.header() })
    }

    fn grant(&self, request: &LeaseGrantRequest, now: Instant) -> Result<LeaseGrantResponse, Error> {
        let ttl = self.lessor.lock().grant(request.id, request.ttl, now)?;
        self.store.change(Change::LeaseGranted { id: request.id, ttl });
        Ok(LeaseGrantResponse { header: self.header(), id: request.id, ttl, error: String::new() })
    }

    fn revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error> {
        let keys: Vec<Bytes> = self.lessor.lock().revoke(id)?;
        self.store.change(Change::LeaseRevoked { id });
        let mut txn = self.store.write();
        for key in keys {
            txn.delete_range(KeyRange::One(&key));
        }
        self.end(txn);
        Ok(LeaseRevokeResponse { header: self.header() })
    }

    fn end(&self, txn: WriteTxn<'_>) {
        if txn.changed().is_empty() {
            return;
        }
        let (revision, changed) = txn.end();
        {
            let mut lessor = self.lessor.lock();
            for change in &changed {
                if change.deleted {
                    lessor.detach(&change.key_value.key);
                } else {
                    lessor.attach(&change.key_value.key, change.key_value.lease);
                }
            }
        }
        self.hub.publish(revision, changed);
    }

    /// Applies the entry with which a leader begins its term; it says nothing.
    pub fn skip(&self, index: u64, term: u64) {
        self.store.entry(index, term, || ());
    }

    /// Reads a range.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let found = self.store.range(&range::query(request))?;
        Ok(range::respond(request, found))
    }

    /// Reads a range and writes the answer as it goes to the client behind `answer`, with the rest of its header from
    /// `header`.
    pub fn range_encoded(
        &self,
        request: &RangeRequest,
        header: ResponseHeader,
        mut answer: BytesMut,
    ) -> Result<BytesMut, Error> {
        if range::is_plain(request) {
            return range::encode(&self.store, request, header, answer);
        }
        let mut response = self.range(request)?;
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(ResponseHeader { revision, ..header });
        prost::Message::encode(&response, &mut answer).expect("it grows as needed");
        Ok(answer)
    }

    /// Runs a transaction that only reads; it needs no log entry.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let view = self.store.read();
        let path = txn::choose(&view, request);
        txn::check(&view, &self.lessor.lock(), request, &path)?;
        txn::execute_reads(&view, request, &path)
    }

    /// The alarms as etcd names them.
    pub fn alarm_names(&self) -> Vec<String> {
        let kinds = self.alarms.lock().list(AlarmType::None);
        kinds.iter().map(|alarm| alarm.alarm().as_str_name().to_owned()).collect()
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.store.revision(), ..ResponseHeader::default() })
    }
}
