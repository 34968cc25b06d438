//! What a namespace that is being deleted says of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Left;

/// The name of a resource as conditions write it.
pub fn name_of(plural: &str, group: &str) -> String {
    format!("{plural}.{group}")
}

fn counted(all: &BTreeMap<String, usize>, words: &str) -> String {
    let parts: Vec<String> =
        all.iter().map(|(name, count)| format!("{name} {words} {count} resource instances")).collect();
    parts.join(", ")
}

/// Sets all conditions. Whether any changed.
pub fn update(conditions: &mut Vec<NamespaceCondition>, left: &Left, now: Timestamp) -> bool {
    let remaining = format!("Some resources are remaining: {}", counted(&left.objects, "has"));
    let waiting =
        format!("Some content in the namespace has finalizers remaining: {}", counted(&left.finalizers, "in"));
    let failures =
        format!("Failed to delete all resource types, {} remaining: {}", left.failures.len(), left.failures.join(", "));
    let is_left = |reason: &'static str, message: String, is: bool| is.then_some((reason, message));
    let mut changed = false;
    for (kind, trouble, fine) in [
        ("NamespaceDeletionDiscoveryFailure", None, ("ResourcesDiscovered", "All resources successfully discovered")),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            is_left("ContentDeletionFailed", failures, !left.failures.is_empty()),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            is_left("SomeResourcesRemain", remaining, !left.objects.is_empty()),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            is_left("SomeFinalizersRemain", waiting, !left.finalizers.is_empty()),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ] {
        let status = if trouble.is_some() { "True" } else { "False" };
        let (reason, message) = trouble.unwrap_or((fine.0, fine.1.to_owned()));
        changed |= set(conditions, kind, status, reason, message, now);
    }
    changed
}

fn set(
    all: &mut Vec<NamespaceCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> bool {
    let made = NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
    };
    match all.iter_mut().find(|one| one.type_ == kind) {
        Some(found)
            if (&found.status, &found.reason, &found.message) == (&made.status, &made.reason, &made.message) =>
        {
            return false;
        }
        Some(found) => *found = made,
        None => all.push(made),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told() {
        let mut left = Left::default();
        left.objects.insert(name_of("pods", ""), 2);
        left.finalizers.insert("own".into(), 1);
        let mut conditions = Vec::new();
        assert!(update(&mut conditions, &left, Timestamp::UNIX_EPOCH));
        assert!(!update(&mut conditions, &left, Timestamp::UNIX_EPOCH));
        let told: Vec<(&str, &str)> =
            conditions.iter().map(|one| (one.status.as_str(), one.message.as_deref().unwrap_or_default())).collect();
        assert_eq!(told[2], ("False", "All content successfully deleted, may be waiting on finalization"));
        assert_eq!(told[3], ("True", "Some resources are remaining: pods. has 2 resource instances"));
        let finalizers = "Some content in the namespace has finalizers remaining: own in 1 resource instances";
        assert_eq!(told[4], ("True", finalizers));
        assert!(update(&mut conditions, &Left::default(), Timestamp::UNIX_EPOCH));
        assert!(conditions.iter().all(|one| one.status == "False") && conditions.len() == 5);
    }
}
