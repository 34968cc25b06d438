//! Auditing: what was done, by whom, and how it went.
//!
//! The [`policy`] says how much of a request is noted and at which stages; a request that it says nothing of costs one look
//! at the rules. A [`Trail`] gathers what becomes known of a request on its way, and gives an event at each stage to the
//! backends: a [`log`], and a webhook ([`batch`]). Both hold a bounded number of events; what does not fit is counted.

mod batch;
mod body;
mod event;
mod log;
mod options;
mod policy;
mod trail;
mod truncate;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Families;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::remote::Remote;
use batch::Batch;
use event::Event;
use log::{Log, Rotation};
pub use options::AuditOptions;
use options::{Delivery, Format, Mode};
use policy::Policy;
pub use trail::Said;
pub use trail::Trail;
use truncate::Limits;

/// How many batches are on their way to a webhook at the most: one that fails keeps the next from waiting for all its tries.
const AT_ONCE: usize = 16;
/// How long a server that ends tries to tell what still waits.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AtLevel {
    level: &'static str,
}

#[derive(Default)]
struct Figures {
    events: Counter,
    levels: Family<AtLevel, Counter>,
    errors: Family<Plugin, Counter>,
    rejected: Counter,
}

/// The policy and the backends of one server.
pub struct Audit {
    policy: Policy,
    log: Option<LogBackend>,
    webhook: Option<WebhookBackend>,
    figures: Figures,
}

struct LogBackend {
    log: Mutex<Log>,
    format: Format,
    delivery: Delivery,
    batch: Batch,
}

struct WebhookBackend {
    remote: Remote,
    delivery: Delivery,
    batch: Batch,
}

impl Audit {
    /// Reads the files; nothing without a policy or without a backend. Errors name the flag.
    pub fn new(options: &AuditOptions) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(file) = &options.policy_file else {
            if options.log_path.is_some() || options.webhook_config_file.is_some() {
                tracing::warn!("no audit policy file is given, so nothing is noted");
            }
            return Ok(None);
        };
        let named = || format!("--audit-policy-file: {}", file.display());
        let text = std::fs::read_to_string(file).with_context(named)?;
        let policy = Policy::parse(&text).map_err(anyhow::Error::msg).with_context(named)?;
        let log = options.log_path.as_ref().map(|path| {
            let rotation = Rotation {
                size: options.log_max_size.saturating_mul(1024 * 1024),
                age: Duration::from_secs(options.log_max_age.saturating_mul(24 * 3600)),
                backups: options.log_max_backup,
                compress: options.log_compress,
            };
            let log = Log::open(path, rotation).with_context(|| format!("--audit-log-path: {}", path.display()))?;
            let delivery = options.log.delivery().map_err(anyhow::Error::msg)?;
            let (log, batch) = (Mutex::new(log), batch::new(delivery));
            anyhow::Ok(LogBackend { log, format: options.log_format, delivery, batch })
        });
        let webhook = options.webhook_config_file.as_ref().map(|file| {
            let remote = Remote::load(file).context("--audit-webhook-config-file")?;
            let remote = remote.with_backoff(options.webhook_backoff).insisting();
            let delivery = options.webhook.delivery().map_err(anyhow::Error::msg)?;
            anyhow::Ok(WebhookBackend { remote, delivery, batch: batch::new(delivery) })
        });
        let (log, webhook) = (log.transpose()?, webhook.transpose()?);
        let used = log.is_some() || webhook.is_some();
        Ok(used.then(|| Arc::new(Self { policy, log, webhook, figures: Figures::default() })))
    }

    pub fn register(&self, families: &mut Families) {
        let own = &self.figures;
        families.register("apiserver_audit_event", "Audit events generated", own.events.clone());
        families.register("apiserver_audit_level", "Policy levels of requests", own.levels.clone());
        families.register("apiserver_audit_error", "Audit events that were not noted", own.errors.clone());
        let rejected = "apiserver_audit_requests_rejected";
        families.register(rejected, "Requests refused because they could not be noted", own.rejected.clone());
    }

    /// Gives an event to the backends. The error says that one of them insists and has not noted it.
    async fn note(&self, event: &Event) -> Result<(), String> {
        self.figures.events.inc();
        let mut failed = Ok(());
        if let Some(backend) = &self.log
            && let Some(event) = self.cut(backend.delivery.most, event)
        {
            let noted = match backend.delivery.mode {
                Mode::Batch => backend.batch.add(&event),
                _ => backend.write(&event),
            };
            self.settle("log", backend.delivery.mode, noted, &mut failed);
        }
        if let Some(backend) = &self.webhook
            && let Some(event) = self.cut(backend.delivery.most, event)
        {
            let noted = match backend.delivery.mode {
                Mode::Batch => backend.batch.add(&event),
                _ => backend.send(std::slice::from_ref(&*event)).await,
            };
            self.settle("webhook", backend.delivery.mode, noted, &mut failed);
        }
        failed
    }

    /// What a backend takes of an event; nothing of one that is too large, of which no request fails.
    fn cut<'a>(&self, most: Option<Limits>, event: &'a Event) -> Option<Cow<'a, Event>> {
        let cut = most.map_or(Ok(Cow::Borrowed(event)), |most| most.cut(event));
        cut.map_err(|error| self.settle("truncate", Mode::Batch, Err(error), &mut Ok(()))).ok()
    }

    fn settle(&self, plugin: &'static str, mode: Mode, noted: Result<(), String>, failed: &mut Result<(), String>) {
        let Err(error) = noted else { return };
        self.figures.errors.get_or_create(&Plugin { plugin }).inc();
        tracing::warn!(plugin, error, "an audit event was not noted");
        if mode == Mode::BlockingStrict {
            *failed = Err(error);
        }
    }

    /// Tells the webhook of a batch.
    async fn tell(self: Arc<Self>, events: Vec<Event>) {
        if let Some(backend) = &self.webhook {
            self.settle("webhook", Mode::Batch, backend.send(&events).await, &mut Ok(()));
        }
    }

    /// Writes and tells what waits in buffers, until `shutdown` and then what is left.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let log = async {
            let Some(backend) = &self.log else { return };
            let Some(mut batches) = backend.batch.take() else { return };
            while let Some(events) = batches.next(&shutdown).await {
                for event in &events {
                    self.settle("log", Mode::Batch, backend.write(event), &mut Ok(()));
                }
            }
        };
        let webhook = async {
            let Some(backend) = &self.webhook else { return };
            let Some(mut batches) = backend.batch.take() else { return };
            let told = async {
                let mut calls = JoinSet::new();
                while let Some(events) = batches.next(&shutdown).await {
                    if calls.len() >= AT_ONCE {
                        calls.join_next().await;
                    }
                    calls.spawn(self.clone().tell(events));
                    while calls.try_join_next().is_some() {}
                }
                calls.join_all().await;
            };
            tokio::select! {
                () = told => {}
                () = async { shutdown.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {
                    tracing::warn!("the server ends before all audit events were told");
                }
            }
        };
        tokio::join!(log, webhook);
    }
}

impl LogBackend {
    fn write(&self, event: &Event) -> Result<(), String> {
        let line = match self.format {
            Format::Json => event.to_json(),
            Format::Legacy => event.to_legacy(),
        };
        self.log.lock().write(&line).map_err(|error| error.to_string())
    }
}

impl WebhookBackend {
    async fn send(&self, events: &[Event]) -> Result<(), String> {
        self.remote.post(&event::list(events), Duration::from_secs(30)).await.map(|_| ())
    }
}
