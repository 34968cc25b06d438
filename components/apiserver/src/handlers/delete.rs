//! delete and deletecollection.

use std::ops::ControlFlow;

use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::status::{Status, unmet};
use kinit_serving::Body;
use serde_json::json;

use super::read::{Attempt, Base};
use super::write::ATTEMPTS;
use super::{Api, Payload, body, json_response, list, now, object_response, paging};
use crate::admission::{Attributes, Operation};
use crate::audit::Said;
use crate::request::ResourceRequest;
use crate::services;
use crate::storage::WriteError;
use crate::strategy::{self, Deletion};

impl Api {
    pub(super) async fn delete(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let options = body::delete_options(request, payload)?;
        warn_of_pods(request, &options);
        let (object, revision, gone) = self.delete_one(request, &request.name, &options).await?;
        if gone && !request.spec.answers_deleted {
            return Ok(deleted(request, &object));
        }
        // Not in all cases where something is left to do, because that would surprise clients of old.
        let code = if !gone && options.orphans_nothing { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok(object_response(request, code, object, revision))
    }

    /// Deletes or marks one object; tells its last state, the revision, and whether it is gone.
    pub(crate) async fn delete_one(
        &self,
        request: &ResourceRequest,
        name: &str,
        options: &strategy::DeleteOptions,
    ) -> Result<(Object, i64, bool), Status> {
        let mut base = self.base(request, name).await?;
        for _ in 0..ATTEMPTS {
            let state = (base.revision, base.is_newest);
            let attempt = self.remove(request, name, options, base).await;
            match self.after(request, name, state, attempt).await? {
                ControlFlow::Break(done) => return Ok(done),
                ControlFlow::Continue(other) => base = other,
            }
        }
        Err(Status::modified(request.spec.group(), request.spec.resource(), name))
    }

    /// Deletes or marks an object, if it is still in the state that it is taken to be in.
    async fn remove(
        &self,
        request: &ResourceRequest,
        name: &str,
        options: &strategy::DeleteOptions,
        base: Base,
    ) -> Result<Attempt, Status> {
        let spec = &request.spec;
        let Base { mut object, revision, .. } = base;
        let unlike = |what: &str, wanted: &str, found: &str| {
            if spec.is("", "namespaces") {
                return Status::conflict(spec.group(), spec.resource(), name, &unmet(what, wanted, found));
            }
            let since = if what == "UID" { "deleted and then recreated" } else { "modified" };
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {since}"
            );
            // Upstream names the kind here.
            Status::conflict(spec.group(), spec.kind(), name, &why)
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
        let mut before = object.clone();
        self.ask(&attributes, &mut before).await?;
        let next = strategy::delete(spec, &mut object, options, &now());
        if next == Deletion::Now && !spec.is("", "pods") {
            // What goes at once was never marked.
            object = before;
        }
        let gone = next == Deletion::Now;
        if next == Deletion::Waiting || options.dry_run || request.is_dry_run() {
            // Who tries is told what the deed would be told with.
            return Ok(Attempt::Needless(object, gone));
        }
        let key = self.key(request, name);
        let written = if gone {
            self.etcd.delete(&key, revision).await
        } else {
            self.put_whole(request, &key, &object, revision).await
        };
        let revision = match written {
            Ok(revision) => revision,
            Err(WriteError::Mismatch(found)) => return Ok(Attempt::Lost(found)),
            Err(WriteError::Failed(status)) => return Err(status),
        };
        if gone && spec.is("", "services") {
            services::release(self, &object, None).await;
        }
        if spec.is("", "namespaces") {
            // Nothing new may come in after the answer. A cache that lags too far behind says so of itself.
            let _ = self.cache.reach(revision).await;
        }
        Ok(Attempt::Written(object, revision, gone))
    }

    pub(super) async fn delete_collection(
        &self,
        request: &ResourceRequest,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        paging::check(request)?;
        let options = body::delete_options(request, payload)?;
        warn_of_pods(request, &options);
        // What is to be deleted is listed as a list is asked for: a page of it, or what was there at a revision.
        let (entries, metadata) = self.listed(request).await?;
        for entry in &entries {
            let mut one = request.clone();
            entry.namespace().clone_into(&mut one.namespace);
            match self.delete_one(&one, entry.name(), &options).await {
                Ok(_) => {}
                // Somebody else's deletion is as good.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        // What was there is told, as a list of it is.
        list::listed(request, &entries, metadata).respond(request.format)
    }
}

/// Tells who deletes a Job without a word that its Pods stay.
fn warn_of_pods(request: &ResourceRequest, options: &strategy::DeleteOptions) {
    if request.spec.is("batch", "jobs") && options.propagation.is_none() {
        request.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        );
    }
}

/// The answer for an object that is gone.
fn deleted(request: &ResourceRequest, object: &Object) -> Response<Body> {
    let spec = &request.spec;
    let mut details = json!({"name": object.name(), "kind": spec.resource(), "uid": object.uid()});
    if !spec.group().is_empty() {
        details["group"] = spec.group().into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    let mut response = json_response(StatusCode::OK, status.to_string());
    response.extensions_mut().insert(Said(status));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn what_is_gone_is_told_without_a_group_where_it_has_none() {
        let object = Object::from_value(json!({"metadata": {"name": "a", "uid": "u"}})).unwrap();
        let registry = crate::registry::Registry::default();
        for (path, details) in [
            ("/api/v1/namespaces/x/configmaps/a", json!({"name": "a", "kind": "configmaps", "uid": "u"})),
            (
                "/apis/apps/v1/namespaces/x/deployments/a",
                json!({"name": "a", "group": "apps", "kind": "deployments", "uid": "u"}),
            ),
        ] {
            let request = crate::request::parse(&registry, &http::Method::DELETE, path, None).unwrap().unwrap();
            let body = deleted(&request, &object).into_body().collect().await.unwrap().to_bytes();
            let told: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&told["details"], &told["status"]), (&details, &json!("Success")));
        }
    }
}
