//! The families that dashboards and alerts are written against, as upstream promises them to stay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use clap::Parser;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use kinit_serving::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::stored::Stored;
use crate::admission::Operation;
use crate::admission::figures::{ADMIT, Figures as OfAdmission, OfWebhooks, Times};
use crate::cache::Cache;
use crate::options::Options;
use crate::registry::Registry;
use crate::request;
use crate::storage::Etcd;

const REQUEST: &str = "component group resource scope subresource verb version";
/// The stable families of v1.36's API server, and those that everybody knows though they are none (service indicators, the build): name, type, labels, and bounds where it is a histogram.
const STABLE: [(&str, &str, &str, &str); 13] = [
    (
        "apiserver_admission_controller_admission_duration_seconds",
        "histogram",
        "name operation rejected type",
        "0.005 0.025 0.1 0.5 1 2.5 +Inf",
    ),
    (
        "apiserver_admission_step_admission_duration_seconds",
        "histogram",
        "operation rejected type",
        "0.005 0.025 0.1 0.5 1 2.5 +Inf",
    ),
    (
        "apiserver_admission_webhook_admission_duration_seconds",
        "histogram",
        "name operation rejected type",
        "0.005 0.025 0.1 0.5 1 2.5 10 25 +Inf",
    ),
    ("apiserver_current_inflight_requests", "gauge", "request_kind", ""),
    ("apiserver_longrunning_requests", "gauge", REQUEST, ""),
    (
        "apiserver_request_duration_seconds",
        "histogram",
        "component dry_run group resource scope subresource verb version",
        "0.005 0.025 0.05 0.1 0.2 0.4 0.6 0.8 1 1.25 1.5 2 3 4 5 6 8 10 15 20 30 45 60 +Inf",
    ),
    (
        "apiserver_request_sli_duration_seconds",
        "histogram",
        REQUEST,
        "0.05 0.1 0.2 0.4 0.6 0.8 1 1.25 1.5 2 3 4 5 6 8 10 15 20 30 45 60 +Inf",
    ),
    (
        "apiserver_request_total",
        "counter",
        "code component dry_run group resource scope subresource system_client verb version",
        "",
    ),
    ("apiserver_requested_deprecated_apis", "gauge", "group removed_release resource subresource version", ""),
    ("apiserver_response_sizes", "histogram", REQUEST, "1000 10000 100000 1000000 10000000 100000000 1000000000 +Inf"),
    ("apiserver_storage_objects", "gauge", "resource", ""),
    ("apiserver_storage_size_bytes", "gauge", "storage_cluster_id", ""),
    (
        "kubernetes_build_info",
        "gauge",
        "build_date compiler git_commit git_tree_state git_version go_version major minor platform",
        "",
    ),
];

#[derive(Default)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    bounds: Vec<String>,
    samples: usize,
}

/// The families of a text; panics where it is not what the text format 0.0.4 allows.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
            name.clone_into(&mut current);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        value.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
            None => (series, ""),
        };
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line} is of no family"));
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        let of = if family.kind == "histogram" { of_histogram.unwrap_or_default() } else { name };
        assert_eq!(of, current, "{line}");
        family.samples += 1;
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = value.unwrap_or_else(|| panic!("{line}"));
            if label != "le" {
                family.labels.insert(label.to_owned());
            } else if !family.bounds.iter().any(|own| own == value) {
                family.bounds.push(value.to_owned());
            }
        }
    }
    families
}

#[tokio::test]
async fn stable_families_are_told() {
    let options = Options::parse_from(["x", "--etcd-servers=http://127.0.0.1:1"]);
    let etcd = Etcd::new(&options).unwrap();
    let (cache, _follow) = Cache::new(etcd, CancellationToken::new());
    let metrics = Metrics::default();

    let figures = Figures::default();
    metrics.register(|families| figures.register(families));
    for (path, query) in [("/api/v1/endpoints", None), ("/api/v1/pods", Some("watch=1")), ("/livez", None)] {
        let wanted = request::parse(&Registry::default(), &Method::GET, path, query).unwrap();
        let ongoing = figures.begin(wanted.as_ref(), &Method::GET, path, &HeaderMap::new()).unwrap();
        drop(ongoing.answered(Response::new(kinit_serving::full("1"))));
    }
    let stored = Stored::new(cache);
    stored.note(4096);
    metrics.register(|families| stored.register(families));
    let times = std::sync::Arc::<Times>::default();
    times.note(Operation::Create, false, Instant::now());
    let admission = OfAdmission::new(vec![("LimitRanger", ADMIT, times)]);
    admission.admit().note(Operation::Delete, true, Instant::now());
    metrics.register(|families| admission.register(families));
    let webhooks = OfWebhooks::default();
    webhooks.note("a.example.com", true, Operation::Connect, false, Instant::now());
    metrics.register(|families| webhooks.register(families));

    let answer = metrics.respond("/metrics").unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    let families = parse(text);
    for (name, kind, labels, bounds) in STABLE {
        let family = families.get(name).unwrap_or_else(|| panic!("{name} is missing:\n{text}"));
        let own: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        assert_eq!((family.kind.as_str(), own.join(" ").as_str()), (kind, labels), "{name}");
        let number = |bound: &str| bound.parse::<f64>().unwrap();
        let own: Vec<f64> = family.bounds.iter().map(|bound| number(bound)).collect();
        assert_eq!(own, bounds.split_whitespace().map(number).collect::<Vec<_>>(), "{name}");
        assert!(family.samples > 0, "{name}");
    }
    for line in [
        "apiserver_admission_controller_admission_duration_seconds_count{name=\"LimitRanger\",type=\"admit\",operation=\"CREATE\",rejected=\"false\"} 1",
        "apiserver_admission_step_admission_duration_seconds_count{type=\"admit\",operation=\"DELETE\",rejected=\"true\"} 1",
        "apiserver_admission_webhook_admission_duration_seconds_count{name=\"a.example.com\",type=\"admit\",operation=\"CONNECT\",rejected=\"false\"} 1",
        "apiserver_storage_objects{resource=\"deployments.apps\"} 0",
        "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} 4096",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}
