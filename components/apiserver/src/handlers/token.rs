//! TokenRequest: a token for a ServiceAccount, for a while and for an audience.

use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::part::{self, Kind};
use super::{Api, Payload, json_response, now};
use crate::admission::{Attributes, Operation};
use crate::authn::tokens::Grant;
use crate::request::ResourceRequest;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const TOKEN_REQUEST: Kind = Kind { group: GROUP, versions: &["v1"], name: KIND };
const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;
/// How long a Pod's token really lives where its client may never read it again.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

impl Api {
    pub(super) async fn request_token(
        &self,
        request: &ResourceRequest,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let invalid = |reason: &'static str, field: &str, text: String| {
            Status::invalid(GROUP, KIND, "", &[(reason, field.to_owned(), text)])
        };
        let mut wanted = part::sent(request, payload, &TOKEN_REQUEST)?;
        let sent = wanted.str(&["metadata", "name"]);
        if !sent.is_empty() && sent != request.name {
            let text = format!("Invalid value: {sent:?}: must match the service account name if specified");
            return Err(invalid("FieldValueInvalid", "metadata.name", text));
        }
        let (account, _) = self.stored(request, &request.name).await?;
        let attributes = Attributes::new(Operation::Create, request, &request.name, None);
        self.ask(&attributes, &mut wanted).await?;

        let tokens = &self.authenticator.tokens;
        let asked = wanted.get(&["spec", "audiences"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut audiences: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if audiences.is_empty() {
            audiences = tokens.audiences().to_vec();
        }
        let mut seconds = wanted.get(&["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
        if seconds < SHORTEST_SECONDS {
            let text = format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
            return Err(invalid("FieldValueInvalid", "spec.expirationSeconds", text));
        }
        if seconds > LONGEST_SECONDS {
            let text = format!("Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds");
            return Err(invalid("FieldValueInvalid", "spec.expirationSeconds", text));
        }
        let options = &self.options.authentication;
        if let Some(longest) = options.service_account_max_token_expiration {
            seconds = seconds.min(i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
        }
        let bound = self.bound_to(request, &wanted).await?;
        let extended = options.service_account_extend_token_expiration
            && bound.pod.is_some()
            && seconds == crate::admission::WARN_ONLY_SECONDS
            && audiences.iter().all(|audience| tokens.audiences().contains(audience));
        let start = jiff::Timestamp::now();
        let grant = Grant {
            account: &account,
            pod: bound.pod.as_ref(),
            secret: bound.secret.as_ref(),
            node: bound.node.as_ref(),
            audiences: &audiences,
            now: start.as_second(),
            seconds: if extended { EXTENDED_SECONDS } else { seconds },
            warn_after: extended.then_some(seconds),
        };
        let token =
            tokens.sign(grant.claims()).map_err(|why| Status::internal(format!("failed to generate token: {why}")))?;
        let end = start + jiff::SignedDuration::from_secs(seconds);
        let mut spec = json!({"audiences": audiences, "expirationSeconds": seconds});
        spec["boundObjectRef"] = wanted.get(&["spec", "boundObjectRef"]).cloned().unwrap_or(Value::Null);
        let answer = json!({
            "kind": KIND, "apiVersion": format!("{GROUP}/v1"),
            "metadata": {"name": request.name, "namespace": request.namespace, "uid": account.uid(),
                "creationTimestamp": now()},
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()},
        });
        Ok(json_response(StatusCode::CREATED, answer.to_string()))
    }

    /// The objects that the token shall end with.
    async fn bound_to(&self, request: &ResourceRequest, wanted: &Object) -> Result<Bound, Status> {
        let mut bound = Bound::default();
        let Some(reference) = wanted.get(&["spec", "boundObjectRef"]).filter(|reference| !reference.is_null()) else {
            return Ok(bound);
        };
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let resource = match (group, text("kind")) {
            ("", "Pod") => "pods",
            ("", "Secret") => "secrets",
            ("", "Node") => "nodes",
            (group, kind) => {
                let what = format!("{group}/{version}, Kind={kind}");
                return Err(Status::bad_request(format!("cannot bind token to object of type {what}")));
            }
        };
        let namespace = if resource == "nodes" { "" } else { &request.namespace };
        let object = self.etcd.object("", resource, namespace, text("name")).await?;
        if !text("uid").is_empty() && text("uid") != object.uid() {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                text("uid")
            );
            return Err(Status::conflict("", text("kind"), text("name"), &why));
        }
        match resource {
            "pods" => {
                if object.str(&["spec", "serviceAccountName"]) != request.name {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        request.name
                    )));
                }
                let node = object.str(&["spec", "nodeName"]);
                if !node.is_empty() {
                    let mut named = Object::default();
                    named.set(&["metadata", "name"], node);
                    let stored = self.cache.find("", "nodes", "", node).and_then(|entry| entry.object());
                    bound.node = Some(stored.unwrap_or(named));
                }
                bound.pod = Some(object);
            }
            "secrets" => bound.secret = Some(object),
            _ => bound.node = Some(object),
        }
        Ok(bound)
    }
}

#[derive(Default)]
struct Bound {
    pod: Option<Object>,
    secret: Option<Object>,
    node: Option<Object>,
}
