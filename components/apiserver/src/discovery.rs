//! What the server serves, told to clients: `/api` and `/apis`, whole or as one aggregated document, a list per group and
//! version, and `/version`.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aggregate::{Known, Served as Remote};
use crate::handlers::json_text;
use crate::negotiate::{self, Format};
use crate::registry::{Registry, ResourceSpec, Spec, Storage, Subresource, subresources};
use crate::render;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Those of a custom resource, in the order in which upstream names them.
const CUSTOM_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// Those of one whose definition is being deleted.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];
/// Groups in the order in which clients look for a name in them; those not named here follow by name.
const ORDER: &[&str] = &[
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];
/// What is served beside the API and health, as the list at `/` has it.
pub const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/flagz",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/statusz",
    "/version",
];
/// Kind, group and version of the aggregated document.
const AGGREGATED: [&str; 3] = ["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"];

/// What is asked for, and of whom.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// This server's `host:port`.
    pub server: &'a str,
}

/// How upstream serves a path: by the method alone, or whatever the method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// GET alone, in one of these types.
    Route(&'static [&'static str]),
    Any,
}

const ENCODINGS: &[&str] = &[negotiate::JSON, negotiate::YAML, negotiate::PROTOBUF];

/// Whether a path that is served by its method may be asked for so, and in what the client accepts.
pub fn route(asked: &Asked<'_>, available: &[&str]) -> Result<(), Status> {
    if asked.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let accept = asked.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    crate::routes::represented(accept, available)
}

/// The answer for a path; `health` are the paths of the server's checks.
pub fn respond(
    registry: &Registry,
    others: &Known,
    asked: &Asked<'_>,
    health: &[String],
) -> Result<Response<Body>, Status> {
    let served = Served(registry.rows(), others.values().collect());
    let &Asked { path, query, headers, .. } = asked;
    if matches!(path, "/" | "/index.html") {
        // This is always JSON, and for people.
        return Ok(json_text(StatusCode::OK, format!("{:#}", served.paths(health))));
    }
    let root = path.strip_suffix('/').unwrap_or(path);
    if matches!(root, "/api" | "/apis")
        && let Some(format) = negotiate::document(headers, query, Some(AGGREGATED))
    {
        return tagged(&served.aggregated(root == "/api"), format, headers);
    }
    let segments: Vec<&str> = root.split('/').skip(1).collect();
    let manner = match segments.as_slice() {
        ["version", ..] => Manner::Route(&[negotiate::JSON]),
        ["api", ..] => Manner::Route(ENCODINGS),
        ["apis", group, _, ..] if registry.is_builtin(group) => Manner::Route(ENCODINGS),
        _ => Manner::Any,
    };
    let Some(document) = served.document(&segments, asked.server) else {
        return Err(if manner == Manner::Any { Status::no_such_path() } else { Status::no_such_resource() });
    };
    if let Manner::Route(available) = manner {
        route(asked, available)?;
    }
    if root == "/version" {
        return Ok(json_text(StatusCode::OK, format!("{document:#}")));
    }
    let format = negotiate::document(headers, query, None);
    let format =
        format.ok_or_else(|| Status::not_acceptable(&negotiate::Encoding::ALL.map(negotiate::Encoding::media)))?;
    if format.encoding == negotiate::Encoding::Json && !format.pretty && document["resources"].is_array() {
        return Ok(render::answer(format, StatusCode::OK, in_order(&document).into()));
    }
    render::document(format, &document)
}

