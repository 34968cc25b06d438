//! What a Job makes of its Pods' ends: policies for failure and for success.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, str_of, text};

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const RULES: usize = 20;
const EXIT_CODES: usize = 255;
const INDEXES: usize = 64 * 1024;

/// Values as a hint lists them.
fn hint(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

/// A text that has to be one of a few.
fn choice(holder: &Value, field: &str, known: &[&str], path: &Path, errors: &mut Errors) {
    match str_of(holder, field) {
        "" => errors.push(Error::required(&path.child(field), &hint(known))),
        value if !known.contains(&value) => errors.push(Error::not_supported(&path.child(field), value, known)),
        _ => {}
    }
}

/// The policy for failure.
pub(super) fn failure(spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(&spec["podFailurePolicy"], "rules");
    let path = path.child("podFailurePolicy.rules");
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    let of_pods = &spec["template"]["spec"];
    let names: BTreeSet<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| list(of_pods, field))
        .map(|container| str_of(container, "name"))
        .collect();
    for (at, rule) in rules.iter().enumerate() {
        let path = path.index(at);
        if rule["action"] == "FailIndex" {
            if spec["backoffLimitPerIndex"].is_null() {
                let text = "requires the backoffLimitPerIndex to be set";
                errors.push(Error::invalid(&path.child("action"), "FailIndex", text));
            }
        } else {
            choice(rule, "action", ACTIONS, &path, errors);
        }
        let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
        if codes.is_object() {
            exit_codes(codes, &names, &path.child("onExitCodes"), errors);
        }
        let of_conditions = path.child("onPodConditions");
        if conditions.len() > RULES {
            errors.push(Error::too_many(&of_conditions, conditions.len(), RULES));
        }
        for (at, condition) in conditions.iter().enumerate() {
            let path = of_conditions.index(at);
            let kind = str_of(condition, "type");
            complain(text::qualified_name(kind), kind, &path.child("type"), errors);
            choice(condition, "status", &["False", "True", "Unknown"], &path, errors);
        }
        match (codes.is_object(), conditions.is_empty()) {
            (true, false) => {
                let text = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(Error::invalid_whole(&path, text));
            }
            (false, true) => {
                let text = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(Error::invalid_whole(&path, text));
            }
            _ => {}
        }
    }
}

fn exit_codes(codes: &Value, names: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    choice(codes, "operator", &["In", "NotIn"], path, errors);
    if let Some(name) = codes["containerName"].as_str().filter(|name| !names.contains(name)) {
        let text = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), name, text));
    }
    let of_values = path.child("values");
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(Error::invalid(&of_values, codes["values"].clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES {
        errors.push(Error::too_many(&of_values, values.len(), EXIT_CODES));
    }
    for (at, value) in values.iter().enumerate() {
        let path = of_values.index(at);
        if *value == 0 && codes["operator"] == "In" {
            errors.push(Error::invalid(&path, *value, "must not be 0 for the In operator"));
        }
        if values[..at].contains(value) {
            errors.push(Error::duplicate(&path, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(Error::invalid(&of_values, codes["values"].clone(), "must be ordered"));
    }
}

/// The policy for success.
pub(super) fn success(spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(&spec["successPolicy"], "rules");
    let path = path.child("successPolicy.rules");
    if rules.is_empty() {
        let text = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&path, text));
    }
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    let completions = spec["completions"].as_i64().unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let path = path.index(at);
        let (count, indexes) = (rule["succeededCount"].as_i64(), rule["succeededIndexes"].as_str());
        if count.is_none() && indexes.is_none() {
            let text = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(Error::required(&path, text));
        }
        let mut listed = 0;
        if let Some(text) = indexes {
            let path = path.child("succeededIndexes");
            if text.len() > INDEXES {
                errors.push(Error::too_long(&path, INDEXES));
            }
            match self::indexes(text, completions) {
                Ok(total) => listed = total,
                Err(why) => {
                    errors.push(Error::invalid(&path, text, format!("error parsing succeededIndexes: {why}")));
                }
            }
        }
        let Some(count) = count else { continue };
        let path = path.child("succeededCount");
        if count < 0 {
            errors.push(Error::invalid(&path, count, "must be greater than or equal to 0"));
        }
        for (most, what) in [
            (Some(completions), "the number of specified completions"),
            (indexes.map(|_| listed), "the number of indexes in the specified succeededIndexes field"),
        ] {
            if let Some(most) = most.filter(|most| count > *most) {
                errors.push(Error::invalid(&path, count, format!("must be less than or equal to {most} ({what})")));
            }
        }
    }
}

/// How many indexes a text such as `1,3-5` lists.
pub(super) fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last) = (0, None::<i64>);
    for interval in text.split(',') {
        let number = |text: &str| {
            let parsed: Result<i32, _> = text.parse();
            parsed.map(i64::from).map_err(|_| format!("cannot convert string to integer for index: {text:?}"))
        };
        let parts: Vec<&str> = interval.split('-').collect();
        let (first, end) = match parts[..] {
            [one] => (number(one)?, None),
            [first, end] => (number(first)?, Some(number(end)?)),
            _ => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if let Some(index) = [Some(first), end].into_iter().flatten().find(|index| *index >= completions) {
            return Err(format!("too large index: {:?}", index.to_string()));
        }
        if end.is_some_and(|end| first >= end) {
            return Err(format!("non-increasing order, previous: {first}, current: {}", end.unwrap_or_default()));
        }
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        let end = end.unwrap_or(first);
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first index that both texts list. An interval that cannot be read is found wrong elsewhere.
pub(super) fn overlap(first: &str, second: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        let read = |interval: &str| {
            indexes(interval, completions).ok().filter(|count| *count > 0)?;
            let (from, to) = interval.split_once('-').unwrap_or((interval, interval));
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        text.split(',').filter_map(read).collect()
    };
    let (first, second) = (intervals(first), intervals(second));
    let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| a.0 <= b.1 && b.0 <= a.1).map(|(a, b)| a.0.max(b.0)).min()
}

#[cfg(test)]
mod tests {
    use super::{indexes, overlap};

    #[test]
    fn indexes_are_counted_and_in_order() {
        assert_eq!(indexes("0,2-4", 5), Ok(4));
        assert_eq!(indexes("", 5), Ok(0));
        for wrong in ["5", "2,1", "1-1", "a", "1-2-3", "3-2"] {
            assert!(indexes(wrong, 5).is_err(), "{wrong}");
        }
    }

    #[test]
    fn intervals_meet_at_their_first_common_index() {
        assert_eq!(overlap("0-2,7", "3,5-8", 10), Some(7));
        assert_eq!(overlap("0-2", "3", 10), None);
        assert_eq!(overlap("", "1", 10), None);
        assert_eq!(overlap("a,1", "1", 10), Some(1));
    }
}
