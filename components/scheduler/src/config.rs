//! The configuration file, as it is written.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use kinit_duration::Span;
use kinit_runtime::leader::{Candidate, Times};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::options::Foreign;
use crate::profile::Args;

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// KubeSchedulerConfiguration v1. Fields of type [`Value`] say how much work is done at once or how it is watched, and
/// change no decision: this scheduler always looks at all nodes. Fields that are not named here are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Configuration {
    pub api_version: String,
    pub kind: String,
    pub client_connection: ClientConnection,
    pub leader_election: LeaderElection,
    pub profiles: Vec<ProfileConfig>,
    pub extenders: Vec<Value>,
    pub pod_initial_backoff_seconds: Option<u64>,
    pub pod_max_backoff_seconds: Option<u64>,
    pub parallelism: Value,
    pub percentage_of_nodes_to_score: Value,
    pub enable_profiling: Value,
    pub enable_contention_profiling: Value,
    pub delay_cache_until_active: Value,
}

/// How the API server is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct ClientConnection {
    pub kubeconfig: Option<PathBuf>,
    pub accept_content_types: Value,
    pub content_type: Value,
    pub qps: Value,
    pub burst: Value,
}

/// Leader election.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<Span>,
    pub renew_deadline: Option<Span>,
    pub retry_period: Option<Span>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

/// A scheduler under a name of its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct ProfileConfig {
    pub scheduler_name: Option<String>,
    pub plugins: Plugins,
    pub plugin_config: Vec<PluginConfig>,
    pub percentage_of_nodes_to_score: Value,
}

/// Plugins by the point at which they take part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Plugins {
    pub multi_point: PluginSet,
    pub filter: PluginSet,
    pub score: PluginSet,
    pub post_filter: PluginSet,
    pub pre_enqueue: PluginSet,
    pub queue_sort: PluginSet,
    pub pre_filter: PluginSet,
    pub pre_score: PluginSet,
    pub reserve: PluginSet,
    pub permit: PluginSet,
    pub pre_bind: PluginSet,
    pub bind: PluginSet,
    pub post_bind: PluginSet,
}

impl Plugins {
    /// The points at which nothing can be taken away.
    pub fn others(&self) -> [(&'static str, &PluginSet); 9] {
        [
            ("preEnqueue", &self.pre_enqueue),
            ("queueSort", &self.queue_sort),
            ("preFilter", &self.pre_filter),
            ("preScore", &self.pre_score),
            ("reserve", &self.reserve),
            ("permit", &self.permit),
            ("preBind", &self.pre_bind),
            ("bind", &self.bind),
            ("postBind", &self.post_bind),
        ]
    }
}

/// What is added at a point, and what is taken away.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct PluginSet {
    pub enabled: Vec<Plugin>,
    pub disabled: Vec<Plugin>,
}

/// A plugin by its name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Plugin {
    pub name: String,
    pub weight: i64,
}

impl PluginSet {
    /// Whether a plugin is taken away.
    pub fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|one| one.name == "*" || one.name == name)
    }

    /// The weight of a plugin that is added.
    pub fn weight_of(&self, name: &str) -> Option<i64> {
        self.enabled.iter().find(|one| one.name == name).map(|one| one.weight.max(1))
    }
}

/// Arguments of a plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct PluginConfig {
    pub name: String,
    pub args: Value,
}

/// A resource and what it counts for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Resource {
    pub name: String,
    #[serde(default)]
    pub weight: i64,
}

