//! etcd as the server uses it: reads, compare-and-swap writes, and one watch.

mod figures;
mod form;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::status::Status;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use figures::Operation;

pub use figures::Figures;
pub use form::Form;

use crate::encryption::Encryption;
use crate::options::Options;
use crate::registry::{self, Registry, ResourceSpec};

use kinit_etcd_api::mvcc::KeyValue;
use kinit_etcd_api::rpc::{
    self, compare, kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient, request_op,
    response_op, watch_client::WatchClient, watch_request,
};

/// A stored value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub key: String,
    pub value: Bytes,
    pub revision: i64,
    /// Whether the value would now be stored in another form, by another key for example.
    pub stale: bool,
}

impl Stored {
    /// The key and revision of a deletion.
    pub fn without_value(kv: KeyValue) -> Self {
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        Self { key, value: Bytes::new(), revision: kv.mod_revision, stale: false }
    }

    /// The object that the value is.
    pub fn object(&self) -> Result<Object, Status> {
        Object::from_slice(&self.value)
            .map_err(|error| Status::internal(format!("{} in etcd is not JSON: {error}", self.key)))
    }
}

/// Why a compare-and-swap did not write.
#[derive(Debug)]
pub enum WriteError {
    /// The key is not at the expected revision; what is there instead, if anything.
    Mismatch(Option<Stored>),
    Failed(Status),
}

/// A client of one etcd cluster. Cheap to clone: its calls share one connection per endpoint.
#[derive(Clone)]
pub struct Etcd {
    channel: Channel,
    prefix: String,
    lease: Arc<tokio::sync::Mutex<Option<SharedLease>>>,
    /// What values are encrypted with; nothing without a configuration.
    encryption: Option<Arc<Encryption>>,
    /// In which form objects are written.
    form: Form,
    figures: Figures,
}

/// The lease that new keys of a limited life get.
struct SharedLease {
    id: i64,
    life: Duration,
    until: Instant,
    keys: u32,
}

/// How long a lease is given to new keys, and to how many; upstream's numbers.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(60);
const LEASE_KEYS: u32 = 1000;

/// How many objects are read at once.
const PAGE: i64 = 1000;

/// Larger answers are refused; etcd itself accepts values of 1.5 MiB, and a list may hold many.
const MAX_ANSWER: usize = 1 << 30;

