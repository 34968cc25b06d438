//! The rows: every built-in resource.

use std::sync::{Arc, LazyLock};

use super::Scope::{Cluster, Namespaced};
use super::{ResourceSpec, Spec};

const CORE: (&str, &str) = ("", "v1");
const ADMISSION: (&str, &str) = ("admissionregistration.k8s.io", "v1");
const APIEXTENSIONS: (&str, &str) = ("apiextensions.k8s.io", "v1");
const APIREGISTRATION: (&str, &str) = ("apiregistration.k8s.io", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");
const AUTOSCALING: (&str, &str) = ("autoscaling", "v2");
const AUTOSCALING_V1: (&str, &str) = ("autoscaling", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const CERTIFICATES: (&str, &str) = ("certificates.k8s.io", "v1");
const COORDINATION: (&str, &str) = ("coordination.k8s.io", "v1");
const DISCOVERY: (&str, &str) = ("discovery.k8s.io", "v1");
const EVENTS: (&str, &str) = ("events.k8s.io", "v1");
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
    "status.podIPs",
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
    "type",
    "source",
];
/// The same fields, by the names that `events.k8s.io` has for them; the one it has no name for is the last.
const REGARDING_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

const fn row(
    (group, version): (&'static str, &'static str),
    resource: &'static str,
    kind: &'static str,
    scope: super::Scope,
) -> ResourceSpec {
    ResourceSpec::new(group, version, resource, kind, scope)
}

/// Group and kind of what is on its way out, and what its clients are warned with.
pub(super) const DEPRECATED: &[(&str, &str, &str)] = &[
    ("", "ComponentStatus", "v1 ComponentStatus is deprecated in v1.19+"),
    ("", "Endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// Every resource, sorted by group and name within it.
pub static RESOURCES: LazyLock<Vec<Spec>> = LazyLock::new(|| TABLE.into_iter().map(Arc::new).collect());

const TABLE: [ResourceSpec; 68] = [
    row(CORE, "bindings", "Binding", Namespaced).never_stored(),
    row(CORE, "componentstatuses", "ComponentStatus", Cluster).short(&["cs"]).never_stored(),
    row(CORE, "configmaps", "ConfigMap", Namespaced).short(&["cm"]),
    row(CORE, "endpoints", "Endpoints", Namespaced).short(&["ep"]).under("services/endpoints"),
    row(CORE, "events", "Event", Namespaced).short(&["ev"]).selected_by(EVENT_FIELDS),
    row(CORE, "limitranges", "LimitRange", Namespaced).short(&["limits"]),
    row(CORE, "namespaces", "Namespace", Cluster)
        .short(&["ns"])
        .status()
        .selected_by(&["status.phase"])
        .answers_deleted(),
    row(CORE, "nodes", "Node", Cluster).short(&["no"]).status().selected_by(&["spec.unschedulable"]).under("minions"),
    row(CORE, "persistentvolumeclaims", "PersistentVolumeClaim", Namespaced).short(&["pvc"]).status().answers_deleted(),
    row(CORE, "persistentvolumes", "PersistentVolume", Cluster).short(&["pv"]).status().answers_deleted(),
    row(CORE, "pods", "Pod", Namespaced)
        .short(&["po"])
        .status()
        .selected_by(POD_FIELDS)
        .in_category("all")
        .answers_deleted(),
    row(CORE, "podtemplates", "PodTemplate", Namespaced).answers_deleted(),
    row(CORE, "replicationcontrollers", "ReplicationController", Namespaced)
        .short(&["rc"])
        .status()
        .selected_by(&["status.replicas"])
        .in_category("all")
        .under("controllers"),
    row(CORE, "resourcequotas", "ResourceQuota", Namespaced).short(&["quota"]).status().answers_deleted(),
    row(CORE, "secrets", "Secret", Namespaced).selected_by(&["type"]),
    row(CORE, "serviceaccounts", "ServiceAccount", Namespaced).short(&["sa"]).answers_deleted(),
    row(CORE, "services", "Service", Namespaced)
        .short(&["svc"])
        .status()
        .selected_by(&["spec.clusterIP", "spec.type"])
        .in_category("all")
        .under("services/specs")
        .answers_deleted(),
    row(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", Cluster).in_category("api-extensions"),
    row(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", Cluster)
        .in_category("api-extensions"),
    row(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", Cluster)
        .in_category("api-extensions"),
    row(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", Cluster)
        .status()
        .in_category("api-extensions"),
    row(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", Cluster)
        .in_category("api-extensions"),
    row(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", Cluster)
        .in_category("api-extensions"),
    row(APIEXTENSIONS, "customresourcedefinitions", "CustomResourceDefinition", Cluster)
        .short(&["crd", "crds"])
        .status()
        .in_category("api-extensions")
        .under("apiextensions.k8s.io/customresourcedefinitions"),
    row(APIREGISTRATION, "apiservices", "APIService", Cluster)
        .status()
        .in_category("api-extensions")
        .under("apiregistration.k8s.io/apiservices"),
    row(APPS, "controllerrevisions", "ControllerRevision", Namespaced),
    row(APPS, "daemonsets", "DaemonSet", Namespaced).short(&["ds"]).status().in_category("all"),
    row(APPS, "deployments", "Deployment", Namespaced).short(&["deploy"]).status().in_category("all"),
    row(APPS, "replicasets", "ReplicaSet", Namespaced).short(&["rs"]).status().in_category("all"),
    row(APPS, "statefulsets", "StatefulSet", Namespaced).short(&["sts"]).status().in_category("all"),
    row(AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", Cluster).never_stored(),
    row(AUTHENTICATION, "tokenreviews", "TokenReview", Cluster).never_stored(),
    row(AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", Namespaced).never_stored(),
    row(AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", Cluster).never_stored(),
    row(AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", Cluster).never_stored(),
    row(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", Cluster).never_stored(),
    row(AUTOSCALING, "horizontalpodautoscalers", "HorizontalPodAutoscaler", Namespaced)
        .short(&["hpa"])
        .status()
        .in_category("all"),
    row(AUTOSCALING_V1, "horizontalpodautoscalers", "HorizontalPodAutoscaler", Namespaced)
        .short(&["hpa"])
        .status()
        .in_category("all")
        .stored_as(AUTOSCALING),
    row(BATCH, "cronjobs", "CronJob", Namespaced).short(&["cj"]).status().in_category("all"),
    row(BATCH, "jobs", "Job", Namespaced).status().selected_by(&["status.successful"]).in_category("all"),
    row(CERTIFICATES, "certificatesigningrequests", "CertificateSigningRequest", Cluster)
        .short(&["csr"])
        .status()
        .selected_by(&["spec.signerName"]),
    row(COORDINATION, "leases", "Lease", Namespaced),
    row(DISCOVERY, "endpointslices", "EndpointSlice", Namespaced),
    row(EVENTS, "events", "Event", Namespaced).short(&["ev"]).selected_by(REGARDING_FIELDS).stored_as(CORE),
    row(FLOWCONTROL, "flowschemas", "FlowSchema", Cluster).status(),
    row(FLOWCONTROL, "prioritylevelconfigurations", "PriorityLevelConfiguration", Cluster).status(),
    row(NETWORKING, "ingressclasses", "IngressClass", Cluster),
    row(NETWORKING, "ingresses", "Ingress", Namespaced).short(&["ing"]).status().under("ingress"),
    row(NETWORKING, "ipaddresses", "IPAddress", Cluster).short(&["ip"]),
    row(NETWORKING, "networkpolicies", "NetworkPolicy", Namespaced).short(&["netpol"]),
    row(NETWORKING, "servicecidrs", "ServiceCIDR", Cluster).status(),
    row(NODE, "runtimeclasses", "RuntimeClass", Cluster),
    row(POLICY, "poddisruptionbudgets", "PodDisruptionBudget", Namespaced).short(&["pdb"]).status(),
    row(RBAC, "clusterrolebindings", "ClusterRoleBinding", Cluster),
    row(RBAC, "clusterroles", "ClusterRole", Cluster),
    row(RBAC, "rolebindings", "RoleBinding", Namespaced),
    row(RBAC, "roles", "Role", Namespaced),
    row(RESOURCE, "deviceclasses", "DeviceClass", Cluster).answers_deleted(),
    row(RESOURCE, "resourceclaims", "ResourceClaim", Namespaced).status().answers_deleted(),
    row(RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate", Namespaced).answers_deleted(),
    row(RESOURCE, "resourceslices", "ResourceSlice", Cluster)
        .selected_by(&["spec.driver", "spec.nodeName"])
        .answers_deleted(),
    row(SCHEDULING, "priorityclasses", "PriorityClass", Cluster).short(&["pc"]),
    row(STORAGE, "csidrivers", "CSIDriver", Cluster).answers_deleted(),
    row(STORAGE, "csinodes", "CSINode", Cluster).answers_deleted(),
    row(STORAGE, "csistoragecapacities", "CSIStorageCapacity", Namespaced),
    row(STORAGE, "storageclasses", "StorageClass", Cluster).short(&["sc"]).answers_deleted(),
    row(STORAGE, "volumeattachments", "VolumeAttachment", Cluster).status().answers_deleted(),
    row(STORAGE, "volumeattributesclasses", "VolumeAttributesClass", Cluster).short(&["vac"]).answers_deleted(),
];