/// How full nodes are liked, by resources.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// The emptier the better.
    LeastAllocated(Vec<Resource>),
    /// The fuller the better.
    MostAllocated(Vec<Resource>),
    /// By points of used part in percent and score out of ten, with straight lines between them.
    Ratio(Vec<Resource>, Vec<(i64, i64)>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    r#type: String,
    #[serde(default)]
    resources: Vec<Resource>,
    #[serde(default)]
    requested_to_capacity_ratio: Ratio,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Ratio {
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BalancedArgs {
    resources: Vec<Resource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AffinityArgs {
    added_affinity: Option<NodeAffinity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SpreadArgs {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct InterPodArgs {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: bool,
}

/// How many nodes preemption looks at; here it always looks at all that could help.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PreemptionArgs {
    #[serde(rename = "minCandidateNodesPercentage")]
    _percentage: Value,
    #[serde(rename = "minCandidateNodesAbsolute")]
    _absolute: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BindingArgs {
    bind_timeout_seconds: Option<u64>,
}

impl PluginConfig {
    /// Puts the arguments where their plugin finds them.
    pub fn apply(&self, args: &mut Args) -> anyhow::Result<()> {
        match self.name.as_str() {
            "NodeResourcesFit" => {
                let own: FitArgs = self.read()?;
                args.ignored_resources = own.ignored_resources;
                args.ignored_groups = own.ignored_resource_groups;
                if let Some(strategy) = own.scoring_strategy {
                    args.strategy = strategy.read()?;
                }
            }
            "NodeResourcesBalancedAllocation" => {
                let own: BalancedArgs = self.read()?;
                if !own.resources.is_empty() {
                    args.balanced = own.resources;
                }
            }
            "NodeAffinity" => args.added_affinity = self.read::<AffinityArgs>()?.added_affinity,
            "PodTopologySpread" => {
                let own: SpreadArgs = self.read()?;
                args.default_spread = match own.defaulting_type.as_deref() {
                    Some("List") => Some(own.default_constraints),
                    None | Some("System") if own.default_constraints.is_empty() => None,
                    None | Some("System") => bail!("defaultConstraints need defaultingType: List"),
                    Some(other) => bail!("defaultingType {other:?} is not one of System and List"),
                };
            }
            "InterPodAffinity" => {
                let own: InterPodArgs = self.read()?;
                let weight = own.hard_pod_affinity_weight.unwrap_or(1);
                ensure!((0..=100).contains(&weight), "hardPodAffinityWeight must be from 0 to 100");
                (args.hard_weight, args.ignore_preferred) = (weight, own.ignore_preferred_terms_of_existing_pods);
            }
            "DefaultPreemption" => drop(self.read::<PreemptionArgs>()?),
            "VolumeBinding" => {
                let own: BindingArgs = self.read()?;
                ensure!(
                    own.bind_timeout_seconds.is_none_or(|seconds| seconds == 600),
                    "bindTimeoutSeconds: volumes are waited for 600 s, and no other time"
                );
            }
            name => bail!("{name} takes no arguments"),
        }
        Ok(())
    }

    fn read<T: DeserializeOwned + Default>(&self) -> anyhow::Result<T> {
        let mut args = self.args.clone();
        let Some(map) = args.as_object_mut() else {
            ensure!(args.is_null(), "args is no object");
            return Ok(T::default());
        };
        map.remove("apiVersion");
        map.remove("kind");
        map.retain(|_, value| !value.is_null());
        Ok(serde_json::from_value(args)?)
    }
}

impl ScoringStrategy {
    fn read(mut self) -> anyhow::Result<Strategy> {
        if self.resources.is_empty() {
            self.resources = ["cpu", "memory"].map(|name| Resource { name: name.into(), weight: 1 }).into();
        }
        for resource in &mut self.resources {
            ensure!((0..=100).contains(&resource.weight), "the weight of {} must be from 1 to 100", resource.name);
            resource.weight = resource.weight.max(1);
        }
        Ok(match self.r#type.as_str() {
            "LeastAllocated" => Strategy::LeastAllocated(self.resources),
            "MostAllocated" => Strategy::MostAllocated(self.resources),
            "RequestedToCapacityRatio" => {
                let shape = self.requested_to_capacity_ratio.shape;
                let shape: Vec<(i64, i64)> = shape.into_iter().map(|point| (point.utilization, point.score)).collect();
                ensure!(
                    !shape.is_empty()
                        && shape.iter().all(|(used, score)| (0..=100).contains(used) && (0..=10).contains(score))
                        && shape.is_sorted_by(|one, next| one.0 < next.0),
                    "shape needs points with rising utilization from 0 to 100 and score from 0 to 10"
                );
                Strategy::Ratio(self.resources, shape)
            }
            other => bail!(
                "scoringStrategy.type {other:?} is not one of LeastAllocated, MostAllocated and RequestedToCapacityRatio"
            ),
        })
    }
}

impl Configuration {
    /// Reads a file, if there is one; errors name it. The command line's fields overrule what it has.
    pub fn load(path: Option<&Path>, flags: &Foreign) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let mut tree = serde_json::json!({"apiVersion": VERSION, "kind": KIND});
            flags.fill(&mut tree)?;
            return Self::of(tree).context("the command line");
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let tree = serde_yaml::from_str(&text).map_err(anyhow::Error::from).and_then(|mut tree| {
            flags.fill(&mut tree)?;
            Self::of(tree)
        });
        tree.with_context(|| format!("{} cannot be used", path.display()))
    }

    /// Parses a document.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Self::of(serde_yaml::from_str(text)?)
    }

    fn of(tree: Value) -> anyhow::Result<Self> {
        let config: Self = serde_json::from_value(tree)?;
        ensure!(
            config.api_version == VERSION && config.kind == KIND,
            "it is a {} {}, and not a kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration",
            config.api_version,
            config.kind
        );
        let lock = config.leader_election.resource_lock.as_deref();
        ensure!(lock.is_none_or(|lock| lock == "leases"), "leaderElection.resourceLock must be leases");
        let Times { life, patience, renew } = config.leader_election.times();
        ensure!(
            life > patience && patience > renew && !renew.is_zero(),
            "leaderElection: leaseDuration must be longer than renewDeadline, and that longer than retryPeriod"
        );
        Ok(config)
    }
}

impl LeaderElection {
    fn times(&self) -> Times {
        let usual = Times::default();
        let or = |span: Option<Span>, usual| span.map_or(usual, |span| span.0);
        Times {
            life: or(self.lease_duration, usual.life),
            patience: or(self.renew_deadline, usual.patience),
            renew: or(self.retry_period, usual.renew),
        }
    }

    /// Who this is when it wants to lead.
    pub fn candidate(&self, host: &str) -> Candidate {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let mut candidate = Candidate::new("kube-scheduler", host);
        candidate.times = self.times();
        candidate.name = named(&self.resource_name).unwrap_or(candidate.name);
        candidate.namespace = named(&self.resource_namespace).unwrap_or(candidate.namespace);
        candidate
    }
}
