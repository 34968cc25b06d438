//! Flags of upstream's that have no code here: taken, because command lines have them, or refused, because whoever gives them
//! would count on something that does not happen.

use kinit_flags::shared::{AUTH, CLIENT, LOGS, METRICS, NONE, OFF, ON, PROFILING, SERVING, VERSIONS};
use kinit_flags::{Row, Table, idle, only};

const AT_ONCE: &str = "each controller works on as many at once as suits it";
const AUTOSCALER: &str =
    "the autoscaler has upstream's defaults; a HorizontalPodAutoscaler's own behavior says otherwise for it";
const BATCHES: &str = "changes that come together are written together";
const NO_CLOUD: &str = "what belongs to a cloud is done by the cloud's own manager";
const NO_FLEX: &str = "there are no flex volumes, only drivers of CSI";
const NO_RECYCLING: &str = "volumes are kept or deleted, and never recycled";
const ONE_SIGNER: &str = "give --cluster-signing-cert-file and --cluster-signing-key-file, which sign for all";
const RHYTHM: &str = "the controller has a rhythm of its own, and looks at what changes when it does";

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "upstream's";
    const GROUPS: &'static [&'static [Row]] = &[FLAGS, AUTH, CLIENT, LOGS, METRICS, PROFILING, SERVING, VERSIONS];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    idle("attach-detach-reconcile-sync-period", RHYTHM),
    only("cidr-allocator-type", &["RangeAllocator"], "ranges are given by the controller itself"),
    only("cloud-config", NONE, NO_CLOUD),
    only("cloud-provider", &["", "external"], NO_CLOUD),
    only("cluster-signing-kube-apiserver-client-cert-file", NONE, ONE_SIGNER),
    only("cluster-signing-kube-apiserver-client-key-file", NONE, ONE_SIGNER),
    only("cluster-signing-kubelet-client-cert-file", NONE, ONE_SIGNER),
    only("cluster-signing-kubelet-client-key-file", NONE, ONE_SIGNER),
    only("cluster-signing-kubelet-serving-cert-file", NONE, ONE_SIGNER),
    only("cluster-signing-kubelet-serving-key-file", NONE, ONE_SIGNER),
    only("cluster-signing-legacy-unknown-cert-file", NONE, ONE_SIGNER),
    only("cluster-signing-legacy-unknown-key-file", NONE, ONE_SIGNER),
    idle("concurrent-cron-job-syncs", AT_ONCE),
    idle("concurrent-daemonset-syncs", AT_ONCE),
    idle("concurrent-deployment-syncs", AT_ONCE),
    idle("concurrent-device-taint-eviction-syncs", AT_ONCE),
    idle("concurrent-endpoint-syncs", AT_ONCE),
    idle("concurrent-ephemeralvolume-syncs", AT_ONCE),
    idle("concurrent-gc-syncs", AT_ONCE),
    idle("concurrent-horizontal-pod-autoscaler-syncs", AT_ONCE),
    idle("concurrent-job-syncs", AT_ONCE),
    idle("concurrent-namespace-syncs", AT_ONCE),
    idle("concurrent-rc-syncs", AT_ONCE),
    idle("concurrent-replicaset-syncs", AT_ONCE),
    idle("concurrent-resource-quota-syncs", AT_ONCE),
    idle("concurrent-resourceclaim-syncs", AT_ONCE),
    idle("concurrent-service-endpoint-syncs", AT_ONCE),
    idle("concurrent-service-syncs", AT_ONCE),
    idle("concurrent-serviceaccount-token-syncs", AT_ONCE),
    idle("concurrent-statefulset-syncs", AT_ONCE),
    idle("concurrent-ttl-after-finished-syncs", AT_ONCE),
    idle("concurrent-validating-admission-policy-status-syncs", AT_ONCE),
    idle("configure-cloud-routes", NO_CLOUD).switch(),
    idle("controller-shutdown-timeout", "controllers leave nothing half done when they end"),
    idle("controller-start-interval", "controllers start together"),
    only("disable-attach-detach-reconcile-sync", OFF, "what is attached is always looked at again"),
    only("disable-force-detach-on-timeout", OFF, "volumes of nodes that are gone are detached after six minutes"),
    only("enable-dynamic-provisioning", ON, "give no class a provisioner"),
    only("enable-garbage-collector", ON, "leave it out by --controllers=*,-garbage-collector-controller"),
    only("enable-hostpath-provisioner", OFF, "use a driver of CSI"),
    only("enable-leader-migration", OFF, "controllers do not move between managers"),
    idle("endpoint-updates-batch-period", BATCHES),
    idle("endpointslice-updates-batch-period", BATCHES),
    only("external-cloud-volume-plugin", NONE, NO_CLOUD),
    idle("flex-volume-plugin-dir", NO_FLEX),
    only("horizontal-pod-autoscaler-cpu-initialization-period", &["5m0s", "5m", "300s"], AUTOSCALER),
    only("horizontal-pod-autoscaler-downscale-stabilization", &["5m0s", "5m", "300s"], AUTOSCALER),
    only("horizontal-pod-autoscaler-initial-readiness-delay", &["30s", "0m30s"], AUTOSCALER),
    only("horizontal-pod-autoscaler-sync-period", &["15s"], AUTOSCALER),
    only("horizontal-pod-autoscaler-tolerance", &["0.1"], AUTOSCALER),
    only("leader-elect-resource-lock", &["leases"], "the lock is a Lease"),
    only("leader-migration-config", NONE, "controllers do not move between managers"),
    idle("legacy-service-account-token-clean-up-period", "tokens in Secrets are not looked after"),
    only("max-endpoints-per-slice", &["100"], "a slice has up to 100"),
    idle("min-resync-period", RHYTHM),
    idle("mirroring-concurrent-service-endpoint-syncs", AT_ONCE),
    idle("mirroring-endpointslice-updates-batch-period", BATCHES),
    only("mirroring-max-endpoints-per-subset", &["1000"], "a subset has up to 1000"),
    idle("namespace-sync-period", RHYTHM),
    idle("node-monitor-period", RHYTHM),
    idle("pv-recycler-increment-timeout-nfs", NO_RECYCLING),
    idle("pv-recycler-minimum-timeout-hostpath", NO_RECYCLING),
    idle("pv-recycler-minimum-timeout-nfs", NO_RECYCLING),
    only("pv-recycler-pod-template-filepath-hostpath", NONE, NO_RECYCLING),
    only("pv-recycler-pod-template-filepath-nfs", NONE, NO_RECYCLING),
    idle("pv-recycler-timeout-increment-hostpath", NO_RECYCLING),
    idle("pvclaimbinder-sync-period", RHYTHM),
    idle("resource-quota-sync-period", RHYTHM),
    idle("route-reconciliation-period", NO_CLOUD),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::options::Options;

    fn read(flags: &[&str]) -> Options {
        let all = ["kube-controller-manager", "--kubeconfig=k"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn what_fleets_give_is_taken() {
        let options = read(&[
            "--profiling=false",
            "--vmodule=a=1",
            "--kube-api-qps=50",
            "--kube-api-burst=100",
            "--cert-dir=/a",
            "--concurrent-gc-syncs=30",
            "--cloud-provider=external",
            "--feature-gates=AllAlpha=false",
            "--logging-format=text",
            "--tls-min-version=VersionTLS12",
            "--leader-elect-lease-duration=20s",
            "--requestheader-username-headers=a,b",
        ]);
        assert_eq!(options.foreign.settle(), Ok(()));
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--master=http://a", "master"),
            ("--cloud-config=/a", "cloud-config"),
            ("--horizontal-pod-autoscaler-sync-period=5s", "horizontal-pod-autoscaler-sync-period"),
            ("--cluster-signing-kubelet-client-cert-file=/a", "cluster-signing-kubelet-client-cert-file"),
            ("--enable-garbage-collector=false", "enable-garbage-collector"),
            ("--permit-port-sharing", "permit-port-sharing"),
            ("--authorization-always-allow-paths=/metrics", "authorization-always-allow-paths"),
        ] {
            let refused = read(&[flag]).foreign.settle();
            assert_eq!(refused.map_err(|refused| refused.flag), Err(name), "{flag}");
        }
    }
}
