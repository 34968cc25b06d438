//! Whether the user may: kubelets by what runs on their node, everybody by RBAC.

pub mod bootstrap;
pub mod node;
pub mod policy;
pub mod rbac;

use std::sync::Arc;

use kinit_api::status::{Status, qualified};
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::authn::{MASTERS, User};
use crate::cache::{Cache, Change};
use crate::options::{AuthorizationMode, AuthorizationOptions};
use crate::registry;
use crate::request::ResourceRequest;
use node::NodeAsk;
use policy::Policy;
use rbac::{Ask, Rule};

const GROUP: &str = "rbac.authorization.k8s.io";
const KINDS: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// Decides what users may do. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    modes: Arc<[AuthorizationMode]>,
    policy: Arc<RwLock<Policy>>,
    node_rules: Arc<[Rule]>,
    cache: Cache,
    fed: watch::Sender<bool>,
}

impl Authorizer {
    pub fn new(options: &AuthorizationOptions, cache: Cache) -> Self {
        let objects = bootstrap::objects();
        let node_role = objects
            .iter()
            .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "system:node");
        Self {
            modes: options.modes.clone().into(),
            policy: Arc::default(),
            node_rules: node_role.map(rbac::rules_of).unwrap_or_default().into(),
            cache,
            fed: watch::channel(false).0,
        }
    }

    /// Whether the roles and bindings have been read once.
    pub fn fed(&self) -> watch::Receiver<bool> {
        self.fed.subscribe()
    }

    /// Keeps the policy as the cache has it, until `shutdown`.
    pub async fn follow(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.feed() => {}
            }
        }
    }

    /// Reads all roles and bindings and then their changes; returns when a change was missed.
    async fn feed(&self) {
        self.cache.wait_until_synced().await;
        let mut policy = Policy::default();
        let mut receivers: Vec<broadcast::Receiver<Change>> = Vec::new();
        for kind in KINDS {
            let index = registry::position(GROUP, kind).expect("the four kinds have rows");
            let (objects, _, receiver) = self.cache.list_and_subscribe(index);
            for object in objects.values().filter_map(|entry| entry.object()) {
                policy.insert(&object.into_value());
            }
            receivers.push(receiver);
        }
        *self.policy.write() = policy;
        self.fed.send_replace(true);
        let Ok([a, b, c, d]) = <[_; 4]>::try_from(receivers.as_mut_slice().iter_mut().collect::<Vec<_>>()) else {
            return;
        };
        loop {
            let change = tokio::select! {
                change = a.recv() => change,
                change = b.recv() => change,
                change = c.recv() => change,
                change = d.recv() => change,
            };
            let Ok(change) = change else { return };
            let object = |entry: &Arc<crate::cache::Entry>| entry.object().map(kinit_api::object::Object::into_value);
            let mut policy = self.policy.write();
            match (change.old.as_ref().and_then(object), change.new.as_ref().and_then(object)) {
                (_, Some(new)) => policy.insert(&new),
                (Some(old), None) => policy.remove(&old),
                (None, None) => {}
            }
        }
    }

    /// Whether `user` may do what is asked. `selected_node` is what a field selector asks for as `spec.nodeName`.
    pub fn allows(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> bool {
        user.in_group(MASTERS)
            || self.modes.iter().any(|mode| match mode {
                AuthorizationMode::AlwaysAllow => true,
                AuthorizationMode::AlwaysDeny => false,
                AuthorizationMode::Rbac => self.policy.read().allows(&user.name, &user.groups, ask),
                AuthorizationMode::Node => self.node_allows(user, ask, selected_node),
            })
    }

    fn node_allows(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> bool {
        let Some(node) = user.node() else { return false };
        let Ask::Resource { verb, group, resource, subresource, name, namespace } = *ask else { return false };
        let ask = NodeAsk { node, verb, group, resource, subresource, namespace, name, selected_node };
        node::allows(&ask, &self.node_rules, |resource, namespace, name| self.related(node, resource, namespace, name))
    }

    /// Whether a Pod on the node uses the object.
    fn related(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        match resource {
            "persistentvolumes" => {
                // A volume belongs to the node when the claim that it is bound to does.
                let volume = self.cache.find("", resource, "", name).and_then(|entry| entry.object());
                volume.is_some_and(|volume| {
                    let claim = |field| volume.str(&["spec", "claimRef", field]);
                    self.related(node, "persistentvolumeclaims", claim("namespace"), claim("name"))
                })
            }
            "volumeattachments" | "resourceslices" => {
                let group = if resource == "resourceslices" { "resource.k8s.io" } else { "storage.k8s.io" };
                let object = self.cache.find(group, resource, "", name).and_then(|entry| entry.object());
                object.is_some_and(|object| object.str(&["spec", "nodeName"]) == node)
            }
            _ => {
                let Some(index) = registry::position("", "pods") else { return false };
                let spec = &registry::RESOURCES[index];
                let (pods, _) = self.cache.list(index);
                pods.range(format!("{namespace}/")..format!("{namespace}0")).any(|(_, entry)| {
                    entry.field(spec, "spec.nodeName") == node
                        && entry.object().is_some_and(|pod| node::pod_uses(&pod.into_value(), resource, name))
                })
            }
        }
    }

    /// Every rule that holds for the user in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        if user.in_group(MASTERS) || self.modes.contains(&AuthorizationMode::AlwaysAllow) {
            let all = || vec!["*".to_owned()];
            let everything = Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() };
            return vec![everything, Rule { verbs: all(), urls: all(), ..Rule::default() }];
        }
        self.policy.read().rules_for(&user.name, &user.groups, namespace)
    }

    /// Whether `user` may ask for a path that is no resource; `verb` is the method in small letters.
    pub fn check_path(&self, user: &User, verb: &str, path: &str) -> Result<(), Status> {
        if self.allows(user, &Ask::Path { verb, path }, "") {
            return Ok(());
        }
        Err(Status::forbidden("", "", "", format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name)))
    }

    /// Whether `user` may do what `request` asks.
    pub fn check_request(&self, user: &User, request: &ResourceRequest) -> Result<(), Status> {
        let ask = Ask::Resource {
            verb: request.verb.as_str(),
            group: request.spec.group(),
            resource: request.spec.resource(),
            subresource: &request.subresource,
            name: request.authorized_name(),
            namespace: request.authorized_namespace(),
        };
        self.check(user, &ask, request.selected("spec.nodeName"))
    }

    /// Whether `user` may do what is asked of a resource; the error says what they may not.
    pub fn check(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> Result<(), Status> {
        if self.allows(user, ask, selected_node) {
            return Ok(());
        }
        let Ask::Resource { verb, group, resource, subresource, name, namespace } = *ask else {
            return Err(Status::forbidden("", "", "", "forbidden"));
        };
        let what = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let shown = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!(
            "{}{shown} is forbidden: User {:?} cannot {verb} resource {what:?} in API group {group:?} {place}",
            qualified(group, resource),
            user.name,
        );
        Err(Status::forbidden(group, resource, name, message))
    }
}
