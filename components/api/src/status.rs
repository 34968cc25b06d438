//! The `Status` object: the one form of error that API clients see.
//!
//! Codes, reasons and texts are those of Kubernetes' API conventions, because clients match on them.

use std::borrow::Cow;

use serde_json::{Value, json};

/// An error answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, for example `NotFound`; empty where Kubernetes gives none.
    pub reason: Cow<'static, str>,
    pub message: String,
    /// What it is about: `name`, `group`, `kind`, `uid`, `causes`, `retryAfterSeconds`.
    pub details: Option<Value>,
    /// A token with which a list that could not be gone on with may be gone on with all the same.
    pub continue_token: Option<String>,
}

/// Why a precondition does not hold, such as one of a `UID`, as storage tells it.
pub fn unmet(what: &str, wanted: &str, found: &str) -> String {
    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}")
}

/// A resource as error texts name it: `pods`, or `deployments.apps`.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: None, continue_token: None }
    }

    fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        self.details = Some(json!({"name": name, "group": group, "kind": resource}));
        self
    }

    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", qualified(group, resource)))
            .about(group, resource, name)
    }

    /// A path that nothing is behind.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// A path within a group that is served, and that no resource is behind.
    pub fn no_such_resource() -> Self {
        Self { details: Some(json!({})), ..Self::no_such_path() }
    }

    /// Whether this is [`Self::no_such_path`].
    pub fn is_no_such_path(&self) -> bool {
        *self == Self::no_such_path()
    }

    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(group, resource)))
            .about(group, resource, name)
    }

    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Self::new(409, "Conflict", text).about(group, resource, name)
    }

    /// The conflict of an update whose resource version is not the stored one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// Field errors as (reason, path, text) triples, for example `("FieldValueRequired", "metadata.name", "Required value")`.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[(&str, String, String)]) -> Self {
        // What is wrong twice is told once, and is a cause twice.
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for text in errors.iter().map(|(_, field, text)| format!("{field}: {text}")) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = if let [only] = texts.as_slice() { only.clone() } else { format!("[{}]", texts.join(", ")) };
        let mut status = Self::new(422, "Invalid", format!("{} {name:?} is invalid: {list}", qualified(group, kind)));
        let causes: Vec<Value> = errors
            .iter()
            .map(|(reason, field, text)| json!({"reason": reason, "message": text, "field": field}))
            .collect();
        status.details = Some(json!({"name": name, "group": group, "kind": kind, "causes": causes}));
        status
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(group: &str, resource: &str, name: &str, message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    pub fn method_not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        Self { details: Some(json!({})), ..Self::new(405, "MethodNotAllowed", text) }
    }

    /// No representation of what is at a path is of a type that the client accepts.
    pub fn no_representation(available: &[&str]) -> Self {
        let text = format!("406: Not Acceptable\n\nAvailable representations: {}", available.join(", "));
        Self { details: Some(json!({})), ..Self::new(406, "NotAcceptable", text) }
    }

    /// None of the media types that the client accepts can be answered in.
    pub fn not_acceptable(supported: &[&str]) -> Self {
        let text = format!("only the following media types are accepted: {}", supported.join(", "));
        Self::new(406, "NotAcceptable", text)
    }

    /// The path takes no body of the media type that the client sends.
    pub fn not_consumed() -> Self {
        Self { details: Some(json!({})), ..Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type") }
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_large(limit: usize) -> Self {
        let text = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", text)
    }

    pub fn unsupported_media_type(supported: &str) -> Self {
        let text =
            format!("the body of the request was in an unknown format - accepted media types include: {supported}");
        Self::new(415, "UnsupportedMediaType", text)
    }

    /// A request that may be made again later.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    pub fn internal(why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        let mut status = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        status.details = Some(json!({"causes": [{"message": why}]}));
        status
    }

    /// An error that upstream's server has no reason for.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// Something that went wrong and that has no reason which clients know.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::new(500, "", why.to_string())
    }

    /// What is asked for cannot be reached, and nobody knows for how long.
    pub fn out_of_service(why: impl std::fmt::Display) -> Self {
        Self::new(503, "ServiceUnavailable", why.to_string())
    }

    pub fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("this server has no {what}"))
    }

    /// Something took longer than it may.
    pub fn timeout(what: &str) -> Self {
        let mut status = Self::new(504, "Timeout", format!("Timeout: {what}"));
        status.details = Some(json!({}));
        status
    }

    /// A revision was asked for that the server has not come to yet.
    pub fn too_large_version(asked: i64, current: i64) -> Self {
        let text = format!("Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", format!("Timeout: {text}"));
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        status.details = Some(json!({"retryAfterSeconds": 1, "causes": [cause]}));
        status
    }

    pub fn unavailable(why: impl std::fmt::Display) -> Self {
        let mut status = Self::new(503, "ServiceUnavailable", why.to_string());
        status.details = Some(json!({"retryAfterSeconds": 1}));
        status
    }

    /// The object that goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = self.reason.as_ref().into();
        }
        if self.reason.is_empty()
            && let Some(map) = value.as_object_mut()
        {
            map.remove("reason");
        }
        if let (Some(details), Some(map)) = (&self.details, value.as_object_mut()) {
            let mut details = details.clone();
            if let Some(parts) = details.as_object_mut() {
                // Go leaves out what is empty.
                parts.retain(|_, part| part.as_str() != Some(""));
            }
            map.insert("details".into(), details);
        }
        if let Some(token) = &self.continue_token {
            value["metadata"]["continue"] = token.clone().into();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kubernetes_own() {
        assert_eq!(Status::not_found("", "pods", "a").message, "pods \"a\" not found");
        assert_eq!(Status::already_exists("apps", "deployments", "d").message, "deployments.apps \"d\" already exists");
        let one = Status::invalid(
            "",
            "Pod",
            "p",
            &[("FieldValueRequired", "spec.containers".into(), "Required value".into())],
        );
        assert_eq!(one.message, "Pod \"p\" is invalid: spec.containers: Required value");
        assert_eq!(one.to_value()["details"]["causes"][0]["field"], "spec.containers");
        let same = ("FieldValueInvalid", "spec".to_owned(), "Invalid value: no".to_owned());
        let twice = Status::invalid("", "Pod", "p", &[same.clone(), same]);
        assert_eq!(twice.message, "Pod \"p\" is invalid: spec: Invalid value: no");
        assert_eq!(twice.details.unwrap()["causes"].as_array().map(Vec::len), Some(2));
        assert_eq!(Status::unavailable("etcd").to_value()["code"], 503);
        assert_eq!(Status::failed("no").to_value().get("reason"), None);
        assert_eq!(Status::out_of_service("no").to_value().get("details"), None);
    }
}
