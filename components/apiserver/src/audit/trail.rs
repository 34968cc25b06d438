//! What becomes known of one request on its way.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kinit_api::status::Status;
use kinit_serving::listener::Peer;
use kinit_serving::{Body, full};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, Ending};
use super::event::{Event, shown};
use super::policy::{Asked, Level, Stage, Verdict};
use super::{AtLevel, Audit};
use crate::admission::Annotations;
use crate::aggregate::path;
use crate::authn::User;
use crate::request::STREAMS;

/// Longer names of programs are cut.
const MAX_AGENT: usize = 1024;

/// A request's events.
pub struct Trail {
    audit: Arc<Audit>,
    event: Event,
    asked: Asked,
    /// Nothing until it is known who asks.
    verdict: Option<Verdict>,
    pub annotations: Annotations,
}

/// What an answer says that is a Status of success, for the event.
#[derive(Clone, Debug)]
pub struct Said(pub Value);

impl Trail {
    /// Begins with what the request's head says.
    pub fn new<B>(audit: &Arc<Audit>, id: &str, request: &Request<B>) -> Self {
        let uri = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let mut event = Event::new(id.to_owned(), uri, Timestamp::now());
        event.source_ips = sources(request.headers(), request.extensions().get::<Peer>());
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        event.user_agent = agent.to_owned();
        if agent.len() > MAX_AGENT {
            event.user_agent.truncate(MAX_AGENT);
            event.user_agent.push_str("...TRUNCATED");
        }
        let asked = asked(request.method(), request.uri().path(), request.uri().query());
        Self { audit: audit.clone(), event, asked, verdict: None, annotations: Annotations::default() }
    }

    /// Says who asks, which decides what is noted. The error is the answer where the request can't be noted.
    pub async fn user(&mut self, user: &User) -> Result<(), Status> {
        let verdict = self.audit.policy.verdict(user, &self.asked);
        self.audit.figures.levels.get_or_create(&AtLevel { level: verdict.level.as_str() }).inc();
        self.event.level = verdict.level.as_str();
        self.event.of(user, &self.asked);
        self.verdict = Some(verdict);
        self.note(Stage::RequestReceived).await.map_err(|_| {
            self.audit.figures.rejected.inc();
            Status::internal("failed to store audit event")
        })
    }

    /// Notes that nobody knows who asks.
    pub async fn unknown(&mut self) {
        let nobody = User::default();
        let verdict = self.audit.policy.verdict(&nobody, &self.asked);
        self.event.level = verdict.level.as_str();
        self.event.of(&nobody, &self.asked);
        self.event.user = json!({});
        self.verdict = Some(verdict);
        let refused = Status::unauthorized().to_value();
        self.event.response_status = Some(untyped(refused.clone()));
        self.event.response_object = self.notes(Level::RequestResponse).then_some(refused);
        // A backend that insists does so for what is about to be done, and nothing is.
        let _ = self.note(Stage::ResponseStarted).await;
        self.verdict = None;
    }

    /// Whether anything at all is noted of the request.
    pub fn is_on(&self) -> bool {
        self.notes(Level::Metadata)
    }

