//! What a request asks for, read from its method, path and query; pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use kinit_api::status::Status;

use crate::admission::Annotations;
use crate::authn::User;
use crate::authz::rbac::Ask;
use crate::fields::{Manager, Warnings};
use crate::negotiate::Format;
use crate::registry::{Registry, Spec};
use crate::routes::{self, Place};

/// Subresources that are streams: they last as long as the client likes, take no seats, and are passed on as they come.
pub const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// How long a request waited for what is not the server's own: a seat, and webhooks. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Delays(Arc<AtomicU64>);

impl Delays {
    pub fn add(&self, waited: Duration) {
        self.0.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A request for a resource.
#[derive(Clone, Debug)]
pub struct ResourceRequest {
    /// Who asks; nobody until the server has found out.
    pub user: Arc<User>,
    /// The number of the store that the objects are kept in.
    pub index: usize,
    pub spec: Spec,
    pub verb: Verb,
    /// Empty for all namespaces and for cluster-scoped resources.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Parameters; of several with a name the first.
    pub query: BTreeMap<String, String>,
    /// All values of `dryRun`: what a write must not do though it is tried.
    pub dry_run: Vec<String>,
    /// What the answer is to be; plain JSON until the server has looked at the headers.
    pub format: Format,
    /// Who the write is noted as; nobody where the server writes by itself.
    pub manager: Option<Manager>,
    /// What the client is to be told besides the answer.
    pub warnings: Warnings,
    /// What the audit log is to be told of it.
    pub annotations: Annotations,
    pub delays: Delays,
    /// Whether the server writes on the way of another request, which admission has looked at.
    pub internal: bool,
}

/// What is done with the resource, in the words of authorization rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A method that no verb stands for, such as OPTIONS: only a proxied path takes it, and rules name it by `*` alone.
    None,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::None => "",
        }
    }
}

impl ResourceRequest {
    /// Whether a boolean query parameter is on.
    pub fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| is_on(value))
    }

    /// Whether the write is to be tried only.
    pub fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// A query parameter that is an integer, if there is one; upstream's words where it is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        let why = |error: &std::num::ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let told = |error| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {}", why(&error)));
        text.parse().map(Some).map_err(told)
    }

    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// What a field selector of a list or watch asks `path` to be; empty where it asks nothing of it.
    pub fn selected(&self, path: &str) -> &str {
        if !matches!(self.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            return "";
        }
        let terms = self.parameter("fieldSelector").split(',');
        let values = terms.filter_map(|term| term.split_once("==").or_else(|| term.split_once('=')));
        values.filter(|(own, _)| own.trim() == path).map(|(_, value)| value.trim()).next().unwrap_or_default()
    }

    /// What authorization is asked.
    pub fn ask(&self) -> Ask<'_> {
        Ask::Resource {
            verb: self.verb.as_str(),
            group: self.spec.group(),
            resource: self.spec.resource(),
            subresource: &self.subresource,
            name: self.authorized_name(),
            namespace: self.authorized_namespace(),
        }
    }

    /// The name that authorization is asked about: a list of one object is a list of that name.
    pub fn authorized_name(&self) -> &str {
        if self.name.is_empty() { self.selected("metadata.name") } else { &self.name }
    }

    /// The namespace that authorization is asked about: a Namespace lies in itself.
    pub fn authorized_namespace(&self) -> &str {
        if self.spec.is("", "namespaces") { &self.name } else { &self.namespace }
    }
}

/// What upstream tells of the paths of old that watch or proxy and do not say what, where it reads a path before anything else;
/// `target` is the path with its query.
pub fn unreadable(path: &str, target: &str) -> Option<String> {
    let (version, last) = path.trim_matches('/').rsplit_once('/')?;
    let is_version = match version.split_once('/') {
        Some(("api", version)) => !version.contains('/'),
        Some(("apis", version)) => version.matches('/').count() == 1,
        _ => false,
    };
    (is_version && matches!(last, "watch" | "proxy"))
        .then(|| format!("failed to create RequestInfo: unable to determine kind and namespace from url, {target}"))
}