/// The document with a tag by which a client that has it already is told so.
fn tagged(document: &Value, format: Format, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let tag = format!("\"{}\"", hex::encode_upper(Sha256::digest(document.to_string())));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known {
        let mut nothing = Response::new(kinit_serving::full(Vec::new()));
        *nothing.status_mut() = StatusCode::NOT_MODIFIED;
        nothing
    } else {
        let mut response = render::document(format, document)?;
        let [kind, group, version] = AGGREGATED;
        let media = format!("{};g={group};v={version};as={kind}", format.content_type());
        if let Ok(media) = HeaderValue::from_str(&media) {
            response.headers_mut().insert(header::CONTENT_TYPE, media);
        }
        response
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A list of resources as JSON whose fields come in upstream's order, which scripts that look for text in it count on.
fn in_order(list: &Value) -> String {
    const LIST: [&str; 3] = ["kind", "apiVersion", "groupVersion"];
    const RESOURCE: [&str; 10] = [
        "name",
        "singularName",
        "namespaced",
        "group",
        "version",
        "kind",
        "verbs",
        "shortNames",
        "categories",
        "storageVersionHash",
    ];
    let fields = |object: &Value, names: &[&str]| {
        let present = names.iter().filter(|name| !object[**name].is_null());
        present.map(|name| format!("{name:?}:{}", object[*name])).collect::<Vec<_>>().join(",")
    };
    let rows = list["resources"].as_array().into_iter().flatten();
    let rows: Vec<String> = rows.map(|row| format!("{{{}}}", fields(row, &RESOURCE))).collect();
    format!("{{{},\"resources\":[{}]}}\n", fields(list, &LIST), rows.join(","))
}

/// The rows that are served, and what other servers serve.
struct Served<'a>(Vec<Spec>, Vec<&'a Remote>);

impl Served<'_> {
    /// The document at `path`, or `None` where there is none.
    fn document(&self, segments: &[&str], server: &str) -> Option<Value> {
        match segments {
            ["version"] => Some(version()),
            ["api"] => Some(json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
            })),
            ["apis"] => {
                let groups: Vec<Value> = self.groups().into_iter().map(|name| self.group(name)).collect();
                Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            ["apis", name] => {
                let mut document = self.groups().into_iter().find(|own| own == name).map(|name| self.group(name))?;
                document["kind"] = "APIGroup".into();
                document["apiVersion"] = "v1".into();
                Some(document)
            }
            ["api", version] => self.resources("", version),
            ["apis", group, version] if !group.is_empty() => self.resources(group, version),
            _ => None,
        }
    }

    /// The list at `/`, with the paths of health.
    fn paths(&self, health: &[String]) -> Value {
        let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for group in self.groups() {
            paths.push(format!("/apis/{group}"));
            paths.extend(self.versions(group).iter().map(|version| format!("/apis/{group}/{version}")));
        }
        paths.extend(PATHS.iter().map(|path| (*path).to_owned()));
        paths.extend_from_slice(health);
        paths.sort_unstable();
        json!({"paths": paths})
    }

    /// All groups but the core one, in the order in which clients look.
    fn groups(&self) -> Vec<&str> {
        let own = self.0.iter().map(|spec| spec.group()).filter(|group| !group.is_empty());
        let mut groups: Vec<&str> = own.chain(self.1.iter().map(|other| other.group.as_str())).collect();
        groups.sort_by_key(|group| (ORDER.iter().position(|own| own == group).unwrap_or(ORDER.len()), *group));
        groups.dedup();
        groups
    }

    /// A group's versions, the one that clients are to prefer first.
    fn versions(&self, group: &str) -> Vec<&str> {
        let others = self.1.iter().filter(|other| other.group == group).map(|other| other.version.as_str());
        let mut versions: Vec<&str> = self.rows(group).map(|spec| spec.version()).chain(others).collect();
        versions.sort_by(|a, b| kinit_crd::definition::prefer(a, b));
        versions.dedup();
        versions
    }

    fn rows<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a Spec> {
        self.0.iter().filter(move |spec| spec.group() == group)
    }

    fn group(&self, name: &str) -> Value {
        let versions: Vec<Value> = self
            .versions(name)
            .iter()
            .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
            .collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
    }

    fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let mut list = Vec::new();
        let mut group_version = None;
        for spec in self.rows(group).filter(|spec| spec.version() == version) {
            group_version = Some(spec.api_version());
            let mut row = json!({
                "name": spec.resource(), "singularName": spec.singular(), "namespaced": spec.namespaced(), "kind": spec.kind(),
                "verbs": verbs(spec),
            });
            if !spec.short_names().is_empty() {
                row["shortNames"] = json!(spec.short_names());
            }
            if !spec.categories().is_empty() {
                row["categories"] = json!(spec.categories());
            }
            if spec.storage != Storage::Never {
                row["storageVersionHash"] = storage_hash(spec).into();
            }
            list.push(row);
            list.extend(
                all_subresources(spec).into_iter().map(|(name, kind, verbs)| subresource(spec, name, kind, verbs)),
            );
        }
        let group_version = group_version?;
        let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list});
        // The oldest of these lists is from before they had a version.
        if !group.is_empty() {
            document["apiVersion"] = "v1".into();
        }
        Some(document)
    }

    /// Everything of the core group, or of all others, in one document.
    fn aggregated(&self, core: bool) -> Value {
        let names = if core { vec![""] } else { self.groups() };
        let items: Vec<Value> = names
            .into_iter()
            .map(|name| {
                let versions: Vec<Value> = self.versions(name)
                    .into_iter()
                    .map(|version| {
                        let other = self.1.iter().find(|other| (other.group.as_str(), other.version.as_str()) == (name, version));
                        if let Some(other) = other {
                            let freshness = if other.current { "Current" } else { "Stale" };
                            return json!({"version": version, "freshness": freshness, "resources": other.resources});
                        }
                        let rows = self.rows(name).filter(|spec| spec.version() == version);
                        json!({"version": version, "freshness": "Current", "resources": rows.map(|spec| entry(spec)).collect::<Vec<_>>()})
                    })
                    .collect();
                let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": kinit_version::kubernetes(), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": kinit_version::platform(),
    })
}

