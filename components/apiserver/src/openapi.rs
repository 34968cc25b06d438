//! `/openapi/v2` and `/openapi/v3`: documents of what the server serves, made when first asked for, and again only
//! after what they are made of has changed.

mod proto;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kinit_api::status::Status;
use kinit_crd::definition::Definition;
use kinit_crd::openapi::Dialect;
use kinit_schema::openapi::{self, Resource, roots};
use kinit_serving::{Body, full};
use sha2::{Digest, Sha512};

use crate::aggregate::Known;
use crate::aggregate::swagger::Swagger;
use crate::discovery::{all_subresources, verbs};
use crate::negotiate::takes_gzip;
use crate::registry::{Registry, Spec};
use words::Packed;

const JSON: &str = "application/json";
const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same type as clients name it: `@` is no letter of a media type, but they send it.
const V2_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// One of the documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Document {
    V2,
    V2Proto,
    /// Of a group and a version.
    V3(String, String),
    /// Of one path that is of no group and version, without its slashes at both ends.
    Root(String),
}

/// What documents are about: what this server serves, and what it passes on.
struct Served {
    registry: Arc<Registry>,
    known: Arc<Known>,
    /// The descriptions, while documents are being made.
    words: OnceLock<Packed>,
}

impl Served {
    fn new(registry: Arc<Registry>, known: Arc<Known>) -> Self {
        Self { registry, known, words: OnceLock::new() }
    }

    /// What other servers that answer say of themselves in version 2.
    fn others(&self) -> impl Iterator<Item = &Swagger> {
        self.known.values().filter(|it| it.current).filter_map(|it| it.swagger.as_deref())
    }

    /// What a document is made of, besides built-in kinds.
    fn parts(&self, document: &Document) -> Parts {
        let custom = self.registry.rows().into_iter().filter(|spec| document.has(spec));
        let definitions = custom.filter_map(|spec| spec.custom.as_ref().map(|it| Arc::downgrade(&it.definition)));
        let others =
            self.others().filter(|_| document.is_old()).fold(0_u64, |all, one| all.rotate_left(7) ^ one.fingerprint);
        Parts { definitions: definitions.collect(), others }
    }

    fn make(&self, document: &Document) -> Vec<u8> {
        let words = self.words.get_or_init(Packed::open);
        let rows: Vec<Row> = self.registry.rows().into_iter().filter(|spec| document.has(spec)).map(Row::new).collect();
        let resources = resources(&rows);
        let mut custom = document.custom(&rows);
        if document.is_old() {
            for other in self.others() {
                custom.paths.extend(other.paths.iter().map(|(path, item)| (path.clone(), item.clone())));
                for (name, schema) in &other.schemas {
                    custom.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
                }
            }
        }
        let mut roots = roots(&self.registry);
        roots.retain(|root| document.is_old() || *document == Document::Root(root.name.clone()));
        let content = openapi::Content { resources: &resources, roots: &roots, custom: &custom, words };
        match document {
            Document::V2 => openapi::json(&content, openapi::Dialect::V2),
            Document::V2Proto => proto::document(&content),
            Document::V3(..) | Document::Root(_) => openapi::json(&content, openapi::Dialect::V3),
        }
    }

    /// A document as it was made last, or made now if what it is made of has changed. Who asks while it is being made waits.
    fn document(&self, document: &Document) -> std::io::Result<Made> {
        let slot = made().lock().entry(document.clone()).or_default().clone();
        let mut slot = slot.lock();
        let parts = self.parts(document);
        if let Some(made) = slot.as_ref().filter(|made| made.parts.is(&parts)) {
            return Ok(made.clone());
        }
        let text = self.make(document);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&text)?;
        let made = Made {
            parts: Arc::new(parts),
            hash: hex::encode_upper(Sha512::digest(&text)).into(),
            gzip: encoder.finish()?.into(),
        };
        *slot = Some(made.clone());
        Ok(made)
    }
}

