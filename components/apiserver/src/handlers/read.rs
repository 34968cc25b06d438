//! get.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::Body;

use super::{Api, object_response, paging};
use crate::cache::Entry;
use crate::request::ResourceRequest;
use crate::storage::Stored;
use crate::{convert, render, view};

/// A state of an object that a write begins with.
pub(super) struct Base {
    /// Without a resource version.
    pub object: Object,
    pub revision: i64,
    /// Whether the object would now be stored in another form: encrypted by another key, or in another version.
    pub is_stale: bool,
    /// Whether etcd said so during the request. What is found wrong with another one has to be found again in the newest.
    pub is_newest: bool,
}

/// What became of one attempt to write.
pub(super) enum Attempt {
    /// The object's last state, the revision of that, and whether it is gone.
    Written(Object, i64, bool),
    /// Nothing was to be stored; whether the object would be gone otherwise.
    Needless(Object, bool),
    /// Somebody else came first; what is there now.
    Lost(Option<Stored>),
}

impl Api {
    pub(super) async fn get(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        if request.subresource.is_empty() && request.flag("export") {
            let text = "the export parameter, deprecated since v1.14, is no longer supported";
            return Err(Status::bad_request(text));
        }
        let least = match request.parameter("resourceVersion") {
            "" => 0,
            text => paging::version(text)?,
        };
        self.cache.reach(least).await?;
        if request.parameter("resourceVersion") == "0"
            && let Some(entry) = self.cache.find_in(request.index, &request.namespace, &request.name)
        {
            return self.shown(request, &entry).await;
        }
        let spec = &request.spec;
        let stored = self.etcd.get(&self.key(request, &request.name)).await?;
        let stored = stored.ok_or_else(|| Status::not_found(spec.group(), spec.resource(), &request.name))?;
        // What the cache has of this revision is decoded and encoded already. A webhook that converts is asked for each one.
        let entry = self.cache.find_in(request.index, &request.namespace, &request.name);
        if let Some(entry) = entry.filter(|entry| entry.revision == stored.revision && !convert::asks(spec)) {
            return self.shown(request, &entry).await;
        }
        let base = self.decoded(request, stored).await?;
        Ok(object_response(request, StatusCode::OK, base.object, base.revision))
    }

    async fn shown(&self, request: &ResourceRequest, entry: &Arc<Entry>) -> Result<Response<Body>, Status> {
        let entry = self.converter.entry(&request.spec, entry).await?;
        render::one(&request.spec, request.format, &view::item(&request.spec, &entry))
    }

    /// The state of an object to begin a write with: what the cache has of it, if it has it in the form that is written.
    /// A write that begins with what is not the newest fails and begins again.
    pub(super) async fn base(&self, request: &ResourceRequest, name: &str) -> Result<Base, Status> {
        let cached = self.cache.find_in(request.index, &request.namespace, name);
        let cached = cached.filter(|_| !convert::asks(&request.spec));
        if let Some(entry) = cached
            && let Some(mut object) = entry.object()
        {
            object.remove(&["metadata", "resourceVersion"]);
            let object = self.converter.object(&request.spec, object).await?;
            return Ok(Base { object, revision: entry.revision, is_stale: false, is_newest: false });
        }
        self.newest(request, name).await
    }

    /// What etcd found in the place of the state that a write began with.
    async fn found(&self, request: &ResourceRequest, name: &str, found: Option<Stored>) -> Result<Base, Status> {
        let spec = &request.spec;
        let stored = found.ok_or_else(|| Status::not_found(spec.group(), spec.resource(), name))?;
        self.decoded(request, stored).await
    }

    /// The newest state, if what was found out about the one of `revision` has to be found out again: because it is another
    /// one, or is to be stored in another form.
    async fn newer(&self, request: &ResourceRequest, name: &str, revision: i64) -> Result<Option<Base>, Status> {
        let newest = self.newest(request, name).await?;
        Ok((newest.revision != revision || newest.is_stale).then_some(newest))
    }

    /// Where a write stands after an attempt with a state of `revision`: it is done, or begins again with another state.
    pub(super) async fn after(
        &self,
        request: &ResourceRequest,
        name: &str,
        (revision, is_newest): (i64, bool),
        attempt: Result<Attempt, Status>,
    ) -> Result<ControlFlow<(Object, i64, bool), Base>, Status> {
        let verdict = match attempt {
            Ok(Attempt::Written(object, revision, gone)) => return Ok(ControlFlow::Break((object, revision, gone))),
            Ok(Attempt::Lost(found)) => return self.found(request, name, found).await.map(ControlFlow::Continue),
            Ok(Attempt::Needless(object, gone)) => Ok(ControlFlow::Break((object, revision, gone))),
            Err(status) => Err(status),
        };
        if is_newest {
            return verdict;
        }
        match self.newer(request, name, revision).await? {
            Some(newer) => Ok(ControlFlow::Continue(newer)),
            None => verdict,
        }
    }

    /// The stored object of a name, read through etcd's quorum.
    pub(super) async fn newest(&self, request: &ResourceRequest, name: &str) -> Result<Base, Status> {
        let found = self.etcd.get(&self.key(request, name)).await?;
        self.found(request, name, found).await
    }

    /// A stored object in the version of a request.
    pub(super) async fn decoded(&self, request: &ResourceRequest, stored: Stored) -> Result<Base, Status> {
        let mut object = stored.object()?;
        let (revision, mut is_stale) = (stored.revision, stored.stale);
        if let Some(custom) = &request.spec.custom {
            let written = custom.definition.version_of(&object);
            is_stale |= written.is_none_or(|version| !version.storage);
            custom.definition.restore(&mut object);
            object = self.converter.object(&request.spec, object).await?;
        }
        Ok(Base { object, revision, is_stale, is_newest: true })
    }
}
