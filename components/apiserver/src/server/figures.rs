//! How many requests there were and how long they took, under upstream's names.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::request::{ResourceRequest, STREAMS, Verb};

/// Upstream's bounds, in seconds.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// The endpoints that are counted though they are no resources.
const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    verb: &'static str,
    dry_run: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    #[prometheus(flatten)]
    asked: Labels,
    code: u16,
}

impl Labels {
    /// Those of a request, of which `wanted` is what its path was read as; nothing for what upstream does not count.
    pub fn of(wanted: Option<&ResourceRequest>, method: &Method, path: &str) -> Option<Self> {
        let component = "apiserver";
        let Some(wanted) = wanted else {
            let path = HEALTH.into_iter().find(|own| *own == path)?;
            return Some(Self {
                verb: if *method == Method::GET { "GET" } else { "other" },
                dry_run: "",
                group: String::new(),
                version: String::new(),
                resource: String::new(),
                subresource: path.to_owned(),
                scope: "",
                component,
            });
        };
        let connects = STREAMS.contains(&wanted.subresource.as_str());
        let verb = match wanted.verb {
            _ if connects => "CONNECT",
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
            Verb::None => "other",
        };
        let scope = match (wanted.name.as_str(), wanted.verb) {
            ("", Verb::Create) => "resource",
            ("", _) if wanted.namespace.is_empty() => "cluster",
            ("", _) => "namespace",
            _ => "resource",
        };
        Some(Self {
            verb,
            dry_run: if wanted.parameter("dryRun") == "All" { "All" } else { "" },
            group: wanted.spec.group().to_owned(),
            version: wanted.spec.version().to_owned(),
            resource: wanted.spec.resource().to_owned(),
            subresource: wanted.subresource.clone(),
            scope,
            component,
        })
    }

    /// Whether it lasts as long as its client likes.
    fn lasts(&self) -> bool {
        matches!(self.verb, "WATCH" | "CONNECT")
    }
}

/// The families. Cheap to clone.
#[derive(Clone)]
pub(super) struct Figures {
    total: Family<Answered, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Figures {
    fn default() -> Self {
        Self { total: Family::default(), seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)) }
    }
}

impl Figures {
    pub fn register(&self, families: &mut Registry) {
        families.register(
            "apiserver_request",
            "Requests by what they were about and how they ended",
            self.total.clone(),
        );
        let help = "How long requests took that are no watch and no stream";
        families.register("apiserver_request_duration_seconds", help, self.seconds.clone());
    }

    /// A request was answered.
    pub fn note(&self, labels: Labels, code: StatusCode, took: Duration) {
        if !labels.lasts() {
            self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
        self.total.get_or_create(&Answered { asked: labels, code: code.as_u16() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry as Rows;
    use crate::request;

    /// Labels as upstream's server has them for the same requests.
    #[test]
    fn requests_are_counted_by_what_they_are_about() {
        let figures = Figures::default();
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, query) in [
            (&get, "/api/v1/namespaces/a/pods", None),
            (&get, "/api/v1/pods", Some("watch=1")),
            (&post, "/apis/apps/v1/namespaces/a/deployments", Some("dryRun=All")),
            (&get, "/api/v1/namespaces/a/pods/b/log", None),
            (&get, "/livez", None),
            (&get, "/nothing", None),
        ] {
            let wanted = request::parse(&Rows::default(), method, path, query).unwrap();
            if let Some(labels) = Labels::of(wanted.as_ref(), method, path) {
                figures.note(labels, StatusCode::OK, Duration::from_millis(7));
            }
        }
        let mut registry = Registry::default();
        figures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let counted: Vec<&str> = text.lines().filter(|line| line.starts_with("apiserver_request_total{")).collect();
        assert_eq!(counted.len(), 5, "{text}");
        for line in [
            "verb=\"LIST\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"namespace\"",
            "verb=\"WATCH\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"cluster\"",
            "verb=\"POST\",dry_run=\"All\",group=\"apps\",version=\"v1\",resource=\"deployments\",subresource=\"\",scope=\"resource\"",
            "verb=\"CONNECT\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"log\",scope=\"resource\"",
            "verb=\"GET\",dry_run=\"\",group=\"\",version=\"\",resource=\"\",subresource=\"/livez\",scope=\"\"",
        ] {
            assert!(
                counted.iter().any(|own| own.contains(line) && own.ends_with("code=\"200\"} 1")),
                "{line}: {counted:?}"
            );
        }
        let timed = text.lines().filter(|line| line.starts_with("apiserver_request_duration_seconds_count{"));
        assert_eq!(timed.count(), 3, "what lasts is not timed");
    }
}
