//! Flags of etcd that have no meaning here: taken, because command lines and files have them, or refused, because
//! whoever gives them would count on something that does not happen.

use kinit_flags::shared::{NONE, OFF};
use kinit_flags::{Row, Table, idle, only};

const NO_DISCOVERY: &str = "a cluster is not looked up elsewhere; name its members with --initial-cluster";
const ONLY_WITH_DISCOVERY: &str = "belongs to discovery, which there is none of";
const ONLY_WITH_TRACING: &str = "belongs to distributed tracing, which there is none of";
const BOLT: &str = "tunes bbolt, which is not used";
const NO_V2: &str = "there never was a v2 store";
const NO_SLOW_LOG: &str = "slow requests show in /metrics";

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "etcd's";
    const GROUPS: &'static [&'static [Row]] = &[FLAGS];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    only("auto-tls", OFF, "certificates are not made here; give --cert-file and --key-file"),
    idle("backend-batch-interval", BOLT),
    idle("backend-batch-limit", BOLT),
    only("backend-bbolt-freelist-type", &["map", "array"], "bbolt is not used, and knew map and array alone"),
    idle("client-cert-file", "the gateway asks the server within the process"),
    idle("client-key-file", "the gateway asks the server within the process"),
    idle("compaction-batch-limit", "compaction works in steps of its own").once_experimental(),
    idle("compaction-sleep-interval", "compaction works in steps of its own").once_experimental(),
    only("discovery", NONE, NO_DISCOVERY),
    idle("discovery-cacert", ONLY_WITH_DISCOVERY),
    idle("discovery-cert", ONLY_WITH_DISCOVERY),
    idle("discovery-dial-timeout", ONLY_WITH_DISCOVERY),
    only("discovery-endpoints", NONE, NO_DISCOVERY),
    only("discovery-fallback", &["", "exit"], "there is no proxy to fall back to"),
    idle("discovery-insecure-skip-tls-verify", ONLY_WITH_DISCOVERY).switch(),
    idle("discovery-insecure-transport", ONLY_WITH_DISCOVERY).switch(),
    idle("discovery-keepalive-time", ONLY_WITH_DISCOVERY),
    idle("discovery-keepalive-timeout", ONLY_WITH_DISCOVERY),
    idle("discovery-key", ONLY_WITH_DISCOVERY),
    idle("discovery-password", ONLY_WITH_DISCOVERY),
    only("discovery-proxy", NONE, NO_DISCOVERY),
    idle("discovery-request-timeout", ONLY_WITH_DISCOVERY),
    only("discovery-srv", NONE, NO_DISCOVERY),
    only("discovery-srv-name", NONE, NO_DISCOVERY),
    only("discovery-token", NONE, NO_DISCOVERY),
    idle("discovery-user", ONLY_WITH_DISCOVERY),
    idle("distributed-tracing-address", ONLY_WITH_TRACING).once_experimental(),
    idle("distributed-tracing-instance-id", ONLY_WITH_TRACING).once_experimental(),
    idle("distributed-tracing-sampling-rate", ONLY_WITH_TRACING).once_experimental(),
    idle("distributed-tracing-service-name", ONLY_WITH_TRACING).once_experimental(),
    idle("downgrade-check-time", "one version is all there is to watch for").once_experimental(),
    only("enable-distributed-tracing", OFF, "no traces are sent; leave it out").once_experimental(),
    only("enable-log-rotation", OFF, "logs go to standard error; whoever takes them from there rotates them"),
    only("enable-pprof", OFF, "there is no Go runtime to look into; use perf on the process"),
    only("force-new-cluster", OFF, "save a snapshot, and restore it with `etcd snapshot restore` into a new cluster"),
    idle("grpc-keepalive-min-time", "clients are not cut off for asking too often"),
    idle("initial-election-tick-advance", "an election timeout is waited for as a whole").switch(),
    idle("log-rotation-config-json", "logs go to standard error"),
    only("logger", &["zap"], "etcd too knows zap alone, and here it names no library"),
    idle("max-snapshots", "a snapshot is no file that is kept"),
    idle("max-wals", "of the log is kept what is needed"),
    only("metrics", &["basic", "extensive"], "it is basic or extensive"),
    only("peer-auto-tls", OFF, "certificates are not made here; give --peer-cert-file and --peer-key-file"),
    idle("peer-skip-client-san-verification", "members prove themselves by their CA").switch().once_experimental(),
    idle("raft-read-timeout", "a connection that is silent for two heartbeats of HTTP/2 is opened anew"),
    idle("raft-write-timeout", "a connection that is silent for two heartbeats of HTTP/2 is opened anew"),
    idle("self-signed-cert-validity", "certificates are not made here"),
    only("unsafe-no-fsync", OFF, "what is acknowledged is on the disk; leave it out"),
    idle("v2-deprecation", NO_V2),
    idle("warning-apply-duration", NO_SLOW_LOG).once_experimental(),
    idle("warning-unary-request-duration", NO_SLOW_LOG).once_experimental(),
];
