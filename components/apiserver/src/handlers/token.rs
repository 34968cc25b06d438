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
use crate::fields;
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
        let invalid = |name: &str, field: &str, text: String| {
            Err(Status::invalid(GROUP, KIND, name, &[("FieldValueInvalid", field.to_owned(), text)]))
        };
        let mut wanted = part::sent(request, payload, &TOKEN_REQUEST)?;
        wanted.set(&["metadata", "namespace"], request.namespace.as_str());
        if wanted.get(&["spec", "expirationSeconds"]).is_none_or(Value::is_null) {
            wanted.set(&["spec", "expirationSeconds"], DEFAULT_SECONDS);
        }
        fields::note_part(request, (GROUP, "v1", KIND), &mut wanted, &now());
        self.check_namespace(request, &request.name).await?;
        let attributes = Attributes::new(Operation::Create, request, &request.name, None);
        self.mutate(&attributes, &mut wanted).await?;
        let sent = wanted.str(&["metadata", "name"]);
        if !sent.is_empty() && sent != request.name {
            let text = format!("Invalid value: {sent:?}: must match the service account name if specified");
            return invalid(&request.name, "metadata.name", text);
        }
        let (account, _) = self.stored(request, &request.name).await?;
        let uid = wanted.uid();
        if !uid.is_empty() && uid != account.uid() {
            let own = account.uid();
            let why =
                format!("the UID in the token request ({uid}) does not match the UID of the service account ({own})");
            return Err(Status::conflict(GROUP, KIND, &request.name, &why));
        }
        let tokens = &self.authenticator.tokens;
        let asked = wanted.get(&["spec", "audiences"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut audiences: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if audiences.is_empty() {
            audiences = tokens.audiences().to_vec();
        }
        let start = jiff::Timestamp::now();
        wanted.set(&["spec", "audiences"], json!(audiences));
        wanted.set(&["metadata", "name"], request.name.as_str());
        wanted.set(&["metadata", "uid"], account.uid());
        wanted.set(&["metadata", "creationTimestamp"], now());
        let mut seconds = wanted.get(&["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
        if let Some(why) = unfit(seconds) {
            return invalid("", "spec.expirationSeconds", format!("Invalid value: {seconds}: {why}"));
        }
        self.admit(&attributes, &wanted).await?;
        let options = &self.options.authentication;
        let longest = options.service_account_max_token_expiration.map(|longest| longest.as_secs());
        let longest = longest.map_or(i64::MAX, |longest| i64::try_from(longest).unwrap_or(i64::MAX));
        let bound = self.bound_to(request, &wanted).await?;
        if seconds > longest {
            request.warnings.add(format!("requested expiration of {seconds} seconds shortened to {longest} seconds"));
            seconds = longest;
        }
        let extended = options.service_account_extend_token_expiration
            && bound.pod.is_some()
            && seconds == crate::admission::WARN_ONLY_SECONDS
            && audiences.iter().all(|audience| tokens.audiences().contains(audience));
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
        wanted.set(&["spec", "expirationSeconds"], seconds);
        if wanted.get(&["spec", "boundObjectRef"]).is_none() {
            wanted.set(&["spec", "boundObjectRef"], Value::Null);
        }
        wanted.set(&["kind"], KIND);
        wanted.set(&["apiVersion"], format!("{GROUP}/v1"));
        let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        wanted.set(&["status"], json!({"token": token, "expirationTimestamp": end}));
        Ok(json_response(StatusCode::CREATED, wanted.to_vec()))
    }

    /// The objects that the token shall end with.
    async fn bound_to(&self, request: &ResourceRequest, wanted: &Object) -> Result<Bound, Status> {
        let mut bound = Bound::default();
        let Some(reference) = wanted.get(&["spec", "boundObjectRef"]).filter(|reference| !reference.is_null()) else {
            return Ok(bound);
        };
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (group, version) = parted(text("apiVersion"));
        let resource = match (group, text("kind")) {
            ("", "Pod") => "pods",
            ("", "Secret") => "secrets",
            ("", "Node") => "nodes",
            (group, kind) => {
                let what = format!("{group}/{version}, Kind={kind}");
                return Err(Status::bad_request(format!("cannot bind token to object of type {what}")));
            }
        };
        if text("name").is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
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

/// Why nobody gets a token for so many seconds.
fn unfit(seconds: i64) -> Option<&'static str> {
    match seconds {
        ..SHORTEST_SECONDS => Some("may not specify a duration less than 10 minutes"),
        _ if seconds > LONGEST_SECONDS => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    }
}

/// The group and the version of an `apiVersion`; neither of one that has more parts than these.
fn parted(text: &str) -> (&str, &str) {
    match text.split('/').collect::<Vec<_>>()[..] {
        [version] => ("", version),
        [group, version] => (group, version),
        _ => ("", ""),
    }
}

#[derive(Default)]
struct Bound {
    pod: Option<Object>,
    secret: Option<Object>,
    node: Option<Object>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_for_ten_minutes_at_least() {
        for (seconds, fits) in
            [(599, false), (600, true), (1 << 32, true), ((1 << 32) + 1, false), (-5, false), (0, false)]
        {
            assert_eq!(unfit(seconds).is_none(), fits, "{seconds}");
        }
    }

    #[test]
    fn an_api_version_of_too_many_parts_has_neither() {
        for (text, group, version) in
            [("v1", "", "v1"), ("apps/v1", "apps", "v1"), ("a/b/c", "", ""), ("", "", ""), ("v2", "", "v2")]
        {
            assert_eq!(parted(text), (group, version), "{text}");
        }
    }
}
