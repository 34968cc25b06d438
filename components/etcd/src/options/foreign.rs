//! Flags of etcd that have no meaning here: taken, because command lines and files have them, or refused, because
//! whoever gives them would count on something that does not happen.

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
const NONE: &[&str] = &[""];
const NO_DISCOVERY: &str = "a cluster is not looked up elsewhere; name its members with --initial-cluster";
const ONLY_WITH_DISCOVERY: &str = "belongs to discovery, which there is none of";
const ONLY_WITH_TRACING: &str = "belongs to distributed tracing, which there is none of";
const BOLT: &str = "tunes bbolt, which is not used";
const NO_V2: &str = "there never was a v2 store";
const NO_SLOW_LOG: &str = "slow requests show in /metrics";

/// By name. Boolean flags are those whose values include `false`.
const FLAGS: &[(&str, Fate)] = &[
    ("auto-tls", Only(OFF, "certificates are not made here; give --cert-file and --key-file")),
    ("backend-batch-interval", Idle(BOLT)),
    ("backend-batch-limit", Idle(BOLT)),
    ("backend-bbolt-freelist-type", Only(&["map", "array"], "bbolt is not used, and knew map and array alone")),
    ("client-cert-file", Idle("the gateway asks the server within the process")),
    ("client-key-file", Idle("the gateway asks the server within the process")),
    ("compaction-batch-limit", Idle("compaction works in steps of its own")),
    ("compaction-sleep-interval", Idle("compaction works in steps of its own")),
    ("discovery", Only(NONE, NO_DISCOVERY)),
    ("discovery-cacert", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-cert", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-dial-timeout", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-endpoints", Only(NONE, NO_DISCOVERY)),
    ("discovery-fallback", Only(&["", "exit"], "there is no proxy to fall back to")),
    ("discovery-insecure-skip-tls-verify", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-insecure-transport", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-keepalive-time", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-keepalive-timeout", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-key", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-password", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-proxy", Only(NONE, NO_DISCOVERY)),
    ("discovery-request-timeout", Idle(ONLY_WITH_DISCOVERY)),
    ("discovery-srv", Only(NONE, NO_DISCOVERY)),
    ("discovery-srv-name", Only(NONE, NO_DISCOVERY)),
    ("discovery-token", Only(NONE, NO_DISCOVERY)),
    ("discovery-user", Idle(ONLY_WITH_DISCOVERY)),
    ("distributed-tracing-address", Idle(ONLY_WITH_TRACING)),
    ("distributed-tracing-instance-id", Idle(ONLY_WITH_TRACING)),
    ("distributed-tracing-sampling-rate", Idle(ONLY_WITH_TRACING)),
    ("distributed-tracing-service-name", Idle(ONLY_WITH_TRACING)),
    ("downgrade-check-time", Idle("one version is all there is to watch for")),
    ("enable-distributed-tracing", Only(OFF, "no traces are sent; leave it out")),
    ("enable-log-rotation", Only(OFF, "logs go to standard error; whoever takes them from there rotates them")),
    ("enable-pprof", Only(OFF, "there is no Go runtime to look into; use perf on the process")),
    ("force-new-cluster", Only(OFF, "save a snapshot, and restore it with `etcd snapshot restore` into a new cluster")),
    ("grpc-keepalive-min-time", Idle("clients are not cut off for asking too often")),
    ("initial-election-tick-advance", Idle("an election timeout is waited for as a whole")),
    ("log-rotation-config-json", Idle("logs go to standard error")),
    ("logger", Only(&["zap"], "etcd too knows zap alone, and here it names no library")),
    ("max-snapshots", Idle("a snapshot is no file that is kept")),
    ("max-wals", Idle("of the log is kept what is needed")),
    ("metrics", Only(&["basic", "extensive"], "it is basic or extensive")),
    ("peer-auto-tls", Only(OFF, "certificates are not made here; give --peer-cert-file and --peer-key-file")),
    ("peer-skip-client-san-verification", Idle("members prove themselves by their CA")),
    ("raft-read-timeout", Idle("a connection that is silent for two heartbeats of HTTP/2 is opened anew")),
    ("raft-write-timeout", Idle("a connection that is silent for two heartbeats of HTTP/2 is opened anew")),
    ("self-signed-cert-validity", Idle("certificates are not made here")),
    ("unsafe-no-fsync", Only(OFF, "what is acknowledged is on the disk; leave it out")),
    ("v2-deprecation", Idle(NO_V2)),
    ("warning-apply-duration", Idle(NO_SLOW_LOG)),
    ("warning-unary-request-duration", Idle(NO_SLOW_LOG)),
];

/// Idle flags that are switches: they may stand alone.
const IDLE_SWITCHES: [&str; 4] = [
    "discovery-insecure-skip-tls-verify",
    "discovery-insecure-transport",
    "initial-election-tick-advance",
    "peer-skip-client-san-verification",
];

/// Those that still have the name of 3.5, too.
const ONCE_EXPERIMENTAL: [&str; 11] = [
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "enable-distributed-tracing",
    "peer-skip-client-san-verification",
    "warning-apply-duration",
    "warning-unary-request-duration",
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
        FLAGS.iter().fold(command.next_help_heading("Taken as etcd's, without effect"), |command, (name, fate)| {
            let (help, switch) = match fate {
                Idle(why) => (format!("Without effect: {why}"), IDLE_SWITCHES.contains(name)),
                Only(values, instead) => (format!("Refused: {instead}"), values.contains(&"false")),
            };
            let mut arg = Arg::new(*name).long(*name).action(ArgAction::Set).help(help);
            if matches!(fate, Only(..)) {
                arg = arg.hide_short_help(true);
            }
            if switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            if ONCE_EXPERIMENTAL.contains(name) {
                arg = arg.alias(format!("experimental-{name}"));
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
