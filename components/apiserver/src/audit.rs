//! Auditing: what was done, by whom, and how it went.
//!
//! The [`policy`] says how much of a request is noted and at which stages; a request that it says nothing of costs one look
//! at the rules. A [`Trail`] gathers what becomes known of a request on its way, and gives an event at each stage to the
//! backends: a [`log`], and a webhook ([`batch`]). Both hold a bounded number of events; what does not fit is counted.

mod batch;
mod body;
mod event;
mod log;
mod policy;
mod trail;
mod truncate;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Families;
use tokio_util::sync::CancellationToken;

use crate::remote::Remote;
use batch::{Batch, Batches};
use event::Event;
use log::{Log, Rotation};
use policy::Policy;
pub use trail::Said;
pub use trail::Trail;
use truncate::Limits;

/// How long a server that ends tries to tell what still waits.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What is noted, and where.
#[derive(Clone, Debug, Args)]
pub struct AuditOptions {
    /// File that says what is noted of which requests (Policy of audit.k8s.io/v1); nothing is without it
    #[arg(id = "audit-policy-file", long = "audit-policy-file")]
    policy_file: Option<PathBuf>,
    /// File that events are written to; - is standard output
    #[arg(id = "audit-log-path", long = "audit-log-path")]
    log_path: Option<PathBuf>,
    /// Days after which a rotated file goes
    #[arg(id = "audit-log-maxage", long = "audit-log-maxage", default_value_t = 366)]
    log_max_age: u64,
    /// How many rotated files stay
    #[arg(id = "audit-log-maxbackup", long = "audit-log-maxbackup", default_value_t = 100)]
    log_max_backup: usize,
    /// Megabytes after which a file is rotated
    #[arg(id = "audit-log-maxsize", long = "audit-log-maxsize", default_value_t = 100)]
    log_max_size: u64,
    /// Whether rotated files are compressed
    #[arg(id = "audit-log-compress", long = "audit-log-compress", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    log_compress: bool,
    /// How events look in the file
    #[arg(id = "audit-log-format", long = "audit-log-format", default_value = "json")]
    log_format: Format,
    /// Whether requests wait for their events to be written
    #[arg(id = "audit-log-mode", long = "audit-log-mode", default_value = "blocking")]
    log_mode: Mode,
    /// Events that wait to be written, where requests do not
    #[arg(id = "audit-log-batch-buffer-size", long = "audit-log-batch-buffer-size", default_value_t = 10_000)]
    log_buffer: usize,
    /// The version of events in the file
    #[arg(id = "audit-log-version", long = "audit-log-version", default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    log_version: String,
    /// Whether large events go without the objects of their requests
    #[arg(id = "audit-log-truncate-enabled", long = "audit-log-truncate-enabled", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    log_truncate: bool,
    /// The largest event, in bytes, where they do
    #[arg(
        id = "audit-log-truncate-max-event-size",
        long = "audit-log-truncate-max-event-size",
        default_value_t = 102_400
    )]
    log_truncate_event: i64,
    /// The largest batch, in bytes, where they do
    #[arg(
        id = "audit-log-truncate-max-batch-size",
        long = "audit-log-truncate-max-batch-size",
        default_value_t = 10_485_760
    )]
    log_truncate_batch: i64,
    /// Kubeconfig file of the server that is told of events
    #[arg(id = "audit-webhook-config-file", long = "audit-webhook-config-file")]
    webhook_config_file: Option<PathBuf>,
    /// Whether requests wait for that server
    #[arg(id = "audit-webhook-mode", long = "audit-webhook-mode", default_value = "batch")]
    webhook_mode: Mode,
    /// Events that wait to be told
    #[arg(id = "audit-webhook-batch-buffer-size", long = "audit-webhook-batch-buffer-size", default_value_t = 10_000)]
    webhook_buffer: usize,
    /// How many events are told at once
    #[arg(id = "audit-webhook-batch-max-size", long = "audit-webhook-batch-max-size", default_value_t = 400)]
    webhook_max_size: usize,
    /// How long an event waits for others
    #[arg(id = "audit-webhook-batch-max-wait", long = "audit-webhook-batch-max-wait", default_value = "30s", value_parser = kinit_duration::flag)]
    webhook_max_wait: Duration,
    /// How long is waited before a call that failed is made again
    #[arg(id = "audit-webhook-initial-backoff", long = "audit-webhook-initial-backoff", default_value = "10s", value_parser = kinit_duration::flag)]
    webhook_backoff: Duration,
    /// The version of events that the server is told
    #[arg(id = "audit-webhook-version", long = "audit-webhook-version", default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    webhook_version: String,
    /// Whether large events go without the objects of their requests
    #[arg(id = "audit-webhook-truncate-enabled", long = "audit-webhook-truncate-enabled", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    webhook_truncate: bool,
    /// The largest event, in bytes, where they do
    #[arg(
        id = "audit-webhook-truncate-max-event-size",
        long = "audit-webhook-truncate-max-event-size",
        default_value_t = 102_400
    )]
    webhook_truncate_event: i64,
    /// The largest batch, in bytes, where they do
    #[arg(
        id = "audit-webhook-truncate-max-batch-size",
        long = "audit-webhook-truncate-max-batch-size",
        default_value_t = 10_485_760
    )]
    webhook_truncate_batch: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Legacy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Events wait in a buffer.
    Batch,
    /// Requests wait.
    Blocking,
    /// Requests wait, and fail if they can't be noted when they come in.
    BlockingStrict,
}

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
    log: Arc<Mutex<Log>>,
    format: Format,
    mode: Mode,
    most: Option<Limits>,
    batch: Batch,
    batches: Mutex<Option<Batches>>,
}

