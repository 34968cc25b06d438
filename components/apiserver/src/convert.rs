//! Custom resources in other versions than the stored one, where a webhook has to be asked for them.
//!
//! The cache keeps objects in the version that they are stored in. A form in another version is made once for each state of
//! an object, for all who list and watch it, and is kept beside that state; many are asked for in one call.

use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_crd::convert::Review;
use kinit_crd::definition::{Conversion, Definition, Version};
use kinit_crd::prune;
use serde_json::json;

use crate::cache::{Cache, Change, Entry};
use crate::registry::ResourceSpec;
use crate::webhook::client::Client;
use crate::webhook::target::ClientConfig;

/// How long a webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many objects a webhook is asked about at once, and of how many bytes together.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 2 << 20;

/// Asks webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Converter {
    client: Client,
    cache: Cache,
}

/// Whether objects of the row's version may have to be asked of a webhook.
pub fn asks(spec: &ResourceSpec) -> bool {
    spec.custom.as_ref().is_some_and(|custom| custom.definition.asks_webhook())
}

/// What is told of objects that cannot be listed, because one of them cannot be converted: that somebody may come again. In
/// upstream's words, whose cache for the version is not there until all of them could be.
fn unready(spec: &ResourceSpec, why: &Status) -> Status {
    let what = format!("{}, Kind={}", spec.api_version(), spec.kind());
    let text = format!("storage is (re)initializing: failed to list {what}: {}", why.message);
    Status { details: Some(json!({"retryAfterSeconds": 1})), ..Status::too_many_requests(text) }
}

impl Converter {
    pub fn new(cache: Cache) -> Self {
        Self { client: Client::default(), cache }
    }

    /// Objects of one definition in a version of it.
    pub async fn objects(
        &self,
        definition: &Definition,
        version: &Version,
        mut objects: Vec<Object>,
    ) -> Result<Vec<Object>, Status> {
        let wanted = format!("{}/{}", definition.group, version.name);
        let others: Vec<usize> = (0..objects.len()).filter(|at| objects[*at].api_version() != wanted).collect();
        let Some(first) = others.first() else { return Ok(objects) };
        let Conversion::Webhook { client, review_versions } = &definition.conversion else {
            others.into_iter().for_each(|at| definition.relabel(&mut objects[at], version));
            return Ok(objects);
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let review = Review::new(review_versions, uid, wanted, &objects[*first]).map_err(Status::failure)?;
        let originals: Vec<Object> = others.iter().map(|at| std::mem::take(&mut objects[*at])).collect();
        let config = ClientConfig::new(client);
        let failed = |why: String| Status::failure(review.failed(&why));
        let (target, path) = config.resolve(&self.cache).map_err(failed)?;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}timeout={}s", TIMEOUT.as_secs());
        let answer = self.client.post(&target, &path, review.encode(&originals).into(), TIMEOUT).await;
        let converted = review.decode(&originals, &answer.map_err(failed)?).map_err(Status::failure)?;
        for (at, mut object) in others.into_iter().zip(converted) {
            if let Some(schema) = version.schema.as_deref().filter(|_| !definition.preserve_unknown) {
                prune::prune(object.map_mut(), schema);
            }
            objects[at] = object;
        }
        Ok(objects)
    }

    /// One object in the version of a row; it is as it was where the row is of no definition.
    pub async fn object(&self, spec: &ResourceSpec, object: Object) -> Result<Object, Status> {
        let Some(custom) = &spec.custom else { return Ok(object) };
        let converted = self.objects(&custom.definition, custom.version(), vec![object]).await?;
        converted.into_iter().next().ok_or_else(|| Status::internal("a conversion lost its object"))
    }

    /// Entries of the cache in the version of a row.
    pub async fn entries(&self, spec: &ResourceSpec, entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
        let Some(custom) = spec.custom.as_ref().filter(|_| asks(spec)) else { return Ok(entries) };
        let wanted = spec.api_version();
        let mut shown = Vec::with_capacity(entries.len());
        let mut waiting: Vec<(usize, Arc<Entry>)> = Vec::new();
        let mut bytes = 0;
        for (at, entry) in entries.into_iter().enumerate() {
            let known =
                if entry.is_in(&wanted) { Some(entry.clone()) } else { entry.form(custom.version).get().cloned() };
            if known.is_none() {
                bytes += entry.json.len();
                waiting.push((at, entry.clone()));
            }
            shown.push(known.unwrap_or(entry));
            if waiting.len() == BATCH || bytes > BATCH_BYTES {
                self.fill(spec, &mut shown, std::mem::take(&mut waiting)).await.map_err(|why| unready(spec, &why))?;
                bytes = 0;
            }
        }
        self.fill(spec, &mut shown, waiting).await.map_err(|why| unready(spec, &why))?;
        Ok(shown)
    }

    /// Puts the forms of `waiting` into their places.
    async fn fill(
        &self,
        spec: &ResourceSpec,
        shown: &mut [Arc<Entry>],
        waiting: Vec<(usize, Arc<Entry>)>,
    ) -> Result<(), Status> {
        let Some(custom) = &spec.custom else { return Ok(()) };
        if let [(at, entry)] = waiting.as_slice() {
            shown[*at] = self.entry(spec, entry).await?;
            return Ok(());
        }
        let decoded = waiting.iter().filter_map(|(_, entry)| entry.object()).collect();
        let converted = self.objects(&custom.definition, custom.version(), decoded).await?;
        for ((at, entry), object) in waiting.into_iter().zip(converted) {
            let made = Arc::new(Entry::of(spec, object, entry.revision));
            let form = entry.form(custom.version);
            // Whoever came first has made the same.
            let _ = form.set(made.clone());
            shown[at] = made;
        }
        Ok(())
    }

    /// One entry in the version of a row.
    pub async fn entry(&self, spec: &ResourceSpec, entry: &Arc<Entry>) -> Result<Arc<Entry>, Status> {
        let Some(custom) = spec.custom.as_ref().filter(|_| asks(spec) && !entry.is_in(&spec.api_version())) else {
            return Ok(entry.clone());
        };
        let make = || async {
            let object = entry.object().ok_or_else(|| Status::internal("an entry of the cache is no object"))?;
            Ok(Arc::new(Entry::of(spec, self.object(spec, object).await?, entry.revision)))
        };
        entry.form(custom.version).get_or_try_init(make).await.cloned()
    }

    /// A change as those see it who watch the version of a row. What was before is looked at only by those who select, and
    /// by all when nothing is left.
    pub async fn change(&self, spec: &ResourceSpec, change: Change, selects: bool) -> Result<Change, Status> {
        let Change { revision, key, mut old, mut new, .. } = change;
        if let Some(entry) = old.as_ref().filter(|_| selects || new.is_none()) {
            old = Some(self.entry(spec, entry).await?);
        }
        if let Some(entry) = &new {
            new = Some(self.entry(spec, entry).await?);
        }
        Ok(Change { revision, key, old, new, frames: None })
    }
}
