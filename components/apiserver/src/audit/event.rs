//! An `Event` of `audit.k8s.io/v1`, and the two forms in which a log has it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::Asked;
use crate::authn::User;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    pub level: &'static str,
    #[serde(rename = "auditID")]
    pub id: String,
    pub stage: &'static str,
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub verb: String,
    pub user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_metadata: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    pub request_received_timestamp: String,
    pub stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What the request is about. Empty fields are not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

impl From<&Asked> for ObjectRef {
    fn from(asked: &Asked) -> Self {
        Self {
            resource: asked.resource.clone(),
            namespace: asked.namespace.clone(),
            name: asked.name.clone(),
            api_group: asked.group.clone(),
            api_version: asked.version.clone(),
            subresource: asked.subresource.clone(),
            ..Self::default()
        }
    }
}

/// A time as events have it: UTC, to the microsecond.
pub fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

impl Event {
    /// The event of a request that has just come in.
    pub fn new(id: String, uri: String, received: Timestamp) -> Self {
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "",
            id,
            stage: "",
            uri,
            verb: String::new(),
            user: Value::Null,
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: Vec::new(),
            user_agent: String::new(),
            object_ref: None,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: shown(received),
            stage_timestamp: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    pub fn of(&mut self, user: &User, asked: &Asked) {
        self.user = user.to_value();
        self.verb.clone_from(&asked.verb);
        self.object_ref = (!asked.resource.is_empty()).then(|| asked.into());
    }

    /// One line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and trees can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// One line of `key="value"` pairs.
    pub fn to_legacy(&self) -> Vec<u8> {
        let list = |value: &Value| {
            let items: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
            if items.is_empty() { "<none>".to_owned() } else { items.join(",") }
        };
        let text = |value: &Value| value.as_str().unwrap_or("<none>").to_owned();
        let (other, other_groups) = match &self.impersonated_user {
            Some(user) => (text(&user["username"]), list(&user["groups"])),
            None => ("<self>".into(), "<lookup>".into()),
        };
        let namespace = self.object_ref.as_ref().map_or("", |object| &object.namespace);
        let namespace = if namespace.is_empty() { "<none>" } else { namespace };
        let code = self.response_status.as_ref().map_or("<deferred>".into(), |status| status["code"].to_string());
        let address = self.source_ips.first().map_or("<unknown>", String::as_str);
        let line = format!(
            "{} AUDIT: id={:?} stage={:?} ip={address:?} method={:?} user={:?} groups={:?} as={other:?} \
             asgroups={other_groups:?} user-agent={:?} namespace={namespace:?} uri={:?} response=\"{code}\"\n",
            self.request_received_timestamp,
            self.id,
            self.stage,
            self.verb,
            text(&self.user["username"]),
            list(&self.user["groups"]),
            self.user_agent,
            self.uri,
        );
        line.into_bytes()
    }
}

/// The list that a webhook gets; what kind its items are, it says for them all.
pub fn list(events: &[Event]) -> Value {
    let mut list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events});
    for item in list["items"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        item.remove("kind");
        item.remove("apiVersion");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_who_did_what() {
        let time: Timestamp = "2030-01-02T03:04:05.6Z".parse().unwrap();
        let mut event = Event::new("id".into(), "/api/v1/pods".into(), time);
        let asked = Asked { verb: "list".into(), resource: "pods".into(), version: "v1".into(), ..Asked::default() };
        event.of(&User::new("ann", &["a", "b"]), &asked);
        event.stage = "ResponseComplete";
        event.response_status = Some(json!({"metadata": {}, "code": 200}));
        let line: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!((&line["kind"], &line["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
        let told = list(std::slice::from_ref(&event));
        assert_eq!((&told["kind"], told["items"][0].get("kind")), (&json!("EventList"), None));
        assert_eq!((told["items"][0].get("apiVersion"), &told["items"][0]["auditID"]), (None, &json!("id")));
        assert_eq!(line["requestReceivedTimestamp"], "2030-01-02T03:04:05.600000Z");
        assert_eq!(line["objectRef"], json!({"resource": "pods", "apiVersion": "v1"}));
        assert_eq!(line["user"]["groups"], json!(["a", "b"]));
        assert!(line.get("requestObject").is_none());
        let line = String::from_utf8(event.to_legacy()).unwrap();
        assert!(line.contains("method=\"list\" user=\"ann\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\""), "{line}");
        assert!(line.ends_with("uri=\"/api/v1/pods\" response=\"200\"\n"));
    }
}
