//! How many requests there were, what they were about and how long they took, under upstream's names.
//!
//! A request finds its [`Row`] once, when it begins; all families are written from the rows when somebody reads them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use kinit_serving::{Body, BoxError};
use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::peak::{Executing, Kind, Peak};
use crate::request::{Delays, ResourceRequest, STREAMS, Verb};
use crate::tally::{Count, Teller};

/// Upstream's bounds of durations, in seconds.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Upstream's bounds of sizes, in bytes.
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// The endpoints that are counted though they are no resources; so are the documents of OpenAPI v3, under one name.
const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];
/// The cluster's own clients, which are told apart from all others by what they call themselves.
const SYSTEM: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "cluster-policy-controller"];

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct About<'a> {
    verb: &'static str,
    dry_run: &'static str,
    group: Cow<'a, str>,
    version: Cow<'a, str>,
    resource: Cow<'a, str>,
    subresource: Cow<'a, str>,
    scope: &'static str,
    component: &'static str,
}

impl<'a> About<'a> {
    /// Those of a request, of which `wanted` is what its path was read as; nothing for what upstream does not count.
    fn of(wanted: Option<&'a ResourceRequest>, method: &Method, path: &'a str, headers: &HeaderMap) -> Option<Self> {
        let Some(wanted) = wanted else {
            let path = match path {
                "/openapi/v3" => "openapi/v3",
                _ if path.starts_with("/openapi/v3/") => "openapi/v3/",
                _ => HEALTH.into_iter().find(|own| *own == path)?,
            };
            let none = Cow::Borrowed("");
            return Some(Self {
                verb: verb(method),
                dry_run: "",
                group: none.clone(),
                version: none.clone(),
                resource: none,
                subresource: Cow::Borrowed(path),
                scope: "",
                component: "",
            });
        };
        // Anybody may ask for any part of a custom resource: one that there is not is told apart by nobody, and kept by nobody.
        let part = wanted.subresource.as_str();
        if wanted.spec.custom.is_some() && !part.is_empty() && !wanted.spec.has_own(part) {
            return None;
        }
        let applies = || headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/apply-patch+yaml");
        let verb = match wanted.verb {
            _ if STREAMS.contains(&wanted.subresource.as_str()) => "CONNECT",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Patch if applies() => "APPLY",
            _ => verb(method),
        };
        let scope = match (wanted.name.as_str(), wanted.verb) {
            ("", Verb::Create) => "resource",
            ("", _) if wanted.namespace.is_empty() => "cluster",
            ("", _) => "namespace",
            _ => "resource",
        };
        let dry_run = match wanted.dry_run.as_slice() {
            [] => "",
            all if all.iter().all(|one| one == "All") => "All",
            _ => "invalid",
        };
        Some(Self {
            verb,
            dry_run,
            group: Cow::Borrowed(wanted.spec.group()),
            version: Cow::Borrowed(wanted.spec.version()),
            resource: Cow::Borrowed(wanted.spec.resource()),
            subresource: Cow::Borrowed(&wanted.subresource),
            scope,
            component: "apiserver",
        })
    }

