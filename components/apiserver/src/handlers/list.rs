//! list, whole and by pages.

use bytes::Bytes;
use http::Response;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::json;

use super::paging::{At, Page, Token};
use super::{Api, filter};
use crate::cache::Map;
use crate::render::List;
use crate::request::ResourceRequest;
use crate::view;

/// Lists of more bytes than this are written where they hold up nothing else.
const LONG: usize = 1024 * 1024;

impl Api {
    pub(super) async fn list(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        let selected = filter(request)?;
        let Page { at, after, limit } = Page::of(request)?;
        let (objects, revision) = self.objects(request, at).await.map_err(|error| match &after {
            // The pages before were of a state that is forgotten; the rest of the newest one may do as well.
            Some(after) if error.reason == "Expired" => expired(after),
            _ => error,
        })?;
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
            metadata["continue"] = Token { revision, after: last.to_owned() }.encode().into();
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

    /// The objects of the request's resource at a moment, and its revision.
    async fn objects(&self, request: &ResourceRequest, at: At) -> Result<(Map, i64), Status> {
        match at {
            At::Any => Ok(self.cache.list(request.index)),
            At::Newest => self.cache.list_consistent(request.index).await,
            At::NotOlder(revision) => {
                self.cache.reach(revision).await?;
                Ok(self.cache.list(request.index))
            }
            At::Exactly(revision) => {
                self.cache.reach(revision).await?;
                Ok((self.cache.list_at(request.index, revision).await?, revision))
            }
        }
    }
}

fn expired(after: &str) -> Status {
    let mut status = Status::expired(
        "The continue parameter is too old: the state that it continues is forgotten. Start a new list without it, or go \
         on with the token in this answer, which gives the rest of the newest state: what was created, changed or deleted \
         since the first page may be in it or not.",
    );
    status.continue_token = Some(Token { revision: Token::NEWEST, after: after.to_owned() }.encode());
    status
}
