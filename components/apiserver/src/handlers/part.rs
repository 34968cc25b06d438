//! Bodies of subresources that are of another kind than the resource: what a client sends has to be of that kind, and of the
//! object that the path names.

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict;

use super::sent::{self, Unread};
use super::{Payload, body};
use crate::fields;
use crate::request::ResourceRequest;

/// A kind that a subresource takes: its group, the versions that are read, and its name.
pub struct Kind {
    pub group: &'static str,
    pub versions: &'static [&'static str],
    pub name: &'static str,
}

impl Kind {
    /// What is told of an object of another kind, in upstream's words.
    fn mismatch(&self, object: &Object) -> Option<String> {
        let (sent, kind) = (object.api_version(), object.kind());
        let (group, version) = sent.split_once('/').unwrap_or(("", sent));
        let (group, version) = if sent.is_empty() { (self.group, self.versions[0]) } else { (group, version) };
        let kind = if kind.is_empty() { self.name } else { kind };
        if group == self.group && kind == self.name && self.versions.contains(&version) {
            return None;
        }
        let of = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let why = body::stranger(&of, kind, (self.group, self.name));
        Some(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", self.name))
    }
}

/// The object that a client sends, which is of `kind` and in the request's namespace.
pub fn sent(request: &ResourceRequest, payload: &Payload, kind: &Kind) -> Result<Object, Status> {
    fields::check_options(request, false)?;
    let version = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) } + kind.versions[0];
    let (mut object, mut problems) =
        sent::object(payload, (&version, kind.name)).map_err(|unread| unread.into_status(kind.name, &payload.bytes))?;
    if let Some(why) = kind.mismatch(&object) {
        return Err(Status::bad_request(why));
    }
    let of_type = |why: String| {
        Unread::Named { kind: kind.name.to_owned(), version: kind.versions[0].to_owned(), why }
            .into_status(kind.name, &[])
    };
    if let Some(schema) = kinit_schema::kind(kind.group, kind.versions[0], kind.name) {
        let unknown = strict::conform(object.map_mut(), schema).map_err(|error| of_type(error.to_string()))?;
        problems.splice(0..0, unknown.into_iter().map(|path| format!("unknown field {path:?}")));
    }
    fields::settle(request, problems, of_type)?;
    checked(request, object, kind)
}

/// [`sent`], for what has been read.
pub fn checked(request: &ResourceRequest, object: Object, kind: &Kind) -> Result<Object, Status> {
    if let Some(why) = kind.mismatch(&object) {
        return Err(Status::bad_request(why));
    }
    if !matches!(object.namespace(), own if own.is_empty() || own == request.namespace) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_of_another_kind_or_namespace_is_refused() {
        const SCALE: Kind = Kind { group: "autoscaling", versions: &["v1"], name: "Scale" };
        let path = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        let registry = crate::registry::Registry::default();
        let request = crate::request::parse(&registry, &http::Method::PUT, path, None).unwrap().unwrap();
        let read = |body: serde_json::Value| {
            let payload = Payload { content_type: String::new(), bytes: body.to_string().into() };
            sent(&request, &payload, &SCALE).err().map(|status| status.message)
        };
        assert_eq!(read(json!({"metadata": {"name": "d", "namespace": "a"}})), None);
        assert_eq!(read(json!({"apiVersion": "autoscaling/v1", "kind": "Scale"})), None);
        for (body, told) in [
            (
                json!({"metadata": {"namespace": "z"}}),
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            (
                json!({"apiVersion": "autoscaling/v2", "kind": "Scale"}),
                "Scale in version \"v2\" cannot be handled as a Scale: no kind \"Scale\" is registered for version \
                 \"autoscaling/v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
                "Deployment in version \"v1\" cannot be handled as a Scale: converting (v1.Deployment) to \
                 (autoscaling.Scale): unknown conversion",
            ),
        ] {
            assert_eq!(read(body).as_deref(), Some(told));
        }
    }
}
