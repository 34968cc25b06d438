//! AdmissionReview: what a webhook is asked, and what its answer means; pure.

use std::collections::BTreeMap;

use base64::Engine;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict;
use serde_json::{Value, json};

use crate::admission::{Attributes, Operation};
use crate::registry::ResourceSpec;

/// What a webhook said.
#[derive(Debug, Default)]
pub struct Answer {
    pub allowed: bool,
    /// The Status of a refusal; null where there is none.
    pub result: Value,
    /// A patch; empty where there is none.
    pub patch: Vec<u8>,
    /// What it is; empty where there is none.
    pub patch_type: String,
    pub warnings: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

/// The options of the write, as its verb has them.
pub fn options(attributes: &Attributes<'_>) -> Value {
    let request = attributes.request;
    if attributes.operation == Operation::Connect {
        return Value::Null;
    }
    let mut options = json!({"apiVersion": "meta.k8s.io/v1"});
    // A patch is told as what it does.
    options["kind"] = match attributes.operation {
        Operation::Delete => "DeleteOptions",
        Operation::Create => "CreateOptions",
        _ => "UpdateOptions",
    }
    .into();
    if attributes.dry_run() {
        options["dryRun"] = json!(["All"]);
    }
    if let Some(deletion) = attributes.deletion {
        if let Some(seconds) = deletion.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(policy) = &deletion.propagation {
            options["propagationPolicy"] = policy.as_str().into();
        }
        for (field, value) in [("uid", &deletion.uid), ("resourceVersion", &deletion.resource_version)] {
            if let Some(value) = value {
                options["preconditions"][field] = value.as_str().into();
            }
        }
        return options;
    }
    for field in ["fieldManager", "fieldValidation"] {
        if !request.parameter(field).is_empty() {
            options[field] = request.parameter(field).into();
        }
    }
    options
}

/// The AdmissionReview's request but for its UID, the same for every webhook that is asked about the write.
/// `object` and `old` are in the version of `spec`.
pub fn request(attributes: &Attributes<'_>, spec: &ResourceSpec, object: &Object, old: Option<&Object>) -> Value {
    let request = attributes.request;
    let (group, version, kind) = attributes.kind();
    let own_kind = json!({"group": group, "version": version, "kind": kind});
    // A subresource's own kind is the same in all versions of its resource.
    let of_resource = kind == request.spec.kind();
    let kind = if of_resource {
        json!({"group": spec.group(), "version": spec.version(), "kind": spec.kind()})
    } else {
        own_kind.clone()
    };
    let resource =
        |spec: &ResourceSpec| json!({"group": spec.group(), "version": spec.version(), "resource": spec.resource()});
    let gone = attributes.operation == Operation::Delete;
    let before = if gone { Some(object) } else { old };
    let shown = |object: &Object| object.clone().into_value();
    // A namespace lies in itself.
    let makes_namespace = attributes.operation == Operation::Create && attributes.is("namespaces");
    let mut review = json!({
        "kind": kind, "resource": resource(spec), "requestKind": own_kind, "requestResource": resource(&request.spec),
        "operation": attributes.operation.as_str(),
        "userInfo": request.user.to_value(),
        "object": if gone { Value::Null } else { shown(object) },
        "oldObject": before.map_or(Value::Null, shown),
        "dryRun": attributes.dry_run(),
        "options": options(attributes),
    });
    for (field, value) in [
        ("name", attributes.own_name(object)),
        ("namespace", if makes_namespace { object.name() } else { request.authorized_namespace() }),
        ("subResource", &request.subresource),
        ("requestSubResource", &request.subresource),
    ] {
        if !value.is_empty() {
            review[field] = value.into();
        }
    }
    review
}

/// The body that a webhook gets.
pub fn encode(version: &str, uid: &str, request: &Value) -> Vec<u8> {
    let mut request = request.clone();
    request["uid"] = uid.into();
    let version = format!("admission.k8s.io/{version}");
    json!({"kind": "AdmissionReview", "apiVersion": version, "request": request}).to_string().into_bytes()
}

/// The kinds that answers are known to be of, with their Go types.
const KNOWN: &[(&str, &str, &str)] = &[
    ("admission.k8s.io/v1", "AdmissionReview", "v1.AdmissionReview"),
    ("admission.k8s.io/v1beta1", "AdmissionReview", "v1beta1.AdmissionReview"),
    ("v1", "Status", "v1.Status"),
];
/// What Go's decoder calls the types that it knows for webhooks.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// Reads an answer as a review of `version`. The error says why it is none, in the words of Go's decoder.
pub fn read(version: &str, mut review: Value) -> Result<Value, String> {
    let wanted = format!("admission.k8s.io/{version}");
    let text = |field: &str| review[field].as_str().unwrap_or_default();
    let (got, kind) = (text("apiVersion"), text("kind"));
    // What an answer does not say of itself is what was hoped for.
    let (got, kind) =
        (if got.is_empty() { &wanted } else { got }, if kind.is_empty() { "AdmissionReview" } else { kind });
    let known = KNOWN.iter().find(|(known, of, _)| (*known, *of) == (got, kind));
    let Some((_, _, name)) = known else {
        return Err(format!("no kind {kind:?} is registered for version {got:?} in scheme {SCHEME:?}"));
    };
    if *name != format!("{version}.AdmissionReview") {
        return Err(format!("converting ({name}) to ({version}.AdmissionReview): unknown conversion"));
    }
    let schema = kinit_schema::named("admission/v1", "AdmissionReview");
    if let (Some(schema), Value::Object(map)) = (schema, &mut review) {
        strict::conform(map, schema).map_err(|error| error.to_string())?;
    }
    Ok(review)
}

/// What a review answers. The error says what is wrong with it, in upstream's words.
pub fn decode(version: &str, uid: &str, mutating: bool, review: &Value) -> Result<Answer, String> {
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let patch = text(&response["patch"]);
    let patch_type = response["patchType"].as_str();
    if version == "v1" {
        if response["uid"] != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
        }
        let got = (text(&review["apiVersion"]), text(&review["kind"]));
        if (got.0.as_str(), got.1.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
            let wanted = "admission.k8s.io/v1, Kind=AdmissionReview";
            let version = if got.0.is_empty() { "/" } else { &got.0 };
            return Err(format!("expected webhook response of {wanted}, got {version}, Kind={}", got.1));
        }
        match (mutating, patch.is_empty(), patch_type) {
            (true, false, None) => return Err("webhook returned response.patch but not response.patchType".into()),
            (true, true, Some(_)) => return Err("webhook returned response.patchType but not response.patch".into()),
            (true, false, Some("")) => return Err("webhook returned invalid response.patchType of \"\"".into()),
            (false, false, _) => return Err("validating webhook may not return response.patch".into()),
            (false, true, Some(_)) => return Err("validating webhook may not return response.patchType".into()),
            _ => {}
        }
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(&patch);
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        result: response["status"].clone(),
        patch: decoded.map_err(|error| format!("response.patch is not base64: {error}"))?,
        // The older version's is always taken for the one that there is.
        patch_type: if version == "v1" { patch_type.unwrap_or_default() } else { "JSONPatch" }.to_owned(),
        warnings: response["warnings"].as_array().into_iter().flatten().map(text).collect(),
        annotations: annotations.map(|(key, value)| (key.clone(), text(value))).collect(),
    })
}