/// Reads a path below `/api` or `/apis`. `Ok(None)` is a path that may be discovery's.
pub fn parse(
    registry: &Registry,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Result<Option<ResourceRequest>, Status> {
    let path = decoded(path)?;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(None),
    };
    let (is_watch, rest) = match rest {
        // The watches of old have paths of their own.
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let (namespace, rest) = match rest {
        [] => return Ok(None),
        // A namespace's own paths look like paths into it; what follows the name tells them apart.
        ["namespaces", name, resource, rest @ ..] if !matches!(*resource, "status" | "finalize") => {
            (*name, [&[*resource], rest].concat())
        }
        rest => ("", rest.to_vec()),
    };
    let Some((index, spec)) = registry.find(group, version, rest[0]) else {
        return Err(routes::missing(registry.is_builtin(group)));
    };
    let (name, subresource) = match rest[1..] {
        [] => ("", ""),
        [name] => (name, ""),
        [name, subresource] => (name, subresource),
        // What follows is a path of the backend's own.
        [name, "proxy", ..] => (name, "proxy"),
        _ => return Err(routes::missing(registry.is_builtin(group))),
    };
    if spec.custom.is_none() && path.contains("//") && subresource != "proxy" {
        return Err(Status::no_such_resource());
    }
    routes::check(&spec, method, Place { namespace, name, subresource, is_watch })?;
    if let Some(why) = no_segment(name) {
        return Err(Status::bad_request(format!("Name parameter invalid: {name:?}: {why}")));
    }
    let (mut query, dry_run) = parameters(query.unwrap_or_default());
    let name = if is_watch && !name.is_empty() {
        let selector = query.entry("fieldSelector".to_owned()).or_default();
        let also = if selector.is_empty() { "" } else { "," };
        selector.push_str(&format!("{also}metadata.name={name}"));
        ""
    } else {
        name
    };
    let watching = query.get("watch").is_some_and(|value| is_on(value));
    let verb = match (method, name.is_empty()) {
        (&Method::GET, true) if watching || is_watch => Verb::Watch,
        (&Method::GET, true) => Verb::List,
        (&Method::GET, false) => Verb::Get,
        (&Method::HEAD, false) if subresource == "proxy" => Verb::Get,
        (&Method::POST, _) if name.is_empty() || !subresource.is_empty() => Verb::Create,
        (&Method::PUT, false) => Verb::Update,
        (&Method::PATCH, false) => Verb::Patch,
        (&Method::DELETE, false) => Verb::Delete,
        (&Method::DELETE, true) => Verb::DeleteCollection,
        (&Method::OPTIONS, false) if subresource == "proxy" => Verb::None,
        _ => return Err(Status::method_not_allowed()),
    };
    Ok(Some(ResourceRequest {
        user: Arc::new(User::anonymous()),
        index,
        spec,
        verb,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        query,
        dry_run,
        format: Format::default(),
        manager: None,
        warnings: Warnings::default(),
        annotations: Annotations::default(),
        delays: Delays::default(),
        internal: false,
    }))
}

/// The parameters of a query, and all values of `dryRun`. What Go cannot read of a query it leaves out: pairs with a semicolon.
fn parameters(query: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut parameters, mut dry_run) = (BTreeMap::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.contains(';')) {
        for (name, value) in url::form_urlencoded::parse(pair.as_bytes()).into_owned() {
            if name == "dryRun" {
                dry_run.push(value.clone());
            }
            parameters.entry(name).or_insert(value);
        }
    }
    (parameters, dry_run)
}

/// Whether a boolean parameter's value says yes: all do but two.
pub fn is_on(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// A path without its escapes, which some clients write for a colon too.
pub fn decoded(path: &str) -> Result<Cow<'_, str>, Status> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let broken = || Status::bad_request(format!("invalid URL escape in {path:?}"));
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| hex::decode(digits).ok()).ok_or_else(broken)?;
        bytes.extend(digits);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| broken())
}