/// Labels of `kubernetes_build_info`, and what `/version` says under each.
pub fn build_labels() -> Vec<(&'static str, String)> {
    const NAMES: [(&str, &str); 9] = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let said = version();
    NAMES.into_iter().map(|(label, field)| (label, said[field].as_str().unwrap_or_default().to_owned())).collect()
}

/// What can be done with a resource's objects.
pub fn verbs(spec: &ResourceSpec) -> &'static [&'static str] {
    match (spec.storage, spec.resource()) {
        (Storage::Never, "componentstatuses") => &["get", "list"],
        (Storage::Never, _) => &["create"],
        // Namespaces go one by one: each takes all that is in it along.
        _ if spec.custom.as_ref().is_some_and(|custom| custom.definition.terminating) => TERMINATING_VERBS,
        _ if spec.custom.is_some() => CUSTOM_VERBS,
        (_, "namespaces") => &["create", "delete", "get", "list", "patch", "update", "watch"],
        _ => VERBS,
    }
}

/// The kind that a subresource takes and gives, in discovery's words: group and version only where they differ.
fn subresource(spec: &ResourceSpec, name: &str, kind: (&str, &str, &str), verbs: &[&str]) -> Value {
    let mut row = json!({
        "name": format!("{}/{name}", spec.resource()), "singularName": "", "namespaced": spec.namespaced(),
        "kind": kind.2, "verbs": verbs,
    });
    if (kind.0, kind.1) != (spec.group(), spec.version()) {
        row["group"] = kind.0.into();
        row["version"] = kind.1.into();
    }
    row
}

/// A subresource's name, its group, version and kind, and its verbs.
type SubresourceRow<'a> = (&'static str, (&'a str, &'a str, &'a str), &'static [&'static str]);

/// A resource's subresources, `status` among them.
pub fn all_subresources(spec: &ResourceSpec) -> Vec<SubresourceRow<'_>> {
    let mut all: Vec<SubresourceRow<'_>> =
        subresources(spec.group(), spec.resource()).map(|row: &Subresource| (row.name, row.kind, row.verbs)).collect();
    if spec.status {
        all.push(("status", (spec.group(), spec.version(), spec.kind()), STATUS_VERBS));
    }
    if spec.custom.as_ref().is_some_and(|custom| custom.version().scale.is_some()) {
        all.push(("scale", ("autoscaling", "v1", "Scale"), STATUS_VERBS));
    }
    if spec.custom.is_none() {
        all.sort_by_key(|(name, _, _)| *name);
    }
    all
}

/// Kinds that upstream of this version stores in another version than that which it prefers.
const STORED_AS: &[(&str, &str, &str)] = &[
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "v1beta1"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "v1beta1"),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "v1beta1"),
];