    fn notes(&self, level: Level) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.level >= level)
    }

    /// Says as whom the user acts, and by which verb if it is one of the constrained.
    pub fn impersonates(&mut self, user: &User, constraint: &str) {
        self.event.impersonated_user = Some(user.to_value());
        if !constraint.is_empty() {
            self.event.authentication_metadata = Some(json!({"impersonationConstraint": constraint}));
        }
    }

    /// Says what authorization decided, and why.
    pub fn decided(&self, allowed: bool, reason: &str) {
        self.annotations.add("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
        self.annotations.add("authorization.k8s.io/reason", reason);
    }

    /// Takes what is wanted of the request's body, which is of the kind `named` (its version and its name) where it does not say
    /// so itself.
    pub fn body(&mut self, content_type: &str, bytes: &Bytes, named: Option<(String, &str)>) {
        if bytes.is_empty() || !self.is_on() {
            return;
        }
        let whole = self.notes(Level::Request);
        let is_patch = self.asked.verb == "patch";
        if whole || self.asked.verb == "create" && content_type.starts_with(crate::negotiate::PROTOBUF) {
            let Some(mut tree) = body::tree(content_type, bytes) else { return };
            if self.asked.verb.starts_with("delete") {
                // Options are noted in the form in which upstream has them inside.
                if let Some(map) = tree.as_object_mut() {
                    map.insert("apiVersion".into(), "meta.k8s.io/__internal".into());
                    map.insert("kind".into(), "DeleteOptions".into());
                }
            } else if !is_patch {
                if let (Some((version, kind)), Some(map)) = (named, tree.as_object_mut()) {
                    map.entry("apiVersion").or_insert_with(|| version.into());
                    map.entry("kind").or_insert_with(|| kind.into());
                }
                // What cannot be decoded is not noted.
                let Some(decoded) = body::decoded(tree) else { return };
                tree = decoded;
                self.names(&tree);
            }
            if whole {
                self.strip(&mut tree);
                self.event.request_object = Some(tree);
            }
        } else if !is_patch && let Ok(named) = serde_json::from_slice::<Named>(bytes) {
            self.names(&json!({"metadata": named.metadata}));
        }
    }

    /// Fills in what the path does not say of the object.
    fn names(&mut self, tree: &Value) {
        let Some(object) = &mut self.event.object_ref else { return };
        let fields = [
            (&mut object.namespace, "namespace"),
            (&mut object.name, "name"),
            (&mut object.uid, "uid"),
            (&mut object.resource_version, "resourceVersion"),
        ];
        for (own, field) in fields {
            if let (true, Some(text)) = (own.is_empty(), tree["metadata"][field].as_str()) {
                text.clone_into(own);
            }
        }
    }

    fn strip(&self, tree: &mut Value) {
        if self.verdict.as_ref().is_some_and(|verdict| verdict.omit_managed_fields) {
            body::without_managed_fields(tree);
        }
    }

    /// Notes how the request was answered, now or once a lasting answer has ended.
    pub async fn finish(mut self, response: Response<Body>) -> Response<Body> {
        if !self.is_on() {
            return response;
        }
        let lasts = self.asked.verb == "watch"
            || !self.asked.resource.is_empty() && STREAMS.contains(&self.asked.subresource.as_str());
        let code = response.status().as_u16();
        let said = response.extensions().get::<Said>().map(|said| untyped(with_code(said.0.clone(), code)));
        self.event.response_status = said.or_else(|| {
            Some(match response.extensions().get::<Status>() {
                // What no handler answers has no more than a code.
                Some(status) if !status.is_no_such_path() => untyped(status.to_value()),
                _ => json!({"metadata": {}, "code": code}),
            })
        });
        if lasts {
            if self.notes(Level::RequestResponse) {
                self.event.response_object = response.extensions().get::<Status>().map(Status::to_value);
            }
            // Headers are sent in any case.
            let _ = self.note(Stage::ResponseStarted).await;
            let (parts, body) = response.into_parts();
            let mut trail = self;
            let end = move || {
                // At the end of the server there may be nothing left that could note it.
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
                runtime.spawn(async move { trail.note(Stage::ResponseComplete).await });
            };
            return Response::from_parts(parts, Ending::new(body, end).boxed_unsync());
        }
        let response = if self.notes(Level::RequestResponse) { self.answer(response).await } else { response };
        let _ = self.note(Stage::ResponseComplete).await;
        response
    }

    async fn answer(&mut self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => {
                tracing::warn!(%error, "an answer ended early");
                Bytes::new()
            }
        };
        // What is no object is not noted.
        let object = body::answer(&parts.headers, &bytes).filter(|tree| tree["kind"].is_string());
        if let Some(mut tree) = object {
            if tree["kind"] == "Status" && tree["apiVersion"] == "v1" {
                self.event.response_status = Some(untyped(with_code(tree.clone(), parts.status.as_u16())));
            }
            self.strip(&mut tree);
            self.event.response_object = Some(tree);
        }
        Response::from_parts(parts, full(bytes))
    }

    /// Notes that the server failed in an unforeseen way.
    pub async fn panicked(mut self, why: &str) {
        self.event.response_status = Some(json!({"metadata": {}, "status": "Failure", "reason": "InternalError",
            "message": format!("APIServer panic'd: {why}"), "code": 500}));
        let _ = self.note(Stage::Panic).await;
    }

    async fn note(&mut self, stage: Stage) -> Result<(), String> {
        let Some(verdict) = &self.verdict else { return Ok(()) };
        if verdict.level == Level::None || !verdict.notes(stage) {
            return Ok(());
        }
        self.event.stage = stage.as_str();
        self.event.stage_timestamp = shown(Timestamp::now());
        self.event.annotations = self.annotations.all();
        self.audit.note(&self.event).await
    }
}

