//! Flags of upstream's server that have no meaning here: taken, because command lines have them, or refused, because whoever
//! gives them would count on something that does not happen.

use clap::builder::Command;
use clap::{Arg, ArgAction, ArgMatches, Args, Error, FromArgMatches};

/// What becomes of such a flag.
enum Fate {
    /// Taken with any value; the text says why nothing follows.
    Idle(&'static str),
    /// Taken with these values alone; the text says what to do instead.
    Only(&'static [&'static str], &'static str),
}

use Fate::{Idle, Only};

const OFF: &[&str] = &["", "false"];
const ON: &[&str] = &["true"];
const NONE: &[&str] = &[""];
const ZERO: &[&str] = &["0"];
const NO_RUNTIME: &str = "there is no Go runtime to look into; /debug/pprof is never served";
const ONE_BY_ONE: &str = "events are written as they come, or in batches of the size of the buffer";
const NEVER_CUT: &str = "events are written whole";
const NO_PEERS: &str = "API servers pass no requests on among themselves";
const NO_ELECTION: &str = "belongs to coordinated leader election, which is off in v1.36";
const OWN_LOG: &str = "the log is written line by line";
const OWN_METRICS: &str = "metrics and their labels are what they are";
const ASKED_ANYWAY: &str = "etcd is asked every two seconds and at each scrape";
const ONE_VERSION: &str = "one version is all that this server can be";

/// By name. Boolean flags are those whose values include `false` or `true`, and those of `SWITCHES`.
const FLAGS: &[(&str, Fate)] = &[
    ("admission-control", Only(NONE, "give --enable-admission-plugins; the order of plugins is fixed")),
    ("aggregator-reject-forwarding-redirect", Only(ON, "answers that lead elsewhere are never passed on")),
    ("allow-metric-labels", Idle(OWN_METRICS)),
    ("allow-metric-labels-manifest", Idle(OWN_METRICS)),
    ("audit-log-batch-max-size", Idle(ONE_BY_ONE)),
    ("audit-log-batch-max-wait", Idle(ONE_BY_ONE)),
    ("audit-log-batch-throttle-burst", Idle(ONE_BY_ONE)),
    ("audit-log-batch-throttle-enable", Idle(ONE_BY_ONE)),
    ("audit-log-batch-throttle-qps", Idle(ONE_BY_ONE)),
    ("audit-log-truncate-enabled", Only(OFF, NEVER_CUT)),
    ("audit-log-truncate-max-batch-size", Idle(NEVER_CUT)),
    ("audit-log-truncate-max-event-size", Idle(NEVER_CUT)),
    ("audit-webhook-batch-throttle-burst", Idle("batches are sent one after the other, without a pause")),
    ("audit-webhook-batch-throttle-enable", Idle("batches are sent one after the other, without a pause")),
    ("audit-webhook-batch-throttle-qps", Idle("batches are sent one after the other, without a pause")),
    ("audit-webhook-truncate-enabled", Only(OFF, NEVER_CUT)),
    ("audit-webhook-truncate-max-batch-size", Idle(NEVER_CUT)),
    ("audit-webhook-truncate-max-event-size", Idle(NEVER_CUT)),
    ("cert-dir", Idle("a certificate that is made stays in memory")),
    ("contention-profiling", Idle(NO_RUNTIME)),
    ("coordinated-leadership-lease-duration", Idle(NO_ELECTION)),
    ("coordinated-leadership-renew-deadline", Idle(NO_ELECTION)),
    ("coordinated-leadership-retry-period", Idle(NO_ELECTION)),
    ("cors-allowed-origins", Only(NONE, "pages of other origins are not let in; put a proxy before the server")),
    ("debug-socket-path", Only(NONE, NO_RUNTIME)),
    ("delete-collection-workers", Idle("objects of a collection are deleted one after the other")),
    ("disable-http2-serving", Only(OFF, "a client that wants HTTP/1.1 offers that alone")),
    ("disabled-metrics", Idle(OWN_METRICS)),
    ("egress-selector-config-file", Only(NONE, "connections into the cluster are made directly")),
    ("emulated-version", Only(&["", "1.36", "v1.36", "kube=1.36", "kube=v1.36"], ONE_VERSION)),
    ("emulation-forward-compatible", Idle(ONE_VERSION)),
    ("enable-aggregator-routing", Idle("aggregated servers are asked at their endpoints in any case")),
    ("enable-garbage-collector", Only(ON, "what deletions leave to the garbage collector is always noted")),
    ("enable-logs-handler", Only(OFF, "/logs is not served")),
    ("endpoint-reconciler-type", Only(&["lease"], "the endpoints of default/kubernetes are the servers that live")),
    ("etcd-count-metric-poll-period", Idle(ASKED_ANYWAY)),
    ("etcd-db-metric-poll-interval", Idle(ASKED_ANYWAY)),
    ("etcd-healthcheck-timeout", Idle(ASKED_ANYWAY)),
    ("etcd-readycheck-timeout", Idle(ASKED_ANYWAY)),
    ("etcd-servers-overrides", Only(NONE, "all kinds are kept by the etcd of --etcd-servers")),
    ("external-hostname", Idle("clients are told --advertise-address")),
    ("feature-gates", Only(NONE, "features are those that v1.36 has on by default")),
    ("goaway-chance", Idle("clients keep their connections until the server ends")),
    ("http2-max-streams-per-connection", Idle("a connection has as many streams as the protocol's library lets")),
    ("kubelet-timeout", Idle("a kubelet is waited for as long as the request may take")),
    ("kubernetes-service-node-port", Only(ZERO, "default/kubernetes has a ClusterIP alone")),
    ("lease-reuse-duration-seconds", Idle("leases of events are shared as it fits")),
    ("livez-grace-period", Idle("/livez tells each check as it is; a probe's own delay is what waits")),
    ("log-flush-frequency", Idle(OWN_LOG)),
    ("log-json-info-buffer-size", Idle(OWN_LOG)),
    ("log-json-split-stream", Idle(OWN_LOG)),
    ("log-text-info-buffer-size", Idle(OWN_LOG)),
    ("log-text-split-stream", Idle(OWN_LOG)),
    ("max-connection-bytes-per-sec", Only(ZERO, "connections are not held back; let the network do it")),
    ("min-compatibility-version", Idle(ONE_VERSION)),
    ("peer-advertise-ip", Idle(NO_PEERS)),
    ("peer-advertise-port", Idle(NO_PEERS)),
    ("peer-ca-file", Idle(NO_PEERS)),
    ("permit-address-sharing", Only(OFF, "one process listens at an address")),
    ("permit-port-sharing", Only(OFF, "one process listens at a port")),
    ("profiling", Idle(NO_RUNTIME)),
    ("runtime-config", Only(&["", "api/ga=true"], "what is served is what v1.36 serves by default")),
    ("runtime-config-emulation-forward-compatible", Idle(ONE_VERSION)),
    ("send-retry-after-while-not-ready-once", Idle("requests are answered as soon as they can be")),
    ("service-account-lookup", Only(ON, "tokens of accounts that are gone are never taken")),
    ("service-account-signing-endpoint", Only(NONE, "give --service-account-signing-key-file")),
    ("show-hidden-metrics-for-version", Idle(OWN_METRICS)),
    ("shutdown-send-retry-after", Idle("a server that ends finishes what it has begun and takes nothing new")),
    ("shutdown-watch-termination-grace-period", Idle("watches end at once when the server does")),
    ("storage-backend", Only(&["", "etcd3"], "etcd3 is all that there is")),
    ("storage-initialization-timeout", Idle("the server waits for etcd as long as it takes; /readyz says so")),
    ("tls-curve-preferences", Idle("the safe ones are offered in the library's order")),
    ("tls-sni-cert-key", Only(NONE, "one certificate is served; have it name all of the server's names")),
    ("tracing-config-file", Only(NONE, "no traces are sent")),
    ("vmodule", Only(NONE, "RUST_LOG says the level of each module")),
    ("watch-cache", Only(ON, "lists and watches are always served from the cache")),
    ("watch-cache-sizes", Idle("the cache keeps changes by time and by their size in memory")),
];

/// Idle flags that are switches: they may stand alone.
const SWITCHES: [&str; 14] = [
    "audit-log-batch-throttle-enable",
    "audit-webhook-batch-throttle-enable",
    "contention-profiling",
    "emulation-forward-compatible",
    "enable-aggregator-routing",
    "log-json-split-stream",
    "log-text-split-stream",
    "permit-address-sharing",
    "permit-port-sharing",
    "profiling",
    "runtime-config-emulation-forward-compatible",
    "send-retry-after-while-not-ready-once",
    "shutdown-send-retry-after",
    "watch-cache",
];

/// The flags of this kind that were given.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    given: Vec<(&'static str, String)>,
}

