//! What the scheduler keeps of a pod.

use k8s_openapi::api::core::v1::{Affinity, NodeSelectorTerm, Pod, PodAffinityTerm, PreferredSchedulingTerm};
use k8s_openapi::api::core::v1::{Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kinit_demand::{HostPort, Resources, host_ports};

use crate::selector::Labels;

/// A pod, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodInfo {
    /// `namespace/name`.
    pub key: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of the pods that had this name it is.
    pub uid: String,
    /// The node it is bound to, empty when it waits.
    pub node: String,
    /// The node that preemption makes room on for it.
    pub nominated: String,
    /// Its labels.
    pub labels: Labels,
    /// Who is to schedule it.
    pub scheduler: String,
    /// Pods of higher priority go first.
    pub priority: i32,
    /// Whether it may evict others.
    pub preempts: bool,
    /// Whether its deletion has begun.
    pub terminating: bool,
    /// Whether it ended.
    pub finished: bool,
    /// Names of the gates that keep it from being scheduled.
    pub gates: Vec<String>,
    /// What it asks for.
    pub requests: Resources,
    /// What it counts for in scores.
    pub scoring_requests: Resources,
    /// Ports of the node it wants.
    pub ports: Vec<HostPort>,
    /// Labels that its node must have.
    pub node_selector: Labels,
    /// Terms of which one must select its node; None when there is no such demand.
    pub node_terms: Option<Vec<NodeSelectorTerm>>,
    /// Nodes it would rather have.
    pub preferred_nodes: Vec<PreferredSchedulingTerm>,
    /// Pods it must be near to.
    pub near: Vec<PodAffinityTerm>,
    /// Pods it must not be near to.
    pub apart: Vec<PodAffinityTerm>,
    /// Pods it would rather be near to.
    pub preferred_near: Vec<WeightedPodAffinityTerm>,
    /// Pods it would rather not be near to.
    pub preferred_apart: Vec<WeightedPodAffinityTerm>,
    /// Taints it bears.
    pub tolerations: Vec<Toleration>,
    /// How it spreads with others.
    pub spread: Vec<TopologySpreadConstraint>,
    /// UID of its controller.
    pub controller: Option<String>,
    /// Keys of the claims that it uses.
    pub claims: Vec<String>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// The generation that conditions are about.
    pub generation: Option<i64>,
    /// Message of its PodScheduled condition, when it is False.
    pub unscheduled_message: Option<String>,
}

impl PodInfo {
    /// Reads a pod of the API.
    pub fn of(pod: Pod) -> Self {
        let (metadata, spec, status) = (pod.metadata, pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let namespace = metadata.namespace.unwrap_or_default();
        let name = metadata.name.unwrap_or_default();
        let labels = metadata.labels.unwrap_or_default();
        let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let requests = kinit_demand::requests(&spec);
        let scoring_requests = kinit_demand::scoring_requests(&spec);
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ports = host_ports(&spec);
        let Affinity { node_affinity, pod_affinity, pod_anti_affinity } = spec.affinity.clone().unwrap_or_default();
        let node_affinity = node_affinity.unwrap_or_default();
        let (pod_affinity, pod_anti_affinity) =
            (pod_affinity.unwrap_or_default(), pod_anti_affinity.unwrap_or_default());
        let own = |mut term: PodAffinityTerm| {
            add_own_labels(&mut term.label_selector, term.match_label_keys.as_deref(), &labels, "In");
            add_own_labels(&mut term.label_selector, term.mismatch_label_keys.as_deref(), &labels, "NotIn");
            // A term without namespaces is about the pod's own.
            if term.namespaces.as_ref().is_none_or(Vec::is_empty) && term.namespace_selector.is_none() {
                term.namespaces = Some(vec![namespace.clone()]);
            }
            term
        };
        let terms = |terms: Option<Vec<PodAffinityTerm>>| terms.into_iter().flatten().map(own).collect();
        let weighted = |terms: Option<Vec<WeightedPodAffinityTerm>>| {
            let own = |term: WeightedPodAffinityTerm| WeightedPodAffinityTerm {
                pod_affinity_term: own(term.pod_affinity_term),
                weight: term.weight,
            };
            terms.into_iter().flatten().map(own).collect()
        };
        let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
        Self {
            key: format!("{namespace}/{name}"),
            uid: metadata.uid.unwrap_or_default(),
            nominated: status.nominated_node_name.unwrap_or_default(),
            scheduler: spec.scheduler_name.unwrap_or_else(|| "default-scheduler".into()),
            priority: spec.priority.unwrap_or_default(),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            terminating: metadata.deletion_timestamp.is_some(),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            gates: spec.scheduling_gates.into_iter().flatten().map(|gate| gate.name).collect(),
            claims: spec
                .volumes
                .iter()
                .flatten()
                .filter_map(|volume| match &volume.persistent_volume_claim {
                    Some(claim) => Some(format!("{namespace}/{}", claim.claim_name)),
                    None => volume.ephemeral.as_ref().map(|_| format!("{namespace}/{name}-{}", volume.name)),
                })
                .collect(),
            images: containers.filter_map(|container| container.image.clone()).collect(),
            requests,
            scoring_requests,
            ports,
            node_selector: spec.node_selector.unwrap_or_default(),
            node_terms: node_affinity
                .required_during_scheduling_ignored_during_execution
                .map(|selector| selector.node_selector_terms),
            preferred_nodes: node_affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
            near: terms(pod_affinity.required_during_scheduling_ignored_during_execution),
            apart: terms(pod_anti_affinity.required_during_scheduling_ignored_during_execution),
            preferred_near: weighted(pod_affinity.preferred_during_scheduling_ignored_during_execution),
            preferred_apart: weighted(pod_anti_affinity.preferred_during_scheduling_ignored_during_execution),
            tolerations: spec.tolerations.unwrap_or_default(),
            spread: spec
                .topology_spread_constraints
                .into_iter()
                .flatten()
                .map(|mut one| {
                    add_own_labels(&mut one.label_selector, one.match_label_keys.as_deref(), &labels, "In");
                    one
                })
                .collect(),
            controller: controller.map(|owner| owner.uid.clone()),
            generation: metadata.generation,
            unscheduled_message: scheduled
                .filter(|condition| condition.status == "False")
                .map(|condition| condition.message.clone().unwrap_or_default()),
            node: spec.node_name.unwrap_or_default(),
            namespace,
            name,
            labels,
        }
    }

    /// Whether two states of a pod differ in something that decides whether it fits.
    pub fn same_wishes(&self, other: &Self) -> bool {
        let plain =
            |pod: &Self| Self { nominated: String::new(), unscheduled_message: None, generation: None, ..pod.clone() };
        plain(self) == plain(other)
    }
}

/// Narrows a selector to pods whose labels of `keys` are (not) this pod's.
fn add_own_labels(selector: &mut Option<LabelSelector>, keys: Option<&[String]>, labels: &Labels, operator: &str) {
    let Some(selector) = selector else { return };
    for key in keys.into_iter().flatten() {
        let Some(value) = labels.get(key) else { continue };
        let row =
            LabelSelectorRequirement { key: key.clone(), operator: operator.into(), values: Some(vec![value.clone()]) };
        let rows = selector.match_expressions.get_or_insert_default();
        // The API server adds the same rows; twice would be harmless but slower.
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
}
