//! create, update, patch, delete: each a loop around one compare-and-swap.

use bytes::Bytes;
use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::patch;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::{Api, Payload, body, filter, json_response, object_response};
use crate::request::ResourceRequest;
use crate::storage::WriteError;
use crate::strategy::{self, Deletion};

/// A write that loses the race this often is answered with a conflict.
const ATTEMPTS: usize = 16;
/// A name's generated end, of letters and digits that make no words.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Api {
    pub(super) async fn create(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let spec = request.spec;
        let object = body::object(request, payload)?;
        if spec.namespaced() {
            self.check_namespace(request).await?;
        }
        let prefix = object.str(&["metadata", "generateName"]).to_owned();
        let generated = object.name().is_empty() && !prefix.is_empty();
        for _ in 0..ATTEMPTS {
            let mut object = object.clone();
            if generated {
                object.set(&["metadata", "name"], format!("{prefix}{}", suffix()));
            }
            let uid = uuid::Uuid::new_v4().to_string();
            strategy::prepare_create(spec, &mut object, &request.namespace, &uid, &now())?;
            if dry_run(request)? {
                return Ok(json_response(StatusCode::CREATED, object.to_vec()));
            }
            let key = self.key(request, object.name());
            match self.etcd.put(&key, Bytes::from(object.to_vec()), 0).await {
                Ok(revision) => return Ok(object_response(StatusCode::CREATED, object, revision)),
                Err(WriteError::Mismatch(_)) if generated => {}
                Err(WriteError::Mismatch(_)) => {
                    return Err(Status::already_exists(spec.group, spec.resource, object.name()));
                }
                Err(WriteError::Failed(status)) => return Err(status),
            }
        }
        Err(Status::already_exists(spec.group, spec.resource, &prefix))
    }

    /// Nothing new comes into a namespace that does not exist or is being deleted.
    async fn check_namespace(&self, request: &ResourceRequest) -> Result<(), Status> {
        let name = &request.namespace;
        if name.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        let stored = self.etcd.get(&self.etcd.key("namespaces", "", name)).await?;
        let Some(stored) = stored else { return Err(Status::not_found("", "namespaces", name)) };
        let namespace = Object::from_slice(&stored.value).map_err(Status::internal)?;
        if !namespace.is_being_deleted() {
            return Ok(());
        }
        let spec = request.spec;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        Err(Status::forbidden(spec.group, spec.resource, "", why))
    }

    pub(super) async fn update(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let sent = body::object(request, payload)?;
        self.change(request, |_| Ok(sent.clone())).await
    }

    pub(super) async fn patch(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        const TYPES: &str =
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";
        let parsed = || serde_json::from_slice::<Value>(&payload.bytes).map_err(|e| Status::bad_request(e.to_string()));
        match payload.content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => {
                let fields = parsed()?;
                self.patched(request, |tree| {
                    patch::merge(tree, &fields);
                    Ok(())
                })
                .await
            }
            "application/strategic-merge-patch+json" => {
                let spec = request.spec;
                let Some(schema) = kinit_schema::kind(spec.group, spec.version, spec.kind) else {
                    return Err(Status::unsupported_media_type("application/json-patch+json, application/merge-patch+json"));
                };
                let fields = parsed()?;
                let apply = |tree: &mut Value| {
                    patch::strategic(tree, &fields, schema).map_err(|e| Status::bad_request(e.to_string()))
                };
                self.patched(request, apply).await
            }
            "application/json-patch+json" => {
                let operations: json_patch::Patch =
                    serde_json::from_slice(&payload.bytes).map_err(|e| Status::bad_request(e.to_string()))?;
                let spec = request.spec;
                let refused = |error: json_patch::PatchError| {
                    let text = error.to_string();
                    Status::invalid(
                        spec.group,
                        spec.kind,
                        &request.name,
                        &[("FieldValueInvalid", "patch".into(), text)],
                    )
                };
                self.patched(request, |tree| json_patch::patch(tree, &operations).map_err(refused)).await
            }
            _ => Err(Status::unsupported_media_type(TYPES)),
        }
    }

    async fn patched(
        &self,
        request: &ResourceRequest,
        apply: impl Fn(&mut Value) -> Result<(), Status>,
    ) -> Result<Response<Body>, Status> {
        self.change(request, |current| {
            let mut tree = current.clone().into_value();
            apply(&mut tree)?;
            let object = Object::from_value(tree).ok_or_else(|| Status::bad_request("the patch leaves no object"))?;
            body::check(request, object)
        })
        .await
    }

    /// Binds a Pod to a node, once.
    pub(super) async fn bind(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let binding: Value =
            serde_json::from_slice(&payload.bytes).map_err(|error| Status::bad_request(error.to_string()))?;
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            let error = ("FieldValueRequired", "target.name".to_owned(), "Required value".to_owned());
            return Err(Status::invalid("", "Binding", &request.name, &[error]));
        }
        self.change(request, |current| {
            let assigned = current.str(&["spec", "nodeName"]);
            if !assigned.is_empty() {
                let why = format!("pod {} is already assigned to node {assigned:?}", request.name);
                return Err(Status::conflict("", "pods/binding", &request.name, &why));
            }
            let mut bound = current.clone();
            bound.set(&["spec", "nodeName"], node.clone());
            let scheduled =
                json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
            let conditions =
                current.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
            let others = conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled");
            bound.set(&["status", "conditions"], others.chain([scheduled]).collect::<Vec<_>>());
            Ok(bound)
        })
        .await?;
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(json_response(StatusCode::CREATED, success.to_string()))
    }

    /// Stores what `make` makes of the current object, again if another writer came first.
    async fn change(
        &self,
        request: &ResourceRequest,
        make: impl Fn(&Object) -> Result<Object, Status>,
    ) -> Result<Response<Body>, Status> {
        let spec = request.spec;
        let modified = || Status::modified(spec.group, spec.resource, &request.name);
        for _ in 0..ATTEMPTS {
            let (mut old, revision) = self.stored(request, &request.name).await?;
            old.set(&["metadata", "resourceVersion"], revision.to_string());
            let mut new = make(&old)?;
            let expected = new.resource_version();
            if !expected.is_empty() && expected != old.resource_version() {
                return Err(modified());
            }
            if request.subresource != "binding" {
                strategy::prepare_update(spec, &old, &mut new, &request.subresource)?;
            }
            for object in [&mut old, &mut new] {
                object.remove(&["metadata", "resourceVersion"]);
            }
            if new == old || dry_run(request)? {
                return Ok(object_response(StatusCode::OK, new, revision));
            }
            let key = self.key(request, &request.name);
            let written = if strategy::may_go(spec, &new) {
                self.etcd.delete(&key, revision).await
            } else {
                self.etcd.put(&key, Bytes::from(new.to_vec()), revision).await
            };
            match written {
                Ok(revision) => return Ok(object_response(StatusCode::OK, new, revision)),
                Err(WriteError::Mismatch(_)) => {}
                Err(WriteError::Failed(status)) => return Err(status),
            }
        }
        Err(modified())
    }

    pub(super) async fn delete(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let options = body::delete_options(request, payload)?;
        let (object, revision) = self.delete_one(request, &request.name, &options).await?;
        Ok(object_response(StatusCode::OK, object, revision))
    }

    async fn delete_one(
        &self,
        request: &ResourceRequest,
        name: &str,
        options: &strategy::DeleteOptions,
    ) -> Result<(Object, i64), Status> {
        let spec = request.spec;
        for _ in 0..ATTEMPTS {
            let (mut object, revision) = self.stored(request, name).await?;
            let unlike = |what: &str, wanted: &str, found: &str| {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                Status::conflict(spec.group, spec.resource, name, &why)
            };
            if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != object.uid()) {
                return Err(unlike("UID", uid, object.uid()));
            }
            let version = revision.to_string();
            if let Some(wanted) = options.resource_version.as_ref().filter(|wanted| **wanted != version) {
                return Err(unlike("ResourceVersion", wanted, &version));
            }
            let next = strategy::delete(spec, &mut object, options, &now());
            if next == Deletion::Waiting || dry_run(request)? {
                return Ok((object, revision));
            }
            let key = self.key(request, name);
            let written = match next {
                Deletion::Now => self.etcd.delete(&key, revision).await,
                _ => self.etcd.put(&key, Bytes::from(object.to_vec()), revision).await,
            };
            match written {
                Ok(revision) => return Ok((object, revision)),
                Err(WriteError::Mismatch(_)) => {}
                Err(WriteError::Failed(status)) => return Err(status),
            }
        }
        Err(Status::modified(spec.group, spec.resource, name))
    }

    pub(super) async fn delete_collection(
        &self,
        request: &ResourceRequest,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let options = body::delete_options(request, payload)?;
        let selected = filter(request)?;
        let (objects, _) = self.cache.list_consistent(request.index).await?;
        for entry in objects.values().filter(|entry| selected(entry)) {
            let mut one = request.clone();
            one.namespace.clone_from(&entry.namespace);
            match self.delete_one(&one, &entry.name, &options).await {
                Ok(_) => {}
                // Somebody else's deletion is as good.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(json_response(StatusCode::OK, success.to_string()))
    }
}

fn dry_run(request: &ResourceRequest) -> Result<bool, Status> {
    match request.parameter("dryRun") {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(Status::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\""))),
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn suffix() -> String {
    (0..5).map(|_| char::from(SUFFIX_ALPHABET[rand::random_range(0..SUFFIX_ALPHABET.len())])).collect()
}
