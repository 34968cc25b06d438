//! The table of what the server serves: a row per resource, and nothing about a resource anywhere else.

/// Whether a resource lives in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// One resource of one group and version.
#[derive(Debug)]
pub struct ResourceSpec {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// The plural in paths.
    pub resource: &'static str,
    pub kind: &'static str,
    pub scope: Scope,
    pub short_names: &'static [&'static str],
    /// Whether it has a `status` subresource, and so a `status` that ordinary writes leave alone.
    pub status: bool,
    /// Fields beyond name and namespace that a field selector may name.
    pub fields: &'static [&'static str],
}

impl ResourceSpec {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The singular that kubectl takes on its command line.
    pub fn singular(&self) -> String {
        self.kind.to_lowercase()
    }
}

use Scope::{Cluster, Namespaced};

const fn row(
    (group, version): (&'static str, &'static str),
    resource: &'static str,
    kind: &'static str,
    scope: Scope,
    short_names: &'static [&'static str],
    status: bool,
    fields: &'static [&'static str],
) -> ResourceSpec {
    ResourceSpec { group, version, resource, kind, scope, short_names, status, fields }
}

const CORE: (&str, &str) = ("", "v1");
const ADMISSION: (&str, &str) = ("admissionregistration.k8s.io", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const AUTOSCALING: (&str, &str) = ("autoscaling", "v2");
const BATCH: (&str, &str) = ("batch", "v1");
const CERTIFICATES: (&str, &str) = ("certificates.k8s.io", "v1");
const COORDINATION: (&str, &str) = ("coordination.k8s.io", "v1");
const DISCOVERY: (&str, &str) = ("discovery.k8s.io", "v1");
const FLOWCONTROL: (&str, &str) = ("flowcontrol.apiserver.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const NODE: (&str, &str) = ("node.k8s.io", "v1");
const POLICY: (&str, &str) = ("policy", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const RESOURCE: (&str, &str) = ("resource.k8s.io", "v1");
const SCHEDULING: (&str, &str) = ("scheduling.k8s.io", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// Every resource, sorted by group and name within it.
pub static RESOURCES: &[ResourceSpec] = &[
    row(CORE, "configmaps", "ConfigMap", Namespaced, &["cm"], false, &[]),
    row(CORE, "endpoints", "Endpoints", Namespaced, &["ep"], false, &[]),
    row(CORE, "events", "Event", Namespaced, &["ev"], false, EVENT_FIELDS),
    row(CORE, "limitranges", "LimitRange", Namespaced, &["limits"], false, &[]),
    row(CORE, "namespaces", "Namespace", Cluster, &["ns"], true, &["status.phase"]),
    row(CORE, "nodes", "Node", Cluster, &["no"], true, &["spec.unschedulable"]),
    row(CORE, "persistentvolumeclaims", "PersistentVolumeClaim", Namespaced, &["pvc"], true, &[]),
    row(CORE, "persistentvolumes", "PersistentVolume", Cluster, &["pv"], true, &[]),
    row(CORE, "pods", "Pod", Namespaced, &["po"], true, POD_FIELDS),
    row(CORE, "podtemplates", "PodTemplate", Namespaced, &[], false, &[]),
    row(CORE, "replicationcontrollers", "ReplicationController", Namespaced, &["rc"], true, &["status.replicas"]),
    row(CORE, "resourcequotas", "ResourceQuota", Namespaced, &["quota"], true, &[]),
    row(CORE, "secrets", "Secret", Namespaced, &[], false, &["type"]),
    row(CORE, "serviceaccounts", "ServiceAccount", Namespaced, &["sa"], false, &[]),
    row(CORE, "services", "Service", Namespaced, &["svc"], true, &["spec.clusterIP", "spec.type"]),
    row(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", Cluster, &[], false, &[]),
    row(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", Cluster, &[], true, &[]),
    row(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", Cluster, &[], false, &[]),
    row(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", Cluster, &[], false, &[]),
    row(APPS, "controllerrevisions", "ControllerRevision", Namespaced, &[], false, &[]),
    row(APPS, "daemonsets", "DaemonSet", Namespaced, &["ds"], true, &[]),
    row(APPS, "deployments", "Deployment", Namespaced, &["deploy"], true, &[]),
    row(APPS, "replicasets", "ReplicaSet", Namespaced, &["rs"], true, &["status.replicas"]),
    row(APPS, "statefulsets", "StatefulSet", Namespaced, &["sts"], true, &[]),
    row(AUTOSCALING, "horizontalpodautoscalers", "HorizontalPodAutoscaler", Namespaced, &["hpa"], true, &[]),
    row(BATCH, "cronjobs", "CronJob", Namespaced, &["cj"], true, &[]),
    row(BATCH, "jobs", "Job", Namespaced, &[], true, &["status.successful"]),
    row(
        CERTIFICATES,
        "certificatesigningrequests",
        "CertificateSigningRequest",
        Cluster,
        &["csr"],
        true,
        &["spec.signerName"],
    ),
    row(COORDINATION, "leases", "Lease", Namespaced, &[], false, &[]),
    row(DISCOVERY, "endpointslices", "EndpointSlice", Namespaced, &[], false, &[]),
    row(FLOWCONTROL, "flowschemas", "FlowSchema", Cluster, &[], true, &[]),
    row(FLOWCONTROL, "prioritylevelconfigurations", "PriorityLevelConfiguration", Cluster, &[], true, &[]),
    row(NETWORKING, "ingressclasses", "IngressClass", Cluster, &[], false, &[]),
    row(NETWORKING, "ingresses", "Ingress", Namespaced, &["ing"], true, &[]),
    row(NETWORKING, "ipaddresses", "IPAddress", Cluster, &["ip"], false, &[]),
    row(NETWORKING, "networkpolicies", "NetworkPolicy", Namespaced, &["netpol"], false, &[]),
    row(NETWORKING, "servicecidrs", "ServiceCIDR", Cluster, &[], true, &[]),
    row(NODE, "runtimeclasses", "RuntimeClass", Cluster, &[], false, &[]),
    row(POLICY, "poddisruptionbudgets", "PodDisruptionBudget", Namespaced, &["pdb"], true, &[]),
    row(RBAC, "clusterrolebindings", "ClusterRoleBinding", Cluster, &[], false, &[]),
    row(RBAC, "clusterroles", "ClusterRole", Cluster, &[], false, &[]),
    row(RBAC, "rolebindings", "RoleBinding", Namespaced, &[], false, &[]),
    row(RBAC, "roles", "Role", Namespaced, &[], false, &[]),
    row(RESOURCE, "deviceclasses", "DeviceClass", Cluster, &[], false, &[]),
    row(RESOURCE, "resourceclaims", "ResourceClaim", Namespaced, &[], true, &[]),
    row(RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate", Namespaced, &[], false, &[]),
    row(RESOURCE, "resourceslices", "ResourceSlice", Cluster, &[], false, &["spec.driver", "spec.nodeName"]),
    row(SCHEDULING, "priorityclasses", "PriorityClass", Cluster, &["pc"], false, &[]),
    row(STORAGE, "csidrivers", "CSIDriver", Cluster, &[], false, &[]),
    row(STORAGE, "csinodes", "CSINode", Cluster, &[], false, &[]),
    row(STORAGE, "csistoragecapacities", "CSIStorageCapacity", Namespaced, &[], false, &[]),
    row(STORAGE, "storageclasses", "StorageClass", Cluster, &["sc"], false, &[]),
    row(STORAGE, "volumeattachments", "VolumeAttachment", Cluster, &[], true, &[]),
    row(STORAGE, "volumeattributesclasses", "VolumeAttributesClass", Cluster, &["vac"], false, &[]),
];

/// The row of a resource, by group, version and plural.
pub fn find(group: &str, version: &str, resource: &str) -> Option<(usize, &'static ResourceSpec)> {
    RESOURCES
        .iter()
        .enumerate()
        .find(|(_, spec)| spec.group == group && spec.version == version && spec.resource == resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_share_a_name_or_a_kind() {
        let mut seen = std::collections::HashSet::new();
        for spec in RESOURCES {
            assert!(seen.insert((spec.group, spec.resource)), "{}", spec.resource);
            assert!(seen.insert((spec.group, spec.kind)), "{}", spec.kind);
        }
        assert_eq!(find("apps", "v1", "deployments").unwrap().1.api_version(), "apps/v1");
        assert!(find("apps", "v2", "deployments").is_none());
    }
}
