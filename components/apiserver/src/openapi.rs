//! `/openapi/v2` and `/openapi/v3`: documents of what the server serves, built when asked for and kept nowhere. Only their
//! hashes stay, because the index of version 3 and entity tags name them.

mod proto;
mod words;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kinit_api::status::Status;
use kinit_schema::openapi::{self, Resource};
use kinit_serving::{Body, full};
use sha2::{Digest, Sha512};

use crate::discovery::{all_subresources, verbs};
use crate::registry::{RESOURCES, ResourceSpec};
use words::Packed;

const JSON: &str = "application/json";
const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same type as clients name it: `@` is no letter of a media type, but they send it.
const V2_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// One of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Document {
    V2,
    V2Proto,
    /// Of a group and a version.
    V3(&'static str, &'static str),
}

impl Document {
    fn build(self) -> Vec<u8> {
        let words = Packed::open();
        match self {
            Self::V2 => openapi::v2(&resources(|_| true), &words),
            Self::V2Proto => proto::document(&resources(|_| true), &words),
            Self::V3(group, version) => {
                openapi::v3(&resources(|spec| spec.group() == group && spec.version() == version), &words)
            }
        }
    }

    /// The document's hash, which is its content's. The first call builds the document.
    fn hash(self) -> String {
        static HASHES: OnceLock<parking_lot::Mutex<BTreeMap<Document, String>>> = OnceLock::new();
        let hashes = HASHES.get_or_init(Default::default);
        if let Some(hash) = hashes.lock().get(&self) {
            return hash.clone();
        }
        let hash = hex::encode_upper(Sha512::digest(self.build()));
        hashes.lock().entry(self).or_insert(hash).clone()
    }
}

/// The resources and subresources of the rows that `wanted` picks.
fn resources(wanted: impl Fn(&ResourceSpec) -> bool) -> Vec<Resource<'static>> {
    let mut all = Vec::new();
    for spec in RESOURCES.iter().filter(|spec| wanted(spec)) {
        let own = Resource {
            group: spec.group(),
            version: spec.version(),
            plural: spec.resource(),
            subresource: "",
            kind: (spec.group(), spec.version(), spec.kind()),
            parent: spec.kind(),
            namespaced: spec.namespaced(),
            verbs: verbs(spec),
        };
        let subresources = all_subresources(spec).into_iter();
        all.extend(subresources.map(|(subresource, kind, verbs)| Resource { subresource, kind, verbs, ..own.clone() }));
        all.push(own);
    }
    all
}

/// The groups and versions served, as version 3's index names them: `api/v1`, `apis/apps/v1`.
fn versions() -> BTreeMap<String, Document> {
    RESOURCES
        .iter()
        .map(|spec| {
            let base = if spec.group().is_empty() { "api".to_owned() } else { format!("apis/{}", spec.group()) };
            (format!("{base}/{}", spec.version()), Document::V3(spec.group(), spec.version()))
        })
        .collect()
}

/// Answers a path below `/openapi`.
pub async fn respond(path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let document = match path.trim_end_matches('/') {
        "/openapi/v2" => v2_form(headers)?,
        "/openapi/v3" => return blocking(index).await,
        path => {
            let name = path.strip_prefix("/openapi/v3/").ok_or_else(Status::no_such_path)?;
            versions().get(name).copied().ok_or_else(Status::no_such_path)?
        }
    };
    let asked = query.into_iter().flat_map(|query| url::form_urlencoded::parse(query.as_bytes()));
    let asked = asked.into_iter().find(|(key, _)| key == "hash").map(|(_, hash)| hash.into_owned());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let gzip = headers.get(header::ACCEPT_ENCODING).is_some_and(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|coding| coding.trim().starts_with("gzip")))
    });
    let path = path.to_owned();
    blocking(move || answer(document, &path, asked.as_deref(), known.as_deref(), gzip)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<Response<Body>, Status> + Send + 'static,
) -> Result<Response<Body>, Status> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)?
}

fn v2_form(headers: &HeaderMap) -> Result<Document, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or(JSON);
    for media in accept.split(',').map(|media| media.split(';').next().unwrap_or_default().trim()) {
        match media {
            V2_PROTO | V2_PROTO_OLD => return Ok(Document::V2Proto),
            JSON | "application/*" | "*/*" | "" => return Ok(Document::V2),
            _ => {}
        }
    }
    Err(Status::not_acceptable(&[JSON, V2_PROTO]))
}

fn index() -> Result<Response<Body>, Status> {
    let paths: serde_json::Map<String, serde_json::Value> = versions()
        .into_iter()
        .map(|(name, document)| {
            let url = format!("/openapi/v3/{name}?hash={}", document.hash());
            (name, serde_json::json!({ "serverRelativeURL": url }))
        })
        .collect();
    Ok(crate::handlers::json_response(StatusCode::OK, serde_json::json!({ "paths": paths }).to_string()))
}

fn answer(
    document: Document,
    path: &str,
    asked: Option<&str>,
    known: Option<&str>,
    gzip: bool,
) -> Result<Response<Body>, Status> {
    let hash = document.hash();
    let tag = format!("\"{hash}\"");
    let mut response = Response::new(full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(header::ETAG, HeaderValue::try_from(&tag).map_err(Status::internal)?);
    if asked.is_some_and(|asked| asked != hash) {
        let place = HeaderValue::try_from(format!("{path}?hash={hash}")).map_err(Status::internal)?;
        headers.insert(header::LOCATION, place);
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
    let media = if document == Document::V2Proto { V2_PROTO } else { JSON };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    let mut bytes = document.build();
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
        let response = respond(path, query, &map).await.unwrap();
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

    #[test]
    fn every_resource_has_types_and_paths() {
        for resource in resources(|_| true) {
            let (group, version, kind) = resource.kind;
            let streams = kind.ends_with("Options");
            assert!(streams || kinit_schema::kind(group, version, kind).is_some(), "{kind}");
            if resource.verbs.contains(&"list") {
                assert!(kinit_schema::kind(group, version, &format!("{kind}List")).is_some(), "{kind}");
            }
        }
    }
}
