//! The documents of kubeadm.k8s.io/v1beta4 as they are written in files. Nothing is defaulted here: what a file leaves
//! out stays empty, and unknown fields are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The API group and version of every document here.
pub const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";

macro_rules! document {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $kind:ty = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[serde(rename = $key, skip_serializing_if = "is_empty")]
                pub $field: $kind,
            )*
        }
    };
}

/// Whether a value is what an absent field would give, so that it need not be written.
fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

document! {
    /// What `init` needs to know about this node.
    InitConfiguration {
        /// Always [`API_VERSION`].
        api_version: String = "apiVersion",
        /// Always `InitConfiguration`.
        kind: String = "kind",
        /// Tokens to make; one is generated when there is none.
        bootstrap_tokens: Vec<BootstrapToken> = "bootstrapTokens",
        /// Only show what would be done.
        dry_run: bool = "dryRun",
        /// How this node is registered.
        node_registration: NodeRegistration = "nodeRegistration",
        /// Where the API server of this node is reached.
        local_api_endpoint: ApiEndpoint = "localAPIEndpoint",
        /// Key that encrypts uploaded certificates.
        certificate_key: String = "certificateKey",
        /// Phases to leave out.
        skip_phases: Vec<String> = "skipPhases",
        /// Patches of static pods.
        patches: Option<Patches> = "patches",
        /// How long to wait for what.
        timeouts: Timeouts = "timeouts",
    }
}

document! {
    /// What is true of the whole cluster.
    ClusterConfiguration {
        /// Always [`API_VERSION`].
        api_version: String = "apiVersion",
        /// The API server.
        api_server: ApiServer = "apiServer",
        /// Life of CAs.
        ca_certificate_validity_period: String = "caCertificateValidityPeriod",
        /// Life of leaf certificates.
        certificate_validity_period: String = "certificateValidityPeriod",
        /// The PKI folder.
        certificates_dir: String = "certificatesDir",
        /// Name of the cluster in kubeconfigs.
        cluster_name: String = "clusterName",
        /// Address shared by all control planes, `host[:port]`.
        control_plane_endpoint: String = "controlPlaneEndpoint",
        /// The controller manager.
        controller_manager: ControlPlaneComponent = "controllerManager",
        /// The DNS add-on.
        dns: Dns = "dns",
        /// Kind of the keys.
        encryption_algorithm: String = "encryptionAlgorithm",
        /// etcd.
        etcd: Etcd = "etcd",
        /// kubeadm's own feature gates.
        feature_gates: BTreeMap<String, bool> = "featureGates",
        /// Where images are named from.
        image_repository: String = "imageRepository",
        /// Always `ClusterConfiguration`.
        kind: String = "kind",
        /// Version of the control plane.
        kubernetes_version: String = "kubernetesVersion",
        /// Address ranges.
        networking: Networking = "networking",
        /// kube-proxy.
        proxy: Proxy = "proxy",
        /// The scheduler.
        scheduler: ControlPlaneComponent = "scheduler",
    }
}

document! {
    /// What `join` needs to know.
    JoinConfiguration {
        /// Always [`API_VERSION`].
        api_version: String = "apiVersion",
        /// Always `JoinConfiguration`.
        kind: String = "kind",
        /// Only show what would be done.
        dry_run: bool = "dryRun",
        /// How this node is registered.
        node_registration: NodeRegistration = "nodeRegistration",
        /// Where the cluster's CA is written.
        ca_cert_path: String = "caCertPath",
        /// How the cluster is found and trusted.
        discovery: Discovery = "discovery",
        /// Set when the node joins as a control plane.
        control_plane: Option<JoinControlPlane> = "controlPlane",
        /// Phases to leave out.
        skip_phases: Vec<String> = "skipPhases",
        /// Patches of static pods.
        patches: Option<Patches> = "patches",
        /// How long to wait for what.
        timeouts: Timeouts = "timeouts",
    }
}

