//! create, update and patch: each a loop around one compare-and-swap.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::patch::{self, PatchError, operations};

use kinit_api::status::{Status, qualified, unmet};
use kinit_api::strict;
use kinit_schema::Type;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::apply::APPLY;
use super::body::Facts;
use super::read::{Attempt, Base};
use super::{Api, Payload, body, now, object_response};
use crate::admission::{Attributes, Operation};
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};
use crate::services::{self, Taken};
use crate::storage::{self, Stored, WriteError};
use crate::versions::Versions;
use crate::{bootstrap, custom, fields, names, policy, strategy, view};

/// A write that loses the race this often is answered with a conflict.
pub(super) const ATTEMPTS: usize = 16;
/// The most operations of a JSON patch.
const MOST_OPERATIONS: usize = 10_000;
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// What an update of an object that has to say its version, and does not, is told.
const UNVERSIONED: &str = "Invalid value: 0: must be specified for an update";

/// A JSON patch, and what it says that no patch does.
fn operations_of(bytes: &[u8]) -> Result<(operations::Patch, Vec<String>), Status> {
    let undecodable = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let parsed = strict::parse(bytes).map_err(|error| undecodable(strict::go_syntax(bytes, &error)))?;
    let patch = operations::Patch::read(&parsed.value).map_err(undecodable)?;
    if patch.len() > MOST_OPERATIONS {
        let text = format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}", patch.len());
        let text = format!("Request entity too large: {text}");
        return Err(Status { code: 413, reason: "RequestEntityTooLarge".into(), ..Status::bad_request(text) });
    }
    let mut problems = parsed.complaints;
    for (at, operation) in parsed.value.as_array().into_iter().flatten().enumerate() {
        let fields = operation.as_object().into_iter().flat_map(serde_json::Map::keys);
        let known = |field: &&String| !matches!(field.as_str(), "op" | "path" | "from" | "value");
        problems.extend(fields.filter(known).map(|field| format!("unknown field \"[{at}].{field}\"")));
    }
    problems.iter_mut().for_each(|problem| problem.insert_str(0, "json patch "));
    Ok((patch, problems))
}

/// What a patch makes of a tree.
#[derive(Debug)]
pub(super) enum Change {
    Merge(Value),
    Strategic(Value, &'static Type),
    Json(operations::Patch),
}

impl Change {
    /// Refuses media types that are none of a patch's; only built-in types have strategic ones.
    pub fn known(media: &str, is_builtin: bool) -> Result<(), Status> {
        match media {
            "application/json-patch+json" | "application/merge-patch+json" => Ok(()),
            STRATEGIC if is_builtin => Ok(()),
            _ => {
                let (message, details) = ("415: Unsupported Media Type".to_owned(), Some(json!({})));
                Err(Status { message, details, ..Status::unsupported_media_type("") })
            }
        }
    }

    /// Reads a patch of a known media type; `schema` is that of a built-in type.
    pub fn read(payload: &Payload, schema: Option<&'static Type>) -> Result<(Self, Facts), Status> {
        let bytes = &payload.bytes;
        let media = body::media(payload);
        if media == "application/json-patch+json" {
            let (patch, problems) = operations_of(bytes)?;
            return Ok((Self::Json(patch), Facts { problems, shown: None }));
        }
        let schema = schema.filter(|_| media == STRATEGIC);
        let before = if schema.is_some() { "" } else { "error decoding patch: " };
        let undecodable = |why: String| Status::bad_request(format!("{before}{why}"));
        let parsed = strict::parse(bytes).map_err(|error| undecodable(strict::go_syntax(bytes, &error)))?;
        let fields = match parsed.value {
            Value::Null if schema.is_some() => json!({}),
            Value::Null => return Err(Status::bad_request("Invalid JSON Patch")),
            fields @ Value::Object(_) => fields,
            other => {
                let found = strict::go_kind(&other);
                let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
                return Err(undecodable(why));
            }
        };
        let facts = Facts { problems: parsed.complaints, shown: schema.map(|_| patch::go_text(&fields)) };
        Ok(match schema {
            Some(schema) => (Self::Strategic(fields, schema), facts),
            None => (Self::Merge(fields), facts),
        })
    }

