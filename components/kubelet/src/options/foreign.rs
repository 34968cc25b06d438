//! Flags of upstream's that have no code here: taken, because command lines have them, or refused, because whoever gives them
//! would count on something that does not happen. Most are fields of the
//! configuration, where they overrule its file.

use kinit_flags::shared::{CADVISOR_HOST, LOGS, NO_CADVISOR, NO_RUNTIME, NONE, OFF};
use kinit_flags::{Row, Shape, Table, field, idle, only};

const ENDED: &str = "of containers that ended the newest is kept for its log until its pod goes";

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "upstream's";
    const GROUPS: &'static [&'static [Row]] = &[FLAGS, CADVISOR_HOST, LOGS];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    field("address", "address", Shape::Text),
    field("allowed-unsafe-sysctls", "allowedUnsafeSysctls", Shape::List),
    field("anonymous-auth", "authentication.anonymous.enabled", Shape::Switch),
    idle("application-metrics-count-limit", NO_CADVISOR),
    field("authentication-token-webhook", "authentication.webhook.enabled", Shape::Switch),
    field("authentication-token-webhook-cache-ttl", "authentication.webhook.cacheTTL", Shape::Text),
    field("authorization-mode", "authorization.mode", Shape::Text),
    field("authorization-webhook-cache-authorized-ttl", "authorization.webhook.cacheAuthorizedTTL", Shape::Text),
    field("authorization-webhook-cache-unauthorized-ttl", "authorization.webhook.cacheUnauthorizedTTL", Shape::Text),
    field("cgroup-driver", "cgroupDriver", Shape::Text),
    field("cgroup-root", "cgroupRoot", Shape::Text),
    field("cgroups-per-qos", "cgroupsPerQOS", Shape::Switch),
    field("client-ca-file", "authentication.x509.clientCAFile", Shape::Text),
    only("cloud-provider", NONE, "give --register-with-taints the taint that the cloud's manager takes away"),
    field("cluster-dns", "clusterDNS", Shape::List),
    field("cluster-domain", "clusterDomain", Shape::Text),
    only("config-dir", NONE, "write what is in its files into that of --config"),
    idle("container-hints", NO_CADVISOR),
    field("container-log-max-files", "containerLogMaxFiles", Shape::Number),
    field("container-log-max-size", "containerLogMaxSize", Shape::Text),
    idle("containerd", NO_CADVISOR),
    idle("containerd-namespace", NO_CADVISOR),
    idle("contention-profiling", NO_RUNTIME).switch(),
    field("cpu-cfs-quota", "cpuCFSQuota", Shape::Switch),
    field("cpu-cfs-quota-period", "cpuCFSQuotaPeriod", Shape::Text),
    field("cpu-manager-policy", "cpuManagerPolicy", Shape::Text),
    field("cpu-manager-policy-options", "cpuManagerPolicyOptions", Shape::Map),
    field("cpu-manager-reconcile-period", "cpuManagerReconcilePeriod", Shape::Text),
    field("enable-controller-attach-detach", "enableControllerAttachDetach", Shape::Switch),
    field("enable-debugging-handlers", "enableDebuggingHandlers", Shape::Switch),
    idle("enable-load-reader", NO_CADVISOR).switch(),
    field("enable-server", "enableServer", Shape::Switch),
    field("enforce-node-allocatable", "enforceNodeAllocatable", Shape::List),
    field("event-burst", "eventBurst", Shape::Number),
    field("event-qps", "eventRecordQPS", Shape::Number),
    idle("event-storage-age-limit", NO_CADVISOR),
    idle("event-storage-event-limit", NO_CADVISOR),
    field("eviction-hard", "evictionHard", Shape::Map),
    field("eviction-max-pod-grace-period", "evictionMaxPodGracePeriod", Shape::Number),
    field("eviction-minimum-reclaim", "evictionMinimumReclaim", Shape::Map),
    field("eviction-pressure-transition-period", "evictionPressureTransitionPeriod", Shape::Text),
    field("eviction-soft", "evictionSoft", Shape::Map),
    field("eviction-soft-grace-period", "evictionSoftGracePeriod", Shape::Map),
    only("exit-on-lock-contention", OFF, "have systemd run one kubelet"),
    only("experimental-allocatable-ignore-eviction", OFF, "what is kept for evictions is not given out"),
    only("experimental-mounter-path", NONE, "the host's own mount is used"),
    field("fail-cgroupv1", "failCgroupV1", Shape::Switch),
    field("fail-swap-on", "failSwapOn", Shape::Switch),
    field("file-check-frequency", "fileCheckFrequency", Shape::Text),
    idle("global-housekeeping-interval", NO_CADVISOR),
    field("hairpin-mode", "hairpinMode", Shape::Text),
    field("healthz-bind-address", "healthzBindAddress", Shape::Text),
    field("healthz-port", "healthzPort", Shape::Number),
    idle("housekeeping-interval", NO_CADVISOR),
    field("http-check-frequency", "httpCheckFrequency", Shape::Text),
    only("image-credential-provider-bin-dir", NONE, "give pods imagePullSecrets"),
    only("image-credential-provider-config", NONE, "give pods imagePullSecrets"),
    field("image-gc-high-threshold", "imageGCHighThresholdPercent", Shape::Number),
    field("image-gc-low-threshold", "imageGCLowThresholdPercent", Shape::Number),
    field("image-service-endpoint", "imageServiceEndpoint", Shape::Text),
    field("kernel-memcg-notification", "kernelMemcgNotification", Shape::Switch),
    field("kube-api-burst", "kubeAPIBurst", Shape::Number),
    field("kube-api-content-type", "contentType", Shape::Text),
    field("kube-api-qps", "kubeAPIQPS", Shape::Number),
    field("kube-reserved", "kubeReserved", Shape::Map),
    field("kube-reserved-cgroup", "kubeReservedCgroup", Shape::Text),
    field("kubelet-cgroups", "kubeletCgroups", Shape::Text),
    field("local-storage-capacity-isolation", "localStorageCapacityIsolation", Shape::Switch),
    only("lock-file", NONE, "have systemd run one kubelet"),
    idle("log-cadvisor-usage", NO_CADVISOR).switch(),
    field("make-iptables-util-chains", "makeIPTablesUtilChains", Shape::Switch),
    only("manifest-url", NONE, "write the manifests into the folder of --pod-manifest-path"),
    idle("manifest-url-header", "belongs to --manifest-url, which is not there"),
    idle("max-housekeeping-interval", NO_CADVISOR),
    field("max-open-files", "maxOpenFiles", Shape::Number),
    field("max-pods", "maxPods", Shape::Number),
    idle("maximum-dead-containers", ENDED),
    idle("maximum-dead-containers-per-container", ENDED),
    field("memory-manager-policy", "memoryManagerPolicy", Shape::Text),
    idle("minimum-container-ttl-duration", ENDED),
    field("minimum-image-ttl-duration", "imageMinimumGCAge", Shape::Text),
    field("node-status-max-images", "nodeStatusMaxImages", Shape::Number),
    field("node-status-update-frequency", "nodeStatusUpdateFrequency", Shape::Text),
    field("oom-score-adj", "oomScoreAdj", Shape::Number),
    field("pod-cidr", "podCIDR", Shape::Text),
    field("pod-manifest-path", "staticPodPath", Shape::Text),
    field("pod-max-pids", "podPidsLimit", Shape::Number),
    field("pods-per-core", "podsPerCore", Shape::Number),
    field("port", "port", Shape::Number),
    field("protect-kernel-defaults", "protectKernelDefaults", Shape::Switch),
    field("provider-id", "providerID", Shape::Text),
    field("qos-reserved", "qosReserved", Shape::Map),
    field("read-only-port", "readOnlyPort", Shape::Number),
    field("register-node", "registerNode", Shape::Switch),
    field("registry-burst", "registryBurst", Shape::Number),
    field("registry-qps", "registryPullQPS", Shape::Number),
    field("reserved-cpus", "reservedSystemCPUs", Shape::Text),
    only("reserved-memory", NONE, "memory is not given out by NUMA nodes; use --system-reserved"),
    field("resolv-conf", "resolvConf", Shape::Text),
    field("rotate-certificates", "rotateCertificates", Shape::Switch),
    field("rotate-server-certificates", "serverTLSBootstrap", Shape::Switch),
    only("runonce", OFF, "static pods run for as long as their manifests are there"),
    idle("runtime-cgroups", "the runtime's group is its own matter"),
    field("runtime-request-timeout", "runtimeRequestTimeout", Shape::Text),
    field("seccomp-default", "seccompDefault", Shape::Switch),
    field("serialize-image-pulls", "serializeImagePulls", Shape::Switch),
    idle("storage-driver-buffer-duration", NO_CADVISOR),
    idle("storage-driver-db", NO_CADVISOR),
    idle("storage-driver-host", NO_CADVISOR),
    idle("storage-driver-password", NO_CADVISOR),
    idle("storage-driver-secure", NO_CADVISOR).switch(),
    idle("storage-driver-table", NO_CADVISOR),
    idle("storage-driver-user", NO_CADVISOR),
    field("streaming-connection-idle-timeout", "streamingConnectionIdleTimeout", Shape::Text),
    field("sync-frequency", "syncFrequency", Shape::Text),
    field("system-cgroups", "systemCgroups", Shape::Text),
    field("system-reserved", "systemReserved", Shape::Map),
    field("system-reserved-cgroup", "systemReservedCgroup", Shape::Text),
    field("tls-cert-file", "tlsCertFile", Shape::Text),
    field("tls-cipher-suites", "tlsCipherSuites", Shape::List),
    field("tls-min-version", "tlsMinVersion", Shape::Text),
    field("tls-private-key-file", "tlsPrivateKeyFile", Shape::Text),
    field("topology-manager-policy", "topologyManagerPolicy", Shape::Text),
    field("topology-manager-policy-options", "topologyManagerPolicyOptions", Shape::Map),
    field("topology-manager-scope", "topologyManagerScope", Shape::Text),
    field("volume-plugin-dir", "volumePluginDir", Shape::Text),
    field("volume-stats-agg-period", "volumeStatsAggPeriod", Shape::Text),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Configuration;
    use crate::options::Options;

    fn read(flags: &[&str]) -> Options {
        let all = ["kubelet"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn what_fleets_give_is_taken() {
        let options = read(&[
            "--vmodule=a=1",
            "--max-pods=50",
            "--eviction-hard=memory.available<100Mi,nodefs.available<5%",
            "--fail-swap-on=false",
            "--housekeeping-interval=5s",
            "--feature-gates=AllAlpha=false",
            "--logging-format=json",
            "--tls-min-version=VersionTLS12",
            "--tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--protect-kernel-defaults",
            "--read-only-port=0",
        ]);
        assert_eq!(options.foreign.settle(), Ok(()));
    }

    #[test]
    fn flags_overrule_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "kind: KubeletConfiguration\nmaxPods: 10\nport: 1\nevictionHard: {pid.available: 5%}\n";
        std::fs::write(file.path(), text).expect("written");
        let flags = read(&["--max-pods=50", "--eviction-hard=memory.available<1Mi", "--client-ca-file=/ca"]).foreign;
        let config = Configuration::load(file.path(), &flags).expect("a configuration");
        assert_eq!((config.max_pods, config.port), (50, 1));
        let evictions: Vec<_> = config.eviction_hard.iter().flatten().collect();
        assert_eq!(evictions, [(&"memory.available".to_owned(), &"1Mi".to_owned())]);
        let alone = Configuration::of_flags(&flags).expect("a configuration");
        assert_eq!((alone.max_pods, alone.port), (50, 10250));
        assert_eq!(alone.authentication.x509.client_ca_file.as_deref(), Some(std::path::Path::new("/ca")));
        assert!(Configuration::of_flags(&read(&["--port=99999999"]).foreign).is_err());
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--cloud-provider=external", "cloud-provider"),
            ("--config-dir=/a", "config-dir"),
            ("--runonce", "runonce"),
            ("--manifest-url=http://a", "manifest-url"),
            ("--max-pods=many", "max-pods"),
            ("--image-credential-provider-config=/a", "image-credential-provider-config"),
        ] {
            let refused = read(&[flag]).foreign.settle();
            assert_eq!(refused.map_err(|refused| refused.flag), Err(name), "{flag}");
        }
    }
}
