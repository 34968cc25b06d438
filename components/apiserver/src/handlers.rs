//! One set of verbs for every kind: decode, prepare, compare-and-swap, encode.

mod apply;
mod body;
mod components;
mod delete;
mod evict;
mod list;
pub(crate) mod paging;
mod part;
mod pods;
mod read;
mod reviews;
mod scale;
pub(crate) mod sent;
mod token;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::{Body, full};
use serde_json::{Value, json};

use crate::admission::{Admission, Attributes, Context, Operation};
use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::cache::Cache;
use crate::convert::Converter;
use crate::options::Options;
use crate::registry::{Storage, subresource};
use crate::request::{ResourceRequest, Verb};
use crate::routes;
use crate::storage::Etcd;
use crate::view;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub etcd: Etcd,
    pub cache: Cache,
    pub options: Arc<Options>,
    pub authenticator: Arc<Authenticator>,
    pub authorizer: Authorizer,
    pub admission: Admission,
    pub converter: Converter,
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
        check_subresource(request)?;
        if request.spec.storage == Storage::Never {
            return self.answer_only(request, &payload).await;
        }
        match (request.verb, request.subresource.as_str()) {
            (verb, "scale") => self.scale(request, verb, &payload).await,
            (Verb::Create, "binding") => self.bind(request, &payload).await,
            (Verb::Create, "eviction") => self.evict(request, &payload).await,
            (Verb::Create, "token") => self.request_token(request, &payload).await,
            (Verb::Get, _) => self.get(request).await,
            (Verb::List, _) => self.list(request).await,
            (Verb::Watch, _) => self.watch(request).await,
            (Verb::Create, _) => self.create(request, &payload).await,
            (Verb::Update, _) => self.update(request, &payload).await,
            (Verb::Patch, _) => self.patch(request, &payload).await,
            (Verb::Delete, _) => self.delete(request, &payload).await,
            (Verb::DeleteCollection, _) => self.delete_collection(request, &payload).await,
            (Verb::None, _) => Err(Status::method_not_allowed()),
        }
    }

    fn key(&self, request: &ResourceRequest, name: &str) -> String {
        self.etcd.key(&request.spec, &request.namespace, name)
    }

    fn context(&self) -> Context<'_> {
        Context {
            cache: &self.cache,
            authorizer: &self.authorizer,
            options: &self.options,
            etcd: &self.etcd,
            converter: &self.converter,
            configuration: self.admission.configuration(),
            standards: self.admission.standards(),
        }
    }

    /// Lets admission change the object of a write; says whether somebody outside of the server did.
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Object) -> Result<bool, Status> {
        if attributes.request.internal {
            return Ok(false);
        }
        self.admission.mutate(&self.context(), attributes, object).await
    }

    /// Lets admission look at the object of a write as it is going to be stored.
    async fn admit(&self, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
        if attributes.request.internal {
            return Ok(());
        }
        self.admission.validate(&self.context(), attributes, object).await
    }

    /// Both, for what is asked of a subresource and is no object of its own in etcd.
    async fn ask(&self, attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
        self.mutate(attributes, object).await?;
        self.admit(attributes, object).await
    }

    /// Lets admission look at a request that is relayed. Its object is what the query says, as options of the subresource.
    pub async fn connect(&self, request: &ResourceRequest) -> Result<(), Status> {
        let attributes = Attributes::new(Operation::Connect, request, &request.name, None);
        let (group, version, kind) = attributes.kind();
        let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let mut options = Object::default();
        options.set(&["kind"], kind);
        options.set(&["apiVersion"], version);
        for (field, value) in &request.query {
            options.set(&[field], connect_option(field, value));
        }
        self.ask(&attributes, &mut options).await
    }

    /// The stored object of a name, read through etcd's quorum, with its revision.
    async fn stored(&self, request: &ResourceRequest, name: &str) -> Result<(Object, i64), Status> {
        self.newest(request, name).await.map(|base| (base.object, base.revision))
    }
}

/// A parameter of a relayed request as the field that it stands for.
fn connect_option(field: &str, value: &str) -> Value {
    match field {
        "stdin" | "stdout" | "stderr" | "tty" => matches!(value, "" | "1" | "t" | "true").into(),
        "command" => json!([value]),
        "ports" => value.split(',').filter_map(|port| port.parse::<u16>().ok()).collect::<Vec<_>>().into(),
        _ => value.into(),
    }
}

