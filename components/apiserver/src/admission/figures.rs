//! How long admission took, under upstream's names: of each plugin, of each of the two steps, and of each webhook.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Operation;

/// Upstream's bounds of plugins and steps, in seconds, and those that webhooks have besides.
const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
const OWN: usize = 6;
const OPERATIONS: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
/// What a step is called that changes objects, and one that looks at them.
pub const ADMIT: &str = "admit";
pub const VALIDATE: &str = "validate";

/// How long something took, by operation and by whether it refused.
#[derive(Debug, Default)]
pub struct Times([OnceLock<Histogram>; 8]);

impl Times {
    /// It took from `began` until now, which is returned.
    pub fn note(&self, operation: Operation, refused: bool, began: Instant) -> Instant {
        let now = Instant::now();
        let cell = &self.0[operation as usize * 2 + usize::from(refused)];
        let histogram = cell.get_or_init(|| Histogram::new(SECONDS.into_iter().take(OWN)));
        histogram.observe(now.duration_since(began).as_secs_f64());
        now
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &Histogram)> {
        self.0.iter().enumerate().filter_map(|(at, cell)| {
            let refused = if at % 2 == 1 { "true" } else { "false" };
            Some((OPERATIONS[at / 2].as_str(), refused, cell.get()?))
        })
    }
}

/// A webhook that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

/// How long webhooks took. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OfWebhooks(Family<Asked, Histogram, fn() -> Histogram>);

impl Default for OfWebhooks {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(SECONDS)))
    }
}

impl OfWebhooks {
    /// A webhook was asked at `began` and has answered, or could not be asked.
    pub fn note(&self, name: &str, mutating: bool, operation: Operation, refused: bool, began: Instant) {
        let asked = Asked {
            name: name.to_owned(),
            r#type: if mutating { ADMIT } else { VALIDATE },
            operation: operation.as_str(),
            rejected: if refused { "true" } else { "false" },
        };
        self.0.get_or_create(&asked).observe(began.elapsed().as_secs_f64());
    }

    pub fn register(&self, families: &mut Registry) {
        let help = "How long admission webhooks took";
        families.register("apiserver_admission_webhook_admission_duration_seconds", help, self.0.clone());
    }
}

/// One row of the plugins' family: what it is called, its step, and its times.
type Row = (&'static str, &'static str, Arc<Times>);

/// The families of plugins and steps. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    plugins: Arc<[Row]>,
    steps: Arc<[Times; 2]>,
}

impl Figures {
    pub fn new(plugins: Vec<Row>) -> Self {
        Self { plugins: plugins.into(), steps: Arc::default() }
    }

    /// The step that changes objects.
    pub fn admit(&self) -> &Times {
        &self.steps[0]
    }

    /// The step that looks at them.
    pub fn validate(&self) -> &Times {
        &self.steps[1]
    }

    pub fn register(&self, families: &mut Registry) {
        families.register_collector(Box::new(self.clone()));
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "apiserver_admission_controller_admission_duration_seconds";
        let mut family =
            encoder.encode_descriptor(name, "How long admission plugins took", None, MetricType::Histogram)?;
        for (name, step, times) in self.plugins.iter() {
            for (operation, rejected, histogram) in times.all() {
                let labels = [("name", *name), ("type", *step), ("operation", operation), ("rejected", rejected)];
                histogram.encode(family.encode_family(&labels)?)?;
            }
        }
        let name = "apiserver_admission_step_admission_duration_seconds";
        let mut family =
            encoder.encode_descriptor(name, "How long the steps of admission took", None, MetricType::Histogram)?;
        for (step, times) in [ADMIT, VALIDATE].into_iter().zip(self.steps.iter()) {
            for (operation, rejected, histogram) in times.all() {
                let labels = [("type", step), ("operation", operation), ("rejected", rejected)];
                histogram.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
