//! exec, attach and port-forward: upgraded connections from a client to a kubelet.

use http::{HeaderMap, Method, Request, Response, header};
use kinit_api::status::Status;
use kinit_serving::draining::Received;
use kinit_serving::{Body, full};

use super::backend::{self, Backend};
use super::query::Streams;
use super::target::Endpoint;
use super::{translate, tunnel, websocket};

/// The protocols in which exec and attach go over SPDY; kubelets choose the first that they know.
const PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Runs or attaches to something in a container.
pub async fn run(
    backend: &Backend,
    endpoint: Endpoint,
    path: String,
    streams: Streams,
    request: Request<Received>,
) -> Result<Response<Body>, Status> {
    let headers = request.headers();
    if !websocket::is_wanted(headers) || !websocket::offered(headers).contains(&translate::PROTOCOL) {
        return pass(backend, endpoint, path, request).await;
    }
    let asked = spdy_request(headers, &endpoint, &path, PROTOCOLS)?;
    let reply = websocket::accepted(headers, translate::PROTOCOL);
    let backend = backend.clone();
    tokio::spawn(async move {
        let kubelet = backend.send(&endpoint, asked).await;
        let kubelet = kubelet.map_err(|reason| Status::internal(format!("error dialing backend: {reason}")));
        translate::run(request, kubelet, streams).await;
    });
    Ok(reply)
}

/// Forwards ports of a pod.
pub async fn forward_ports(
    backend: &Backend,
    endpoint: Endpoint,
    path: String,
    request: Request<Received>,
) -> Result<Response<Body>, Status> {
    let headers = request.headers();
    let protocols = tunnel::protocols(headers);
    if !websocket::is_wanted(headers) || protocols.is_empty() {
        return pass(backend, endpoint, path, request).await;
    }
    let asked = spdy_request(headers, &endpoint, &path, &protocols)?;
    let response = backend.send(&endpoint, asked).await.map_err(dialing)?;
    if !backend::switched(&response) {
        return Ok(backend::answer(response));
    }
    let chosen = response.headers().get("x-stream-protocol-version").and_then(|value| value.to_str().ok());
    let reply = websocket::accepted(headers, &tunnel::agreed(chosen.unwrap_or(protocols[0])));
    tokio::spawn(tunnel::run(request, response));
    Ok(reply)
}

/// That a client asks for another protocol, which all streams need.
pub fn check_upgrade(headers: &HeaderMap) -> Result<(), Status> {
    if headers.contains_key(header::UPGRADE) { Ok(()) } else { Err(Status::bad_request("Upgrade request required")) }
}

/// The kubelet gets the client's own upgrade, whatever protocol it is to.
async fn pass(
    backend: &Backend,
    endpoint: Endpoint,
    path: String,
    request: Request<Received>,
) -> Result<Response<Body>, Status> {
    check_upgrade(request.headers())?;
    let headers = backend::forwarded(request.headers(), &endpoint, true);
    let asked = backend::request(request.method().clone(), &path, headers, full(""))?;
    let response = backend.send(&endpoint, asked).await.map_err(dialing)?;
    Ok(if backend::switched(&response) { backend::join(request, response) } else { backend::answer(response) })
}

fn spdy_request(
    headers: &HeaderMap,
    endpoint: &Endpoint,
    path: &str,
    protocols: &[&str],
) -> Result<Request<Body>, Status> {
    let mut headers = backend::forwarded(headers, endpoint, true);
    translate::ask_for_spdy(&mut headers, protocols);
    backend::request(Method::POST, path, headers, full(""))
}

fn dialing(reason: String) -> Status {
    Status::internal(format!("error dialing backend: {reason}"))
}
