//! Profiles: which plugins a scheduler of a name uses, what each counts for, and with which arguments. Pure.

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};

use crate::config::{Configuration, PluginSet, Plugins, ProfileConfig, Resource, Strategy};
use crate::plugins::{PLUGINS, Row};

/// Names of upstream's that are part of this scheduler and cannot be taken away from it.
const FIXED: &[&str] = &["PrioritySort", "DefaultBinder", "SchedulingGates", "VolumeRestrictions", "VolumeZone"];
/// Names of upstream's that are not there: whoever disables them has what they want.
const ABSENT: &[&str] = &["NodeVolumeLimits", "DynamicResources", "NodeDeclaredFeatures", "GangScheduling"];
const PREEMPTION: &str = "DefaultPreemption";

/// A plugin as a profile uses it.
#[derive(Debug, Clone)]
pub struct Use {
    /// The plugin.
    pub row: &'static Row,
    /// Whether it may refuse nodes.
    pub filters: bool,
    /// What its score counts for; nothing if it does not score.
    pub weight: i64,
}

/// What plugins are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Args {
    /// How full nodes are liked.
    pub strategy: Strategy,
    /// Extended resources, or groups of them, that no node has to have.
    pub ignored_resources: Vec<String>,
    /// Prefixes of their names.
    pub ignored_groups: Vec<String>,
    /// Resources that are to be used in like parts.
    pub balanced: Vec<Resource>,
    /// What every pod demands of nodes beside its own demands.
    pub added_affinity: Option<NodeAffinity>,
    /// How pods spread that say nothing of it; `None` for the usual.
    pub default_spread: Option<Vec<TopologySpreadConstraint>>,
    /// What a required term of a pod that runs counts for.
    pub hard_weight: i64,
    /// Whether only what pods that run require counts.
    pub ignore_preferred: bool,
}

impl Default for Args {
    fn default() -> Self {
        let both = ["cpu", "memory"].map(|name| Resource { name: name.into(), weight: 1 });
        Self {
            strategy: Strategy::LeastAllocated(both.to_vec()),
            ignored_resources: Vec::new(),
            ignored_groups: Vec::new(),
            balanced: both.to_vec(),
            added_affinity: None,
            default_spread: None,
            hard_weight: 1,
            ignore_preferred: false,
        }
    }
}

/// A scheduler under a name of its own.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What pods say in `spec.schedulerName`.
    pub name: String,
    /// Its plugins, in the order in which they are asked.
    pub uses: Vec<Use>,
    /// Whether it makes room by evicting.
    pub preempts: bool,
    /// What its plugins are told.
    pub args: Args,
}

impl Profile {
    /// The profile with all plugins as they usually are.
    pub fn plain(name: impl Into<String>) -> Self {
        let uses = PLUGINS.iter().map(|row| Use { row, filters: row.filters, weight: row.weight }).collect();
        Self { name: name.into(), uses, preempts: true, args: Args::default() }
    }

    /// The profiles of a configuration; errors name the field.
    pub fn all(config: &Configuration) -> anyhow::Result<Vec<Self>> {
        ensure!(
            config.extenders.is_empty(),
            "extenders are not there: this scheduler asks nobody else; take them out, or run upstream's kube-scheduler"
        );
        let mut all: Vec<Self> = Vec::new();
        for (index, profile) in config.profiles.iter().enumerate() {
            let read = Self::of(profile).with_context(|| format!("profiles[{index}]"))?;
            ensure!(
                all.iter().all(|other| other.name != read.name),
                "profiles[{index}].schedulerName: {:?} is there twice",
                read.name
            );
            all.push(read);
        }
        if all.is_empty() {
            all.push(Self::plain("default-scheduler"));
        }
        Ok(all)
    }

    fn of(config: &ProfileConfig) -> anyhow::Result<Self> {
        let mut profile = Self::plain(config.scheduler_name.as_deref().unwrap_or("default-scheduler"));
        profile.choose(&config.plugins).context("plugins")?;
        for (index, one) in config.plugin_config.iter().enumerate() {
            let field = || format!("pluginConfig[{index}] of {}", one.name);
            one.apply(&mut profile.args).with_context(field)?;
        }
        Ok(profile)
    }

    fn choose(&mut self, plugins: &Plugins) -> anyhow::Result<()> {
        for (point, set) in plugins.others() {
            check_names(set).with_context(|| point.to_owned())?;
            ensure!(
                set.disabled.is_empty(),
                "{point}: a plugin can be disabled at multiPoint, filter, score and postFilter alone"
            );
        }
        for (point, set) in [
            ("multiPoint", &plugins.multi_point),
            ("filter", &plugins.filter),
            ("score", &plugins.score),
            ("postFilter", &plugins.post_filter),
        ] {
            check_names(set).with_context(|| point.to_owned())?;
        }
        let (multi, filter, score, post) =
            (&plugins.multi_point, &plugins.filter, &plugins.score, &plugins.post_filter);
        for one in &mut self.uses {
            let Row { name, filters, weight, .. } = one.row;
            if multi.disables(name) {
                (one.filters, one.weight) = (false, 0);
            }
            if let Some(asked) = multi.weight_of(name) {
                (one.filters, one.weight) = (*filters, if *weight > 0 { asked } else { 0 });
            }
            if filter.disables(name) {
                one.filters = false;
            }
            if filter.weight_of(name).is_some() {
                ensure!(filters, "filter: {name} refuses no nodes");
                one.filters = true;
            }
            if score.disables(name) {
                one.weight = 0;
            }
            if let Some(asked) = score.weight_of(name) {
                ensure!(*weight > 0, "score: {name} scores no nodes");
                one.weight = asked;
            }
        }
        self.uses.retain(|one| one.filters || one.weight > 0);
        for set in [multi, post] {
            self.preempts = set.weight_of(PREEMPTION).is_some() || self.preempts && !set.disables(PREEMPTION);
        }
        Ok(())
    }
}

fn check_names(set: &PluginSet) -> anyhow::Result<()> {
    let ours = |name: &str| name == PREEMPTION || PLUGINS.iter().any(|row| row.name == name);
    for one in &set.enabled {
        let name = one.name.as_str();
        match () {
            () if ours(name) || FIXED.contains(&name) => {}
            () if ABSENT.contains(&name) => bail!("{name} is not there, so it cannot be enabled"),
            () => bail!("there is no plugin {name:?}"),
        }
        ensure!((0..=100).contains(&one.weight), "the weight of {name} must be from 1 to 100");
    }
    for one in &set.disabled {
        let name = one.name.as_str();
        match () {
            () if name == "*" || ours(name) || ABSENT.contains(&name) => {}
            () if FIXED.contains(&name) => bail!("{name} cannot be disabled"),
            () => bail!("there is no plugin {name:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