document! {
    /// A bootstrap token to make.
    BootstrapToken {
        /// The token, `id.secret`.
        token: String = "token",
        /// What it is for.
        description: String = "description",
        /// Life, as `24h0m0s`.
        ttl: String = "ttl",
        /// End, instead of `ttl`.
        expires: Option<String> = "expires",
        /// `signing`, `authentication`.
        usages: Vec<String> = "usages",
        /// Groups that who shows it is in.
        groups: Vec<String> = "groups",
    }
}

document! {
    /// How a node is registered.
    NodeRegistration {
        /// Name of the node.
        name: String = "name",
        /// Socket of the container runtime.
        cri_socket: String = "criSocket",
        /// Taints; `None` means the default of the node's role, an empty list means none.
        taints: Option<Vec<Taint>> = "taints",
        /// More flags of the kubelet.
        kubelet_extra_args: Vec<Arg> = "kubeletExtraArgs",
        /// Preflight checks whose errors become warnings.
        ignore_preflight_errors: Vec<String> = "ignorePreflightErrors",
        /// When control plane images are pulled.
        image_pull_policy: String = "imagePullPolicy",
        /// Whether images are pulled one after the other.
        image_pull_serial: Option<bool> = "imagePullSerial",
    }
}

document! {
    /// A taint.
    Taint {
        /// Its key.
        key: String = "key",
        /// Its value.
        value: String = "value",
        /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
        effect: String = "effect",
        /// When it was added.
        time_added: Option<String> = "timeAdded",
    }
}

document! {
    /// Where an API server is reached.
    ApiEndpoint {
        /// Its address.
        advertise_address: String = "advertiseAddress",
        /// Its port.
        bind_port: u16 = "bindPort",
    }
}

document! {
    /// Address ranges.
    Networking {
        /// The cluster's DNS domain.
        dns_domain: String = "dnsDomain",
        /// Pod range.
        pod_subnet: String = "podSubnet",
        /// Service range.
        service_subnet: String = "serviceSubnet",
    }
}

document! {
    /// A control plane component.
    ControlPlaneComponent {
        /// More flags.
        extra_args: Vec<Arg> = "extraArgs",
        /// More volumes.
        extra_volumes: Vec<HostPathMount> = "extraVolumes",
        /// More environment variables.
        extra_envs: Vec<serde_json::Value> = "extraEnvs",
    }
}

document! {
    /// The API server.
    ApiServer {
        /// More flags.
        extra_args: Vec<Arg> = "extraArgs",
        /// More volumes.
        extra_volumes: Vec<HostPathMount> = "extraVolumes",
        /// More environment variables.
        extra_envs: Vec<serde_json::Value> = "extraEnvs",
        /// More names in its certificate.
        cert_sans: Vec<String> = "certSANs",
    }
}

document! {
    /// The DNS add-on.
    Dns {
        /// Where its image is named from.
        image_repository: String = "imageRepository",
        /// Tag of its image.
        image_tag: String = "imageTag",
        /// Whether it is left out.
        disabled: bool = "disabled",
    }
}

document! {
    /// kube-proxy.
    Proxy {
        /// Whether it is left out.
        disabled: bool = "disabled",
    }
}

document! {
    /// etcd: on this host or elsewhere.
    Etcd {
        /// A member on each control plane.
        local: Option<LocalEtcd> = "local",
        /// A cluster elsewhere.
        external: Option<ExternalEtcd> = "external",
    }
}

document! {
    /// etcd on this host.
    LocalEtcd {
        /// Where its image is named from.
        image_repository: String = "imageRepository",
        /// Tag of its image.
        image_tag: String = "imageTag",
        /// Its data.
        data_dir: String = "dataDir",
        /// More flags.
        extra_args: Vec<Arg> = "extraArgs",
        /// More environment variables.
        extra_envs: Vec<serde_json::Value> = "extraEnvs",
        /// More names in the certificate towards clients.
        server_cert_sans: Vec<String> = "serverCertSANs",
        /// More names in the certificate towards peers.
        peer_cert_sans: Vec<String> = "peerCertSANs",
    }
}