/// Eight bytes that stand for the form in which upstream stores a resource.
fn storage_hash(spec: &ResourceSpec) -> String {
    use base64::Engine;
    let stored = spec.custom.as_ref().and_then(|custom| custom.definition.storage());
    let (group, version) = match spec.storage {
        _ if stored.is_some() => (spec.group(), stored.map_or("", |version| &version.name)),
        Storage::As { group, version } => (group, version),
        Storage::Own | Storage::Never => {
            let other = STORED_AS.iter().find(|row| (row.0, row.1) == (spec.group(), spec.kind()));
            (spec.group(), other.map_or(spec.version(), |row| row.2))
        }
    };
    let text = format!("{group}/{version}/{}", spec.kind());
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

fn entry(spec: &ResourceSpec) -> Value {
    // Group and version are told where they are not the resource's own; of definitions always.
    let own = (spec.group(), spec.version());
    let kind = |(group, version, kind): (&str, &str, &str)| match (group, version) == own && spec.custom.is_none() {
        true => json!({"group": "", "version": "", "kind": kind}),
        false => json!({"group": group, "version": version, "kind": kind}),
    };
    let mut entry = json!({
        "resource": spec.resource(), "responseKind": kind((spec.group(), spec.version(), spec.kind())),
        "scope": if spec.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": spec.singular(), "verbs": verbs(spec),
    });
    if !spec.short_names().is_empty() {
        entry["shortNames"] = json!(spec.short_names());
    }
    if !spec.categories().is_empty() {
        entry["categories"] = json!(spec.categories());
    }
    let below: Vec<Value> = all_subresources(spec)
        .into_iter()
        .map(|(name, own, verbs)| json!({"subresource": name, "responseKind": kind(own), "verbs": verbs}))
        .collect();
    if !below.is_empty() {
        entry["subresources"] = below.into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RESOURCES;

    fn served() -> Served<'static> {
        Served(Registry::default().rows(), Vec::new())
    }

    #[test]
    fn lists_of_resources_are_written_in_upstreams_order() {
        let row = |name: &str| {
            json!({"name": name, "kind": "A", "verbs": ["get"], "singularName": "", "namespaced": true,
            "shortNames": ["x"], "categories": ["all"], "group": "g", "version": "v1", "storageVersionHash": "h"})
        };
        let list = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [row("a"), row("b/c")]});
        let written = in_order(&list);
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), list, "nothing is lost");
        let first = r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"a","singularName":"","namespaced":true,"group":"g","version":"v1","kind":"A","verbs":["get"],"shortNames":["x"],"categories":["all"],"storageVersionHash":"h"},{"#;
        assert!(written.starts_with(first), "{written}");
    }

    #[test]
    fn every_resource_is_described_once() {
        let served = served();
        let lists = std::iter::once("").chain(served.groups()).flat_map(|group| {
            served
                .versions(group)
                .into_iter()
                .map(|version| served.resources(group, version).unwrap())
                .collect::<Vec<_>>()
        });
        let described: usize = lists
            .map(|list| list["resources"].as_array().unwrap().iter().filter(|r| r["singularName"] != "").count())
            .sum();
        assert_eq!(described, RESOURCES.len());
        assert!(served.document(&["apis", "none"], "").is_none());
        assert_eq!(served.document(&["version"], "").unwrap()["gitVersion"], "v1.36.0");
        assert!(served.groups().iter().all(|group| ORDER.contains(group)));
    }

    #[test]
    fn the_aggregated_document_has_all_and_a_tag() {
        let count = |core| {
            let document = served().aggregated(core);
            let items = document["items"].as_array().unwrap().clone();
            let versions = items.iter().flat_map(|item| item["versions"].as_array().unwrap());
            versions.map(|version| version["resources"].as_array().unwrap().len()).sum::<usize>()
        };
        assert_eq!(count(true) + count(false), RESOURCES.len());
        let first = asked("/apis", WHOLE, None);
        assert_eq!(first.headers()[header::CONTENT_TYPE], WHOLE);
        assert_eq!(first.headers()[header::CACHE_CONTROL], "public");
        let again = asked("/apis", WHOLE, Some(first.headers()[header::ETAG].clone()));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    /// Hashes as upstream's server tells them.
    #[test]
    fn hashes_are_of_what_upstream_stores() {
        for (group, version, resource, hash) in [
            ("apps", "v1", "deployments", "8aSe+NMegvE="),
            ("events.k8s.io", "v1", "events", "r2yiGXH7wu8="),
            ("autoscaling", "v1", "horizontalpodautoscalers", "qwQve8ut294="),
            ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "LYmCf+UMVdg="),
            ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "jfWCUB31mvA="),
        ] {
            let list = served().resources(group, version).unwrap();
            let row = list["resources"].as_array().unwrap().iter().find(|row| row["name"] == resource).unwrap();
            assert_eq!(row["storageVersionHash"], hash, "{resource}");
        }
        let pods = entry(&RESOURCES.iter().find(|spec| spec.is("", "pods")).unwrap().clone());
        assert_eq!(pods["responseKind"], json!({"group": "", "version": "", "kind": "Pod"}));
        let below = |name: &str| {
            let all = pods["subresources"].as_array().unwrap();
            all.iter().find(|one| one["subresource"] == name).unwrap()["responseKind"].clone()
        };
        assert_eq!(below("eviction"), json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
        assert_eq!(below("status"), json!({"group": "", "version": "", "kind": "Pod"}));
    }

    const WHOLE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

    fn asked(path: &str, accept: &str, tag: Option<HeaderValue>) -> Response<Body> {
        asked_by(&Method::GET, path, accept, tag)
    }

    fn asked_by(method: &Method, path: &str, accept: &str, tag: Option<HeaderValue>) -> Response<Body> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        headers.extend(tag.map(|tag| (header::IF_NONE_MATCH, tag)));
        let asked = Asked { method, path, query: None, headers: &headers, server: "" };
        let answer = respond(&Registry::default(), &Known::new(), &asked, &["/livez/ping".to_owned()]);
        answer.unwrap_or_else(|status| crate::handlers::error_response(&status))
    }

    #[tokio::test]
    async fn documents_come_in_the_encoding_that_a_client_wants() {
        use http_body_util::BodyExt;
        let protobuf = "application/vnd.kubernetes.protobuf";
        let newest = WHOLE.replace("application/json", protobuf);
        let cases = [
            ("/apis", "*/*", "application/json", "{\"apiVersion\":\"v1\",\"groups\":["),
            ("/apis", "application/json", "application/json", "{\"apiVersion\":\"v1\",\"groups\":["),
            ("/apis", "application/yaml", "application/yaml", "apiVersion: v1\ngroups:\n"),
            ("/apis/apps", "application/yaml", "application/yaml", "apiVersion: v1\nkind: APIGroup\n"),
            ("/api/v1", protobuf, protobuf, "k8s\0"),
            ("/api", protobuf, protobuf, "k8s\0"),
            ("/apis", &newest, &newest, "k8s\0"),
            ("/apis", &format!("{newest};q=0.1,{WHOLE}"), WHOLE, "{"),
            ("/apis/apps/v1", WHOLE, "application/json", "{\"apiVersion\":\"v1\",\"code\":406,"),
            ("/apis", &WHOLE.replace("v2", "v2beta1"), "application/json", "{\"apiVersion\":\"v1\",\"code\":406,"),
            ("/apis", "application/cbor", "application/json", "{\"apiVersion\":\"v1\",\"code\":406,"),
            ("/version", "application/json", "application/json", "{\n  \"buildDate\""),
            ("/", "text/html", "application/json", "{\n  \"paths\": [\n    \"/.well-known/openid-configuration\","),
        ];
        for (path, accept, media, begins) in cases {
            let answer = asked(path, accept, None);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], media, "{path} {accept}");
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(bytes.starts_with(begins.as_bytes()), "{path} {accept}: {:?}", &bytes[..bytes.len().min(60)]);
        }
    }

    /// Codes that upstream answers with, and what the message is where it is an object.
    #[test]
    fn some_paths_take_any_method_and_others_only_theirs() {
        let missing = "the server could not find the requested resource";
        let method = "the server does not allow this method on the requested resource";
        let yaml = "406: Not Acceptable\n\nAvailable representations: application/json";
        for (method, path, accept, code, message) in [
            (Method::POST, "/", "*/*", 200, ""),
            (Method::DELETE, "/index.html", "*/*", 200, ""),
            (Method::PUT, "/apis", "*/*", 200, ""),
            (Method::PATCH, "/apis/apps/", "*/*", 200, ""),
            (Method::POST, "/api", "*/*", 405, method),
            (Method::HEAD, "/api/v1", "*/*", 405, method),
            (Method::POST, "/apis/apps/v1", "*/*", 405, method),
            (Method::POST, "/version/", "*/*", 405, method),
            (Method::GET, "/version", "application/yaml", 406, yaml),
            (Method::GET, "/version", "application/*", 406, yaml),
            (Method::GET, "/api/v2", "*/*", 404, missing),
            (Method::POST, "/apis/apps/v2", "*/*", 404, missing),
            (Method::GET, "/version/x", "*/*", 404, missing),
        ] {
            let answer = asked_by(&method, path, accept, None);
            assert_eq!(answer.status().as_u16(), code, "{method} {path}");
            let status = answer.extensions().get::<Status>().map(Status::to_value).unwrap_or_default();
            assert_eq!(status["message"].as_str().unwrap_or_default(), message, "{method} {path}");
            assert!(code == 200 || status["details"] == json!({}), "{path}");
        }
        for path in ["/nothing", "/apis/nothing", "/apis/nothing/v1", "//", "/index.html/"] {
            assert!(
                asked(path, "*/*", None).extensions().get::<Status>().is_some_and(Status::is_no_such_path),
                "{path}"
            );
        }
    }

    #[test]
    fn subresources_tell_kinds_of_other_groups() {
        let list = served().resources("", "v1").unwrap();
        let row =
            |name: &str| list["resources"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap();
        assert_eq!(list.get("apiVersion"), None);
        assert_eq!(row("pods/eviction")["group"], "policy");
        assert_eq!(row("pods/log")["kind"], "Pod");
        assert!(row("pods/log").get("group").is_none());
    }
}
