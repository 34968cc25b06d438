//! What is served that is no resource.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use kinit_api::status::Status;
use kinit_serving::Body;
use kinit_serving::draining::Received;
use kinit_serving::metrics::Metrics;

use super::Front;
use crate::discovery::{self, Asked};
use crate::handlers::json_text;
use crate::{negotiate, openapi};

/// The media type of a set of keys.
const KEYS: &str = "application/jwk-set+json";

/// One path of each kind that is served.
pub(super) fn begin() -> impl Iterator<Item = &'static str> {
    discovery::PATHS.iter().copied().chain(["/healthz", "/livez", "/readyz"])
}

impl Front {
    /// Answers what is no resource. Most of it is served whatever the method is, as upstream has it.
    pub(super) async fn describe(&self, request: &Request<Received>) -> Result<Response<Body>, Status> {
        let (method, path, query) = (request.method(), request.uri().path(), request.uri().query());
        if path.starts_with("/openapi/") {
            let (registry, known) = (self.api.cache.registry(), self.aggregator.known());
            return openapi::respond(registry, known, path, query, request.headers()).await;
        }
        if path == "/metrics" && method == Method::DELETE {
            // It would mean to begin all figures anew, which nobody is to do.
            return Err(Status::method_not_allowed());
        }
        let answer = self.health.respond(path, query).or_else(|| Metrics::indicators(path, &self.health));
        if path == "/metrics" {
            self.stored.measure(&self.api.etcd).await;
        }
        let answer = answer.or_else(|| self.metrics.respond(path));
        if let Some(answer) = answer.or_else(|| self.pages.respond(path, query, request.headers())) {
            return Ok(answer);
        }
        let asked = Asked { method, path, query, headers: request.headers(), server: &self.address };
        let tokens = &self.api.authenticator.tokens;
        let below = |root: &str| path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(rest) = below("/openid/v1/jwks") {
            return issuer(&asked, rest, KEYS, || Some(tokens.jwks()));
        }
        if let Some(rest) = below("/.well-known/openid-configuration") {
            return issuer(&asked, rest, negotiate::JSON, || tokens.discovery(&self.address));
        }
        let (registry, known) = (self.api.cache.registry(), self.aggregator.known());
        discovery::respond(&registry, &known, &asked, &self.health.paths())
    }
}

/// What others are told of the issuer of tokens, which they may keep for an hour.
fn issuer(
    asked: &Asked<'_>,
    rest: &str,
    media: &'static str,
    document: impl FnOnce() -> Option<serde_json::Value>,
) -> Result<Response<Body>, Status> {
    let document = document().ok_or_else(Status::no_such_path)?;
    if !matches!(rest, "" | "/") {
        return Err(Status::no_such_resource());
    }
    discovery::route(asked, &[media])?;
    let mut answer = json_text(StatusCode::OK, document.to_string());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(answer)
}
