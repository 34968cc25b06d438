//! Who asks the kubelet, and whether they may: the API server decides both, and is believed for a while.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kinit_serving::listener::Peer;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Refusal, refuse};
use crate::context::Context;

/// How long a token's owner is believed.
const TOKEN: Duration = Duration::from_secs(120);
/// How long a yes is believed.
const ALLOWED: Duration = Duration::from_secs(300);
/// How long a no is believed.
const DENIED: Duration = Duration::from_secs(30);
/// Answers that are remembered; beyond them the oldest go.
const REMEMBERED: usize = 1024;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct User {
    name: String,
    uid: String,
    groups: Vec<String>,
}

/// Answers that are believed for a time.
struct Believed<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: std::hash::Hash + Eq + Clone, V: Clone> Believed<K, V> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, until: Instant, now: Instant) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() >= REMEMBERED {
            let first = all.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            first.and_then(|first| all.remove(&first));
        }
        all.insert(key, (value, until));
    }
}

/// Decides who may ask what.
pub struct Gate {
    tokens: Believed<[u8; 32], Option<User>>,
    verdicts: Believed<(User, &'static str, &'static str), bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { tokens: Believed::new(), verdicts: Believed::new() }
    }
}

/// The API's verb for a method.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        _ => "delete",
    }
}

/// The subresources of the node of which any opens the path, the narrowest first.
fn subresources(path: &str) -> &'static [&'static str] {
    match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "statusz" => &["statusz"],
        "flagz" => &["configz"],
        _ => &["proxy"],
    }
}

impl Gate {
    /// Lets only those through whom the API server would let.
    pub async fn check(&self, context: &Context, request: &Request<Incoming>) -> Result<(), Refusal> {
        if context.config.authorization.mode == "AlwaysAllow" {
            return Ok(());
        }
        let user = self.identify(context, request).await?;
        let verb = verb(request.method());
        let all = subresources(request.uri().path());
        for subresource in all {
            if self.allowed(context, &user, verb, subresource).await? {
                return Ok(());
            }
        }
        let subresource = all.first().copied().unwrap_or_default();
        Err(refuse(
            StatusCode::FORBIDDEN,
            format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])", user.name),
        ))
    }

    async fn allowed(
        &self,
        context: &Context,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, Refusal> {
        let now = Instant::now();
        let key = (user.clone(), verb, subresource);
        if let Some(known) = self.verdicts.get(&key, now) {
            return Ok(known);
        }
        let failed = |error: String| {
            let text = format!(
                "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                user.name
            );
            tracing::warn!(error, "{text}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, text)
        };
        let client = context.client().map_err(|error| failed(error.to_string()))?;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: (!user.uid.is_empty()).then(|| user.uid.clone()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.into()),
                    name: Some(context.node_name.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &review).await;
        let allowed = answer.map_err(|error| failed(error.to_string()))?.status.is_some_and(|status| status.allowed);
        self.verdicts.put(key, allowed, now + if allowed { ALLOWED } else { DENIED }, now);
        Ok(allowed)
    }

    /// Who asks: by client certificate, by bearer token, or nobody if that is allowed.
    async fn identify(&self, context: &Context, request: &Request<Incoming>) -> Result<User, Refusal> {
        let unauthorized = || refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
        if let Some(shown) = request.extensions().get::<Peer>().and_then(|peer| peer.certificates.first()) {
            let certificate =
                kinit_pki::Certificate::from_der(shown, "client certificate").map_err(|_| unauthorized())?;
            let mut groups = certificate.organizations;
            groups.push("system:authenticated".into());
            return Ok(User { name: certificate.common_name, uid: String::new(), groups });
        }
        let header = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).map(str::trim);
        match token.filter(|token| !token.is_empty() && context.config.authentication.webhook.enabled) {
            Some(token) => self.owner(context, token).await?.ok_or_else(unauthorized),
            None if context.config.authentication.anonymous.enabled => Ok(User {
                name: "system:anonymous".into(),
                uid: String::new(),
                groups: vec!["system:unauthenticated".into()],
            }),
            None => Err(unauthorized()),
        }
    }

    async fn owner(&self, context: &Context, token: &str) -> Result<Option<User>, Refusal> {
        let now = Instant::now();
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.tokens.get(&key, now) {
            return Ok(known);
        }
        let failed = |error: String| {
            tracing::warn!(error, "a token could not be reviewed");
            refuse(StatusCode::UNAUTHORIZED, "Unauthorized")
        };
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let client = context.client().map_err(|error| failed(error.to_string()))?;
        let answer = Api::<TokenReview>::all(client).create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| failed(error.to_string()))?.status;
        let user = status.filter(|status| status.authenticated == Some(true)).and_then(|status| status.user);
        let user = user.map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        self.tokens.put(key, user.clone(), now + if user.is_some() { TOKEN } else { DENIED }, now);
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_opened_by_narrow_rights() {
        for (path, wanted) in [
            ("/pods", &["pods", "proxy"][..]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/stats/summary", &["stats"]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/logs/syslog", &["log"]),
            ("/configz", &["configz", "proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/podsx", &["proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
        ] {
            assert_eq!(subresources(path), wanted, "{path}");
        }
        assert_eq!((verb(&Method::GET), verb(&Method::POST), verb(&Method::DELETE)), ("get", "create", "delete"));
    }

    #[test]
    fn answers_are_believed_for_a_time_and_not_too_many() {
        let believed = Believed::new();
        let now = Instant::now();
        believed.put("a".to_owned(), true, now + DENIED, now);
        assert_eq!(believed.get(&"a".to_owned(), now), Some(true));
        assert_eq!(believed.get(&"a".to_owned(), now + DENIED), None);
        for n in 0..2 * REMEMBERED {
            believed.put(n.to_string(), true, now + ALLOWED, now);
        }
        assert!(believed.0.lock().len() <= REMEMBERED);
    }
}
