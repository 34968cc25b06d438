//! delete and deletecollection.

use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::json;

use super::write::ATTEMPTS;
use super::{Api, Payload, body, dry_run, filter, json_response, now, object_response, success, within};
use crate::admission::{Attributes, Operation};
use crate::convert;
use crate::request::ResourceRequest;
use crate::services;
use crate::storage::WriteError;
use crate::strategy::{self, Deletion};

impl Api {
    pub(super) async fn delete(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let options = body::delete_options(request, payload)?;
        let (object, revision, gone) = self.delete_one(request, &request.name, &options).await?;
        if gone && !request.spec.answers_deleted {
            return Ok(deleted(request, &object));
        }
        Ok(object_response(request, StatusCode::OK, object, revision))
    }

    /// Deletes or marks one object; tells its last state, the revision, and whether it is gone.
    pub(crate) async fn delete_one(
        &self,
        request: &ResourceRequest,
        name: &str,
        options: &strategy::DeleteOptions,
    ) -> Result<(Object, i64, bool), Status> {
        let spec = &request.spec;
        for _ in 0..ATTEMPTS {
            let (mut object, revision) = self.stored(request, name).await?;
            let unlike = |what: &str, wanted: &str, found: &str| {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                Status::conflict(spec.group(), spec.resource(), name, &why)
            };
            if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != object.uid()) {
                return Err(unlike("UID", uid, object.uid()));
            }
            let version = revision.to_string();
            if let Some(wanted) = options.resource_version.as_ref().filter(|wanted| **wanted != version) {
                return Err(unlike("ResourceVersion", wanted, &version));
            }
            let deletion = Some(options);
            let attributes = Attributes { deletion, ..Attributes::new(Operation::Delete, request, name, None) };
            self.ask(&attributes, &mut object.clone()).await?;
            let next = strategy::delete(spec, &mut object, options, &now());
            if next == Deletion::Waiting || options.dry_run || dry_run(request)? {
                return Ok((object, revision, false));
            }
            let key = self.key(request, name);
            let written = match next {
                Deletion::Now => self.etcd.delete(&key, revision).await,
                _ => self.put(request, &key, &object, revision).await,
            };
            match written {
                Ok(revision) => {
                    let gone = next == Deletion::Now;
                    if gone && spec.is("", "services") {
                        services::release(self, &object, None).await;
                    }
                    return Ok((object, revision, gone));
                }
                Err(WriteError::Mismatch(_)) => {}
                Err(WriteError::Failed(status)) => return Err(status),
            }
        }
        Err(Status::modified(spec.group(), spec.resource(), name))
    }

    pub(super) async fn delete_collection(
        &self,
        request: &ResourceRequest,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let options = body::delete_options(request, payload)?;
        let selected = filter(request)?;
        let (objects, _) = self.cache.list_consistent(request.index).await?;
        let converts = convert::asks(&request.spec);
        let entries = objects.values().filter(|entry| (converts && within(request, entry)) || selected(entry));
        let entries = self.converter.entries(&request.spec, entries.cloned().collect()).await?;
        for entry in entries.iter().filter(|entry| selected(entry)) {
            let mut one = request.clone();
            one.namespace.clone_from(&entry.namespace);
            match self.delete_one(&one, &entry.name, &options).await {
                Ok(_) => {}
                // Somebody else's deletion is as good.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(success(200))
    }
}

/// The answer for an object that is gone.
fn deleted(request: &ResourceRequest, object: &Object) -> Response<Body> {
    let spec = &request.spec;
    let details = json!({"name": object.name(), "group": spec.group(), "kind": spec.resource(), "uid": object.uid()});
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    json_response(StatusCode::OK, status.to_string())
}