/// A Status with the code that it was sent with, which a good one does not say itself.
fn with_code(mut status: Value, code: u16) -> Value {
    if let Some(fields) = status.as_object_mut() {
        fields.entry("code").or_insert_with(|| code.into());
    }
    status
}

/// A Status without what says that it is one.
fn untyped(mut status: Value) -> Value {
    if let Some(fields) = status.as_object_mut() {
        fields.retain(|field, _| field != "kind" && field != "apiVersion");
    }
    status
}

/// The part of an object that an event's reference is made of.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Value,
}

/// What a request's line asks for, whether anything like it is served or not.
fn asked(method: &Method, path: &str, query: Option<&str>) -> Asked {
    let mut segments = path.trim_matches('/').split('/');
    let first = segments.next();
    let (core, version) = match first {
        Some("api") => (true, segments.next()),
        Some("apis") => (false, segments.nth(1)),
        _ => (false, None),
    };
    let verb = method.as_str().to_lowercase();
    let Some(version) = version.filter(|_| segments.next().is_some()) else {
        return Asked { verb, path: path.to_owned(), ..Asked::default() };
    };
    // A path of the core group looks like another group's once it has a group in it.
    let written = if core { format!("/apis/-{}", path.trim_start_matches("/api")) } else { path.to_owned() };
    let found = path::parse(method, &written, query);
    let (mut resource, mut name) = (found.resource, found.name);
    let (mut namespace, mut subresource) = (found.namespace, found.subresource.clone());
    if core && !namespace.is_empty() && matches!(resource, "status" | "finalize") {
        (subresource, name, resource) = (resource.to_owned(), namespace, "namespaces");
    }
    if core && resource == "namespaces" {
        namespace = name;
    }
    Asked {
        verb: if found.verb == "deletecollection" && !name.is_empty() { "delete" } else { found.verb }.to_owned(),
        path: path.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.split('/').next().unwrap_or_default().to_owned(),
        group: if core { String::new() } else { found.group.to_owned() },
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Where a request comes from: what proxies say first, and then the connection's other end.
fn sources(headers: &HeaderMap, peer: Option<&Peer>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut all: Vec<String> = text("x-forwarded-for").split(',').map(|part| part.trim().to_owned()).collect();
    all.push(text("x-real-ip").trim().to_owned());
    all.extend(peer.map(|peer| peer.address.ip().to_string()));
    all.retain(|part| part.parse::<IpAddr>().is_ok());
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_asked_for() {
        let cases = [
            ("GET", "/api/v1/namespaces/x/pods/p/log", "get", "", "pods", "log", "x", "p"),
            ("GET", "/api/v1/pods?watch=1", "watch", "", "pods", "", "", ""),
            ("POST", "/apis/apps/v1/namespaces/x/deployments", "create", "apps", "deployments", "", "x", ""),
            ("GET", "/api/v1/namespaces/x", "get", "", "namespaces", "", "x", "x"),
            ("PUT", "/api/v1/namespaces/x/finalize", "update", "", "namespaces", "finalize", "x", "x"),
            ("DELETE", "/api/v1/namespaces/x/pods", "deletecollection", "", "pods", "", "x", ""),
            ("GET", "/healthz", "get", "", "", "", "", ""),
            ("GET", "/apis/apps/v1", "get", "", "", "", "", ""),
        ];
        for (method, uri, verb, group, resource, subresource, namespace, name) in cases {
            let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
            let found = asked(&Method::from_bytes(method.as_bytes()).unwrap(), path, query);
            let told =
                (&*found.verb, &*found.group, &*found.resource, &*found.subresource, &*found.namespace, &*found.name);
            assert_eq!(told, (verb, group, resource, subresource, namespace, name), "{uri}");
        }
        assert_eq!(asked(&Method::GET, "/api/v1/pods", None).version, "v1");
    }

    #[test]
    fn proxies_are_believed_as_far_as_they_name_addresses() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "192.0.2.1, nonsense, 192.0.2.2".parse().unwrap());
        headers.insert("x-real-ip", "192.0.2.2".parse().unwrap());
        assert_eq!(sources(&headers, None), ["192.0.2.1", "192.0.2.2"]);
    }
}