document! {
    /// etcd elsewhere.
    ExternalEtcd {
        /// URLs of its members.
        endpoints: Vec<String> = "endpoints",
        /// URLs of its members' HTTP side.
        http_endpoints: Vec<String> = "httpEndpoints",
        /// Its CA.
        ca_file: String = "caFile",
        /// The API server's client certificate.
        cert_file: String = "certFile",
        /// The API server's client key.
        key_file: String = "keyFile",
    }
}

document! {
    /// A host path mounted into a static pod.
    HostPathMount {
        /// Name of the volume.
        name: String = "name",
        /// Path on the host.
        host_path: String = "hostPath",
        /// Path in the container.
        mount_path: String = "mountPath",
        /// Whether it may only be read.
        read_only: bool = "readOnly",
        /// Kind of the host path.
        path_type: String = "pathType",
    }
}

document! {
    /// One flag of a component.
    Arg {
        /// Its name, without dashes.
        name: String = "name",
        /// Its value.
        value: String = "value",
    }
}

document! {
    /// Where patches are.
    Patches {
        /// The folder.
        directory: String = "directory",
    }
}

document! {
    /// How long to wait for what; each as `4m0s`.
    Timeouts {
        /// A control plane component.
        control_plane_component_health_check: String = "controlPlaneComponentHealthCheck",
        /// The kubelet.
        kubelet_health_check: String = "kubeletHealthCheck",
        /// An API call.
        kubernetes_api_call: String = "kubernetesAPICall",
        /// A call of etcd.
        etcd_api_call: String = "etcdAPICall",
        /// The kubelet's certificate.
        tls_bootstrap: String = "tlsBootstrap",
        /// Finding the cluster.
        discovery: String = "discovery",
        /// Static pods during an upgrade.
        upgrade_manifests: String = "upgradeManifests",
    }
}

document! {
    /// How a cluster is found and trusted.
    Discovery {
        /// By a token and the hash of its CA.
        bootstrap_token: Option<BootstrapTokenDiscovery> = "bootstrapToken",
        /// By a kubeconfig file.
        file: Option<FileDiscovery> = "file",
        /// The token for the kubelet's certificate, if it is another.
        tls_bootstrap_token: String = "tlsBootstrapToken",
    }
}

document! {
    /// Finding a cluster by a token.
    BootstrapTokenDiscovery {
        /// The token.
        token: String = "token",
        /// `host:port` of the API server.
        api_server_endpoint: String = "apiServerEndpoint",
        /// Hashes of the CA that is trusted.
        ca_cert_hashes: Vec<String> = "caCertHashes",
        /// Whether to trust any CA that the token's holder signed.
        unsafe_skip_ca_verification: bool = "unsafeSkipCAVerification",
    }
}

document! {
    /// Finding a cluster by a file.
    FileDiscovery {
        /// Path or URL of a kubeconfig.
        kube_config_path: String = "kubeConfigPath",
    }
}

document! {
    /// Joining as a control plane.
    JoinControlPlane {
        /// Where the new API server is reached.
        local_api_endpoint: ApiEndpoint = "localAPIEndpoint",
        /// Key that decrypts uploaded certificates.
        certificate_key: String = "certificateKey",
    }
}

document! {
    /// What `reset` needs to know.
    ResetConfiguration {
        /// Always [`API_VERSION`].
        api_version: String = "apiVersion",
        /// The PKI folder.
        certificates_dir: String = "certificatesDir",
        /// Whether kubeadm's folder of temporary files is emptied.
        cleanup_tmp_dir: bool = "cleanupTmpDir",
        /// Socket of the container runtime.
        cri_socket: String = "criSocket",
        /// Only show what would be done.
        dry_run: bool = "dryRun",
        /// Do not ask.
        force: bool = "force",
        /// Preflight checks whose errors become warnings.
        ignore_preflight_errors: Vec<String> = "ignorePreflightErrors",
        /// Always `ResetConfiguration`.
        kind: String = "kind",
        /// Phases to leave out.
        skip_phases: Vec<String> = "skipPhases",
        /// `MNT_FORCE`, `MNT_DETACH`, `MNT_EXPIRE`, `UMOUNT_NOFOLLOW`.
        unmount_flags: Vec<String> = "unmountFlags",
        /// How long to wait for what.
        timeouts: Timeouts = "timeouts",
    }
}