    pub fn apply(&self, tree: &mut Value) -> Result<(), Status> {
        match self {
            Self::Merge(fields) => patch::merge(tree, fields),
            Self::Strategic(fields, schema) => {
                patch::strategic(tree, fields, schema).map_err(|error| match error {
                    // Upstream takes only these for the client's fault.
                    PatchError::Format(_) => Status::bad_request(error.to_string()),
                    PatchError::ListOfLists => body::unprocessable(),
                    _ => Status::failure(error.to_string()),
                })?;
            }
            Self::Json(operations) => {
                operations::apply(tree, operations).map_err(|_| body::unprocessable())?;
            }
        }
        Ok(())
    }
}

/// Leaves each owner in once, and tells the client that it named some twice; `found` is where that was found.
fn name_owners_once(request: &ResourceRequest, object: &mut Object, found: &str) {
    let repeated = strategy::drop_repeated_owners(object);
    if !repeated.is_empty() {
        request.warnings.add(format!(
            ".metadata.ownerReferences contains duplicate entries{found}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        ));
    }
}

/// Where owners are looked for that are named twice.
const AFTER_ADMISSION: &str = " after mutating admission happens";

/// The error of a new object in whose place there is another, which may be on its way out.
fn exists(spec: &ResourceSpec, object: &Object, found: Option<Stored>) -> Status {
    let mut status = Status::already_exists(spec.group(), spec.resource(), object.name());
    let found = found.and_then(|stored| stored.object().ok());
    if found.is_some_and(|there| there.is_being_deleted()) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Takes an object's managers away if it was too large for etcd with them; gives whether it did. `notes` says whether the write
/// notes managers beside what it is about; those of an apply are what it is about.
fn lightened(error: &Status, notes: bool, object: &mut Object) -> bool {
    notes && storage::is_too_large(error) && object.remove(&["metadata", "managedFields"]).is_some()
}

/// What a new object is called until it has a name of its own.
fn shown(object: &Object) -> &str {
    match object.name() {
        "" => object.str(&["metadata", "generateName"]),
        name => name,
    }
}

/// What is told of a patch of a custom resource in a media type that it is not patched in.
pub(super) fn untold_patch() -> Status {
    let types = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    Status::unsupported_media_type(types)
}

impl Api {
    pub(super) async fn create(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let mut object = view::stored(&request.spec, body::object(request, payload)?);
        name_owners_once(request, &mut object, "");
        if request.spec.namespaced() {
            self.check_namespace(request, shown(&object)).await?;
        }
        let (object, revision) = self.store_new(request, object).await?;
        Ok(object_response(request, StatusCode::CREATED, object, revision))
    }

    /// Stores a new object under its own name or a generated one; returns it with the revision that wrote it.
    pub(crate) async fn store_new(
        &self,
        request: &ResourceRequest,
        mut object: Object,
    ) -> Result<(Object, i64), Status> {
        let spec = &request.spec;
        strategy::wipe(&mut object);
        strategy::normalize(spec, &mut object);
        let shares_labels = strategy::shares_labels(spec, &object);
        custom::fill(spec, &mut object);
        fields::note(request, None, &mut object, &now(), None);
        let prefix = object.str(&["metadata", "generateName"]).to_owned();
        let shown = shown(&object).to_owned();
        let attributes = Attributes::new(Operation::Create, request, &shown, None);
        let changed_outside = self.mutate(&attributes, &mut object).await?;
        body::stays(request, &object)?;
        name_owners_once(request, &mut object, AFTER_ADMISSION);
        let generated = object.name().is_empty() && !prefix.is_empty();
        for _ in 0..ATTEMPTS {
            let mut object = object.clone();
            if generated {
                object.set(&["metadata", "name"], names::generate(&prefix));
            }
            let uid = uuid::Uuid::new_v4().to_string();
            strategy::prepare_create(request, &mut object, &uid, &now())?;
            if shares_labels {
                strategy::share_labels(&mut object);
            }
            custom::fill_again(spec, &mut object, changed_outside);
            let is_service = spec.is("", "services");
            if is_service {
                services::settle(self, &mut object, None)?;
            }
            custom::create(request, &object)?;
            strategy::check_name(spec, &object)?;
            policy::check::check(spec, &object)?;
            // What only looks knows the name that was generated.
            let name = object.name().to_owned();
            self.admit(&Attributes::new(Operation::Create, request, &name, None), &object).await?;
            custom::as_stored(spec, &mut object);
            strategy::check_unversioned(&object)?;
            if request.is_dry_run() {
                if let Some(found) = self.etcd.get(&self.key(request, object.name())).await? {
                    return Err(exists(spec, &object, Some(found)));
                }
                if is_service {
                    services::pretend(self, &mut object);
                }
                return Ok((object, 0));
            }
            let taken = if is_service { services::allocate(self, &mut object, None).await? } else { Taken::default() };
            let key = self.key(request, object.name());
            let failed = match self.put(request, &key, &mut object, 0).await {
                Ok(revision) => return Ok((object, revision)),
                Err(failed) => failed,
            };
            services::give_back(self, &request.namespace, object.name(), &taken).await;
            match failed {
                WriteError::Mismatch(_) if generated => {}
                WriteError::Mismatch(found) => return Err(exists(spec, &object, found)),
                WriteError::Failed(status) => return Err(status),
            }
        }
        Err(Status::already_exists(spec.group(), spec.resource(), &prefix))
    }

    /// Nothing new, such as `object`, comes into a namespace that does not exist or is being deleted.
    pub(super) async fn check_namespace(&self, request: &ResourceRequest, object: &str) -> Result<(), Status> {
        let name = &request.namespace;
        if name.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        // A deletion is answered once the cache knows it, so what is whole here is so for whoever asked this server.
        let cached = self.cache.find("", "namespaces", "", name).and_then(|entry| entry.object());
        if cached.is_some_and(|namespace| !namespace.is_being_deleted()) {
            return Ok(());
        }
        let namespace = match self.etcd.object("", "namespaces", "", name).await {
            Err(status) if status.code == 404 && self.admission.provisions(request) => {
                let made = self.provide_namespace(name).await;
                return made.map_err(|error| {
                    Attributes::new(Operation::Create, request, object, None).forbidden(error.message)
                });
            }
            found => found?,
        };
        if !namespace.is_being_deleted() {
            return Ok(());
        }
        let spec = &request.spec;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let text = format!("{} {:?} is forbidden: {why}", qualified(spec.group(), spec.resource()), object);
        let mut status = Status::forbidden(spec.group(), spec.resource(), object, text);
        if let Some(details) = &mut status.details {
            let text = format!("namespace {name} is being terminated");
            details["causes"] =
                json!([{"reason": "NamespaceTerminating", "message": text, "field": "metadata.namespace"}]);
        }
        Err(status)
    }

    /// NamespaceAutoProvision: makes a namespace that something is to come into.
    async fn provide_namespace(&self, name: &str) -> Result<(), Status> {
        let began = Instant::now();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let creation = bootstrap::request(&namespace)?;
        let namespace = Object::from_value(namespace).ok_or_else(Status::no_such_path)?;
        // A namespace is in none, so this does not come here again.
        let made = Box::pin(self.store_new(&creation, namespace)).await;
        let made =
            made.map(|_| ()).or_else(|status| if status.reason == "AlreadyExists" { Ok(()) } else { Err(status) });
        self.admission.note_provision(made.is_err(), began);
        made
    }

    pub(super) async fn update(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let mut sent = view::stored(&request.spec, body::object(request, payload)?);
        name_owners_once(request, &mut sent, "");
        let may_create = request.subresource.is_empty() && strategy::lives::creates(&request.spec);
        match self.change(request, |_| Ok(sent.clone())).await {
            Err(status) if status.code == 404 && may_create => self.create_by_update(request, sent).await,
            result => {
                let (object, revision) = result?;
                Ok(object_response(request, StatusCode::OK, object, revision))
            }
        }
    }

    /// Makes what an update was about and is not there.
    async fn create_by_update(&self, request: &ResourceRequest, mut sent: Object) -> Result<Response<Body>, Status> {
        let spec = &request.spec;
        if !sent.uid().is_empty() {
            let why = unmet("UID", sent.uid(), "");
            return Err(Status::conflict(spec.group(), spec.resource(), &request.name, &why));
        }
        let creation = ResourceRequest { verb: Verb::Create, ..request.clone() };
        self.authorizer.check_request(&request.user, &creation).await?;
        if spec.namespaced() {
            self.check_namespace(request, &request.name).await?;
        }
        sent.remove(&["metadata", "resourceVersion"]);
        if sent.name().is_empty() {
            sent.set(&["metadata", "name"], request.name.clone());
        }
        let (object, revision) = self.store_new(&creation, sent).await?;
        Ok(object_response(request, StatusCode::CREATED, object, revision))
    }

    /// Stores an object that the server itself has changed.
    pub(crate) async fn store_changed(&self, request: &ResourceRequest, object: Object) -> Result<(), Status> {
        self.change(request, |_| Ok(object.clone())).await.map(|_| ())
    }

    pub(super) async fn patch(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        if body::media(payload) == APPLY {
            return self.apply(request, payload).await;
        }
        let schema = fields::builtin(&request.spec);
        if let Err(status) = Change::known(body::media(payload), schema.is_some()) {
            return Err(if schema.is_some() { status } else { untold_patch() });
        }
        fields::check_options(request, false)?;
        let (change, facts) = Change::read(payload, schema)?;
        let patched = self.change(request, |current| {
            let mut tree = view::shown(&request.spec, current.clone()).into_value();
            change.apply(&mut tree)?;
            Ok(view::stored(&request.spec, body::patched(request, tree, &facts)?))
        });
        let (object, revision) = patched.await?;
        Ok(object_response(request, StatusCode::OK, object, revision))
    }

    /// Notes in `new` what the request changes of `old`, for managers of any version.
    async fn note(&self, request: &ResourceRequest, old: &Object, new: &mut Object) -> Result<(), Status> {
        let Some(versions) = Versions::of(&request.spec) else {
            fields::note(request, Some(old), new, &now(), None);
            return Ok(());
        };
        loop {
            let mut noted = new.clone();
            fields::note(request, Some(old), &mut noted, &now(), Some(&versions));
            if !versions.learn(&self.converter).await? {
                *new = noted;
                return Ok(());
            }
        }
    }

    /// An object of the request's version as it is stored.
    async fn encoded(&self, spec: &ResourceSpec, object: &Object) -> Result<Bytes, Status> {
        let Some(custom) = &spec.custom else { return Ok(object.to_vec().into()) };
        let Some(storage) = custom.definition.storage() else { return Ok(object.to_vec().into()) };
        let converted = self.converter.objects(&custom.definition, storage, vec![object.clone()]).await?;
        Ok(converted.first().unwrap_or(object).to_vec().into())
    }

    /// Stores an object. One that is larger than etcd takes it is tried once more without its managers, which it can do without;
    /// those of an apply are what it is about.
    pub(super) async fn put(
        &self,
        request: &ResourceRequest,
        key: &str,
        object: &mut Object,
        expected: i64,
    ) -> Result<i64, WriteError> {
        match self.put_whole(request, key, object, expected).await {
            Err(WriteError::Failed(status)) if lightened(&status, request.manager.is_some(), object) => {
                self.put_whole(request, key, object, expected).await
            }
            result => result,
        }
    }

    pub(super) async fn put_whole(
        &self,
        request: &ResourceRequest,
        key: &str,
        object: &Object,
        expected: i64,
    ) -> Result<i64, WriteError> {
        let value = self.encoded(&request.spec, object).await.map_err(WriteError::Failed)?;
        if request.spec.is_event() {
            return self.etcd.put_for(key, value, expected, self.options.event_ttl).await;
        }
        self.etcd.put(key, value, expected).await
    }

    /// Stores what `make` makes of the current object, again if another writer came first.
    pub(crate) async fn change(
        &self,
        request: &ResourceRequest,
        make: impl Fn(&Object) -> Result<Object, Status>,
    ) -> Result<(Object, i64), Status> {
        let mut base = self.base(request, &request.name).await?;
        for _ in 0..ATTEMPTS {
            let state = (base.revision, base.is_newest);
            let attempt = self.attempt(request, base, &make).await;
            match self.after(request, &request.name, state, attempt).await? {
                ControlFlow::Break((object, revision, _)) => return Ok((object, revision)),
                ControlFlow::Continue(other) => base = other,
            }
        }
        Err(Status::modified(request.spec.group(), request.spec.resource(), &request.name))
    }

    /// Stores what `make` makes of a state, if the object is still in it.
    async fn attempt(
        &self,
        request: &ResourceRequest,
        base: Base,
        make: &impl Fn(&Object) -> Result<Object, Status>,
    ) -> Result<Attempt, Status> {
        let spec = &request.spec;
        let Base { object: mut old, revision, is_stale, .. } = base;
        old.set(&["metadata", "resourceVersion"], revision.to_string());
        let mut new = make(&old)?;
        let expected = new.resource_version();
        let says = !matches!(expected, "" | "0");
        let changes = matches!(request.verb, Verb::Update | Verb::Patch);
        if !says && !request.internal && changes && strategy::lives::versioned(spec) {
            let error = ("FieldValueInvalid", "metadata.resourceVersion".to_owned(), UNVERSIONED.to_owned());
            return Err(Status::invalid(spec.group(), spec.resource(), &request.name, &[error]));
        }
        if says && expected.parse::<u64>().is_err() {
            return Err(Status::failure(format!("strconv.ParseUint: parsing {expected:?}: invalid syntax")));
        }
        if says && expected != old.resource_version() {
            return Err(Status::modified(spec.group(), spec.resource(), &request.name));
        }
        // Only an update says by it which object it is about; a patch that changes it is invalid.
        if request.verb == Verb::Update && !new.uid().is_empty() && new.uid() != old.uid() {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: {}",
                self.key(request, &request.name),
                unmet("UID", new.uid(), old.uid())
            );
            return Err(Status::conflict(spec.group(), spec.resource(), &request.name, &why));
        }
        for object in [&mut old, &mut new] {
            object.remove(&["metadata", "resourceVersion"]);
        }
        if request.subresource != "binding" {
            strategy::normalize(spec, &mut new);
            custom::fill(spec, &mut new);
            // Managers have set what they sent, whatever becomes of it.
            self.note(request, &old, &mut new).await?;
            strategy::prepare_update(request, &old, &mut new)?;
        }
        let attributes = Attributes::new(Operation::Update, request, &request.name, Some(&old));
        if self.mutate(&attributes, &mut new).await? {
            // Nobody may change what the request may not.
            body::stays(request, &new)?;
            strategy::prepare_update(request, &old, &mut new)?;
            custom::fill(spec, &mut new);
        }
        name_owners_once(request, &mut new, AFTER_ADMISSION);
        if request.subresource != "binding" {
            strategy::set_generation(request, &old, &mut new);
        }
        let is_service = spec.is("", "services") && request.subresource.is_empty();
        if is_service {
            services::settle(self, &mut new, Some(&old))?;
        }
        custom::update(request, &old, &new)?;
        if request.subresource.is_empty() && new != old {
            policy::check::check(spec, &new)?;
        }
        self.admit(&attributes, &new).await?;
        custom::as_stored(spec, &mut new);
        if (new == old && !is_stale) || request.is_dry_run() {
            return Ok(Attempt::Needless(new, false));
        }
        let taken = if is_service { services::allocate(self, &mut new, Some(&old)).await? } else { Taken::default() };
        let key = self.key(request, &request.name);
        let goes = strategy::may_go(spec, &new);
        let written = if goes {
            self.etcd.delete(&key, revision).await
        } else {
            self.put(request, &key, &mut new, revision).await
        };
        match written {
            Ok(revision) => {
                if is_service {
                    services::release(self, &old, (!goes).then_some(&new)).await;
                }
                Ok(Attempt::Written(new, revision, goes))
            }
            Err(failed) => {
                services::give_back(self, &request.namespace, &request.name, &taken).await;
                match failed {
                    WriteError::Mismatch(found) => Ok(Attempt::Lost(found)),
                    WriteError::Failed(status) => Err(status),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media: &str, text: &str) -> Result<(Change, Facts), Status> {
        let payload = Payload { content_type: media.to_owned(), bytes: Bytes::copy_from_slice(text.as_bytes()) };
        Change::read(&payload, kinit_schema::kind("", "v1", "ConfigMap"))
    }

    #[test]
    fn what_is_too_large_goes_without_its_managers() {
        let too_large = storage::failed(tonic::Status::invalid_argument("etcdserver: request is too large"));
        let with =
            || Object::from_value(json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}})).unwrap();
        let bare = Object::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        for (error, notes, lighter) in [
            (&too_large, true, true),
            (&too_large, false, false),
            (&Status::internal("etcdserver: request is too large"), true, false),
        ] {
            let mut object = with();
            assert_eq!(lightened(error, notes, &mut object), lighter);
            assert_eq!(object, if lighter { bare.clone() } else { with() });
        }
        assert!(!lightened(&too_large, true, &mut bare.clone()), "once is enough");
    }

    #[test]
    fn what_is_no_patch_is_told_as_upstream_does() {
        const JSON: &str = "application/json-patch+json";
        const MERGE: &str = "application/merge-patch+json; charset=utf-8";
        let cases = [
            (JSON, "", "error decoding patch: unexpected end of JSON input"),
            (
                JSON,
                "{}",
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (MERGE, "", "error decoding patch: unexpected end of JSON input"),
            (MERGE, "null", "Invalid JSON Patch"),
            (
                MERGE,
                "[]",
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (STRATEGIC, "{", "unexpected end of JSON input"),
            (STRATEGIC, "1", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        ];
        for (media, text, wanted) in cases {
            let status = read(media, text).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, wanted), "{media} {text}");
        }
        let strategic = |text: &str| {
            let mut tree = json!({"metadata": {"ownerReferences": [{"uid": "1"}]}});
            read(STRATEGIC, text).unwrap().0.apply(&mut tree).unwrap_err()
        };
        let keyless = strategic(r#"{"metadata": {"ownerReferences": [{"name": "o"}]}}"#);
        let told = "map: map[name:o] does not contain declared merge key: uid";
        assert_eq!((keyless.code, keyless.reason.as_ref(), keyless.message.as_str()), (500, "", told));
        assert_eq!(strategic(r#"{"$retainKeys": "x"}"#).code, 400);
        for (media, text) in [(JSON, "null"), (JSON, "[]"), (STRATEGIC, "null"), (MERGE, "{}")] {
            let mut tree = json!({"data": {"a": "b"}});
            read(media, text).unwrap().0.apply(&mut tree).unwrap();
            assert_eq!(tree, json!({"data": {"a": "b"}}), "{media} {text}");
        }
        let (_, facts) = read(JSON, r#"[{"op": "add", "op": "add", "path": "/a", "x": 1}]"#).unwrap();
        assert_eq!(facts.problems, [r#"json patch duplicate field "[0].op""#, r#"json patch unknown field "[0].x""#]);
        for (media, is_builtin, wanted) in
            [(STRATEGIC, true, true), (STRATEGIC, false, false), ("text/plain", true, false)]
        {
            assert_eq!(Change::known(media, is_builtin).is_ok(), wanted, "{media}");
        }
        assert_eq!(Change::known("", true).unwrap_err().message, "415: Unsupported Media Type");
    }
}
