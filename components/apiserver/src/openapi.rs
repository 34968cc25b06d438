//! `/openapi/v2` and `/openapi/v3`: documents of what the server serves, built when asked for and kept nowhere. Only their
//! hashes stay, because the index of version 3 and entity tags name them.

mod proto;
mod words;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kinit_api::status::Status;
use kinit_crd::openapi::Dialect;
use kinit_schema::openapi::{self, Resource};
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
}

/// Hashes of documents, for what was served then.
#[derive(Default)]
struct Hashes {
    /// The number of the registry's snapshot.
    generation: u64,
    /// What other servers said of themselves.
    others: u64,
    known: BTreeMap<Document, String>,
}

/// What documents are about: what this server serves, and what it passes on.
struct Served {
    registry: Arc<Registry>,
    known: Arc<Known>,
}

impl Served {
    /// What other servers that answer say of themselves in version 2.
    fn others(&self) -> impl Iterator<Item = &Swagger> {
        self.known.values().filter(|it| it.current).filter_map(|it| it.swagger.as_deref())
    }

    fn fingerprint(&self) -> u64 {
        self.others().fold(0, |all, one| all.rotate_left(7) ^ one.fingerprint)
    }
}

impl Hashes {
    /// Forgets what is no longer as it was.
    fn follow(&mut self, served: &Served) {
        if self.generation < served.registry.generation() {
            // Groups of built-in kinds alone are the same for ever.
            self.known.retain(|document, _| document.is_constant());
            self.generation = served.registry.generation();
        }
        let others = served.fingerprint();
        if self.others != others {
            self.known.retain(|document, _| !document.is_old());
            self.others = others;
        }
    }

    /// Whether what was made for `served` is still so.
    fn is_of(&self, served: &Served) -> bool {
        self.generation == served.registry.generation() && self.others == served.fingerprint()
    }
}

impl Document {
    fn build(&self, served: &Served) -> Vec<u8> {
        let registry = &served.registry;
        let words = Packed::open();
        let rows: Vec<Row> = registry.rows().into_iter().filter(|spec| self.has(spec)).map(Row::new).collect();
        let resources = resources(&rows);
        let mut custom = self.custom(&rows);
        if self.is_old() {
            for other in served.others() {
                custom.paths.extend(other.paths.iter().map(|(path, item)| (path.clone(), item.clone())));
                for (name, schema) in &other.schemas {
                    custom.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
                }
            }
        }
        match self {
            Self::V2 => openapi::v2(&resources, &custom, &words),
            Self::V2Proto => proto::document(&resources, &custom, &words),
            Self::V3(..) => openapi::v3(&resources, &custom, &words),
        }
    }

    fn has(&self, spec: &Spec) -> bool {
        match self {
            Self::V2 | Self::V2Proto => true,
            Self::V3(group, version) => spec.group() == group && spec.version() == version,
        }
    }

    /// The schemas that definitions give.
    fn custom(&self, rows: &[Row]) -> openapi::Custom {
        let dialect = if matches!(self, Self::V3(..)) { Dialect::V3 } else { Dialect::V2 };
        let custom = rows.iter().filter_map(|row| row.spec.custom.as_ref());
        let schemas =
            custom.flat_map(|it| kinit_crd::openapi::schemas(&it.definition, it.version(), dialect)).collect();
        openapi::Custom { schemas, ..openapi::Custom::default() }
    }

    /// The document's hash, which is its content's. The first call builds the document.
    fn hash(&self, served: &Served) -> String {
        static HASHES: OnceLock<parking_lot::Mutex<Hashes>> = OnceLock::new();
        let hashes = HASHES.get_or_init(Default::default);
        {
            let mut hashes = hashes.lock();
            hashes.follow(served);
            if let Some(hash) = hashes.known.get(self) {
                return hash.clone();
            }
        }
        let hash = hex::encode_upper(Sha512::digest(self.build(served)));
        let mut hashes = hashes.lock();
        hashes.follow(served);
        if hashes.is_of(served) || self.is_constant() {
            hashes.known.insert(self.clone(), hash.clone());
        }
        hash
    }

    /// Whether it is of version 2, which has what all servers serve.
    fn is_old(&self) -> bool {
        matches!(self, Self::V2 | Self::V2Proto)
    }

    /// Whether no definition can add to the document: their groups have a domain that is not the project's.
    fn is_constant(&self) -> bool {
        matches!(self, Self::V3(group, _) if !group.contains('.'))
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

/// The groups and versions served, as version 3's index names them: `api/v1`, `apis/apps/v1`.
fn versions(registry: &Registry) -> BTreeMap<String, Document> {
    let name = |spec: Spec| {
        let base = if spec.group().is_empty() { "api".to_owned() } else { format!("apis/{}", spec.group()) };
        let document = Document::V3(spec.group().to_owned(), spec.version().to_owned());
        (format!("{base}/{}", spec.version()), document)
    };
    registry.rows().into_iter().map(name).collect()
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
        "/openapi/v3" => return blocking(move || index(&Served { registry, known })).await,
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
    let (path, served) = (path.to_owned(), Served { registry, known });
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
    let own = versions(&served.registry).into_iter().map(|(name, document)| {
        let url = format!("/openapi/v3/{name}?hash={}", document.hash(served));
        (name, url)
    });
    let others = served.known.values().filter(|it| it.current);
    let others = others.filter_map(|it| Some((format!("apis/{}/{}", it.group, it.version), it.openapi.clone()?)));
    let paths: serde_json::Map<String, serde_json::Value> =
        own.chain(others).map(|(name, url)| (name, serde_json::json!({ "serverRelativeURL": url }))).collect();
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
    let hash = document.hash(served);
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
    let mut bytes = document.build(served);
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).map_err(Status::internal)?;
        bytes = encoder.finish().map_err(Status::internal)?;
    }
    *response.body_mut() = full(bytes);
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
