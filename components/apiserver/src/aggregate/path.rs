//! What a request for a resource that this server does not have asks for, read from its method and path; pure.

use http::Method;

/// A request as authorization knows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    pub verb: &'static str,
    pub group: &'a str,
    /// Empty where the path names no resource, but is one of discovery.
    pub resource: &'a str,
    pub subresource: String,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// Reads a path below `/apis/GROUP/VERSION` or `/api/VERSION`.
pub fn parse<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Asked<'a> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", Default::default()),
    };
    // The old way to ask for a watch.
    let (watched, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, name) = (rest.first().copied().unwrap_or_default(), rest.get(1).copied().unwrap_or_default());
    let watching = query.is_some_and(|query| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.any(|(key, value)| key == "watch" && crate::request::is_on(&value))
    });
    let verb = match (method.as_str(), name.is_empty()) {
        _ if watched => "watch",
        ("GET" | "HEAD", true) if watching && !resource.is_empty() => "watch",
        ("GET" | "HEAD", true) if !resource.is_empty() => "list",
        ("GET" | "HEAD", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "",
    };
    let subresource = rest.get(2..).unwrap_or_default().join("/");
    Asked { verb, group, resource, subresource, namespace, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked_for() {
        let core = parse(&Method::GET, "/api/v1/namespaces/a/toys/t", None);
        assert_eq!((core.group, core.resource, core.namespace, core.name), ("", "toys", "a", "t"));
        assert_eq!(parse(&Method::GET, "/other/g/v1/toys", None), Asked { verb: "get", ..Asked::default() });
        for (method, path, query, wanted) in [
            (Method::GET, "/apis/g/v1", None, ("get", "", "", "", "")),
            (Method::GET, "/apis/g/v1/toys", None, ("list", "toys", "", "", "")),
            (Method::GET, "/apis/g/v1/watch/namespaces/a/toys/t", None, ("watch", "toys", "a", "t", "")),
            (Method::OPTIONS, "/apis/g/v1/toys", None, ("", "toys", "", "", "")),
            (Method::GET, "/apis/g/v1/namespaces/a/toys", Some("watch=true"), ("watch", "toys", "a", "", "")),
            (Method::PUT, "/apis/g/v1/namespaces/a/toys/t/status", None, ("update", "toys", "a", "t", "status")),
            (Method::DELETE, "/apis/g/v1/toys", None, ("deletecollection", "toys", "", "", "")),
            (Method::GET, "/apis/g/v1/namespaces/a", None, ("get", "namespaces", "", "a", "")),
        ] {
            let asked = parse(&method, path, query);
            let found = (asked.verb, asked.resource, asked.namespace, asked.name, asked.subresource.as_str());
            assert_eq!((found, asked.group), (wanted, "g"), "{path}");
        }
    }
}
