//! How fast a target may follow what its metrics ask for. Pure; time enters in seconds.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

/// What was asked for and done before.
#[derive(Debug, Clone, Default)]
pub struct History {
    asked: Vec<(i64, i32)>,
    /// When replicas came and went: how many, less than zero if they went.
    done: Vec<(i64, i32)>,
}

/// What is to be done, and what kept it from being more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The replicas.
    pub replicas: i32,
    /// Why earlier recommendations hold still, if they do.
    pub stabilized: Option<(&'static str, &'static str)>,
    /// What limits them.
    pub limit: (&'static str, &'static str),
    /// Whether it does.
    pub limited: bool,
}

const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const LONGEST: i64 = 3600;

/// Rules as they are when nothing is said of them.
fn rules(given: Option<&HPAScalingRules>, up: bool) -> HPAScalingRules {
    let policy = |kind: &str, value| HPAScalingPolicy { type_: kind.into(), value, period_seconds: 15 };
    let usual = if up { vec![policy("Pods", 4), policy("Percent", 100)] } else { vec![policy("Percent", 100)] };
    let mut rules = given.cloned().unwrap_or_default();
    rules.stabilization_window_seconds.get_or_insert(if up { 0 } else { 300 });
    rules.policies.get_or_insert(usual);
    rules.select_policy.get_or_insert_with(|| "Max".into());
    rules
}

impl History {
    /// Decides between `wanted` and what there is, and remembers what was asked for.
    pub fn decide(&mut self, spec: &HorizontalPodAutoscalerSpec, current: i32, wanted: i32, now: i64) -> Decision {
        let behavior = spec.behavior.as_ref();
        let up = rules(behavior.and_then(|all| all.scale_up.as_ref()), true);
        let down = rules(behavior.and_then(|all| all.scale_down.as_ref()), false);
        let steady = self.steady(&up, &down, current, wanted, now);
        let stabilized = (steady != wanted).then_some(if wanted >= current {
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
        } else {
            (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        });
        let (replicas, limit) = if steady > current {
            let fastest = self.bound(&up, current, now, 1).max(current);
            let too_fast =
                ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
            let too_many = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
            let (most, why) =
                if spec.max_replicas > fastest { (fastest, too_fast) } else { (spec.max_replicas, too_many) };
            if steady > most { (most, why) } else { (steady, WITHIN) }
        } else if steady < current {
            let fastest = self.bound(&down, current, now, -1).min(current);
            let least = spec.min_replicas.unwrap_or(1);
            let too_fast =
                ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
            let too_few = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
            let (least, why) = if least < fastest { (fastest, too_fast) } else { (least, too_few) };
            if steady < least { (least, why) } else { (steady, WITHIN) }
        } else {
            (steady, WITHIN)
        };
        Decision { replicas, stabilized, limit, limited: replicas != steady }
    }

    /// Notes that a target went from one number of replicas to another.
    pub fn note(&mut self, before: i32, after: i32, now: i64) {
        self.done.retain(|(at, _)| now - at <= LONGEST);
        self.done.push((now, after - before));
    }

    /// What recommendations of the windows agree on.
    fn steady(&mut self, up: &HPAScalingRules, down: &HPAScalingRules, current: i32, wanted: i32, now: i64) -> i32 {
        let window = |rules: &HPAScalingRules| i64::from(rules.stabilization_window_seconds.unwrap_or(0));
        let within =
            |seconds: i64| self.asked.iter().filter(move |(at, _)| now - at < seconds).map(|(_, asked)| *asked);
        let lowest = within(window(up)).chain([wanted]).min().unwrap_or(wanted);
        let highest = within(window(down)).chain([wanted]).max().unwrap_or(wanted);
        let longest = window(up).max(window(down));
        self.asked.retain(|(at, _)| now - at < longest);
        self.asked.push((now, wanted));
        if current < lowest { lowest } else { current.min(highest) }
    }

    /// How far the policies let a target go in one direction.
    fn bound(&self, rules: &HPAScalingRules, current: i32, now: i64, direction: i32) -> i32 {
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let proposals = rules.policies.iter().flatten().map(|policy| {
            let since = |at: i64| now - at < i64::from(policy.period_seconds);
            let changed: i32 = self.done.iter().filter(|(at, _)| since(*at)).map(|(_, count)| count).sum();
            let begin = current - changed;
            match policy.type_.as_str() {
                "Pods" => begin + direction * policy.value,
                _ if direction > 0 => (f64::from(begin) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
                _ => (f64::from(begin) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            }
        });
        // The greatest change is the highest number on the way up, and the lowest on the way down.
        let chosen = if (select == "Min") == (direction > 0) { proposals.min() } else { proposals.max() };
        chosen.unwrap_or(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
        serde_json::from_value(json!({"minReplicas": 2, "maxReplicas": 20, "behavior": behavior,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}}))
        .unwrap()
    }

    #[test]
    fn bounds_and_rates_limit_what_is_asked_for() {
        let disabled = json!({"scaleUp": {"selectPolicy": "Disabled"}});
        let slow = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}});
        for (behavior, current, wanted, replicas, reason) in [
            (Value::Null, 3, 3, 3, "DesiredWithinRange"),
            (Value::Null, 3, 5, 5, "DesiredWithinRange"),
            (Value::Null, 3, 100, 7, "ScaleUpLimit"),
            (Value::Null, 15, 100, 20, "TooManyReplicas"),
            (Value::Null, 5, 1, 2, "TooFewReplicas"),
            (disabled, 3, 9, 3, "ScaleUpLimit"),
            (slow, 3, 9, 4, "ScaleUpLimit"),
        ] {
            let found = History::default().decide(&spec(behavior.clone()), current, wanted, 0);
            assert_eq!((found.replicas, found.limit.0), (replicas, reason), "{behavior} {current} {wanted}");
        }
    }

    #[test]
    fn what_was_asked_for_lately_holds_back() {
        let (spec, mut history) = (spec(Value::Null), History::default());
        assert_eq!(history.decide(&spec, 8, 8, 0).replicas, 8);
        let found = history.decide(&spec, 8, 4, 60);
        assert_eq!((found.replicas, found.stabilized.map(|one| one.0)), (8, Some("ScaleDownStabilized")));
        assert_eq!(history.decide(&spec, 8, 4, 310).replicas, 4);
        // What was added in a period counts for the period.
        let mut history = History::default();
        history.note(3, 7, 0);
        assert_eq!(history.decide(&spec, 7, 20, 5).replicas, 7);
        assert_eq!(history.decide(&spec, 7, 20, 20).replicas, 14);
    }
}