document! {
    /// What `upgrade` needs to know.
    UpgradeConfiguration {
        /// Always [`API_VERSION`].
        api_version: String = "apiVersion",
        /// `upgrade apply`.
        apply: UpgradeApply = "apply",
        /// `upgrade diff`.
        diff: UpgradeDiff = "diff",
        /// Always `UpgradeConfiguration`.
        kind: String = "kind",
        /// `upgrade node`.
        node: UpgradeNode = "node",
        /// `upgrade plan`.
        plan: UpgradePlan = "plan",
        /// How long to wait for what.
        timeouts: Timeouts = "timeouts",
    }
}

document! {
    /// The first control plane of an upgrade.
    UpgradeApply {
        /// The version to go to.
        kubernetes_version: String = "kubernetesVersion",
        /// Whether unstable versions may be gone to.
        allow_experimental_upgrades: Option<bool> = "allowExperimentalUpgrades",
        /// Whether release candidates may be gone to.
        allow_rc_upgrades: Option<bool> = "allowRCUpgrades",
        /// Whether certificates are renewed.
        certificate_renewal: Option<bool> = "certificateRenewal",
        /// Only show what would be done.
        dry_run: Option<bool> = "dryRun",
        /// Whether etcd is upgraded.
        etcd_upgrade: Option<bool> = "etcdUpgrade",
        /// Go on although something speaks against it, and do not ask.
        force_upgrade: Option<bool> = "forceUpgrade",
        /// Preflight checks whose errors become warnings.
        ignore_preflight_errors: Vec<String> = "ignorePreflightErrors",
        /// Patches of static pods.
        patches: Option<Patches> = "patches",
        /// Whether the configuration is printed.
        print_config: Option<bool> = "printConfig",
        /// Phases to leave out.
        skip_phases: Vec<String> = "skipPhases",
        /// When control plane images are pulled.
        image_pull_policy: String = "imagePullPolicy",
        /// Whether images are pulled one after the other.
        image_pull_serial: Option<bool> = "imagePullSerial",
    }
}

document! {
    /// What an upgrade would change.
    UpgradeDiff {
        /// The version to go to.
        kubernetes_version: String = "kubernetesVersion",
        /// Lines shown around each change.
        context_lines: usize = "contextLines",
    }
}

document! {
    /// The other nodes of an upgrade.
    UpgradeNode {
        /// Whether certificates are renewed.
        certificate_renewal: Option<bool> = "certificateRenewal",
        /// Only show what would be done.
        dry_run: Option<bool> = "dryRun",
        /// Whether etcd is upgraded.
        etcd_upgrade: Option<bool> = "etcdUpgrade",
        /// Preflight checks whose errors become warnings.
        ignore_preflight_errors: Vec<String> = "ignorePreflightErrors",
        /// Phases to leave out.
        skip_phases: Vec<String> = "skipPhases",
        /// Patches of static pods.
        patches: Option<Patches> = "patches",
        /// When control plane images are pulled.
        image_pull_policy: String = "imagePullPolicy",
        /// Whether images are pulled one after the other.
        image_pull_serial: Option<bool> = "imagePullSerial",
    }
}

document! {
    /// What could be upgraded to.
    UpgradePlan {
        /// The version to go to.
        kubernetes_version: String = "kubernetesVersion",
        /// Whether unstable versions are shown.
        allow_experimental_upgrades: Option<bool> = "allowExperimentalUpgrades",
        /// Whether release candidates are shown.
        allow_rc_upgrades: Option<bool> = "allowRCUpgrades",
        /// Only show what would be done.
        dry_run: Option<bool> = "dryRun",
        /// Whether etcd is upgraded.
        etcd_upgrade: Option<bool> = "etcdUpgrade",
        /// Preflight checks whose errors become warnings.
        ignore_preflight_errors: Vec<String> = "ignorePreflightErrors",
        /// Whether the configuration is printed.
        print_config: Option<bool> = "printConfig",
    }
}
