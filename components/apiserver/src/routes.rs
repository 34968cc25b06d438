//! Which paths of built-in groups there are, what methods they take, and which media types they take and give: what upstream's
//! router refuses before any handler sees the request. Custom resources have no routes of their own and are refused by handlers.

use http::{HeaderMap, Method, header};
use kinit_api::status::Status;

use crate::negotiate::{JSON, PROTOBUF, YAML};
use crate::registry::{ResourceSpec, Storage, subresource};
use crate::request::{ResourceRequest, Verb};

/// What a path of a resource names.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Empty above namespaces.
    pub namespace: &'a str,
    /// Empty for a collection.
    pub name: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Whether the path begins with `watch`.
    pub is_watch: bool,
}

/// What is told of a path in a built-in group, or in another, that no resource is behind.
pub fn missing(is_builtin: bool) -> Status {
    if is_builtin { Status::no_such_resource() } else { Status::no_such_path() }
}

/// Refuses paths that upstream has no route for (404), and methods that none of a path's routes takes (405).
pub fn check(spec: &ResourceSpec, method: &Method, place: Place<'_>) -> Result<(), Status> {
    if spec.custom.is_some() {
        let is_elsewhere = place.is_watch || (!place.namespace.is_empty() && !spec.namespaced());
        return if is_elsewhere { Err(Status::no_such_path()) } else { Ok(()) };
    }
    let methods = methods(spec, place).ok_or_else(Status::no_such_resource)?;
    // A proxied path takes whatever its backend does.
    if methods.is_empty() || methods.contains(&method.as_str()) { Ok(()) } else { Err(Status::method_not_allowed()) }
}