impl Foreign {
    /// The flags that were given for nothing, each with the reason.
    pub fn idle(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.given.iter().filter_map(|(name, _)| match fate(name) {
            Some(Idle(why)) => Some((*name, *why)),
            _ => None,
        })
    }

    /// What must not be passed over, with what to do instead.
    pub fn refused(&self) -> Option<(&'static str, &'static str)> {
        self.given.iter().find_map(|(name, value)| match fate(name) {
            Some(Only(values, instead)) if !values.contains(&value.as_str()) => Some((*name, *instead)),
            _ => None,
        })
    }
}

fn fate(name: &str) -> Option<&'static Fate> {
    FLAGS.iter().find(|(known, _)| *known == name).map(|(_, fate)| fate)
}

impl FromArgMatches for Foreign {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = FLAGS.iter().filter_map(|(name, _)| Some((*name, matches.get_one::<String>(name)?.clone())));
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Foreign {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command.next_help_heading("Taken as upstream's, without effect"), |command, (name, fate)| {
            let (help, switch) = match fate {
                Idle(why) => (format!("Without effect: {why}"), SWITCHES.contains(name)),
                Only(values, instead) => {
                    let switch = values.contains(&"false") || values.contains(&"true");
                    (format!("Refused with other values than the default: {instead}"), switch)
                }
            };
            let mut arg = Arg::new(*name).long(*name).action(ArgAction::Set).help(help).hide_short_help(true);
            if switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::options::Options;

    fn read(flags: &[&str]) -> Options {
        let all = ["kube-apiserver", "--etcd-servers=http://127.0.0.1:2379"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn what_hardening_guides_ask_for_is_taken() {
        let options =
            read(&["--profiling=false", "--service-account-lookup=true", "--watch-cache", "--goaway-chance", ".001"]);
        assert_eq!(options.foreign.refused(), None);
        let idle: Vec<&str> = options.foreign.idle().map(|(flag, _)| flag).collect();
        assert_eq!(idle, ["goaway-chance", "profiling"]);
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--service-account-lookup=false", "service-account-lookup"),
            ("--cors-allowed-origins=//x$", "cors-allowed-origins"),
            ("--runtime-config=api/all=true", "runtime-config"),
            ("--watch-cache=false", "watch-cache"),
            ("--egress-selector-config-file=/a", "egress-selector-config-file"),
            ("--permit-port-sharing", "permit-port-sharing"),
        ] {
            assert_eq!(read(&[flag]).foreign.refused().map(|(flag, _)| flag), Some(name), "{flag}");
        }
    }

    #[test]
    fn the_last_of_a_flag_counts() {
        let options =
            read(&["--secure-port=1", "--secure-port=2", "--service-account-issuer=a", "--service-account-issuer=b"]);
        assert_eq!((options.secure_port, options.authentication.service_account_issuer.len()), (2, 2));
    }
}