/// What tells documents that are made of other things apart.
struct Parts {
    /// Those that say something of it: as long as there is a pointer to one, no other is in its place.
    definitions: Vec<Weak<Definition>>,
    /// A number of what other servers said of themselves.
    others: u64,
}

impl Parts {
    /// Whether it is made of definitions alone of which none is there any more.
    fn is_gone(&self) -> bool {
        !self.definitions.is_empty() && self.definitions.iter().all(|it| it.strong_count() == 0)
    }

    fn is(&self, other: &Self) -> bool {
        let same = |(own, other): (&Weak<Definition>, &Weak<Definition>)| own.ptr_eq(other);
        self.others == other.others
            && self.definitions.len() == other.definitions.len()
            && self.definitions.iter().zip(&other.definitions).all(same)
    }
}

/// A document that was made, compressed: uncompressed all of them would be ten times as large.
#[derive(Clone)]
struct Made {
    parts: Arc<Parts>,
    /// The SHA-512 of its content.
    hash: Arc<str>,
    gzip: Bytes,
}

type Slots = parking_lot::Mutex<BTreeMap<Document, Arc<parking_lot::Mutex<Option<Made>>>>>;

/// The documents that somebody has asked for.
fn made() -> &'static Slots {
    static MADE: OnceLock<Slots> = OnceLock::new();
    MADE.get_or_init(Default::default)
}

impl Document {
    fn has(&self, spec: &Spec) -> bool {
        match self {
            Self::V2 | Self::V2Proto => true,
            Self::V3(group, version) => spec.group() == group && spec.version() == version,
            Self::Root(_) => false,
        }
    }

    /// The schemas that definitions give.
    fn custom(&self, rows: &[Row]) -> openapi::Custom {
        let dialect = if self.is_old() { Dialect::V2 } else { Dialect::V3 };
        let custom = rows.iter().filter_map(|row| row.spec.custom.as_ref());
        let schemas =
            custom.flat_map(|it| kinit_crd::openapi::schemas(&it.definition, it.version(), dialect)).collect();
        openapi::Custom { schemas, ..openapi::Custom::default() }
    }

    /// Whether it is of version 2, which has what all servers serve.
    fn is_old(&self) -> bool {
        matches!(self, Self::V2 | Self::V2Proto)
    }
}

/// A row with the names of its definitions, where it is of no built-in kind.
struct Row {
    spec: Spec,
    names: Option<(String, String)>,
}

impl Row {
    fn new(spec: Spec) -> Self {
        let name = |kind: &str| kinit_crd::openapi::definition_name(spec.group(), spec.version(), kind);
        let names = spec.custom.as_ref().map(|_| (name(spec.kind()), name(&spec.list_kind())));
        Self { spec, names }
    }
}

/// The rows' resources and subresources.
fn resources(rows: &[Row]) -> Vec<Resource<'_>> {
    let mut all = Vec::new();
    for Row { spec, names } in rows {
        let own = Resource {
            group: spec.group(),
            version: spec.version(),
            plural: spec.resource(),
            subresource: "",
            kind: (spec.group(), spec.version(), spec.kind()),
            parent: spec.kind(),
            namespaced: spec.namespaced(),
            custom: names.as_ref().map(|(own, list)| (own.as_str(), list.as_str())),
            verbs: verbs(spec),
        };
        let subresources = all_subresources(spec).into_iter();
        all.extend(subresources.map(|(subresource, kind, verbs)| Resource { subresource, kind, verbs, ..own.clone() }));
        all.push(own);
    }
    all
}

/// The paths of no group and version. Groups that only definitions have are not among them.
fn roots(registry: &Registry) -> Vec<roots::Root> {
    let rows = registry.rows();
    let groups: BTreeSet<&str> = rows.iter().filter(|spec| spec.custom.is_none()).map(|spec| spec.group()).collect();
    roots::all(&groups.into_iter().collect::<Vec<_>>())
}

