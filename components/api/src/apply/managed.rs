//! `metadata.managedFields`: who set which fields, and when.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::set::Set;

/// Managers that update rather than apply are merged into one above this number.
const MAX_UPDATERS: usize = 10;
const OLD_UPDATERS: &str = "ancient-changes";

/// What tells one manager from another. The order is that of error messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub manager: String,
    /// Whether it applies; it updates otherwise.
    pub applies: bool,
    /// Empty for those that apply: they stay the same whatever version they apply in.
    pub version: String,
    pub subresource: String,
}

impl Id {
    /// As conflicts name it.
    pub fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

/// What one manager has set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owned {
    pub version: String,
    pub time: Option<String>,
    pub set: Set,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(pub BTreeMap<Id, Owned>);

impl Managers {
    /// Reads entries; none where one of them is no entry, so that nothing is known of any.
    pub fn decode(entries: Option<&Value>) -> Option<Self> {
        let mut managers = Self::default();
        for entry in entries.and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let applies = match entry["operation"].as_str() {
                Some("Apply") => true,
                Some("Update") => false,
                _ => return None,
            };
            let version = text("apiVersion");
            if version.is_empty() || entry["fieldsType"] != "FieldsV1" {
                return None;
            }
            let id = Id {
                manager: text("manager"),
                applies,
                version: if applies { String::new() } else { version.clone() },
                subresource: text("subresource"),
            };
            let mut set = match &entry["fieldsV1"] {
                Value::Null => Set::default(),
                fields => Set::decode(fields)?,
            };
            set.member = false;
            let time = entry["time"].as_str().map(str::to_owned);
            managers.0.insert(id, Owned { version, time, set });
        }
        Some(managers)
    }

    /// The entries in upstream's order, or nothing where there is no manager.
    pub fn encode(&self) -> Option<Value> {
        let mut entries: Vec<(&Id, &Owned)> = self.0.iter().filter(|(_, owned)| !owned.set.is_empty()).collect();
        entries.sort_by_key(|(id, owned)| (!id.applies, &owned.time, &id.manager, &owned.version, &id.subresource));
        let list: Vec<Value> = entries.into_iter().map(|(id, owned)| entry(id, owned)).collect();
        (!list.is_empty()).then_some(Value::Array(list))
    }

    /// Merges the oldest updaters into one until there are not too many.
    pub fn cap(&mut self) {
        loop {
            let mut updaters: Vec<(&Option<String>, &Id)> =
                self.0.iter().filter(|(id, _)| !id.applies).map(|(id, owned)| (&owned.time, id)).collect();
            if updaters.len() <= MAX_UPDATERS {
                return;
            }
            updaters.sort();
            // The two oldest of one version become one, so that each pass makes the list shorter.
            let pair = updaters.iter().enumerate().find_map(|(at, (_, id))| {
                let other = updaters[..at].iter().find(|(_, other)| other.version == id.version)?;
                Some((other.1.clone(), (*id).clone()))
            });
            let Some((first, second)) = pair else { return };
            let (Some(older), Some(mut newer)) = (self.0.remove(&first), self.0.remove(&second)) else { return };
            newer.set.add(&older.set);
            let bucket = Id { manager: OLD_UPDATERS.into(), subresource: String::new(), ..second };
            self.0.insert(bucket, newer);
        }
    }
}

fn entry(id: &Id, owned: &Owned) -> Value {
    let mut value = json!({
        "manager": id.manager,
        "operation": if id.applies { "Apply" } else { "Update" },
        "apiVersion": owned.version,
        "fieldsType": "FieldsV1",
    });
    // The macro would copy it.
    value["fieldsV1"] = owned.set.encode();
    if let Some(time) = &owned.time {
        value["time"] = time.as_str().into();
    }
    if !id.subresource.is_empty() {
        value["subresource"] = id.subresource.as_str().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str, second: usize, fields: Value) -> Value {
        json!({"manager": name, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": format!("2026-01-01T00:00:{second:02}Z"), "fieldsV1": fields})
    }

    #[test]
    fn one_bad_entry_spoils_them_all() {
        let good = update("a", 1, json!({"f:b": {}}));
        for (field, value) in [
            ("operation", json!("Other")),
            ("apiVersion", json!("")),
            ("fieldsType", json!("FieldsV2")),
            ("fieldsV1", json!({"b": {}})),
            ("fieldsV1", json!("b")),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert_eq!(Managers::decode(Some(&json!([good, bad]))), None, "{bad}");
        }
        assert_eq!(Managers::decode(None), Some(Managers::default()));
    }

    #[test]
    fn entries_are_sorted_and_old_ones_merge() {
        let applied = json!({"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "2026-02-01T00:00:00Z", "fieldsV1": {"f:a": {}}});
        let entries = json!([update("b", 2, json!({"f:b": {}})), update("a", 3, json!({"f:c": {}})), applied.clone()]);
        let sorted = json!([applied, entries[0], entries[1]]);
        assert_eq!(Managers::decode(Some(&entries)).unwrap().encode(), Some(sorted));

        let many: Vec<Value> = (0..12).map(|n| update(&format!("m{n:02}"), n, json!({format!("f:{n}"): {}}))).collect();
        let mut managers = Managers::decode(Some(&Value::Array(many))).unwrap();
        managers.cap();
        let entries = managers.encode().unwrap();
        assert_eq!(entries.as_array().unwrap().len(), 10);
        assert_eq!(entries[0]["manager"], OLD_UPDATERS);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:0": {}, "f:1": {}, "f:2": {}}));
        assert_eq!(entries[0]["time"], "2026-01-01T00:00:02Z");
    }
}