/// The methods of a path; `None` where there is no such path, and empty where all are taken.
fn methods(spec: &ResourceSpec, place: Place<'_>) -> Option<&'static [&'static str]> {
    let Place { namespace, name, subresource: part, is_watch } = place;
    let stored = spec.storage != Storage::Never;
    let lists = spec.lists();
    if !namespace.is_empty() && !spec.namespaced() {
        return None;
    }
    let is_above = spec.namespaced() && namespace.is_empty();
    if is_above || is_watch {
        let watches = !is_watch || stored;
        let fits = lists && watches && part.is_empty() && (name.is_empty() || !is_above);
        return fits.then_some(&["GET"]);
    }
    match (name.is_empty(), part) {
        (true, _) if !stored => Some(if lists { &["GET"] } else { &["POST"] }),
        (true, _) if spec.is("", "namespaces") => Some(&["GET", "POST"]),
        (true, _) => Some(&["GET", "POST", "DELETE"]),
        (false, "") => match (stored, lists) {
            (true, _) => Some(&["GET", "PUT", "PATCH", "DELETE"]),
            (false, true) => Some(&["GET"]),
            (false, false) => None,
        },
        (false, "status") if spec.status => Some(&["GET", "PUT", "PATCH"]),
        (false, part) => match subresource(spec.group(), spec.resource(), part)?.verbs {
            ["create"] => Some(&["POST"]),
            ["get"] => Some(&["GET"]),
            ["update"] => Some(&["PUT"]),
            ["create", "get"] => Some(&["GET", "POST"]),
            ["get", "patch", "update"] => Some(&["GET", "PUT", "PATCH"]),
            _ => Some(&[]),
        },
    }
}

/// Refuses bodies that a path takes in no form that a client sends (415), and clients that accept none that it gives (406).
/// Parameters of media types, and ranges but that of all, are not looked at here.
pub fn negotiable(request: &ResourceRequest, headers: &HeaderMap) -> Result<(), Status> {
    const PATCHES: &[&str] = &[
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    const WHOLE: &[&str] = &[JSON, YAML, PROTOBUF];
    const STREAMED: &[&str] =
        &[JSON, YAML, PROTOBUF, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
    if request.spec.custom.is_some() {
        return Ok(());
    }
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let named = |clause: &str| clause.split(';').next().unwrap_or_default().trim().to_owned();
    if request.verb == Verb::Patch {
        let length: u64 = text(header::CONTENT_LENGTH).parse().unwrap_or(0);
        let sent = text(header::CONTENT_TYPE).split(',').map(named);
        if length > 0 && !sent.into_iter().any(|media| media == "*/*" || PATCHES.contains(&media.as_str())) {
            return Err(Status::not_consumed());
        }
    }
    let is_list = matches!(request.verb, Verb::List | Verb::Watch);
    represented(text(header::ACCEPT), if is_list { STREAMED } else { WHOLE })
}

/// That one of the types that a path is given in is what a client accepts.
pub fn represented(accept: &str, available: &[&str]) -> Result<(), Status> {
    let media = |clause: &str| clause.split(';').next().unwrap_or_default().trim().to_owned();
    let takes = |clause: &str| matches!(media(clause).as_str(), own if own == "*/*" || available.contains(&own));
    if accept.is_empty() || accept.split(',').any(takes) { Ok(()) } else { Err(Status::no_representation(available)) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::registry::Registry;

    fn code(method: &str, path: &str) -> u16 {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match crate::request::parse(&Registry::default(), &method, path, None) {
            Ok(_) => 200,
            Err(status) => {
                let has_details = status.details.is_some();
                assert_eq!(has_details, !path.contains("unknown.io"), "{path}");
                status.code
            }
        }
    }

    #[test]
    fn paths_and_methods_are_upstreams() {
        for (code_, method, path) in [
            (200, "GET", "/api/v1/configmaps"),
            (405, "POST", "/api/v1/configmaps"),
            (405, "DELETE", "/api/v1/configmaps"),
            (404, "GET", "/api/v1/configmaps/a"),
            (200, "DELETE", "/api/v1/namespaces/n/configmaps"),
            (405, "DELETE", "/api/v1/namespaces"),
            (405, "HEAD", "/api/v1/namespaces/n/configmaps/a"),
            (404, "GET", "/api/v1/namespaces/n/configmaps/a/status"),
            (404, "GET", "/api/v1/namespaces/n//configmaps"),
            (404, "GET", "/api/v1/namespaces/n/nodes"),
            (404, "GET", "/apis/apps/v9/deployments"),
            (404, "GET", "/apis/unknown.io/v1/things"),
            (405, "GET", "/api/v1/namespaces/n/pods/p/binding"),
            (200, "POST", "/api/v1/namespaces/n/pods/p/binding"),
            (405, "POST", "/apis/apps/v1/namespaces/n/deployments/d/scale"),
            (200, "OPTIONS", "/api/v1/nodes/n/proxy/x"),
            (404, "GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews/x"),
            (405, "GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
            (405, "POST", "/api/v1/componentstatuses"),
            (200, "GET", "/api/v1/componentstatuses/x"),
            (200, "GET", "/api/v1/watch/namespaces/n/pods/p"),
            (405, "POST", "/api/v1/watch/pods"),
            (404, "GET", "/api/v1/watch/componentstatuses"),
        ] {
            assert_eq!(code(method, path), code_, "{method} {path}");
        }
    }

    #[test]
    fn watches_of_old_are_watches() {
        let request = |path| {
            crate::request::parse(&Registry::default(), &Method::GET, path, Some("resourceVersion=5")).unwrap().unwrap()
        };
        let all = request("/apis/apps/v1/watch/deployments");
        assert_eq!((all.verb, all.namespace.as_str(), all.parameter("fieldSelector")), (Verb::Watch, "", ""));
        let one = request("/api/v1/watch/namespaces/n/pods/p");
        assert_eq!((one.verb, one.namespace.as_str(), one.name.as_str()), (Verb::Watch, "n", ""));
        assert_eq!((one.parameter("fieldSelector"), one.authorized_name()), ("metadata.name=p", "p"));
    }

    #[test]
    fn media_types_are_looked_at_without_parameters() {
        let told = |method: &Method, pairs: &[(header::HeaderName, &'static str)]| {
            let path = "/api/v1/namespaces/n/configmaps/a";
            let request = crate::request::parse(&Registry::default(), method, path, None).unwrap().unwrap();
            let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            negotiable(&request, &headers).err().map(|status| (status.code, status.message))
        };
        let accept = |value| told(&Method::GET, &[(header::ACCEPT, value)]);
        let refused = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for value in ["application/*", "text/html", "APPLICATION/JSON", "application/cbor"] {
            assert_eq!(accept(value), Some((406, refused.to_owned())), "{value}");
        }
        for value in ["", "*/*", "text/html, application/yaml;as=Foo", "application/json;v=v2"] {
            assert_eq!(accept(value), None, "{value}");
        }
        let patch =
            |media, length| told(&Method::PATCH, &[(header::CONTENT_TYPE, media), (header::CONTENT_LENGTH, length)]);
        assert_eq!(patch("application/json", "2"), Some((415, "415: Unsupported Media Type".to_owned())));
        assert_eq!(patch("application/json", "0"), None);
        assert_eq!(patch("application/merge-patch+json; charset=utf-8", "2"), None);
    }
}
