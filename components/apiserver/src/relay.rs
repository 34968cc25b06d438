//! Requests that somebody else answers: a pod's kubelet, or a pod, a node or a service itself.
//!
//! - [`target`]: where a request goes, from the objects that it names. [`query`]: what a kubelet is asked.
//! - [`backend`]: connections to backends, and upgraded connections joined as they are (SPDY, older WebSocket).
//! - [`streams`]: exec, attach and port-forward. Newer WebSocket clients speak to this server, which speaks SPDY to the
//!   kubelet: [`translate`] turns channels into streams, [`tunnel`] unpacks SPDY out of messages.
//! - [`messages`]: logs and watches in WebSocket messages. [`proxy`]: HTTP to pods, nodes and services.
//!
//! Nothing is kept: each request has a connection of its own, and its buffers are bounded.

pub mod backend;
pub mod links;
pub mod messages;
pub mod proxy;
pub mod query;
pub mod spdy;
pub mod streams;
pub mod target;
pub mod translate;
pub mod tunnel;
pub mod websocket;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::draining::Received;
use kinit_serving::{Body, full};
use rand::seq::IndexedRandom;

use crate::cache::{Cache, within};
use crate::options::KubeletOptions;
use crate::registry;
use crate::request::ResourceRequest;
use crate::storage::Etcd;
use backend::Backend;
use query::Query;
use target::{Endpoint, Named, Security};

/// What of a kubelet's error message reaches the client.
const MESSAGE_LIMIT: usize = 10 << 10;

/// Relays requests. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    etcd: Etcd,
    cache: Cache,
    backend: Backend,
}

/// Whether the request is one that is relayed.
pub fn takes(request: &ResourceRequest) -> bool {
    matches!(
        (request.spec.group(), request.spec.resource(), request.subresource.as_str()),
        ("", "pods", "log" | "exec" | "attach" | "portforward") | ("", "pods" | "nodes" | "services", "proxy")
    )
}

/// Whether the request runs something in a pod: that takes the right to create, even if it comes by GET, as WebSocket
/// clients send it.
pub fn runs(request: &ResourceRequest) -> bool {
    takes(request) && matches!(request.subresource.as_str(), "exec" | "attach" | "portforward")
}

impl Relay {
    /// Reads the client certificate for kubelets; errors name the file.
    pub fn new(options: KubeletOptions, etcd: Etcd, cache: Cache) -> anyhow::Result<Self> {
        Ok(Self { etcd, cache, backend: Backend::new(options)? })
    }