/// The documents of version 3, as its index names them: `api/v1`, `apis/apps/v1`, `version`.
fn versions(registry: &Registry) -> BTreeMap<String, Document> {
    let name = |spec: Spec| {
        let base = if spec.group().is_empty() { "api".to_owned() } else { format!("apis/{}", spec.group()) };
        let document = Document::V3(spec.group().to_owned(), spec.version().to_owned());
        (format!("{base}/{}", spec.version()), document)
    };
    let roots = roots(registry).into_iter().map(|root| (root.name.clone(), Document::Root(root.name)));
    registry.rows().into_iter().map(name).chain(roots).collect()
}

/// Answers a path below `/openapi`.
pub async fn respond(
    registry: Arc<Registry>,
    known: Arc<Known>,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let document = match path {
        "/openapi/v2" => v2_form(headers),
        "/openapi/v3" => return blocking(move || index(&Served::new(registry, known))).await,
        path => {
            let name = path.strip_prefix("/openapi/v3/").ok_or_else(Status::no_such_path)?;
            let Some(document) = versions(&registry).remove(name) else { return Ok(nothing(StatusCode::NOT_FOUND)) };
            takes_json(headers).then_some(document)
        }
    };
    let Some(document) = document else { return Ok(nothing(StatusCode::NOT_ACCEPTABLE)) };
    let asked = query.into_iter().flat_map(|query| url::form_urlencoded::parse(query.as_bytes()));
    let asked = asked.into_iter().find(|(key, _)| key == "hash").map(|(_, hash)| hash.into_owned());
    let has = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let gzip = headers.get(header::ACCEPT_ENCODING).is_some_and(|value| value.to_str().is_ok_and(takes_gzip));
    let (path, served) = (path.to_owned(), Served::new(registry, known));
    blocking(move || answer(&served, &document, &path, asked.as_deref(), has.as_deref(), gzip)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<Response<Body>, Status> + Send + 'static,
) -> Result<Response<Body>, Status> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)?
}

/// The media types that a client accepts, without parameters.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).filter(|accept| !accept.is_empty());
    accept.unwrap_or(JSON).split(',').map(|media| media.split(';').next().unwrap_or_default().trim())
}

fn takes_json(headers: &HeaderMap) -> bool {
    accepted(headers).any(|media| matches!(media, JSON | "application/*" | "*/*"))
}

/// The form of version 2's document that a client accepts.
fn v2_form(headers: &HeaderMap) -> Option<Document> {
    accepted(headers).find_map(|media| match media {
        V2_PROTO | V2_PROTO_OLD => Some(Document::V2Proto),
        JSON | "application/*" | "*/*" => Some(Document::V2),
        _ => None,
    })
}

/// An answer without a word, as upstream has it for documents that there are not.
fn nothing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn index(served: &Served) -> Result<Response<Body>, Status> {
    let versions = versions(&served.registry);
    // What was made of definitions that are gone will not be asked for.
    made()
        .lock()
        .retain(|_, slot| slot.try_lock().is_none_or(|made| made.as_ref().is_none_or(|it| !it.parts.is_gone())));
    let mut own = Vec::with_capacity(versions.len());
    for (name, document) in versions {
        let hash = served.document(&document).map_err(Status::internal)?.hash;
        own.push((name.clone(), format!("/openapi/v3/{name}?hash={hash}")));
    }
    let others = served.known.values().filter(|it| it.current);
    let others = others.filter_map(|it| Some((format!("apis/{}/{}", it.group, it.version), it.openapi.clone()?)));
    let paths: serde_json::Map<String, serde_json::Value> = own
        .into_iter()
        .chain(others)
        .map(|(name, url)| (name, serde_json::json!({ "serverRelativeURL": url })))
        .collect();
    // Upstream leaves it to what looks like text.
    Ok(kinit_serving::text(StatusCode::OK, serde_json::json!({ "paths": paths }).to_string()))
}