impl Etcd {
    /// Makes the client; connections are opened when they are needed and opened again when they break.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let encryption = options.etcd.encryption_provider_config.clone().map(|file| {
            let follows = options.etcd.encryption_provider_config_automatic_reload;
            Encryption::new(file, follows)
        });
        let encryption = encryption.transpose()?;
        Ok(Self {
            channel: crate::storage_link::channel(&options.etcd)?,
            prefix: options.etcd.prefix.clone(),
            lease: Arc::default(),
            encryption: encryption.map(Arc::new),
            form: options.etcd.storage_media_type,
            figures: Figures::default(),
        })
    }

    /// What it was asked.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Awaits an answer and counts it.
    async fn counted<T>(
        &self,
        key: &str,
        operation: Operation,
        answering: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, tonic::Status> {
        let began = Instant::now();
        let answer = answering.await;
        self.figures.note(self.own(key), operation, began, answer.is_err());
        answer.map(tonic::Response::into_inner)
    }

    /// What values are encrypted with.
    pub fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.encryption.as_ref()
    }

    /// A key without what all keys begin with.
    fn own<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.prefix).map_or("", |own| own.trim_start_matches('/'))
    }

    /// What etcd holds as a value that can be read.
    pub async fn opened(&self, kv: KeyValue) -> Result<Stored, Status> {
        let mut stored = Stored {
            key: String::from_utf8_lossy(&kv.key).into_owned(),
            value: kv.value,
            revision: kv.mod_revision,
            stale: false,
        };
        if let Some(encryption) = &self.encryption {
            let opened = encryption.open(&stored.key, self.own(&stored.key), stored.value).await;
            let opened = opened.map_err(|why| untransformed(&stored.key, &why))?;
            (stored.value, stored.stale) = opened;
        }
        let (value, other) = self.form.read(stored.value);
        Ok(Stored { value, stale: stored.stale || other, ..stored })
    }

    async fn opened_first(&self, kvs: Vec<KeyValue>) -> Result<Option<Stored>, Status> {
        match kvs.into_iter().next() {
            Some(kv) => self.opened(kv).await.map(Some),
            None => Ok(None),
        }
    }

    /// The key of an object, as upstream lays the registry out.
    pub fn key(&self, spec: &ResourceSpec, namespace: &str, name: &str) -> String {
        let (own, prefix) = (&self.prefix, spec.prefix());
        if namespace.is_empty() {
            format!("{own}/{prefix}/{name}")
        } else {
            format!("{own}/{prefix}/{namespace}/{name}")
        }
    }

    /// A key of the registry that is of no resource, for example `ranges/servicenodeports`.
    pub fn other_key(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    /// The first key and the end of the range that all objects of all resources lie in.
    pub fn whole_range(&self) -> (Bytes, Bytes) {
        (Bytes::from(format!("{}/", self.prefix)), Bytes::from(format!("{}0", self.prefix)))
    }

    /// The range that all objects of a resource lie in.
    pub fn range_of(&self, spec: &ResourceSpec) -> (Bytes, Bytes) {
        let (own, prefix) = (&self.prefix, spec.prefix());
        (Bytes::from(format!("{own}/{prefix}/")), Bytes::from(format!("{own}/{prefix}0")))
    }

    /// The number of the store that a key belongs to, and `namespace/name` or `name`.
    pub fn row<'a>(&self, registry: &Registry, key: &'a str) -> Option<(usize, &'a str)> {
        registry.of_key(key.strip_prefix(&self.prefix)?.strip_prefix('/')?)
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Stored>, Status> {
        let request = rpc::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
        let answer = self.counted(key, Operation::Get, self.kv().range(request)).await.map_err(failed)?;
        self.opened_first(answer.kvs).await
    }

    /// An object by its names; an error says that there is none, or that what is there is no object.
    pub async fn object(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Object, Status> {
        let index = registry::position(group, resource).ok_or_else(Status::no_such_path)?;
        let stored = self.get(&self.key(&registry::RESOURCES[index], namespace, name)).await?;
        stored.ok_or_else(|| Status::not_found(group, resource, name))?.object()
    }

    /// The cluster's revision now, read through a quorum.
    pub async fn revision(&self) -> Result<i64, Status> {
        let (key, _) = self.whole_range();
        let request = rpc::RangeRequest { key, keys_only: true, ..Default::default() };
        let answer = self.kv().range(request).await.map_err(failed)?.into_inner();
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// [`Etcd::revision`] for a read of a resource, which is counted as one.
    pub async fn revision_for(&self, spec: &ResourceSpec) -> Result<i64, Status> {
        let began = Instant::now();
        let answer = self.revision().await;
        let (key, _) = self.range_of(spec);
        self.figures.note(self.own(&String::from_utf8_lossy(&key)), Operation::Get, began, answer.is_err());
        answer
    }

    /// How many bytes the database's file measures.
    pub async fn size(&self) -> Result<i64, Status> {
        let answer = MaintenanceClient::new(self.channel.clone()).status(rpc::StatusRequest {}).await;
        Ok(answer.map_err(failed)?.into_inner().db_size)
    }

    /// Everything in a range as it was at a revision, 0 for now; returns the revision. Read by pages, all at one revision;
    /// the next is on its way while one is looked at.
    pub async fn load(
        &self,
        (key, range_end): (Bytes, Bytes),
        mut revision: i64,
        mut each: impl FnMut(Vec<Stored>),
    ) -> Result<i64, Status> {
        let from = key.clone();
        let page = |key: Bytes, revision: i64| {
            let (etcd, range_end, from) = (self.clone(), range_end.clone(), from.clone());
            let request = rpc::RangeRequest { key, range_end, limit: PAGE, revision, ..Default::default() };
            AbortOnDropHandle::new(tokio::spawn(async move {
                let from = String::from_utf8_lossy(&from);
                etcd.counted(&from, Operation::List, etcd.kv().range(request)).await
            }))
        };
        let mut coming = page(key, revision);
        loop {
            let answer = coming.await.map_err(Status::internal)?.map_err(failed)?;
            if revision == 0 {
                revision = answer.header.unwrap_or_default().revision;
            }
            let next = answer.kvs.last().filter(|_| answer.more).map(|kv| [kv.key.as_ref(), b"\0"].concat());
            let next = next.map(|key| page(key.into(), revision));
            let mut opened = Vec::with_capacity(answer.kvs.len());
            for kv in answer.kvs {
                opened.push(self.opened(kv).await?);
            }
            each(opened);
            match next {
                Some(next) => coming = next,
                None => return Ok(revision),
            }
        }
    }

    /// Writes `value` if the key is still at `expected` (0: does not exist). Returns the new revision.
    pub async fn put(&self, key: &str, value: Bytes, expected: i64) -> Result<i64, WriteError> {
        self.put_with_lease(key, value, expected, 0).await
    }

    /// As [`Etcd::put`]; etcd deletes the key once `life` is over.
    pub async fn put_for(&self, key: &str, value: Bytes, expected: i64, life: Duration) -> Result<i64, WriteError> {
        let lease = self.lease(life).await.map_err(WriteError::Failed)?;
        self.put_with_lease(key, value, expected, lease).await
    }

    /// A lease that ends after `life`, or a little later: one is shared by all keys of a minute, because each costs etcd
    /// more than the key does.
    async fn lease(&self, life: Duration) -> Result<i64, Status> {
        let mut shared = self.lease.lock().await;
        if let Some(lease) = shared.as_mut()
            && lease.life == life
            && lease.until > Instant::now()
            && lease.keys < LEASE_KEYS
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let ttl = i64::try_from((life + LEASE_SHARED_FOR).as_secs()).unwrap_or(i64::MAX);
        let request = rpc::LeaseGrantRequest { ttl, ..Default::default() };
        let id = LeaseClient::new(self.channel.clone()).lease_grant(request).await.map_err(failed)?.into_inner().id;
        *shared = Some(SharedLease { id, life, until: Instant::now() + LEASE_SHARED_FOR, keys: 1 });
        Ok(id)
    }

    /// Writes `value`, whatever is there; etcd deletes the key once `life` is over, unless it is written again.
    pub async fn put_living(&self, key: &str, value: Bytes, life: Duration) -> Result<(), Status> {
        let request =
            rpc::LeaseGrantRequest { ttl: i64::try_from(life.as_secs()).unwrap_or(i64::MAX), ..Default::default() };
        let lease = LeaseClient::new(self.channel.clone()).lease_grant(request).await.map_err(failed)?.into_inner().id;
        let put = rpc::PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value, lease, ..Default::default() };
        self.counted(key, Operation::Update, self.kv().put(put)).await.map_err(failed).map(|_| ())
    }

    /// The keys that begin with `prefix`, which ends with a slash.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, Status> {
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let request = rpc::RangeRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: end.into(),
            keys_only: true,
            ..Default::default()
        };
        let answer = self.counted(prefix, Operation::List, self.kv().range(request)).await.map_err(failed)?;
        Ok(answer.kvs.into_iter().map(|kv| Stored::without_value(kv).key).collect())
    }

    /// Deletes the key, whatever it holds.
    pub async fn remove(&self, key: &str) -> Result<(), Status> {
        let request = rpc::DeleteRangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
        self.counted(key, Operation::Delete, self.kv().delete_range(request)).await.map_err(failed).map(|_| ())
    }

    async fn put_with_lease(&self, key: &str, value: Bytes, expected: i64, lease: i64) -> Result<i64, WriteError> {
        let value = self.form.written(value);
        let value = match &self.encryption {
            Some(encryption) => {
                let sealed = encryption.seal(key, self.own(key), value).await;
                sealed.map_err(|why| WriteError::Failed(untransformed(key, &why)))?
            }
            None => value,
        };
        let put = rpc::PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value, lease, ..Default::default() };
        self.swap(key, expected, request_op::Request::RequestPut(put)).await
    }

    /// Deletes the key if it is still at `expected`. Returns the revision of the deletion.
    pub async fn delete(&self, key: &str, expected: i64) -> Result<i64, WriteError> {
        let delete = rpc::DeleteRangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
        self.swap(key, expected, request_op::Request::RequestDeleteRange(delete)).await
    }

    async fn swap(&self, key: &str, expected: i64, write: request_op::Request) -> Result<i64, WriteError> {
        let operation = match &write {
            request_op::Request::RequestDeleteRange(_) => Operation::Delete,
            _ if expected == 0 => Operation::Create,
            _ => Operation::Update,
        };
        let name = key;
        let key = Bytes::copy_from_slice(key.as_bytes());
        let read = rpc::RangeRequest { key: key.clone(), ..Default::default() };
        let transaction = rpc::TxnRequest {
            compare: vec![rpc::Compare {
                result: compare::CompareResult::Equal.into(),
                target: compare::CompareTarget::Mod.into(),
                key,
                target_union: Some(compare::TargetUnion::ModRevision(expected)),
                ..Default::default()
            }],
            success: vec![rpc::RequestOp { request: Some(write) }],
            failure: vec![rpc::RequestOp { request: Some(request_op::Request::RequestRange(read)) }],
        };
        let answer = self.counted(name, operation, self.kv().txn(transaction)).await;
        let answer = answer.map_err(|error| WriteError::Failed(failed(error)))?;
        if answer.succeeded {
            return Ok(answer.header.unwrap_or_default().revision);
        }
        let found = answer.responses.into_iter().find_map(|response| match response.response {
            Some(response_op::Response::ResponseRange(range)) => Some(range.kvs),
            _ => None,
        });
        let found = self.opened_first(found.unwrap_or_default()).await.map_err(WriteError::Failed)?;
        Err(WriteError::Mismatch(found))
    }

    /// Watches the whole registry from `revision` on. What is sent into `requests` goes to etcd on the same stream.
    pub async fn watch(
        &self,
        revision: i64,
        requests: tokio::sync::mpsc::Sender<rpc::WatchRequest>,
        outgoing: tokio::sync::mpsc::Receiver<rpc::WatchRequest>,
    ) -> Result<tonic::Streaming<rpc::WatchResponse>, Status> {
        let (key, range_end) = self.whole_range();
        let create = rpc::WatchCreateRequest { key, range_end, start_revision: revision, ..Default::default() };
        let first = rpc::WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
        requests.try_send(first).map_err(|_| Status::internal("the watch's request queue is full"))?;
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        Ok(client.watch(ReceiverStream::new(outgoing)).await.map_err(failed)?.into_inner())
    }
}