/// The refusal that a webhook's `status` is.
pub fn refusal(name: &str, result: &Value) -> Status {
    let text = |field: &str| result[field].as_str().unwrap_or_default();
    let denied = format!("admission webhook {name:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
    Status {
        // A refusal never looks like a success, and no answer has a code of more digits.
        code: if (400..1000).contains(&code) { code } else { 400 },
        reason: text("reason").to_owned().into(),
        message,
        details: result.get("details").filter(|details| details.is_object()).cloned(),
        continue_token: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_shows_what_goes_as_the_old_object() {
        let request = crate::request::parse(
            &crate::registry::Registry::default(),
            &http::Method::DELETE,
            "/api/v1/namespaces/a/pods/p",
            None,
        );
        let wanted = request.unwrap().unwrap();
        let object = Object::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let review =
            super::request(&Attributes::new(Operation::Delete, &wanted, "p", None), &wanted.spec, &object, None);
        assert_eq!((&review["object"], &review["oldObject"]["metadata"]["name"]), (&Value::Null, &json!("p")));
        assert_eq!((&review["name"], &review["namespace"]), (&json!("p"), &json!("a")));
        assert_eq!(review["options"]["kind"], "DeleteOptions");
        let sent: Value = serde_json::from_slice(&encode("v1", "u", &review)).unwrap();
        assert_eq!((&sent["request"]["uid"], &sent["apiVersion"]), (&json!("u"), &json!("admission.k8s.io/v1")));
    }

    #[test]
    fn writes_are_told_as_what_they_do() {
        let parse = |method: http::Method, path: &str| {
            crate::request::parse(&crate::registry::Registry::default(), &method, path, None).unwrap().unwrap()
        };
        let object = Object::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        let patch = parse(http::Method::PATCH, "/api/v1/namespaces/a/pods/n");
        let space = parse(http::Method::POST, "/api/v1/namespaces");
        let all = parse(http::Method::DELETE, "/api/v1/namespaces/a/pods");
        for (operation, wanted, name, namespace, options) in [
            (Operation::Update, &patch, json!("n"), json!("a"), "UpdateOptions"),
            (Operation::Create, &patch, json!("n"), json!("a"), "CreateOptions"),
            (Operation::Create, &space, json!("n"), json!("n"), "CreateOptions"),
            // Of many that go together none is named.
            (Operation::Delete, &all, Value::Null, json!("a"), "DeleteOptions"),
        ] {
            let attributes = Attributes::new(operation, wanted, "n", None);
            let review = super::request(&attributes, &wanted.spec, &object, None);
            let told = (&review["name"], &review["namespace"], &review["options"]["kind"]);
            assert_eq!(told, (&name, &namespace, &json!(options)));
        }
        let refused = Attributes::new(Operation::Delete, &all, "n", None).forbidden("no");
        assert_eq!(refused.message, "pods \"Unknown\" is forbidden: no");
    }

    #[test]
    fn answers_are_checked() {
        let answer = |mutating: bool, response: Value| {
            let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            decode("v1", "u", mutating, &read("v1", review)?)
        };
        assert!(answer(false, json!({"uid": "u", "allowed": true})).unwrap().allowed);
        let patched = answer(true, json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}));
        assert_eq!(patched.unwrap().patch, b"[]");
        for (mutating, response, wrong) in [
            (false, Value::Null, "absent"),
            (false, json!({"uid": "x"}), "expected response.uid"),
            (true, json!({"uid": "u", "patch": "W10="}), "not response.patchType"),
            (false, json!({"uid": "u", "patch": "W10="}), "may not return response.patch"),
            (
                true,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                true,
                json!({"uid": "u", "patch": "W10=", "patchType": ""}),
                "webhook returned invalid response.patchType of \"\"",
            ),
            (
                false,
                json!({"allowed": "yes"}),
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
            ),
            (
                false,
                json!({"warnings": "w"}),
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.warnings of type []string",
            ),
            (false, json!({"patch": "!!!"}), "illegal base64 data at input byte 0"),
        ] {
            assert!(answer(mutating, response).unwrap_err().contains(wrong), "{wrong}");
        }
        let old = read("v1beta1", json!({"response": {"allowed": true}})).unwrap();
        assert!(decode("v1beta1", "u", true, &old).unwrap().allowed);
    }

    #[test]
    fn answers_of_other_kinds_are_told_as_gos_decoder_tells_them() {
        let kind = |version: &str, kind: &str| {
            let review = read("v1", json!({"apiVersion": version, "kind": kind, "response": {"uid": "u"}}));
            review.and_then(|review| decode("v1", "u", false, &review)).unwrap_err()
        };
        let (v1, scheme) = ("admission.k8s.io/v1", format!("in scheme {SCHEME:?}"));
        assert_eq!(
            kind("admission.k8s.io/v1beta1", "AdmissionReview"),
            "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion"
        );
        assert_eq!(kind("v1", "Status"), "converting (v1.Status) to (v1.AdmissionReview): unknown conversion");
        assert_eq!(kind("a/v1", "B"), format!("no kind \"B\" is registered for version \"a/v1\" {scheme}"));
        assert_eq!(kind(v1, "B"), format!("no kind \"B\" is registered for version {v1:?} {scheme}"));
        let expected = format!("expected webhook response of {v1}, Kind=AdmissionReview, got");
        assert_eq!(kind("", "AdmissionReview"), format!("{expected} /, Kind=AdmissionReview"));
        assert_eq!(kind("", ""), format!("{expected} /, Kind="));
    }

    #[test]
    fn refusals_have_upstreams_words() {
        let plain = refusal("h", &Value::Null);
        assert_eq!(
            (plain.code, plain.message.as_str()),
            (400, "admission webhook \"h\" denied the request without explanation")
        );
        let told = refusal("h", &json!({"message": "no", "code": 403, "reason": "Forbidden"}));
        assert_eq!((told.code, &*told.reason), (403, "Forbidden"));
        let coded = |code: u16| refusal("h", &json!({"code": code})).code;
        assert_eq!([200, 399, 400, 600, 1000].map(coded), [400, 400, 400, 600, 400]);
        assert_eq!(told.message, "admission webhook \"h\" denied the request: no");
    }
}
