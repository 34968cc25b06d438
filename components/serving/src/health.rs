//! Health endpoints in the manner of Kubernetes: named checks behind `/healthz`, `/livez` and `/readyz`.
//!
//! `/readyz` answers `ok`, or lists each check with `[+]` or `[-]` when one fails or `?verbose` is asked; `?exclude=NAME`
//! leaves a check out; `/readyz/NAME` asks one check alone. What is wrong is told by the one check alone and in the log: the
//! lists are for everybody, as upstream has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use parking_lot::{Mutex, RwLock};

use crate::{Body, text};

/// A check's answer: `Err` says in a few words what is missing.
pub type Outcome = Result<(), String>;

type CheckFn = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// Which endpoints a check counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Part of liveness and readiness: a restart may mend it.
    Live,
    /// Part of readiness alone, and of `/healthz`: it mends itself.
    Ready,
    /// Part of liveness and `/healthz`, but not of readiness.
    LiveAlone,
    /// Part of `/readyz` and of nothing else.
    ReadyAlone,
}

impl Scope {
    /// Whether a check counts for `endpoint`, a path's first part.
    fn counts(self, endpoint: &str) -> bool {
        match (self, endpoint) {
            (Self::Live, _) => true,
            (Self::Ready, endpoint) => endpoint != "livez",
            (Self::LiveAlone, endpoint) => endpoint != "readyz",
            (Self::ReadyAlone, endpoint) => endpoint == "readyz",
        }
    }
}

/// The paths' first parts.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// How often a check held and failed, and whether it held the last time.
#[derive(Clone, Copy, Default)]
struct Record {
    held: u64,
    failed: u64,
    holds: bool,
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
    /// By the check's name and the endpoint.
    records: Arc<Mutex<BTreeMap<(String, &'static str), Record>>>,
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

    /// Every path that is answered, with its endpoints' own.
    pub fn paths(&self) -> Vec<String> {
        let checks = self.checks.read();
        let of = |endpoint: &'static str| {
            let counting = checks.iter().filter(move |check| check.scope.counts(endpoint));
            std::iter::once(format!("/{endpoint}"))
                .chain(counting.map(move |check| format!("/{endpoint}/{}", check.name)))
        };
        ENDPOINTS.into_iter().flat_map(of).collect()
    }

    /// What `/metrics/slis` tells: how each check went for each endpoint, as far as it was asked.
    pub fn indicators(&self) -> String {
        let records = self.records.lock();
        let mut text = String::new();
        if records.is_empty() {
            return text;
        }
        // Writing to a string does not fail.
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(words);
        };
        line(format_args!(
            "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n\
             # TYPE kubernetes_healthcheck gauge\n"
        ));
        for ((name, endpoint), record) in records.iter() {
            let holds = u8::from(record.holds);
            line(format_args!("kubernetes_healthcheck{{name={name:?},type={endpoint:?}}} {holds}\n"));
        }
        line(format_args!(
            "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.\n\
             # TYPE kubernetes_healthchecks_total counter\n"
        ));
        for ((name, endpoint), record) in records.iter() {
            for (status, count) in [("error", record.failed), ("success", record.held)] {
                if count > 0 {
                    line(format_args!(
                        "kubernetes_healthchecks_total{{name={name:?},status={status:?},type={endpoint:?}}} {count}\n"
                    ));
                }
            }
        }
        text
    }

    /// Answers `/healthz…`, `/livez…` and `/readyz…`; `None` for any other path.
    pub fn respond(&self, path: &str, query: Option<&str>) -> Option<http::Response<Body>> {
        let rest = path.strip_prefix('/')?;
        let (endpoint, name) = rest.split_once('/').map_or((rest, None), |(endpoint, name)| (endpoint, Some(name)));
        let endpoint = ENDPOINTS.into_iter().find(|own| *own == endpoint)?;
        let checks = self.checks.read();
        let mut counting = checks.iter().filter(|check| check.scope.counts(endpoint));
        if let Some(name) = name {
            let check = counting.find(|check| check.name == name);
            return Some(check.map_or_else(not_found, |check| match (check.run)() {
                Ok(()) => text(StatusCode::OK, "ok"),
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
        Some(self.report(endpoint, counting, excluded, verbose))
    }

    /// Notes how a check went.
    fn record(&self, name: &str, endpoint: &'static str, outcome: &Outcome) {
        let mut records = self.records.lock();
        let record = records.entry((name.to_owned(), endpoint)).or_default();
        record.holds = outcome.is_ok();
        *(if outcome.is_ok() { &mut record.held } else { &mut record.failed }) += 1;
    }

    fn report<'a>(
        &self,
        endpoint: &'static str,
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
            let outcome = (check.run)();
            self.record(name, endpoint, &outcome);
            match outcome {
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
        assert_eq!(status("/livez/", None), Some(404));
        assert_eq!(status("/metrics", None), None);
        assert!(!health.ready());
    }

    #[test]
    fn each_endpoint_has_its_checks_and_tells_how_they_went() {
        let health = health();
        health.add("certificate", Scope::LiveAlone, || Ok(()));
        health.add("shutdown", Scope::ReadyAlone, || Ok(()));
        let all = [
            "/healthz",
            "/healthz/ping",
            "/healthz/cache",
            "/healthz/certificate",
            "/livez",
            "/livez/ping",
            "/livez/certificate",
            "/readyz",
            "/readyz/ping",
            "/readyz/cache",
            "/readyz/shutdown",
        ];
        assert_eq!(health.paths(), all);
        assert_eq!(health.indicators(), "");
        health.respond("/readyz", Some("exclude=shutdown"));
        health.respond("/readyz", None);
        let told = health.indicators();
        for line in [
            "kubernetes_healthcheck{name=\"cache\",type=\"readyz\"} 0",
            "kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"cache\",status=\"error\",type=\"readyz\"} 2",
            "kubernetes_healthchecks_total{name=\"shutdown\",status=\"success\",type=\"readyz\"} 1",
        ] {
            assert!(told.lines().any(|own| own == line), "{line}: {told}");
        }
    }

    #[tokio::test]
    async fn lists_keep_to_themselves_what_is_wrong() {
        use http_body_util::BodyExt;
        let health = health();
        let said = async |path: &str, query: Option<&str>| {
            let (parts, body) = health.respond(path, query).unwrap().into_parts();
            // One check that holds says only that.
            assert_eq!(parts.headers.contains_key("x-content-type-options"), path != "/readyz/ping");
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
