//! Amounts of resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Amounts by resource name: thousandths of a core for `cpu`, units (bytes) for all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// The amounts of a list of the API.
    pub fn of(list: &BTreeMap<String, Quantity>) -> Self {
        Self(list.iter().map(|(name, quantity)| (name.clone(), amount(name, &quantity.0))).collect())
    }

    /// The amount of one resource, zero when there is none.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds all amounts of another.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

/// A quantity in these units, rounded up; zero for one that cannot be read, which the API server refuses.
fn amount(resource: &str, text: &str) -> i64 {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let Ok(number) = number.parse::<f64>() else { return 0 };
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => match exponent.strip_prefix(['e', 'E']).and_then(|digits| digits.parse::<i32>().ok()) {
            Some(exponent) => 10f64.powi(exponent),
            None => return 0,
        },
    };
    let scale = if resource == "cpu" { 1000.0 } else { 1.0 };
    // A thousandth's thousandth below an integer is a rounding error of the multiplication, not an amount.
    (number * factor * scale - 1e-6).ceil() as i64
}

/// What a pod asks for: the containers' sum with restartable init containers, or what an init container needs at once,
/// whichever is more; pod-level requests stand above; the overhead comes on top.
pub fn requests(spec: &PodSpec) -> Resources {
    total(spec, |container| list_of(container.resources.as_ref()))
}

/// As [`requests`], but a container that asks for no processor or memory counts as a small one (100m, 200Mi), so that
/// pods without requests spread too.
pub fn scoring_requests(spec: &PodSpec) -> Resources {
    total(spec, |container| {
        let mut list = list_of(container.resources.as_ref());
        list.0.entry("cpu".into()).or_insert(100);
        list.0.entry("memory".into()).or_insert(200 << 20);
        list
    })
}

fn list_of(requirements: Option<&ResourceRequirements>) -> Resources {
    requirements.and_then(|resources| resources.requests.as_ref()).map(Resources::of).unwrap_or_default()
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut sum = Resources::default();
    let mut sidecars = Resources::default();
    let mut most = Resources::default();
    for container in &spec.containers {
        sum.add(&of(container));
    }
    for container in spec.init_containers.iter().flatten() {
        let mut needs = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&needs);
            most.raise_to(&sidecars);
        } else {
            needs.add(&sidecars);
            most.raise_to(&needs);
        }
    }
    sum.add(&sidecars);
    sum.raise_to(&most);
    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        sum.0.extend(Resources::of(list).0);
    }
    if let Some(overhead) = &spec.overhead {
        sum.add(&Resources::of(overhead));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_the_schedulers_units() {
        for (resource, text, expected) in [
            ("cpu", "1", 1000),
            ("cpu", "250m", 250),
            ("cpu", "0.1", 100),
            ("cpu", "1n", 1),
            ("memory", "1Ki", 1024),
            ("memory", "70Mi", 70 << 20),
            ("memory", "1e3", 1000),
            ("memory", "2E3", 2000),
            ("memory", "1M", 1_000_000),
            ("memory", "100m", 1),
            ("pods", "110", 110),
            ("memory", "many", 0),
        ] {
            assert_eq!(amount(resource, text), expected, "{resource} {text}");
        }
    }

    #[test]
    fn init_containers_count_when_they_need_more() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
                {"name": "big", "resources": {"requests": {"cpu": "3"}}}
            ],
            "overhead": {"cpu": "10m"}
        }))
        .expect("a pod spec");
        assert_eq!(requests(&spec).get("cpu"), 3510);
        assert_eq!(scoring_requests(&spec).get("memory"), 3 * (200 << 20));
    }
}
