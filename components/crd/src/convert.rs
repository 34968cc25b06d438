//! ConversionReview: what a webhook is asked to bring into another version, and what its answer means; pure.

use kinit_api::object::Object;
use kinit_api::validate::field::{Errors, Path};
use kinit_api::validate::metadata;
use serde_json::{Map, Value, json};

use crate::definition::{Conversion, Definition};

/// One question to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The version of ConversionReview.
    version: &'static str,
    uid: String,
    /// The `apiVersion` that is wanted.
    wanted: String,
    /// What is converted, as errors name it: `example.com/v1, Kind=Foo`.
    what: String,
}

impl Definition {
    /// Whether objects of another version have to be converted by a webhook.
    pub fn asks_webhook(&self) -> bool {
        matches!(self.conversion, Conversion::Webhook { .. })
    }
}

impl Review {
    /// A question in the first version of a definition's list that is spoken here.
    pub fn new(spoken: &[String], uid: String, wanted: String, first: &Object) -> Result<Self, String> {
        let known = |version: &String| ["v1", "v1beta1"].into_iter().find(|known| *known == version);
        let version = spoken.iter().find_map(known).ok_or("no supported conversion review versions")?;
        Ok(Self { version, uid, wanted, what: format!("{}, Kind={}", first.api_version(), first.kind()) })
    }

    /// The body that the webhook gets.
    pub fn encode(&self, objects: &[Object]) -> Vec<u8> {
        let objects: Vec<&Map<String, Value>> = objects.iter().map(Object::map).collect();
        let request = json!({"uid": self.uid, "desiredAPIVersion": self.wanted, "objects": objects});
        let version = format!("apiextensions.k8s.io/{}", self.version);
        json!({"kind": "ConversionReview", "apiVersion": version, "request": request}).to_string().into_bytes()
    }

    /// The error of a call that came to nothing.
    pub fn failed(&self, why: &str) -> String {
        format!("conversion webhook for {} failed: {why}", self.what)
    }

    /// The objects as the webhook has converted them, in the order of `originals`.
    pub fn decode(&self, originals: &[Object], bytes: &[u8]) -> Result<Vec<Object>, String> {
        let converted = self.converted(bytes).map_err(|why| self.failed(&why))?;
        let (got, expected) = (converted.len(), originals.len());
        if got != expected {
            return Err(format!("conversion webhook for {} returned {got} objects, expected {expected}", self.what));
        }
        let pairs = originals.iter().zip(converted).enumerate();
        pairs
            .map(|(at, (original, converted))| {
                self.one(original, converted).map_err(|why| {
                    let place = if expected == 1 { String::new() } else { format!(" at index {at}") };
                    format!("conversion webhook for {} returned invalid converted object{place}: {why}", self.what)
                })
            })
            .collect()
    }

