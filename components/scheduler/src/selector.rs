//! Label selectors and node selectors.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether a label selector selects these labels. None selects nothing, an empty one everything.
pub fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let values = expression.values.as_deref().unwrap_or_default();
            requirement(&expression.operator, values, labels.get(&expression.key).map(String::as_str))
        })
}

/// Whether a term of a node selector selects a node. A term without any requirement selects nothing.
pub fn term_selects(term: &NodeSelectorTerm, labels: &Labels, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by = |row: &NodeSelectorRequirement, value: Option<&str>| {
        requirement(&row.operator, row.values.as_deref().unwrap_or_default(), value)
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|row| by(row, labels.get(&row.key).map(String::as_str)))
        && fields.iter().all(|row| by(row, (row.key == "metadata.name").then_some(name)))
}

fn requirement(operator: &str, values: &[String], value: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match operator {
        "In" => value.is_some_and(|value| values.iter().any(|one| one == value)),
        "NotIn" => value.is_none_or(|value| values.iter().all(|one| one != value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_mean_what_the_api_says() {
        let values = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        for (operator, list, value, expected) in [
            ("In", &["a", "b"][..], Some("b"), true),
            ("In", &["a"], None, false),
            ("NotIn", &["a"], None, true),
            ("NotIn", &["a"], Some("a"), false),
            ("Exists", &[], Some(""), true),
            ("DoesNotExist", &[], None, true),
            ("Gt", &["5"], Some("6"), true),
            ("Gt", &["5"], Some("5"), false),
            ("Lt", &["5"], Some("x"), false),
            ("Near", &["5"], Some("5"), false),
        ] {
            assert_eq!(requirement(operator, &values(list), value), expected, "{value:?} {operator} {list:?}");
        }
        assert!(!selects(None, &Labels::new()));
        assert!(selects(Some(&LabelSelector::default()), &Labels::new()));
        assert!(!term_selects(&NodeSelectorTerm::default(), &Labels::new(), "n"));
    }
}
