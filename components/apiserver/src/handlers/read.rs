//! get and list.

use http::{Response, StatusCode};
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::json;

use super::{Api, filter, json_response, object_response};
use crate::cache::Entry;
use crate::render::List;
use crate::request::ResourceRequest;
use crate::view;

impl Api {
    pub(super) async fn get(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        if request.parameter("resourceVersion") == "0" {
            let key = if request.namespace.is_empty() {
                request.name.clone()
            } else {
                format!("{}/{}", request.namespace, request.name)
            };
            if let Some(entry) = self.cache.list(request.index).0.get(&key) {
                return Ok(json_response(StatusCode::OK, view::bytes(request.spec, &entry.json)));
            }
        }
        let (object, revision) = self.stored(request, &request.name).await?;
        Ok(object_response(request, StatusCode::OK, object, revision))
    }

    pub(super) async fn list(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        let selected = filter(request)?;
        let (objects, revision) = match request.parameter("resourceVersion") {
            "0" => self.cache.list(request.index),
            _ => self.cache.list_consistent(request.index).await?,
        };
        let limit = match request.parameter("limit") {
            "" => usize::MAX,
            text => text.parse().map_err(|_| Status::bad_request(format!("limit: {text:?} is not a number")))?,
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let after = continue_key(request)?;
        let mut items = Vec::new();
        let mut more = None;
        for (key, entry) in &objects {
            if after.as_ref().is_some_and(|after| key <= after) || !selected(entry) {
                continue;
            }
            if items.len() == limit {
                more = items.last().map(|(key, _): &(&String, &std::sync::Arc<Entry>)| (*key).clone());
                break;
            }
            items.push((key, entry));
        }
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(last) = more {
            metadata["continue"] = encode_continue(&last).into();
        }
        let spec = request.spec;
        let items = items.into_iter().map(|(_, entry)| view::bytes(spec, &entry.json));
        let api_version = spec.api_version();
        List { group: spec.group, api_version: &api_version, kind: spec.kind, metadata, items }.respond(request.format)
    }
}

// A later page is read from the newest state, after the last key of the page before: upstream's inexact continuation.
fn encode_continue(key: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key)
}

fn continue_key(request: &ResourceRequest) -> Result<Option<String>, Status> {
    use base64::Engine;
    let token = request.parameter("continue");
    if token.is_empty() {
        return Ok(None);
    }
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok();
    let key = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    key.map(Some).ok_or_else(|| Status::bad_request("continue key is not valid"))
}
