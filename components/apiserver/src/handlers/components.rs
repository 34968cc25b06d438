//! The deprecated list of components: whoever is asked for on this host, and etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use http::Response;
use http_body_util::{BodyExt, Limited};
use kinit_api::selector::{FieldSelector, LabelSelector};
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::Api;
use crate::relay::backend;
use crate::relay::target::{Endpoint, Security};
use crate::render::{self, Item, List};
use crate::request::{ResourceRequest, Verb};

/// A component is given so long to answer, as upstream gives it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that a component may say of itself, as many as upstream reads.
const MOST_SAID: usize = 10 << 10;

/// What is known of a component: whether it is well, and what it says; or why it cannot be asked.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Well(String),
    Ill(String),
    Unreached(String),
}

/// The components, and the port of this host that one answers at; etcd is asked as it is for everything else.
const COMPONENTS: &[(&str, Option<u16>)] =
    &[("controller-manager", Some(10257)), ("etcd-0", None), ("scheduler", Some(10259))];

impl Api {
    pub(super) async fn component_statuses(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        let item = async |(name, port): &(&str, Option<u16>)| {
            let found = match port {
                Some(port) => ask_component(*port).await,
                None => self.ask_etcd().await,
            };
            Item::Made(described(name, &found).to_string().into())
        };
        if request.verb == Verb::Get {
            let component = COMPONENTS.iter().find(|(name, _)| *name == request.name);
            let missing = || Status::not_found("", "componentstatus", &request.name);
            return render::one(&request.spec, request.format, &item(component.ok_or_else(missing)?).await);
        }
        let unreadable = |error: kinit_api::selector::ParseError| Status::bad_request(error.to_string());
        let labels = LabelSelector::parse(request.parameter("labelSelector")).map_err(unreadable)?;
        let fields = FieldSelector::parse(request.parameter("fieldSelector")).map_err(unreadable)?;
        let is_wanted = |name: &str| {
            let field = |field: &str| if field == "metadata.name" { name } else { "" };
            labels.matches(&BTreeMap::new()) && fields.matches(field)
        };
        let items = join_all(COMPONENTS.iter().filter(|(name, _)| is_wanted(name)).map(item)).await;
        List { spec: request.spec.clone(), metadata: json!({}), items }.respond(request.format)
    }

    async fn ask_etcd(&self) -> Found {
        match tokio::time::timeout(PATIENCE, self.etcd.revision()).await {
            Ok(Ok(_)) => Found::Well("ok".to_owned()),
            Ok(Err(error)) => Found::Unreached(error.to_string()),
            Err(_) => Found::Unreached("context deadline exceeded".to_owned()),
        }
    }
}

async fn ask_component(port: u16) -> Found {
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port, security: Security::Tls };
    let failed = |why: String| Found::Ill(format!("Get \"https://127.0.0.1:{port}/healthz\": {why}"));
    let asked = async {
        let answer = backend::ask_unchecked(&endpoint, "/healthz").await?;
        let code = answer.status();
        let body = Limited::new(answer.into_body(), MOST_SAID).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok::<_, String>((code, String::from_utf8_lossy(&body).into_owned()))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((code, text))) if code.is_success() => Found::Well(text),
        Ok(Ok((code, _))) => Found::Ill(format!("HTTP probe failed with statuscode: {}", code.as_u16())),
        Ok(Err(why)) => failed(why),
        Err(_) => failed("context deadline exceeded".to_owned()),
    }
}

/// A component as clients see it.
fn described(name: &str, found: &Found) -> Value {
    let condition = match found {
        Found::Well(said) => json!({"type": "Healthy", "status": "True", "message": said}),
        Found::Ill(said) => json!({"type": "Healthy", "status": "False", "message": said}),
        Found::Unreached(why) => json!({"type": "Healthy", "status": "False", "error": why}),
    };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_well_or_ill_or_cannot_be_asked() {
        let table = [
            (Found::Well("ok".into()), json!({"type": "Healthy", "status": "True", "message": "ok"})),
            (Found::Ill("no".into()), json!({"type": "Healthy", "status": "False", "message": "no"})),
            (Found::Unreached("no".into()), json!({"type": "Healthy", "status": "False", "error": "no"})),
        ];
        for (found, condition) in table {
            assert_eq!(described("x", &found)["conditions"], json!([condition]), "{found:?}");
        }
    }
}