fn answer(
    served: &Served,
    document: &Document,
    path: &str,
    asked: Option<&str>,
    known: Option<&str>,
    gzip: bool,
) -> Result<Response<Body>, Status> {
    let Made { hash, gzip: compressed, .. } = served.document(document).map_err(Status::internal)?;
    let hash = &*hash;
    let tag = format!("\"{hash}\"");
    let mut response = Response::new(full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::ETAG, HeaderValue::try_from(&tag).map_err(Status::internal)?);
    if asked.is_some_and(|asked| asked != hash) {
        let place = HeaderValue::try_from(format!("{path}?hash={hash}")).map_err(Status::internal)?;
        headers.insert(header::LOCATION, place);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        return Ok(response);
    }
    // A document is what its hash says for ever; without one it may be another the next time.
    let caching = if asked.is_some() { "public, immutable" } else { "no-cache, private" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if asked.is_some() {
        let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(365 * 24);
        let text = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        headers.insert(header::EXPIRES, HeaderValue::try_from(text).map_err(Status::internal)?);
    }
    if known.is_some_and(|known| known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let media = if *document == Document::V2Proto { V2_PROTO } else { JSON };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    *response.body_mut() = if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        full(compressed)
    } else {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*compressed).read_to_end(&mut text).map_err(Status::internal)?;
        full(text)
    };
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn get(
        path: &str,
        query: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let response = respond(Arc::default(), Arc::default(), path, query, &map).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn the_index_leads_to_documents_that_caches_may_keep() {
        let (_, _, body) = get("/openapi/v3", None, &[]).await;
        let index: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
        let (path, query) = url.split_once('?').unwrap();
        let (status, headers, body) = get(path, Some(query), &[]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let spec = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"];
        assert!(spec["properties"]["replicas"]["description"].as_str().unwrap().len() > 10);
        let tag = headers[header::ETAG].to_str().unwrap();
        let (status, _, body) = get(path, None, &[("if-none-match", tag)]).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        let (status, headers, _) = get(path, Some("hash=OLD"), &[]).await;
        assert_eq!((status, headers[header::LOCATION].to_str().unwrap()), (StatusCode::MOVED_PERMANENTLY, url));
    }

    #[tokio::test]
    async fn documents_that_there_are_not_are_told_without_a_word() {
        let proto = "application/vnd.kubernetes.protobuf";
        for (path, accept, wanted) in [
            ("/openapi/v2", "text/html", 406),
            ("/openapi/v2", proto, 406),
            ("/openapi/v3/apis/apps/v1", proto, 406),
            ("/openapi/v3/apis/apps/v1", "", 200),
            ("/openapi/v3/", "*/*", 404),
            ("/openapi/v3/nothing", "*/*", 404),
        ] {
            let (status, headers, body) = get(path, None, &[("accept", accept)]).await;
            assert_eq!(status.as_u16(), wanted, "{path} {accept}");
            assert!(wanted == 200 || body.is_empty() && !headers.contains_key(header::CONTENT_TYPE), "{path}");
        }
        assert_eq!(get("/openapi/v3", None, &[]).await.1[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        let missing = respond(Arc::default(), Arc::default(), "/openapi/v2/", None, &HeaderMap::new()).await;
        assert!(missing.is_err_and(|status| status.is_no_such_path()));
    }

    #[tokio::test]
    async fn version_2_has_words_and_shares_its_parameters() {
        let (_, _, body) = get("/openapi/v2", None, &[]).await;
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let services = &document["definitions"]["io.k8s.api.core.v1.ServiceList"];
        assert_eq!(services["description"], "A list of objects of kind Service.");
        assert!(services["properties"]["kind"]["description"].as_str().unwrap().starts_with("Kind is a string value"));
        assert_eq!(document["info"]["version"], "1.36");
        let parameters = &document["paths"]["/api/v1/pods"]["parameters"];
        let bookmarks = parameters[0]["$ref"].as_str().unwrap();
        assert!(bookmarks.starts_with("#/parameters/allowWatchBookmarks-"), "{bookmarks}");
        let is_told = |value: &serde_json::Value| value["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_told(document.pointer(&bookmarks[1..]).unwrap()));
        let parameters = document["parameters"].as_object().unwrap();
        for (name, parameter) in parameters.iter().filter(|(_, one)| one["in"] != "body") {
            assert!(is_told(parameter), "{name}");
        }
        let definitions = document["definitions"].as_object().unwrap();
        for (name, list) in definitions.iter().filter(|(name, _)| name.ends_with("List")) {
            assert!(is_told(list), "{name}");
            for (field, schema) in list["properties"].as_object().unwrap() {
                assert!(is_told(schema), "{name} {field}");
            }
        }
        let names: Vec<&String> = parameters.keys().collect();
        assert_eq!((names.len(), names[1].as_str()), (41, "body-2Y1dVQaQ"));
        assert!(document["paths"]["/api/v1/nodes/{name}/proxy/{path}"]["head"].is_object());
        assert_eq!(document["paths"]["/apis/rbac.authorization.k8s.io/"]["get"]["tags"][0], "rbacAuthorization");
    }

    #[tokio::test]
    async fn paths_of_no_group_have_documents() {
        for (name, id, schemas) in [
            ("version", "getCodeVersion", 1),
            ("api", "getCoreAPIVersions", 2),
            ("apis/apps", "getAppsAPIGroup", 3),
            ("openid/v1/jwks", "getServiceAccountIssuerOpenIDKeyset", 0),
        ] {
            let (_, _, body) = get(&format!("/openapi/v3/{name}"), None, &[]).await;
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["paths"][format!("/{name}/")]["get"]["operationId"], id);
            let components = &document["components"];
            assert_eq!(components["schemas"].as_object().map_or(0, |all| all.len()), schemas, "{name}");
            assert!(components["securitySchemes"]["BearerToken"].is_object());
        }
    }

    #[test]
    fn documents_are_made_again_when_what_they_are_made_of_changes() {
        let definition = |kind: &str| {
            let names = serde_json::json!({"plural": "foos", "kind": kind, "listKind": "FooList"});
            let condition = serde_json::json!({"type": "Established", "status": "True"});
            let object = serde_json::json!({
                "metadata": {"name": "foos.example.com", "uid": "u"},
                "spec": {"group": "example.com", "scope": "Cluster", "versions": [{"name": "v1", "served": true, "storage": true}]},
                "status": {"acceptedNames": names, "conditions": [condition]},
            });
            Definition::read(&kinit_api::object::Object::from_value(object).unwrap())
        };
        let before = Arc::new(Registry::default().with(definition("Foo")));
        let served = |registry: &Arc<Registry>| Served::new(Arc::clone(registry), Arc::default());
        let made = |registry: &Arc<Registry>, document: &Document| served(registry).document(document).unwrap();
        let (own, apps) = (Document::V3("example.com".into(), "v1".into()), Document::V3("apps".into(), "v1".into()));
        let documents = [own, Document::V2Proto, apps];
        let first = documents.each_ref().map(|document| made(&before, document));
        let kept = |registry: &Arc<Registry>| {
            [0, 1, 2].map(|at| Arc::ptr_eq(&made(registry, &documents[at]).parts, &first[at].parts))
        };
        assert_eq!(kept(&before), [true; 3]);
        let after = Arc::new(before.with(definition("Bar")));
        assert_eq!(kept(&after), [false, false, true]);
        assert_ne!(made(&after, &documents[0]).hash, first[0].hash);
        assert_eq!(made(&after, &documents[2]).hash, first[2].hash);
    }

    #[test]
    fn every_resource_has_types_and_paths() {
        let rows: Vec<Row> = Registry::default().rows().into_iter().map(Row::new).collect();
        for resource in resources(&rows) {
            let (group, version, kind) = resource.kind;
            let streams = kind.ends_with("Options");
            assert!(streams || kinit_schema::kind(group, version, kind).is_some(), "{kind}");
            if resource.verbs.contains(&"list") {
                assert!(kinit_schema::kind(group, version, &format!("{kind}List")).is_some(), "{kind}");
            }
        }
    }
}
