//! list, whole and by pages.

use std::cell::Cell;
use std::sync::Arc;

use http::Response;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::paging::{At, Page, Token};
use super::{Api, Filter, filter, selects, within};
use crate::cache::{Entry, Map};
use crate::render::{Item, List};
use crate::request::ResourceRequest;
use crate::{convert, view};

/// Lists of more bytes than this are written where they hold up nothing else.
const LONG: usize = 1024 * 1024;
/// How many objects are looked at between one question to a conversion webhook and the next.
const AT_ONCE: usize = 1024;

/// A page: its objects, the key of the last one, and how many there are after it.
#[derive(Default)]
struct Items {
    entries: Vec<Arc<Entry>>,
    last: String,
    rest: Option<usize>,
    /// How many objects were looked at.
    fetched: usize,
}

/// What is selected of objects that need nobody to convert them. Of a rest that has to be looked for, only that there is
/// one is told.
fn plain<'a>(
    request: &ResourceRequest,
    from: impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)>,
    limit: usize,
    selected: &Filter,
) -> Items {
    let (mut found, fetched) = (Items::default(), Cell::new(0));
    let mut wanted = from.inspect(|_| fetched.set(fetched.get() + 1)).filter(|(_, entry)| selected(entry));
    for (key, entry) in wanted.by_ref().take(limit) {
        found.entries.push(entry.clone());
        key.as_ref().clone_into(&mut found.last);
    }
    if wanted.next().is_some() {
        found.rest = Some(if selects(request) { 1 } else { 1 + wanted.count() });
    }
    found.fetched = fetched.get();
    found
}

/// The list that objects are in the version that was asked for.
pub(super) fn listed(request: &ResourceRequest, entries: &[Arc<Entry>], metadata: Value) -> List {
    let converts = convert::asks(&request.spec);
    let item = |entry: &Arc<Entry>| match converts {
        true => Item::Made(entry.json.clone()),
        false => view::item(&request.spec, entry),
    };
    List { spec: request.spec.clone(), metadata, items: entries.iter().map(item).collect() }
}

impl Api {
    pub(super) async fn list(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        let (entries, metadata) = self.listed(request).await?;
        let format = request.format;
        let list = listed(request, &entries, metadata);
        let size: usize = list.items.iter().map(|item| item.json().len()).sum();
        if size < LONG {
            return list.respond(format);
        }
        // The threads that serve everyone else are not held up by one long answer.
        tokio::task::spawn_blocking(move || list.respond(format)).await.map_err(Status::internal)?
    }

    /// The objects of the state and the page that a request asks for, and the metadata of the list that they are.
    pub(super) async fn listed(&self, request: &ResourceRequest) -> Result<(Vec<Arc<Entry>>, Value), Status> {
        let selected = filter(request)?;
        let Page { at, after, limit } = Page::of(request)?;
        let (objects, revision) = self.objects(request, at).await.map_err(|error| match &after {
            // The pages before were of a state that is forgotten; the rest of the newest one may do as well.
            Some(after) if error.reason == "Expired" => expired(after, &request.namespace),
            _ => error,
        })?;
        let from = objects.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| ***key > **after));
        let Items { entries, last, rest, fetched } = if convert::asks(&request.spec) {
            self.converted(request, from, limit, &selected).await?
        } else {
            plain(request, from, limit, &selected)
        };
        self.cache.listed(request.index, fetched, entries.len());
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        // A list of custom resources says that nothing follows.
        if request.spec.custom.is_some() {
            metadata["continue"] = "".into();
        }
        if let Some(rest) = rest {
            metadata["continue"] = Token { revision, after: last }.encode(&request.namespace).into();
            // Nobody counts what a selector would have to look at.
            if !selects(request) {
                metadata["remainingItemCount"] = rest.into();
            }
        }
        Ok((entries, metadata))
    }

    /// What is selected of a resource whose objects a webhook converts. Selectors look at what it makes of them, so it is
    /// asked about all of the namespace.
    async fn converted<'a>(
        &self,
        request: &ResourceRequest,
        from: impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)> + Send,
        limit: usize,
        selected: &Filter,
    ) -> Result<Items, Status> {
        let mut from = from.filter(|(_, entry)| within(request, entry));
        let mut found = Items::default();
        loop {
            let (keys, entries): (Vec<_>, Vec<_>) =
                from.by_ref().take(AT_ONCE).map(|(key, it)| (key, it.clone())).unzip();
            if keys.is_empty() {
                return Ok(found);
            }
            found.fetched += keys.len();
            let shown = self.converter.entries(&request.spec, entries).await?;
            for (at, entry) in shown.iter().enumerate().filter(|(_, entry)| selected(entry)) {
                if found.entries.len() == limit {
                    found.rest = Some(keys.len() - at + from.count());
                    return Ok(found);
                }
                found.entries.push(entry.clone());
                keys[at].as_ref().clone_into(&mut found.last);
            }
        }
    }

    /// The objects of the request's resource at a moment, and its revision.
    async fn objects(&self, request: &ResourceRequest, at: At) -> Result<(Map, i64), Status> {
        match at {
            At::Any => Ok(self.cache.list(request.index)),
            At::Newest => self.cache.list_consistent(request.index).await,
            At::NotOlder(revision) => {
                self.cache.reach_for(request.index, revision).await?;
                Ok(self.cache.list(request.index))
            }
            At::Exactly(revision) => {
                self.cache.reach_for(request.index, revision).await?;
                Ok((self.cache.list_at(request.index, revision).await?, revision))
            }
        }
    }
}

/// The error of a page whose state is forgotten; it has a token that goes on with the newest one.
fn expired(after: &str, namespace: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Some(Token { revision: Token::NEWEST, after: after.to_owned() }.encode(namespace));
    status
}
