//! Taints keep pods away that do not bear them; those that only advise lower the score.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Plugin, Verdict, scale};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct TaintToleration<'a>(&'a [Toleration]);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    Some(Box::new(TaintToleration(&pod.tolerations)))
}

/// Whether a toleration bears a taint.
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty_or = |own: &Option<String>, value: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == value);
    let own_value = toleration.value.as_deref().unwrap_or_default();
    let taint_value = taint.value.as_deref().unwrap_or_default();
    let compare = |less: bool| {
        let (Ok(taint), Ok(own)) = (taint_value.parse::<i64>(), own_value.parse::<i64>()) else { return false };
        if less { taint < own } else { taint > own }
    };
    empty_or(&toleration.effect, &taint.effect)
        && empty_or(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            "Equal" | "" => own_value == taint_value,
            "Lt" => compare(true),
            "Gt" => compare(false),
            _ => false,
        }
}

impl Plugin for TaintToleration<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let forbids = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        let bears = |taint: &Taint| self.0.iter().any(|toleration| tolerates(toleration, taint));
        if node.facts.taints.iter().filter(forbids).all(bears) {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) had untolerated taint(s)")
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let advises = |taint: &&Taint| taint.effect == "PreferNoSchedule";
        let bears = |taint: &&Taint| {
            let about = |one: &&Toleration| matches!(one.effect.as_deref(), None | Some("" | "PreferNoSchedule"));
            self.0.iter().filter(about).any(|toleration| tolerates(toleration, taint))
        };
        node.facts.taints.iter().filter(advises).filter(|taint| !bears(taint)).count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, true);
    }
}