/// Whether the resource has the subresource and it takes the verb.
fn check_subresource(request: &ResourceRequest) -> Result<(), Status> {
    let spec = &request.spec;
    let allowed = match request.subresource.as_str() {
        "" => request.verb != Verb::Create || request.name.is_empty(),
        part if spec.has_own(part) => {
            matches!(request.verb, Verb::Get | Verb::Update | Verb::Patch)
        }
        name => {
            // Upstream takes a part that a custom resource has not for an object that there is not.
            let missing = || match spec.custom {
                Some(_) => Status::not_found(spec.group(), spec.resource(), &request.name),
                None => routes::missing(true),
            };
            let row = subresource(spec.group(), spec.resource(), name).ok_or_else(missing)?;
            row.verbs.contains(&request.verb.as_str())
        }
    };
    if allowed { Ok(()) } else { Err(Status::method_not_allowed()) }
}

/// The time as objects have it: UTC, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The answer of a deed that has no object.
fn success(code: u16) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code});
    let mut response = json_response(StatusCode::from_u16(code).unwrap_or(StatusCode::OK), status.to_string());
    response.extensions_mut().insert(crate::audit::Said(status));
    response
}

/// An answer that compact JSON is. It is a line, as upstream's encoder ends each value with a line break.
pub fn json_response(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = json_text(status, "");
    *response.body_mut() = crate::render::line(bytes.into());
    response
}

/// A JSON answer of the very bytes.
pub fn json_text(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An object's answer, with the revision that wrote it; 0 where nothing did.
fn object_response(request: &ResourceRequest, status: StatusCode, mut object: Object, revision: i64) -> Response<Body> {
    if revision > 0 {
        object.set(&["metadata", "resourceVersion"], revision.to_string());
    }
    json_response(status, view::shown(&request.spec, object).to_vec())
}

/// The answer that an error is.
pub fn error_response(error: &Status) -> Response<Body> {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if error.is_no_such_path() {
        // No handler of upstream's is behind such a path, so nothing is negotiated there.
        let mut response = kinit_serving::text(status, "404 page not found\n");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    } else {
        json_response(status, error.to_value().to_string())
    };
    if let Some(seconds) = error.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64()) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    // Auditing tells the error without reading it out of the answer.
    response.extensions_mut().insert(error.clone());
    response
}

/// Whether an entry is in the namespace asked for and selected.
type Filter = Arc<dyn Fn(&crate::cache::Entry) -> bool + Send + Sync>;

/// Whether an entry is in the namespace asked for.
fn within(request: &ResourceRequest, entry: &crate::cache::Entry) -> bool {
    request.namespace.is_empty() || entry.namespace() == request.namespace
}

/// Whether the request selects by labels or fields.
fn selects(request: &ResourceRequest) -> bool {
    !request.parameter("labelSelector").is_empty() || !request.parameter("fieldSelector").is_empty()
}

/// What is told of a field that selectors may not name, which depends on the kind.
fn unselectable(spec: &crate::registry::Spec, path: &str) -> String {
    match (spec.group(), spec.kind()) {
        ("batch", "Job") => format!("field label {path:?} not supported for Job"),
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {path}")
        }
        ("", "Pod" | "Node" | "ReplicationController" | "Event" | "Namespace" | "Secret" | "Service")
        | ("events.k8s.io", "Event")
        | ("certificates.k8s.io", "CertificateSigningRequest") => format!("field label not supported: {path}"),
        _ if spec.custom.is_some() => format!("field label not supported: {path}"),
        _ => {
            let known = r#"only "metadata.name", "metadata.namespace""#;
            format!("{path:?} is not a known field selector: {known}")
        }
    }
}

fn filter(request: &ResourceRequest) -> Result<Filter, Status> {
    use kinit_api::selector::{FieldSelector, LabelSelector};
    let labels = LabelSelector::parse(request.parameter("labelSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let fields = FieldSelector::parse(request.parameter("fieldSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let spec = request.spec.clone();
    for (path, _, _) in &fields.0 {
        if !spec.selects(path) {
            return Err(Status::bad_request(unselectable(&spec, path)));
        }
    }
    let namespace = request.namespace.clone();
    Ok(Arc::new(move |entry| {
        (namespace.is_empty() || entry.namespace() == namespace)
            && labels.matches(&entry.labels())
            && fields.matches(|path| entry.field(&spec, path))
    }))
}