    fn converted(&self, bytes: &[u8]) -> Result<Vec<Value>, String> {
        let mut review: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
        // The older version never checked whose answer it is.
        let strict = self.version == "v1";
        if strict && (version.as_str(), kind.as_str()) != ("apiextensions.k8s.io/v1", "ConversionReview") {
            let wanted = "apiextensions.k8s.io/v1, Kind=ConversionReview";
            return Err(format!("expected webhook response of {wanted}, got {version}, Kind={kind}"));
        }
        let response = &mut review["response"];
        if !response.is_object() {
            return Err("no response provided".to_owned());
        }
        if strict && response["uid"] != self.uid.as_str() {
            return Err(format!("expected response.uid={:?}, got {:?}", self.uid, text(&response["uid"])));
        }
        let status = text(&response["result"]["status"]);
        if status != "Success" {
            return Err(match text(&response["result"]["message"]) {
                message if message.is_empty() => format!("response.result.status was '{status}', not 'Success'"),
                message => message,
            });
        }
        match response["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    /// A converted object with the metadata of its original: a webhook may change labels and annotations only.
    fn one(&self, original: &Object, converted: Value) -> Result<Object, String> {
        let mut converted = Object::from_value(converted).ok_or("it is not an object")?;
        if converted.api_version() != self.wanted {
            let got = converted.api_version();
            return Err(format!("invalid groupVersion (expected {}, received {got})", self.wanted));
        }
        if converted.kind() != original.kind() {
            return Err(format!("invalid kind (expected {}, received {})", original.kind(), converted.kind()));
        }
        for (what, before, after) in [
            ("name", original.name(), converted.name()),
            ("namespace", original.namespace(), converted.namespace()),
            ("UID", original.uid(), converted.uid()),
        ] {
            if before != after {
                return Err(format!("must have the same {what}: {before} != {after}"));
            }
        }
        let returned = match converted.map_mut().remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            None => return Err("missing metadata in converted object".to_owned()),
            Some(_) => return Err("metadata in converted object is no object".to_owned()),
        };
        let metadata = restored(original.get(&["metadata"]), returned)?;
        converted.map_mut().insert("metadata".into(), metadata);
        Ok(converted)
    }
}

/// The metadata of before with the labels and the annotations that were returned.
fn restored(before: Option<&Value>, mut returned: Map<String, Value>) -> Result<Value, String> {
    let mut metadata = before.and_then(Value::as_object).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let texts = match returned.remove(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
                continue;
            }
            Some(Value::Object(texts)) => texts,
            Some(_) => return Err(format!("invalid metadata.{field} in converted object: it is no object")),
        };
        if let Some((key, _)) = texts.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
        }
        let texts = Value::Object(texts);
        if metadata.get(field) != Some(&texts) {
            let mut errors = Errors::new();
            let path = Path::new("metadata").child(field);
            let check = if field == "labels" { metadata::labels } else { metadata::annotations };
            check(Some(&texts), &path, &mut errors);
            if !errors.is_empty() {
                let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Err(if all.len() == 1 { all.concat() } else { format!("[{}]", all.join(", ")) });
            }
        }
        metadata.insert(field.into(), texts);
    }
    Ok(metadata.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, extra: Value) -> Object {
        let mut value = json!({"apiVersion": format!("a.b/{version}"), "kind": "Foo",
            "metadata": {"name": "f", "uid": "u", "finalizers": ["x"], "labels": {"a": "1"}}});
        if let (Some(map), Value::Object(extra)) = (value.as_object_mut(), extra) {
            map.extend(extra);
        }
        Object::from_value(value).unwrap()
    }

    fn answered(version: &str, response: Value) -> Result<Vec<Object>, String> {
        let original = object("v1", json!({}));
        let review = Review::new(&[version.to_owned()], "id".into(), "a.b/v2".into(), &original).unwrap();
        let api_version = format!("apiextensions.k8s.io/{version}");
        let answer = json!({"kind": "ConversionReview", "apiVersion": api_version, "response": response});
        review.decode(&[original], answer.to_string().as_bytes())
    }

    #[test]
    fn a_webhook_may_change_all_but_the_metadata() {
        let changed = json!({"spec": {"x": 1}, "metadata": {"name": "f", "uid": "u", "labels": {"b": "2"}}});
        let success =
            |converted: Value| json!({"uid": "id", "result": {"status": "Success"}, "convertedObjects": [converted]});
        let converted = answered("v1", success(object("v2", changed).into_value())).unwrap();
        let metadata = json!({"name": "f", "uid": "u", "finalizers": ["x"], "labels": {"b": "2"}});
        assert_eq!(
            (converted[0].get(&["metadata"]), converted[0].get(&["spec", "x"])),
            (Some(&metadata), Some(&json!(1)))
        );
        for (wrong, why) in [
            (object("v3", json!({})), "invalid groupVersion (expected a.b/v2, received a.b/v3)"),
            (object("v2", json!({"kind": "Bar"})), "invalid kind (expected Foo, received Bar)"),
            (object("v2", json!({"metadata": {"name": "g", "uid": "u"}})), "must have the same name: f != g"),
            (object("v2", json!({"metadata": {"name": "f", "uid": "v"}})), "must have the same UID: u != v"),
            (object("v2", json!({"metadata": {"name": "f", "uid": "u", "labels": {"a b": ""}}})), "metadata.labels"),
        ] {
            let error = answered("v1", success(wrong.into_value())).unwrap_err();
            assert!(error.contains(why) && error.contains("conversion webhook for a.b/v1, Kind=Foo"), "{error}");
        }
    }

    #[test]
    fn answers_that_are_none_are_refused_in_upstreams_words() {
        let failed = "conversion webhook for a.b/v1, Kind=Foo failed: ";
        for (version, response, why) in [
            ("v1", json!(null), "no response provided".to_owned()),
            ("v1", json!({"uid": "x"}), r#"expected response.uid="id", got "x""#.to_owned()),
            ("v1", json!({"uid": "id", "result": {"status": "Failure", "message": "no"}}), "no".to_owned()),
            ("v1beta1", json!({"result": {}}), "response.result.status was '', not 'Success'".to_owned()),
        ] {
            assert_eq!(answered(version, response).unwrap_err(), format!("{failed}{why}"));
        }
        let few = answered("v1beta1", json!({"result": {"status": "Success"}})).unwrap_err();
        assert_eq!(few, "conversion webhook for a.b/v1, Kind=Foo returned 0 objects, expected 1");
        assert!(Review::new(&["v9".into()], String::new(), String::new(), &Object::default()).is_err());
    }
}