struct WebhookBackend {
    remote: Remote,
    mode: Mode,
    most: Option<Limits>,
    batch: Batch,
    batches: Mutex<Option<Batches>>,
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
            let (batch, batches) = batch::new(options.log_buffer, 1, Duration::ZERO);
            let (format, mode) = (options.log_format, options.log_mode);
            let most = Limits { event: options.log_truncate_event, batch: options.log_truncate_batch };
            most.check("log").map_err(anyhow::Error::msg)?;
            let most = options.log_truncate.then_some(most);
            let (log, batches) = (Arc::new(Mutex::new(log)), Mutex::new(Some(batches)));
            anyhow::Ok(LogBackend { log, format, mode, most, batch, batches })
        });
        let webhook = options.webhook_config_file.as_ref().map(|file| {
            let remote = Remote::load(file).context("--audit-webhook-config-file")?;
            let remote = remote.with_backoff(options.webhook_backoff).insisting();
            let (batch, batches) =
                batch::new(options.webhook_buffer, options.webhook_max_size, options.webhook_max_wait);
            let mode = options.webhook_mode;
            let most = Limits { event: options.webhook_truncate_event, batch: options.webhook_truncate_batch };
            most.check("webhook").map_err(anyhow::Error::msg)?;
            let most = options.webhook_truncate.then_some(most);
            anyhow::Ok(WebhookBackend { remote, mode, most, batch, batches: Mutex::new(Some(batches)) })
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
            && let Some(event) = self.cut(backend.most, event)
        {
            let noted = match backend.mode {
                Mode::Batch => backend.batch.add(&event),
                _ => backend.write(&event),
            };
            self.settle("log", backend.mode, noted, &mut failed);
        }
        if let Some(backend) = &self.webhook
            && let Some(event) = self.cut(backend.most, event)
        {
            let noted = match backend.mode {
                Mode::Batch => backend.batch.add(&event),
                _ => backend.send(std::slice::from_ref(&*event)).await,
            };
            self.settle("webhook", backend.mode, noted, &mut failed);
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

    /// Writes and tells what waits in buffers, until `shutdown` and then what is left.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let log = async {
            let Some(backend) = &self.log else { return };
            let batches = backend.batches.lock().take();
            let Some(mut batches) = batches else { return };
            while let Some(events) = batches.next(&shutdown).await {
                for event in &events {
                    self.settle("log", Mode::Batch, backend.write(event), &mut Ok(()));
                }
            }
        };
        let webhook = async {
            let Some(backend) = &self.webhook else { return };
            let batches = backend.batches.lock().take();
            let Some(mut batches) = batches else { return };
            let told = async {
                while let Some(events) = batches.next(&shutdown).await {
                    self.settle("webhook", Mode::Batch, backend.send(&events).await, &mut Ok(()));
                }
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
