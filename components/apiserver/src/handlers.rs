//! One set of verbs for every kind: decode, prepare, compare-and-swap, encode.

mod body;
mod read;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::{Body, full};

use crate::cache::Cache;
use crate::request::{ResourceRequest, Verb};
use crate::storage::Etcd;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub etcd: Etcd,
    pub cache: Cache,
}

/// A request's body and how it is to be read.
pub struct Payload {
    pub content_type: String,
    pub bytes: Bytes,
}

impl Api {
    /// Does what `request` asks. Errors are the `Status` that the client gets.
    pub async fn handle(&self, request: &ResourceRequest, payload: Payload) -> Result<Response<Body>, Status> {
        if !self.cache.synced() {
            return Err(Status::unavailable("the watch cache has not been filled yet"));
        }
        self.check_subresource(request)?;
        match request.verb {
            Verb::Get => self.get(request).await,
            Verb::List => self.list(request).await,
            Verb::Watch => self.watch(request),
            Verb::Create if request.subresource == "binding" => self.bind(request, &payload).await,
            Verb::Create => self.create(request, &payload).await,
            Verb::Update => self.update(request, &payload).await,
            Verb::Patch => self.patch(request, &payload).await,
            Verb::Delete => self.delete(request, &payload).await,
            Verb::DeleteCollection => self.delete_collection(request, &payload).await,
        }
    }

    fn check_subresource(&self, request: &ResourceRequest) -> Result<(), Status> {
        let spec = request.spec;
        match (request.subresource.as_str(), request.verb) {
            ("", Verb::Create) if !request.name.is_empty() => Err(Status::method_not_allowed()),
            ("", _) => Ok(()),
            ("binding", Verb::Create) if spec.resource == "pods" => Ok(()),
            ("status", Verb::Get | Verb::Update | Verb::Patch) if spec.status => Ok(()),
            ("finalize", Verb::Update) if spec.resource == "namespaces" => Ok(()),
            ("status", _) if spec.status => Err(Status::method_not_allowed()),
            _ => Err(Status::no_such_path()),
        }
    }

    fn key(&self, request: &ResourceRequest, name: &str) -> String {
        self.etcd.key(request.spec.resource, &request.namespace, name)
    }

    /// The stored object of a name, read through etcd's quorum, with its revision.
    async fn stored(&self, request: &ResourceRequest, name: &str) -> Result<(Object, i64), Status> {
        let spec = request.spec;
        let stored = self.etcd.get(&self.key(request, name)).await?;
        let stored = stored.ok_or_else(|| Status::not_found(spec.group, spec.resource, name))?;
        let object = Object::from_slice(&stored.value)
            .map_err(|error| Status::internal(format!("{} in etcd is not JSON: {error}", stored.key)))?;
        Ok((object, stored.revision))
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An object's answer, with the revision that wrote it.
fn object_response(status: StatusCode, mut object: Object, revision: i64) -> Response<Body> {
    object.set(&["metadata", "resourceVersion"], revision.to_string());
    json_response(status, object.to_vec())
}

/// The answer that an error is.
pub fn error_response(error: &Status) -> Response<Body> {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, error.to_value().to_string());
    if let Some(seconds) = error.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64()) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Whether an entry is in the namespace asked for and selected.
type Filter = Arc<dyn Fn(&crate::cache::Entry) -> bool + Send + Sync>;

fn filter(request: &ResourceRequest) -> Result<Filter, Status> {
    use kinit_api::selector::{FieldSelector, LabelSelector};
    let labels = LabelSelector::parse(request.parameter("labelSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let fields = FieldSelector::parse(request.parameter("fieldSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let spec = request.spec;
    for (path, _, _) in &fields.0 {
        if !matches!(path.as_str(), "metadata.name" | "metadata.namespace") && !spec.fields.contains(&path.as_str()) {
            return Err(Status::bad_request(format!("field label not supported: {path}")));
        }
    }
    let namespace = request.namespace.clone();
    Ok(Arc::new(move |entry| {
        (namespace.is_empty() || entry.namespace == namespace)
            && labels.matches(&entry.labels)
            && fields.matches(|path| entry.field(spec, path))
    }))
}
