//! The flags of auditing. Both backends have the same, under their names.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::truncate::Limits;
use crate::bucket::Rate;

/// What is noted, and where.
#[derive(Clone, Debug, Args)]
pub struct AuditOptions {
    /// File that says what is noted of which requests (Policy of audit.k8s.io/v1); nothing is without it
    #[arg(id = "audit-policy-file", long = "audit-policy-file")]
    pub(super) policy_file: Option<PathBuf>,
    /// File that events are written to; - is standard output
    #[arg(id = "audit-log-path", long = "audit-log-path")]
    pub(super) log_path: Option<PathBuf>,
    /// Days after which a rotated file goes
    #[arg(id = "audit-log-maxage", long = "audit-log-maxage", default_value_t = 366)]
    pub(super) log_max_age: u64,
    /// How many rotated files stay
    #[arg(id = "audit-log-maxbackup", long = "audit-log-maxbackup", default_value_t = 100)]
    pub(super) log_max_backup: usize,
    /// Megabytes after which a file is rotated
    #[arg(id = "audit-log-maxsize", long = "audit-log-maxsize", default_value_t = 100)]
    pub(super) log_max_size: u64,
    /// Whether rotated files are compressed
    #[arg(id = "audit-log-compress", long = "audit-log-compress", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(super) log_compress: bool,
    /// How events look in the file
    #[arg(id = "audit-log-format", long = "audit-log-format", default_value = "json")]
    pub(super) log_format: Format,
    #[command(flatten)]
    pub(super) log: LogOptions,
    /// Kubeconfig file of the server that is told of events
    #[arg(id = "audit-webhook-config-file", long = "audit-webhook-config-file")]
    pub(super) webhook_config_file: Option<PathBuf>,
    /// How long is waited before a call that failed is made again
    #[arg(id = "audit-webhook-initial-backoff", long = "audit-webhook-initial-backoff", default_value = "10s", value_parser = kinit_duration::flag)]
    pub(super) webhook_backoff: Duration,
    #[command(flatten)]
    pub(super) webhook: WebhookOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Legacy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Events wait in a buffer.
    Batch,
    /// Requests wait.
    Blocking,
    /// Requests wait, and fail if they can't be noted when they come in.
    BlockingStrict,
}

/// How a backend gets events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    pub mode: Mode,
    /// Events that may wait, and how many come out at once after which time; for [`Mode::Batch`].
    pub buffer: usize,
    pub batch: usize,
    pub wait: Duration,
    /// How many batches come out a second.
    pub rate: Option<Rate>,
    /// The largest event, if there is such a thing.
    pub most: Option<Limits>,
}