    fn owned(self) -> About<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        About {
            verb: self.verb,
            dry_run: self.dry_run,
            group: own(self.group),
            version: own(self.version),
            resource: own(self.resource),
            subresource: own(self.subresource),
            scope: self.scope,
            component: self.component,
        }
    }

    /// Whether it lasts as long as its client likes.
    fn lasts(&self) -> bool {
        matches!(self.verb, "WATCH" | "CONNECT")
    }

    /// The labels of families that do not tell trials apart.
    fn labels(&self) -> [(&'static str, &str); 7] {
        [
            ("verb", self.verb),
            ("group", &self.group),
            ("version", &self.version),
            ("resource", &self.resource),
            ("subresource", &self.subresource),
            ("scope", self.scope),
            ("component", self.component),
        ]
    }

    fn with_trials(&self) -> [(&'static str, &str); 8] {
        let [verb, rest @ ..] = self.labels();
        let [group, version, resource, subresource, scope, component] = rest;
        [verb, ("dry_run", self.dry_run), group, version, resource, subresource, scope, component]
    }
}

/// A method as upstream counts it.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

/// How requests ended: with which code, and for which of the cluster's own clients.
type Ending = (u16, &'static str);

/// What is known of all requests about the same.
#[derive(Debug)]
struct Row {
    endings: Mutex<Vec<(Ending, u64)>>,
    seconds: Histogram,
    /// Without what it waited for others; of trials and of watches there is none.
    own_seconds: Option<Histogram>,
    /// Only of reads, as upstream has it.
    sizes: Option<Histogram>,
    running: AtomicI64,
    /// Whether it is an API that is on its way out.
    deprecated: AtomicBool,
    /// Answers that came instead of those that were asked for, by their codes: there were too many, or it took too long.
    terminations: Mutex<Vec<(u16, u64)>>,
    /// Answers that were cut off.
    aborts: Count,
}

impl Row {
    fn new(about: &About<'_>) -> Self {
        // Upstream goes by what the endpoint is for: a watch is asked for where lists are, and pages are read.
        let sized = matches!(about.verb, "GET" | "LIST" | "WATCH") || about.component.is_empty();
        let own = about.dry_run.is_empty() && about.verb != "WATCH";
        Self {
            endings: Mutex::default(),
            seconds: Histogram::new(SECONDS),
            own_seconds: own.then(|| Histogram::new(SECONDS.into_iter().skip(2))),
            sizes: sized.then(|| Histogram::new(BYTES)),
            running: AtomicI64::new(0),
            deprecated: AtomicBool::new(false),
            terminations: Mutex::default(),
            aborts: Count::default(),
        }
    }

    fn count(&self, ending: Ending) {
        let mut endings = self.endings.lock();
        match endings.iter_mut().find(|(own, _)| *own == ending) {
            Some((_, count)) => *count += 1,
            None => endings.push((ending, 1)),
        }
    }

    fn terminated(&self, code: StatusCode) {
        let mut terminations = self.terminations.lock();
        match terminations.iter_mut().find(|(own, _)| *own == code.as_u16()) {
            Some((_, count)) => *count += 1,
            None => terminations.push((code.as_u16(), 1)),
        }
    }

    /// Whether any request has ended that was about it.
    fn used(&self) -> bool {
        !self.endings.lock().is_empty()
    }
}

/// The families. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    rows: Arc<RwLock<HashMap<About<'static>, Arc<Row>>>>,
    peak: Arc<Peak>,
}

impl Figures {
    pub fn register(&self, families: &mut Registry) {
        families.register_collector(Box::new(self.clone()));
    }

    /// A request begins.
    pub fn begin(
        &self,
        wanted: Option<&ResourceRequest>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Ongoing> {
        let about = About::of(wanted, method, path, headers)?;
        let runs = about.lasts().then(|| {
            // A watch of one object is told apart here alone.
            let named = wanted.is_some_and(|wanted| !wanted.selected("metadata.name").is_empty());
            let scope = if named { "resource" } else { about.scope };
            Running::new(self.row(About { scope, dry_run: "", ..about.clone() }))
        });
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let name = agent.and_then(|agent| agent.split_once('/')).map_or("", |(name, _)| name);
        let client = SYSTEM.into_iter().find(|own| *own == name).unwrap_or_default();
        let row = self.row(about);
        if wanted.is_some_and(|wanted| wanted.spec.deprecation().is_some()) {
            row.deprecated.store(true, Ordering::Relaxed);
        }
        let delays = wanted.map(|wanted| wanted.delays.clone()).unwrap_or_default();
        Some(Ongoing { row, client, began: Instant::now(), delays, runs })
    }

    /// A request has its seat and is executed as long as what this returns lives. What lasts is not counted.
    pub fn executes(&self, verb: &str, subresource: &str) -> Option<Executing> {
        let lasts = verb == "watch" || STREAMS.contains(&subresource);
        let kind = if matches!(verb, "get" | "list") { Kind::ReadOnly } else { Kind::Mutating };
        (!lasts).then(|| Peak::enter(&self.peak, kind))
    }

    fn row(&self, about: About<'_>) -> Arc<Row> {
        if let Some(row) = known(&self.rows.read(), &about) {
            return row;
        }
        let row = Arc::new(Row::new(&about));
        self.rows.write().entry(about.owned()).or_insert(row).clone()
    }
}

fn known<'a>(rows: &HashMap<About<'a>, Arc<Row>>, about: &About<'a>) -> Option<Arc<Row>> {
    rows.get(about).cloned()
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.rows.read();
        let used = || rows.iter().filter(|(_, row)| row.used());
        let help = "Requests by what they were about and how they ended";
        let mut family = encoder.encode_descriptor("apiserver_request", help, None, MetricType::Counter)?;
        for (about, row) in used() {
            for ((code, client), count) in row.endings.lock().iter() {
                let ending = [("code", code.to_string()), ("system_client", (*client).to_owned())];
                ConstCounter::new(*count).encode(family.encode_family(&(about.with_trials(), ending))?)?;
            }
        }
        let help = "How long requests took";
        let mut family =
            encoder.encode_descriptor("apiserver_request_duration_seconds", help, None, MetricType::Histogram)?;
        for (about, row) in used() {
            row.seconds.encode(family.encode_family(&about.with_trials())?)?;
        }
        let help = "How long requests took beside waiting for seats and webhooks";
        let mut family =
            encoder.encode_descriptor("apiserver_request_sli_duration_seconds", help, None, MetricType::Histogram)?;
        for (about, row) in used() {
            if let Some(seconds) = &row.own_seconds {
                seconds.encode(family.encode_family(&about.labels())?)?;
            }
        }
        let help = "How many bytes were answered to reads";
        let mut family = encoder.encode_descriptor("apiserver_response_sizes", help, None, MetricType::Histogram)?;
        for (about, row) in used().filter(|(about, _)| about.dry_run.is_empty()) {
            if let Some(sizes) = &row.sizes {
                sizes.encode(family.encode_family(&about.labels())?)?;
            }
        }
        let help = "Watches and streams that are open";
        let mut family = encoder.encode_descriptor("apiserver_longrunning_requests", help, None, MetricType::Gauge)?;
        for (about, row) in rows.iter().filter(|(about, _)| about.lasts() && about.dry_run.is_empty()) {
            let running = row.running.load(Ordering::Relaxed);
            ConstGauge::new(running).encode(family.encode_family(&about.labels())?)?;
        }
        let help = "APIs on their way out that somebody asked for";
        let mut family =
            encoder.encode_descriptor("apiserver_requested_deprecated_apis", help, None, MetricType::Gauge)?;
        let deprecated = used().filter(|(_, row)| row.deprecated.load(Ordering::Relaxed));
        let named = deprecated.map(|(about, _)| {
            let [_, group, version, resource, subresource, ..] = about.labels();
            [group, version, resource, subresource, ("removed_release", "")]
        });
        for labels in named.collect::<BTreeSet<_>>() {
            ConstGauge::new(1i64).encode(family.encode_family(&labels)?)?;
        }
        let help = "The version that this is, which is always 1";
        let mut family = encoder.encode_descriptor("kubernetes_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1i64).encode(family.encode_family(&crate::discovery::build_labels())?)?;
        self.peak.encode(&mut encoder)?;
        let mut teller = Teller(encoder);
        let mut terminations = BTreeMap::new();
        let mut aborts = BTreeMap::new();
        // Trials are not told apart here.
        for (about, row) in rows.iter() {
            for (code, count) in row.terminations.lock().iter() {
                *terminations.entry((about.labels(), [("code", code.to_string())])).or_default() += count;
            }
            if row.aborts.told() > 0 {
                let [labels @ .., _] = about.labels();
                *aborts.entry(labels).or_default() += row.aborts.told();
            }
        }
        teller.counts(
            "apiserver_request_terminations",
            "Requests that the server ended to save itself",
            terminations,
        )?;
        teller.counts("apiserver_request_aborts", "Answers that were cut off because they took too long", aborts)
    }
}

/// A watch or a stream that is open until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    _place: Arc<Place>,
}

