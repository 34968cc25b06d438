//! Health endpoints in the manner of Kubernetes: named checks behind `/healthz`, `/livez` and `/readyz`.
//!
//! `/readyz` answers `ok`, or lists each check with `[+]` or `[-]` when one fails or `?verbose` is asked; `?exclude=NAME`
//! leaves a check out; `/readyz/NAME` asks one check alone.

use std::sync::Arc;

use http::StatusCode;
use parking_lot::RwLock;

use crate::{Body, text};

/// A check's answer: `Err` says in a few words what is missing.
pub type Outcome = Result<(), String>;

type CheckFn = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// Which endpoints a check counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Part of liveness and readiness: a restart may mend it.
    Live,
    /// Part of readiness alone: it mends itself.
    Ready,
}

struct Check {
    name: String,
    scope: Scope,
    run: CheckFn,
}

/// The checks of one server. Cheap to clone; checks may be added while it serves.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<Vec<Check>>>,
}

impl Health {
    /// A server with the check `ping`, which always holds.
    pub fn new() -> Self {
        let health = Self::default();
        health.add("ping", Scope::Live, || Ok(()));
        health
    }

    /// Adds a check. `run` must answer from memory: it runs on the request's task.
    pub fn add(&self, name: impl Into<String>, scope: Scope, run: impl Fn() -> Outcome + Send + Sync + 'static) {
        self.checks.write().push(Check { name: name.into(), scope, run: Arc::new(run) });
    }

    /// Whether every readiness check holds.
    pub fn ready(&self) -> bool {
        self.checks.read().iter().all(|check| (check.run)().is_ok())
    }

    /// Answers `/healthz…`, `/livez…` and `/readyz…`; `None` for any other path.
    pub fn respond(&self, path: &str, query: Option<&str>) -> Option<http::Response<Body>> {
        let rest = path.strip_prefix('/')?;
        let (endpoint, name) = rest.split_once('/').unwrap_or((rest, ""));
        let includes_ready = match endpoint {
            "livez" => false,
            "healthz" | "readyz" => true,
            _ => return None,
        };
        let query = query.unwrap_or_default();
        let parameters: Vec<(&str, &str)> =
            query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let excluded = |check: &str| parameters.contains(&("exclude", check));
        let verbose = parameters.iter().any(|(key, _)| *key == "verbose");

        let checks = self.checks.read();
        let selected: Vec<&Check> = checks
            .iter()
            .filter(|check| includes_ready || check.scope == Scope::Live)
            .filter(|check| if name.is_empty() { !excluded(&check.name) } else { check.name == name })
            .collect();
        if selected.is_empty() && !name.is_empty() {
            return Some(text(StatusCode::NOT_FOUND, format!("no check is named {name:?}\n")));
        }
        Some(report(endpoint, &selected, verbose))
    }
}

fn report(endpoint: &str, checks: &[&Check], verbose: bool) -> http::Response<Body> {
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        match (check.run)() {
            Ok(()) => lines.push_str(&format!("[+]{} ok\n", check.name)),
            Err(reason) => {
                failed = true;
                lines.push_str(&format!("[-]{} failed: {reason}\n", check.name));
            }
        }
    }
    if failed {
        lines.push_str(&format!("{endpoint} check failed\n"));
        return text(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if verbose {
        lines.push_str(&format!("{endpoint} check passed\n"));
        return text(StatusCode::OK, lines);
    }
    text(StatusCode::OK, "ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let health = Health::new();
        health.add("cache", Scope::Ready, || Err("not synced".into()));
        health
    }

    #[test]
    fn readiness_and_liveness_differ_by_scope() {
        let health = health();
        let status = |path, query| health.respond(path, query).map(|response| response.status().as_u16());
        assert_eq!(status("/livez", None), Some(200));
        assert_eq!(status("/readyz", None), Some(500));
        assert_eq!(status("/healthz", Some("exclude=cache")), Some(200));
        assert_eq!(status("/readyz/ping", None), Some(200));
        assert_eq!(status("/readyz/cache", None), Some(500));
        assert_eq!(status("/readyz/none", None), Some(404));
        assert_eq!(status("/metrics", None), None);
        assert!(!health.ready());
    }
}