/// The flags of the backend with this name, and their defaults.
macro_rules! backend {
    ($flags:ident, $name:literal, mode = $mode:literal, batch = $batch:literal, wait = $wait:literal, throttle = $throttle:literal, qps = $qps:literal, burst = $burst:literal) => {
        #[derive(Clone, Debug, Args)]
        pub struct $flags {
            /// Whether requests wait for their events to be noted there
            #[arg(id = concat!("audit-", $name, "-mode"), long = concat!("audit-", $name, "-mode"), default_value = $mode)]
            mode: Mode,
            /// Events that wait there, where requests do not
            #[arg(id = concat!("audit-", $name, "-batch-buffer-size"), long = concat!("audit-", $name, "-batch-buffer-size"), default_value_t = 10_000, allow_negative_numbers = true)]
            buffer: i64,
            /// How many events go at once, where requests do not wait
            #[arg(id = concat!("audit-", $name, "-batch-max-size"), long = concat!("audit-", $name, "-batch-max-size"), default_value_t = $batch, allow_negative_numbers = true)]
            batch: i64,
            /// How long an event waits for others
            #[arg(id = concat!("audit-", $name, "-batch-max-wait"), long = concat!("audit-", $name, "-batch-max-wait"), default_value = $wait, value_parser = kinit_duration::flag)]
            wait: Duration,
            /// Whether no more than so many batches go a second
            #[arg(id = concat!("audit-", $name, "-batch-throttle-enable"), long = concat!("audit-", $name, "-batch-throttle-enable"), default_value_t = $throttle, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
            throttle: bool,
            /// How many batches go a second, where that is limited
            #[arg(id = concat!("audit-", $name, "-batch-throttle-qps"), long = concat!("audit-", $name, "-batch-throttle-qps"), default_value_t = $qps, allow_negative_numbers = true)]
            qps: f64,
            /// How many batches go at once after a quiet while, where that is limited
            #[arg(id = concat!("audit-", $name, "-batch-throttle-burst"), long = concat!("audit-", $name, "-batch-throttle-burst"), default_value_t = $burst, allow_negative_numbers = true)]
            burst: i64,
            /// The version of events there
            #[arg(id = concat!("audit-", $name, "-version"), long = concat!("audit-", $name, "-version"), default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
            version: String,
            /// Whether large events go without the objects of their requests
            #[arg(id = concat!("audit-", $name, "-truncate-enabled"), long = concat!("audit-", $name, "-truncate-enabled"), default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
            truncate: bool,
            /// The largest event, in bytes, where they do
            #[arg(id = concat!("audit-", $name, "-truncate-max-event-size"), long = concat!("audit-", $name, "-truncate-max-event-size"), default_value_t = 102_400)]
            truncate_event: i64,
            /// The largest batch, in bytes, where they do
            #[arg(id = concat!("audit-", $name, "-truncate-max-batch-size"), long = concat!("audit-", $name, "-truncate-max-batch-size"), default_value_t = 10_485_760)]
            truncate_batch: i64,
        }

        impl $flags {
            /// What the flags say together; errors are upstream's.
            pub fn delivery(&self) -> Result<Delivery, String> {
                let batches = self.mode == Mode::Batch;
                // What is not used may be anything.
                let positive = |what: &str, value: i64| match usize::try_from(value) {
                    Ok(value) if value > 0 => Ok(value),
                    _ if !batches => Ok(1),
                    _ => Err(format!("invalid audit batch {} {what} {value}, must be a positive number", $name)),
                };
                let (buffer, batch) = (positive("buffer size", self.buffer)?, positive("max batch size", self.batch)?);
                let rate = if batches && self.throttle {
                    if self.qps <= 0.0 || self.qps.is_nan() {
                        let qps = self.qps;
                        return Err(format!("invalid audit batch {} throttle QPS {qps}, must be a positive number", $name));
                    }
                    let burst = u32::try_from(positive("throttle burst", self.burst)?).unwrap_or(u32::MAX);
                    Some(Rate { per_second: self.qps, burst })
                } else {
                    None
                };
                let most = Limits { event: self.truncate_event, batch: self.truncate_batch };
                most.check($name)?;
                let most = self.truncate.then_some(most);
                Ok(Delivery { mode: self.mode, buffer, batch, wait: self.wait, rate, most })
            }
        }
    };
}

backend!(LogOptions, "log", mode = "blocking", batch = 1, wait = "0s", throttle = false, qps = 0.0, burst = 0);
backend!(WebhookOptions, "webhook", mode = "batch", batch = 400, wait = "30s", throttle = true, qps = 10.0, burst = 15);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::Options;

    fn options(flags: &[&str]) -> AuditOptions {
        let all = ["kube-apiserver", "--etcd-servers=http://127.0.0.1:2379"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}")).audit
    }

    #[test]
    fn defaults_are_upstreams() {
        let plain = options(&[]);
        let log = plain.log.delivery().unwrap();
        assert_eq!((log.mode, log.buffer, log.batch, log.wait), (Mode::Blocking, 10_000, 1, Duration::ZERO));
        assert_eq!((log.rate, log.most), (None, None));
        let webhook = plain.webhook.delivery().unwrap();
        assert_eq!((webhook.mode, webhook.batch, webhook.wait), (Mode::Batch, 400, Duration::from_secs(30)));
        assert_eq!(webhook.rate, Some(Rate { per_second: 10.0, burst: 15 }));
        let unlimited = options(&["--audit-webhook-batch-throttle-enable=false", "--audit-log-truncate-enabled"]);
        assert_eq!(unlimited.webhook.delivery().unwrap().rate, None);
        assert_eq!(unlimited.log.delivery().unwrap().most.unwrap().event, 102_400);
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused_where_it_counts() {
        for (flags, wanted) in [
            (
                ["--audit-log-mode=batch", "--audit-log-batch-buffer-size=0"],
                "invalid audit batch log buffer size 0, must be a positive number",
            ),
            (
                ["--audit-log-mode=batch", "--audit-log-batch-max-size=-1"],
                "invalid audit batch log max batch size -1, must be a positive number",
            ),
            (
                ["--audit-log-mode=batch", "--audit-log-batch-throttle-enable"],
                "invalid audit batch log throttle QPS 0, must be a positive number",
            ),
            (
                ["--audit-log-truncate-max-event-size=0", "--audit-log-truncate-enabled"],
                "invalid audit truncate log max event size 0, must be a positive number",
            ),
        ] {
            assert_eq!(options(&flags).log.delivery().unwrap_err(), wanted);
        }
        let webhook = options(&["--audit-webhook-batch-throttle-burst=0"]).webhook.delivery();
        assert_eq!(webhook.unwrap_err(), "invalid audit batch webhook throttle burst 0, must be a positive number");
        options(&["--audit-log-batch-buffer-size=0"]).log.delivery().unwrap();
    }
}