/// Why a name cannot be a part of a key.
fn no_segment(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        let cases = [
            (Method::GET, "/api/v1/pods", None, "pods", Verb::List, "", "", ""),
            (Method::GET, "/api/v1/pods", Some("watch=1"), "pods", Verb::Watch, "", "", ""),
            (Method::GET, "/api/v1/namespaces/a/pods/b", None, "pods", Verb::Get, "a", "b", ""),
            (Method::PUT, "/api/v1/namespaces/a/pods/b/status", None, "pods", Verb::Update, "a", "b", "status"),
            (Method::GET, "/api/v1/namespaces/a", None, "namespaces", Verb::Get, "", "a", ""),
            (Method::OPTIONS, "/api/v1/namespaces/a/pods/b/proxy/x", None, "pods", Verb::None, "a", "b", "proxy"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", None, "namespaces", Verb::Update, "", "a", "finalize"),
            (Method::GET, "/api/v1/watch/pods", None, "pods", Verb::Watch, "", "", ""),
            (Method::GET, "/api/v1/watch/namespaces/a/pods/b", None, "pods", Verb::Watch, "a", "", ""),
            (Method::GET, "/api/v1/watch/namespaces", None, "namespaces", Verb::Watch, "", "", ""),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                None,
                "deployments",
                Verb::DeleteCollection,
                "a",
                "",
                "",
            ),
        ];
        for (method, path, query, resource, verb, namespace, name, subresource) in cases {
            let request = parse(&Registry::default(), &method, path, query).unwrap().unwrap();
            assert_eq!((request.spec.resource(), request.verb), (resource, verb), "{path}");
            assert_eq!(
                (&*request.namespace, &*request.name, &*request.subresource),
                (namespace, name, subresource),
                "{path}"
            );
        }
        assert!(parse(&Registry::default(), &Method::GET, "/apis/apps/v1", None).unwrap().is_none());
        let one =
            parse(&Registry::default(), &Method::GET, "/api/v1/watch/namespaces/a/pods/b", None).unwrap().unwrap();
        assert_eq!((one.authorized_name(), one.parameter("fieldSelector")), ("b", "metadata.name=b"));
        let refused = |method, path| parse(&Registry::default(), &method, path, None).unwrap_err();
        for (method, path, status) in [
            (Method::GET, "/api/v1/nothings", Status::no_such_resource()),
            (Method::GET, "/apis/apps/v2/deployments", Status::no_such_resource()),
            (Method::GET, "/apis/nothing/v1/things", Status::no_such_path()),
            (Method::GET, "/api/v1/pods/a", Status::no_such_resource()),
            (Method::GET, "/api/v1/namespaces/a/nodes", Status::no_such_resource()),
            (Method::GET, "/api/v1/watch/namespaces/a/pods/b/log", Status::no_such_resource()),
            (Method::DELETE, "/api/v1/watch/pods", Status::method_not_allowed()),
            (Method::POST, "/api/v1/nodes/a", Status::method_not_allowed()),
            (Method::HEAD, "/api/v1/nodes/a", Status::method_not_allowed()),
        ] {
            assert_eq!(refused(method, path), status, "{path}");
        }
    }

    #[test]
    fn watches_of_old_say_what_they_watch() {
        let why = "failed to create RequestInfo: unable to determine kind and namespace from url, /t?a=b";
        for (path, told) in [
            ("/api/v1/watch", true),
            ("/api/v1/watch/", true),
            ("/api/v1/proxy", true),
            ("/apis/apps/v1/watch", true),
            ("/apis/any.example/v1/watch", true),
            ("/api/watch", false),
            ("/apis/apps/watch", false),
            ("/api/v1/watch/pods", false),
            ("/watch", false),
            ("/", false),
        ] {
            assert_eq!(unreadable(path, "/t?a=b").as_deref(), told.then_some(why), "{path}");
        }
    }

    #[test]
    fn escapes_are_read_before_anything_else() {
        let name = |path| parse(&Registry::default(), &Method::GET, path, None).map(|request| request.unwrap().name);
        assert_eq!(name("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3anode").unwrap(), "system:node");
        assert_eq!(name("/api/v1/namespaces/a%2fpods%2Fb").unwrap(), "b", "an escaped slash is a slash");
        for (path, told) in [
            ("/api/v1/nodes/a%25b", "Name parameter invalid: \"a%b\": may not contain '%'"),
            ("/api/v1/nodes/..", "Name parameter invalid: \"..\": may not be '..'"),
            ("/api/v1/nodes/a%2", "invalid URL escape in \"/api/v1/nodes/a%2\""),
            ("/api/v1/nodes/%ff", "invalid URL escape in \"/api/v1/nodes/%ff\""),
        ] {
            let status = name(path).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, told));
        }
    }
}
