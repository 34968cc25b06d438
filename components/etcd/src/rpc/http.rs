//! What is served besides gRPC: health, version, metrics.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use kinit_serving::metrics::Metrics;
use kinit_serving::{Body, full, text};

use super::Context;
use crate::config::{CLUSTER_VERSION, VERSION};
use crate::proto::rpc::{AlarmType, RangeRequest};

/// The HTTP side of a server. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub context: Arc<Context>,
    pub metrics: Metrics,
}

/// A check's answer; the error says what is missing.
type Outcome = Result<(), String>;

impl Site {
    /// Answers anything that is not gRPC.
    pub async fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
            return response;
        }
        match path {
            "/health" => self.health(query).await,
            "/version" => json(
                StatusCode::OK,
                format!(
                    r#"{{"etcdserver":"{VERSION}","etcdcluster":"{CLUSTER_VERSION}","storage":"{CLUSTER_VERSION}"}}"#
                ),
            ),
            "/metrics" => {
                self.metrics.respond(path).unwrap_or_else(|| text(StatusCode::NOT_FOUND, "404 page not found\n"))
            }
            _ => self.checks(path, query).await.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "404 page not found\n")),
        }
    }

    /// `/health`, as probes before `/livez` and `/readyz` ask for it.
    async fn health(&self, query: &str) -> Response<Body> {
        let excluded: Vec<&str> =
            parameters(query).filter(|(key, _)| *key == "exclude").map(|(_, value)| value).collect();
        let alarm = self.context.machine.alarm_names().into_iter().find(|name| !excluded.contains(&name.as_str()));
        let outcome = match alarm {
            Some(name) => Err(format!("ALARM {name}")),
            None if self.context.standing.leader() == 0 => Err("RAFT NO LEADER".to_owned()),
            None => self
                .read(parameters(query).any(|pair| pair == ("serializable", "true")))
                .await
                .map_err(|error| format!("RANGE ERROR:{error}")),
        };
        match outcome {
            Ok(()) => json(StatusCode::OK, r#"{"health":"true","reason":""}"#),
            Err(reason) => {
                let body = serde_json::json!({ "health": "false", "reason": reason });
                json(StatusCode::SERVICE_UNAVAILABLE, body.to_string())
            }
        }
    }

    /// `/livez` and `/readyz`, and each of their checks by its name.
    async fn checks(&self, path: &str, query: &str) -> Option<Response<Body>> {
        let (endpoint, name) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
        let names: &[&str] = match endpoint {
            "livez" => &["serializable_read"],
            "readyz" => &["data_corruption", "serializable_read", "linearizable_read", "non_learner"],
            _ => return None,
        };
        if !name.is_empty() && !names.contains(&name) {
            return None;
        }
        let excluded = |check: &str| parameters(query).any(|pair| pair == ("exclude", check));
        let selected = names.iter().filter(|check| if name.is_empty() { !excluded(check) } else { **check == name });
        let (mut lines, mut failed) = (String::new(), false);
        for check in selected {
            match self.check(check).await {
                Ok(()) => lines.push_str(&format!("[+]{check} ok\n")),
                Err(reason) => {
                    failed = true;
                    lines.push_str(&format!("[-]{check} failed: {reason}\n"));
                }
            }
        }
        if failed {
            return Some(text(StatusCode::SERVICE_UNAVAILABLE, lines));
        }
        let verbose = parameters(query).any(|(key, _)| key == "verbose");
        Some(text(StatusCode::OK, format!("{}ok\n", if verbose { lines.as_str() } else { "" })))
    }

    async fn check(&self, name: &str) -> Outcome {
        match name {
            "data_corruption" if self.context.machine.alarms.lock().raised(AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            "serializable_read" => self.read(true).await,
            "linearizable_read" => self.read(false).await,
            "non_learner" if self.context.is_learner() => Err("not supported for learner".to_owned()),
            _ => Ok(()),
        }
    }

    async fn read(&self, serializable: bool) -> Outcome {
        if self.context.shutdown.is_cancelled() {
            return Err("the server is stopping".to_owned());
        }
        if !serializable {
            self.context.catch_up().await.map_err(|error| error.to_string())?;
        }
        let request = RangeRequest { key: bytes::Bytes::from_static(b"\0"), limit: 1, ..RangeRequest::default() };
        self.context.machine.range(&request).map(drop).map_err(|error| error.to_string())
    }
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn json(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