/// The request that makes etcd say how far the watch has come.
pub fn progress_request() -> rpc::WatchRequest {
    let progress = rpc::WatchProgressRequest {};
    rpc::WatchRequest { request_union: Some(watch_request::RequestUnion::ProgressRequest(progress)) }
}

/// A value that can't be sealed or opened.
fn untransformed(key: &str, why: &str) -> Status {
    tracing::warn!(key, why, "a value cannot be encrypted or decrypted");
    Status::internal(format!("Internal error occurred: unable to transform key {key:?}: {why}"))
}

/// What etcd says of a request that it does not take.
const TOO_LARGE: &str = "etcdserver: request is too large";

/// Whether an object was larger than etcd takes it.
pub(crate) fn is_too_large(error: &Status) -> bool {
    *error == Status::failure(TOO_LARGE)
}

pub(crate) fn failed(error: tonic::Status) -> Status {
    let says = |words: &str| error.message().contains(words);
    match error.code() {
        // Asking again would not make it smaller: this is told in etcd's words, and without a reason. The server may not have
        // read it at all, which gRPC's libraries tell each in its own way.
        tonic::Code::InvalidArgument if error.message() == TOO_LARGE => return Status::failure(TOO_LARGE),
        tonic::Code::OutOfRange if says("length too large") => return Status::failure(TOO_LARGE),
        tonic::Code::ResourceExhausted if says("larger than max") => return Status::failure(TOO_LARGE),
        tonic::Code::OutOfRange => return Status::expired(crate::cache::COMPACTED),
        _ => {}
    }
    tracing::warn!(%error, "etcd request failed");
    Status::unavailable(format!("etcdserver: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_etcd_refuses_is_told_apart() {
        let expired = Status::expired(crate::cache::COMPACTED);
        for (code, message, wanted) in [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", expired.clone()),
            (Code::InvalidArgument, TOO_LARGE, Status::failure(TOO_LARGE)),
            (Code::ResourceExhausted, "grpc: received message larger than max (3 vs. 2)", Status::failure(TOO_LARGE)),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 3 bytes, the limit is: 2 bytes",
                Status::failure(TOO_LARGE),
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Status::unavailable("etcdserver: etcdserver: too many requests"),
            ),
        ] {
            assert_eq!(failed(tonic::Status::new(code, message)), wanted, "{message}");
        }
    }
}
