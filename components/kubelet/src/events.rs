//! Events: what the kubelet did and what went wrong, for people who ask the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kinit_runtime::events::{self, About, Source};
pub use kinit_runtime::events::{Kind, Queue};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Where events are said. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(events::Recorder);

/// A recorder and what it fills.
pub fn channel() -> (Recorder, Queue) {
    let (recorder, queue) = events::channel();
    (Recorder(recorder), queue)
}

impl Recorder {
    /// Says something of a pod, or of one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: Kind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let field = container.map(|name| field(pod, name)).unwrap_or_default();
        // A static pod's uid is the hash that its image in the API has in an annotation.
        self.0.say(About { field, ..About::object(pod) }, kind, reason, message);
    }

    /// Says something of the node. Its events are found by its name.
    pub fn node(&self, name: &str, kind: Kind, reason: &'static str, message: impl Into<String>) {
        let about = About {
            api_version: String::new(),
            kind: "Node".into(),
            namespace: String::new(),
            name: name.to_owned(),
            uid: name.to_owned(),
            field: String::new(),
        };
        self.0.say(about, kind, reason, message);
    }
}

fn field(pod: &Pod, container: &str) -> String {
    let spec = pod.spec.as_ref();
    let init = spec.is_some_and(|spec| spec.init_containers.iter().flatten().any(|one| one.name == container));
    let plain = spec.is_some_and(|spec| spec.containers.iter().any(|one| one.name == container));
    let list = match (init, plain) {
        (true, _) => "initContainers",
        (false, true) => "containers",
        (false, false) => "ephemeralContainers",
    };
    format!("spec.{list}{{{container}}}")
}

/// Sends what is said until shutdown, once there is a connection.
pub async fn run(context: Arc<Context>, queue: Queue, shutdown: CancellationToken) {
    let mut clients = context.client.subscribe();
    tokio::select! {
        connected = clients.wait_for(Option::is_some) => if connected.is_err() { return },
        () = shutdown.cancelled() => return,
    }
    drop(clients);
    let source = Source { component: "kubelet".into(), host: context.node_name.clone() };
    events::run(source, queue, move || context.client().ok(), shutdown).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_named_by_its_list() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}],
            "initContainers": [{"name": "i"}]}}))
        .unwrap();
        assert_eq!(field(&pod, "a"), "spec.containers{a}");
        assert_eq!(field(&pod, "i"), "spec.initContainers{i}");
        assert_eq!(field(&pod, "d"), "spec.ephemeralContainers{d}");
    }
}
