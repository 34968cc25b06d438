//! HTTP to pods, nodes and services: the path behind `/proxy` is theirs.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kinit_api::status::Status;
use kinit_serving::draining::Received;
use kinit_serving::listener::Peer;
use kinit_serving::{Body, full};
use url::Url;

use super::backend::{self, Backend};
use super::links;
use super::target::Endpoint;

/// Splits a path behind its first `segments` segments.
fn split(path: &str, segments: usize) -> (&str, &str) {
    let end = path.match_indices('/').map(|(at, _)| at).nth(segments).unwrap_or(path.len());
    path.split_at(end)
}

/// Relays a request whose path's first `segments` segments are this server's, and the rest the backend's.
pub async fn run(
    backend: &Backend,
    endpoint: Endpoint,
    segments: usize,
    request: Request<Received>,
) -> Result<Response<Body>, Status> {
    let (prefix, rest) = split(request.uri().path(), segments);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Links of a page are relative to its path's last slash.
        return redirect(&format!("{prefix}/{query}"));
    }
    let prefix = prefix.to_owned();
    let rest = if rest.is_empty() { "/" } else { rest };
    let path = format!("{rest}{query}");
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let mut headers = backend::forwarded(request.headers(), &endpoint, upgrade);
    tell_origin(&mut headers, &request, &format!("{prefix}{rest}"));
    let unreachable = |reason: String| Status::out_of_service(format!("error trying to reach service: {reason}"));
    if upgrade {
        let asked = backend::request(request.method().clone(), &path, headers, full(""))?;
        let response = backend.send(&endpoint, asked).await.map_err(unreachable)?;
        return Ok(if backend::switched(&response) {
            backend::join(request, response)
        } else {
            backend::answer(response)
        });
    }
    if links::wants_pages(&headers) {
        headers.remove(header::ACCEPT_ENCODING);
    }
    let host = host(&request);
    let (parts, body) = request.into_parts();
    let asked = backend::request(parts.method, &path, headers, body.map_err(Into::into).boxed_unsync())?;
    let mut answer = backend::answer(backend.send(&endpoint, asked).await.map_err(unreachable)?);
    let authority = backend::authority(&endpoint);
    let moved = move |link: &str| relocate(link, &prefix, &[&authority, &host]);
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).and_then(&moved);
    if let Some(value) = location.and_then(|location| location.parse().ok()) {
        answer.headers_mut().insert(header::LOCATION, value);
    }
    Ok(if links::is_page(answer.headers()) { links::rewritten(answer, moved) } else { answer })
}

fn redirect(to: &str) -> Result<Response<Body>, Status> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let value = to.parse::<HeaderValue>().map_err(|_| Status::bad_request("the path cannot be redirected"))?;
    response.headers_mut().insert(header::LOCATION, value);
    Ok(response)
}

fn host(request: &Request<Received>) -> String {
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    header.or(of_uri).unwrap_or_default().to_owned()
}

/// Tells the backend what the client asked for, and from where.
fn tell_origin(headers: &mut HeaderMap, request: &Request<Received>, path: &str) {
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = value.parse() {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-forwarded-uri", path.to_owned());
    set("x-forwarded-host", host(request));
    set("x-forwarded-proto", "https".into());
    if let Some(peer) = request.extensions().get::<Peer>() {
        let before = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
        let address = peer.address.ip();
        set("x-forwarded-for", before.map_or(address.to_string(), |before| format!("{before}, {address}")));
    }
}

/// A link or a redirect of the backend's as the client has to follow it; `None` for one that stays as it is: relative, or elsewhere.
fn relocate(location: &str, prefix: &str, own: &[&str]) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return (!location.starts_with(prefix)).then(|| format!("{prefix}{location}"));
    }
    let url = Url::parse(location).ok()?;
    let with_port = |port: Option<u16>| Some(format!("{}:{}", url.host_str()?, port?));
    let names = [url.host_str().map(str::to_owned), with_port(url.port()), with_port(url.port_or_known_default())];
    if !names.iter().flatten().any(|name| own.contains(&name.as_str())) {
        return None;
    }
    let path: PathAndQuery = url[url::Position::BeforePath..].parse().ok()?;
    if path.path().starts_with(prefix) { Some(path.to_string()) } else { Some(format!("{prefix}{path}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_behind_the_subresource() {
        let path = "/api/v1/namespaces/a/pods/b/proxy";
        assert_eq!(split(path, 7), (path, ""));
        assert_eq!(split(&format!("{path}/"), 7), (path, "/"));
        assert_eq!(split(&format!("{path}/x/y/"), 7), (path, "/x/y/"));
        assert_eq!(split("/api/v1/nodes/n/proxy/pods", 5), ("/api/v1/nodes/n/proxy", "/pods"));
    }

    #[test]
    fn redirects_of_the_backend_lead_through_the_proxy() {
        let own = ["10.1.1.1:80", "api:6443"];
        for (location, wanted) in [
            ("/x", Some("/p/x")),
            ("/p/x", None),
            ("x", None),
            ("http://10.1.1.1/x?y=1", Some("/p/x?y=1")),
            ("http://10.1.1.1:80/x", Some("/p/x")),
            ("https://api:6443/p/x", Some("/p/x")),
            ("http://elsewhere/x", None),
        ] {
            assert_eq!(relocate(location, "/p", &own).as_deref(), wanted, "{location}");
        }
    }
}
