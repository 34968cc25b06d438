//! Flags of upstream's server that have no meaning here: taken, because command lines have them, or refused, because whoever
//! gives them would count on something that does not happen.

use kinit_flags::shared::{LOGS, METRICS, NO_RUNTIME, NONE, OFF, ON, PROFILING, SERVING, VERSIONS};
use kinit_flags::{Row, Table, idle, only};

const ZERO: &[&str] = &["0"];
const NO_PEERS: &str = "API servers pass no requests on among themselves";
const NO_ELECTION: &str = "belongs to coordinated leader election, which is off in v1.36";
const ASKED_ANYWAY: &str = "etcd is asked every two seconds and at each scrape";
const ONE_VERSION: &str = "one version is all that this server can be";

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "upstream's";
    const GROUPS: &'static [&'static [Row]] = &[FLAGS, LOGS, METRICS, PROFILING, SERVING, VERSIONS];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    only("admission-control", NONE, "give --enable-admission-plugins; the order of plugins is fixed"),
    only("aggregator-reject-forwarding-redirect", ON, "answers that lead elsewhere are never passed on"),
    idle("coordinated-leadership-lease-duration", NO_ELECTION),
    idle("coordinated-leadership-renew-deadline", NO_ELECTION),
    idle("coordinated-leadership-retry-period", NO_ELECTION),
    only("debug-socket-path", NONE, NO_RUNTIME),
    idle("delete-collection-workers", "objects of a collection are deleted one after the other"),
    only("egress-selector-config-file", NONE, "connections into the cluster are made directly"),
    idle("emulation-forward-compatible", ONE_VERSION).switch(),
    idle("enable-aggregator-routing", "aggregated servers are asked at their endpoints in any case").switch(),
    only("enable-garbage-collector", ON, "what deletions leave to the garbage collector is always noted"),
    only("enable-logs-handler", OFF, "/logs is not served"),
    only("endpoint-reconciler-type", &["lease"], "the endpoints of default/kubernetes are the servers that live"),
    idle("etcd-count-metric-poll-period", ASKED_ANYWAY),
    idle("etcd-db-metric-poll-interval", ASKED_ANYWAY),
    idle("etcd-healthcheck-timeout", ASKED_ANYWAY),
    idle("etcd-readycheck-timeout", ASKED_ANYWAY),
    only("etcd-servers-overrides", NONE, "all kinds are kept by the etcd of --etcd-servers"),
    idle("kubelet-timeout", "a kubelet is waited for as long as the request may take"),
    only("kubernetes-service-node-port", ZERO, "default/kubernetes has a ClusterIP alone"),
    idle("lease-reuse-duration-seconds", "leases of events are shared as it fits"),
    idle("livez-grace-period", "/livez tells each check as it is; a probe's own delay is what waits"),
    only("max-connection-bytes-per-sec", ZERO, "connections are not held back; let the network do it"),
    idle("peer-advertise-ip", NO_PEERS),
    idle("peer-advertise-port", NO_PEERS),
    idle("peer-ca-file", NO_PEERS),
    idle("runtime-config-emulation-forward-compatible", ONE_VERSION).switch(),
    idle("send-retry-after-while-not-ready-once", "requests are answered as soon as they can be").switch(),
    only("service-account-lookup", ON, "tokens of accounts that are gone are never taken"),
    only("service-account-signing-endpoint", NONE, "give --service-account-signing-key-file"),
    idle("shutdown-send-retry-after", "a server that ends finishes what it has begun and takes nothing new").switch(),
    idle("shutdown-watch-termination-grace-period", "watches end at once when the server does"),
    only("storage-backend", &["", "etcd3"], "etcd3 is all that there is"),
    idle("storage-initialization-timeout", "the server waits for etcd as long as it takes; /readyz says so"),
    only("tracing-config-file", NONE, "no traces are sent"),
    only("watch-cache", ON, "lists and watches are always served from the cache"),
    idle("watch-cache-sizes", "the cache keeps changes by time and by their size in memory"),
];

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
        assert_eq!(idle, ["profiling"]);
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--service-account-lookup=false", "service-account-lookup"),
            ("--watch-cache=false", "watch-cache"),
            ("--egress-selector-config-file=/a", "egress-selector-config-file"),
            ("--permit-port-sharing", "permit-port-sharing"),
        ] {
            assert_eq!(read(&[flag]).foreign.refused().map(|refused| refused.flag), Some(name), "{flag}");
        }
    }

    #[test]
    fn the_last_of_a_flag_counts() {
        let options =
            read(&["--secure-port=1", "--secure-port=2", "--service-account-issuer=a", "--service-account-issuer=b"]);
        assert_eq!((options.secure_port, options.authentication.service_account_issuer.len()), (2, 2));
    }
}