    /// Relays a request that [`takes`] says yes to.
    pub async fn answer(&self, wanted: &ResourceRequest, request: Request<Received>) -> Result<Response<Body>, Status> {
        let query = Query::parse(request.uri().query());
        match (wanted.subresource.as_str(), request.method()) {
            ("log", &Method::GET) => self.log(wanted, &query, request).await,
            ("proxy", _) => self.proxy(wanted, request).await,
            ("exec" | "attach" | "portforward", &Method::GET | &Method::POST) => {
                self.stream(wanted, &query, request).await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// The kubelet of a node. One that is not there is told as if it were of the resource that is asked for, as upstream has it.
    async fn kubelet(&self, wanted: &ResourceRequest, node: &str) -> Result<Endpoint, Status> {
        let found = self.etcd.object("", "nodes", "", node).await;
        let found = found.map_err(|status| match status.code {
            404 => Status::not_found("", wanted.spec.resource(), node),
            _ => status,
        });
        target::kubelet(&found?, self.backend.preferred_address_types())
    }

    /// Refuses a host that the server must not be led to.
    async fn check_host(endpoint: &Endpoint) -> Result<(), Status> {
        let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
        let mut found = found.map_err(|error| Status::bad_request(format!("lookup {}: {error}", endpoint.host)))?;
        if found.all(|address| target::reachable(address.ip())) { Ok(()) } else { Err(target::not_allowed()) }
    }

    async fn log(
        &self,
        wanted: &ResourceRequest,
        query: &Query,
        request: Request<Received>,
    ) -> Result<Response<Body>, Status> {
        let asked = query::for_logs(&wanted.name, query)?;
        let pod = self.etcd.object("", "pods", &wanted.namespace, &wanted.name).await?;
        let container = target::container(&pod, query.get("container"))?;
        let node = pod.str(&["spec", "nodeName"]);
        if node.is_empty() {
            let mut nothing = Response::new(full(""));
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        let mut endpoint = self.kubelet(wanted, node).await?;
        if query.flag("insecureSkipTLSVerifyBackend") {
            endpoint.security = Security::UncheckedKubelet;
        }
        let query = if asked.is_empty() { String::new() } else { format!("?{asked}") };
        let path = format!("/containerLogs/{}/{}/{container}{query}", wanted.namespace, wanted.name);
        let asked_for = backend::get(&endpoint, &path)?;
        let url = format!("https://{}{path}", backend::authority(&endpoint));
        let unreachable = |why: String| Status::failed(format!("Get {url:?}: {why}"));
        let response = self.backend.send(&endpoint, asked_for).await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(refusal(response, &wanted.name).await);
        }
        if let Some(format) = messages::wanted(request.headers()) {
            return Ok(messages::answer(request, format, response.into_body()));
        }
        let mut answer = backend::answer(response);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(answer)
    }

    async fn stream(
        &self,
        wanted: &ResourceRequest,
        query: &Query,
        request: Request<Received>,
    ) -> Result<Response<Body>, Status> {
        let (namespace, name) = (&wanted.namespace, &wanted.name);
        let ports = query::for_ports(query)?;
        let pod = self.etcd.object("", "pods", namespace, name).await?;
        let container = match wanted.subresource.as_str() {
            "portforward" => String::new(),
            _ => target::container(&pod, query.get("container"))?,
        };
        let node = pod.str(&["spec", "nodeName"]);
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let endpoint = self.kubelet(wanted, node).await?;
        streams::check_upgrade(request.headers())?;
        if wanted.subresource == "portforward" {
            let path = format!("/portForward/{namespace}/{name}?{ports}");
            return streams::forward_ports(&self.backend, endpoint, path, request).await;
        }
        let streams = query::streams(query)?;
        let asked = query::for_streams(streams, query);
        let path = format!("/{}/{namespace}/{name}/{container}?{asked}", wanted.subresource);
        streams::run(&self.backend, endpoint, path, streams, request).await
    }

    async fn proxy(&self, wanted: &ResourceRequest, request: Request<Received>) -> Result<Response<Body>, Status> {
        let resource = wanted.spec.resource();
        // Clients may send the colons of `scheme:name:port` encoded.
        let name = wanted.name.replace("%3A", ":").replace("%3a", ":");
        let kind = resource.trim_end_matches('s');
        let named =
            Named::parse(&name).ok_or_else(|| Status::bad_request(format!("invalid {kind} request {name:?}")))?;
        let endpoint = match resource {
            "nodes" => {
                let kubelet = self.kubelet(wanted, named.name).await?;
                Self::check_host(&kubelet).await?;
                target::node(kubelet, &named)?
            }
            "pods" => target::pod(&self.etcd.object("", "pods", &wanted.namespace, named.name).await?, &named)?,
            _ => self.service(&wanted.namespace, &named, &name).await?,
        };
        // /api/v1/nodes/NAME/proxy, or /api/v1/namespaces/NAMESPACE/pods/NAME/proxy.
        let segments = if wanted.spec.namespaced() { 7 } else { 5 };
        proxy::run(&self.backend, endpoint, segments, request).await
    }

    /// A ready pod behind a service, which the path calls `id`.
    async fn service(&self, namespace: &str, named: &Named<'_>, id: &str) -> Result<Endpoint, Status> {
        let service = self.etcd.object("", "services", namespace, named.name).await?;
        let (index, _) = registry::find("discovery.k8s.io", "v1", "endpointslices").expect("slices are served");
        let (slices, _) = self.cache.list(index);
        let of_service = within(&slices, namespace).filter(|(_, entry)| {
            entry.labels().get("kubernetes.io/service-name").is_some_and(|service| service == named.name)
        });
        let slices: Vec<Object> = of_service.filter_map(|(_, entry)| Object::from_slice(&entry.json).ok()).collect();
        let all = target::service(&service, &slices, named)?;
        if slices.is_empty() && self.cache.find("", "endpoints", namespace, named.name).is_none() {
            // Nobody has looked yet for what is behind it.
            return Err(Status::not_found("", "services", named.name));
        }
        let chosen = all.choose(&mut rand::rng()).cloned();
        chosen.ok_or_else(|| target::no_endpoints(if slices.is_empty() { named.name } else { id }))
    }
}

/// What a kubelet's refusal of a log means, as upstream tells it.
async fn refusal(response: Response<Incoming>, pod: &str) -> Status {
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), MESSAGE_LIMIT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let details = Some(serde_json::json!({"name": pod, "kind": "pods/log"}));
    match code {
        400 => Status::bad_request(text),
        404 => Status {
            message: format!("the server could not find the requested resource ( pods/log {pod})"),
            details,
            ..Status::no_such_path()
        },
        401 => Status { details, ..Status::unauthorized() },
        403 => Status::forbidden("", "pods/log", pod, text),
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests;