#[derive(Debug)]
struct Place(Arc<Row>);

impl Running {
    fn new(row: Arc<Row>) -> Self {
        row.running.fetch_add(1, Ordering::Relaxed);
        Self { _place: Arc::new(Place(row)) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that has not been answered.
pub(super) struct Ongoing {
    row: Arc<Row>,
    client: &'static str,
    began: Instant,
    delays: Delays,
    runs: Option<Running>,
}

impl Ongoing {
    /// What a stream keeps that goes on after its answer.
    pub fn running(&self) -> Option<Running> {
        self.runs.clone()
    }

    /// It waited for its seat.
    pub fn waited(&self, waited: Duration) {
        self.delays.add(waited);
    }

    /// It was answered so that the server may go on.
    pub fn terminated(&self, code: StatusCode) {
        self.row.terminated(code);
    }

    /// What is to be called if its answer is cut off.
    pub fn cut(&self) -> impl FnOnce() + Send + use<> {
        let row = self.row.clone();
        move || row.aborts.one()
    }

    /// It was turned away because there were too many.
    pub fn dropped(self) {
        self.terminated(StatusCode::TOO_MANY_REQUESTS);
        self.row.count((StatusCode::TOO_MANY_REQUESTS.as_u16(), ""));
    }

    /// It was answered: an answer that is there is noted at once, and one that is sent bit by bit when its end is sent.
    pub fn answered(self, answer: Response<Body>) -> Response<Body> {
        let code = answer.status().as_u16();
        let mut noting = Noting { ongoing: self, code, bytes: 0 };
        if let Some(bytes) = answer.body().size_hint().exact() {
            noting.bytes = bytes;
            return answer;
        }
        answer.map(|body| Counted { body, noting }.boxed_unsync())
    }
}

/// Notes a request when it is dropped.
struct Noting {
    ongoing: Ongoing,
    code: u16,
    bytes: u64,
}

impl Drop for Noting {
    fn drop(&mut self) {
        let Ongoing { row, client, began, delays, .. } = &self.ongoing;
        row.count((self.code, client));
        let took = began.elapsed();
        row.seconds.observe(took.as_secs_f64());
        if let Some(seconds) = &row.own_seconds {
            seconds.observe(took.saturating_sub(delays.total()).as_secs_f64());
        }
        if let Some(sizes) = &row.sizes {
            sizes.observe(self.bytes as f64);
        }
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    noting: Noting,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.noting.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
