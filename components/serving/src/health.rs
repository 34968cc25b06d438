//! Health endpoints in the manner of Kubernetes: named checks behind `/healthz`, `/livez` and `/readyz`.
//!
//! `/readyz` answers `ok`, or lists each check with `[+]` or `[-]` when one fails or `?verbose` is asked; `?exclude=NAME`
//! leaves a check out; `/readyz/NAME` asks one check alone. What is wrong is told by the one check alone and in the log: the
//! lists are for everybody, as upstream has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
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
        let checks = self.checks.read();
        let mut counting = checks.iter().filter(|check| includes_ready || check.scope == Scope::Live);
        if !name.is_empty() {
            let check = counting.find(|check| check.name == name);
            return Some(check.map_or_else(not_found, |check| match (check.run)() {
                Ok(()) => plain(StatusCode::OK, "ok"),
                Err(reason) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n")),
            }));
        }
        let (mut excluded, mut verbose) = (BTreeSet::new(), false);
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "exclude" => {
                    excluded.insert(value.into_owned());
                }
                "verbose" => verbose = true,
                _ => {}
            }
        }
        Some(report(endpoint, counting, excluded, verbose))
    }
}

fn not_found() -> http::Response<Body> {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A text that no browser takes for anything else.
fn plain(status: StatusCode, words: impl Into<bytes::Bytes>) -> http::Response<Body> {
    let mut answer = text(status, words);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn report<'a>(
    endpoint: &str,
    checks: impl Iterator<Item = &'a Check>,
    mut excluded: BTreeSet<String>,
    verbose: bool,
) -> http::Response<Body> {
    let wanted = excluded.clone();
    let (mut lines, mut failed) = (String::new(), Vec::new());
    for check in checks {
        let name = &check.name;
        if wanted.contains(name) {
            excluded.remove(name);
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match (check.run)() {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(format!("{name}: {reason}"));
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if !failed.is_empty() {
        tracing::debug!(endpoint, failed = failed.join("; "), "the check failed");
        lines.push_str(&format!("{endpoint} check failed\n"));
        return plain(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if verbose {
        lines.push_str(&format!("{endpoint} check passed\n"));
        return plain(StatusCode::OK, lines);
    }
    plain(StatusCode::OK, "ok")
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

    #[tokio::test]
    async fn lists_keep_to_themselves_what_is_wrong() {
        use http_body_util::BodyExt;
        let health = health();
        let said = async |path: &str, query: Option<&str>| {
            let (parts, body) = health.respond(path, query).unwrap().into_parts();
            assert_eq!(parts.headers["x-content-type-options"], "nosniff");
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
        };
        assert_eq!(said("/livez", None).await, "ok");
        assert_eq!(said("/livez", Some("verbose")).await, "[+]ping ok\nlivez check passed\n");
        assert_eq!(said("/readyz", None).await, "[+]ping ok\n[-]cache failed: reason withheld\nreadyz check failed\n");
        assert_eq!(said("/readyz/cache", None).await, "internal server error: not synced\n");
        assert_eq!(said("/readyz/ping", Some("verbose")).await, "ok");
        let excluded = said("/healthz", Some("verbose=1&exclude=cac%68e&exclude=a%2Fb&exclude=x")).await;
        let expected = "[+]ping ok\n[+]cache excluded: ok\nwarn: some health checks cannot be excluded: no matches for \
                        \"a/b\",\"x\"\nhealthz check passed\n";
        assert_eq!(excluded, expected);
    }
}
