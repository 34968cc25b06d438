//! get and list.

use bytes::Bytes;
use http::{Response, StatusCode};
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::json;

use super::{Api, filter, json_response, object_response};
use crate::render::List;
use crate::request::ResourceRequest;
use crate::view;

/// Lists of more bytes than this are written where they hold up nothing else.
const LONG: usize = 1024 * 1024;

impl Api {
    pub(super) async fn get(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        if request.parameter("resourceVersion") == "0" {
            let key = if request.namespace.is_empty() {
                request.name.clone()
            } else {
                format!("{}/{}", request.namespace, request.name)
            };
            if let Some(entry) = self.cache.list(request.index).0.get(&key) {
                return Ok(json_response(StatusCode::OK, view::bytes(&request.spec, &entry.json)));
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
        let mut wanted =
            objects.iter().filter(|(key, entry)| after.as_ref().is_none_or(|after| *key > after) && selected(entry));
        let mut items = Vec::new();
        let mut last = "";
        for (key, entry) in wanted.by_ref().take(limit) {
            items.push(view::bytes(&request.spec, &entry.json));
            last = key;
        }
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if wanted.next().is_some() {
            metadata["continue"] = encode_continue(last).into();
            // Nobody counts what a selector would have to look at.
            if request.parameter("labelSelector").is_empty() && request.parameter("fieldSelector").is_empty() {
                metadata["remainingItemCount"] = (1 + wanted.count()).into();
            }
        }
        let format = request.format;
        let size: usize = items.iter().map(Bytes::len).sum();
        let list = List { spec: request.spec.clone(), metadata, items: items.into_iter() };
        if size < LONG {
            return list.respond(format);
        }
        // The threads that serve everyone else are not held up by one long answer.
        tokio::task::spawn_blocking(move || list.respond(format)).await.map_err(Status::internal)?
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
