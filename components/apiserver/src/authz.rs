//! Whether the user may: kubelets by what runs on their node, everybody by RBAC, and whoever else the configuration names.

mod abac;
pub mod bootstrap;
pub mod config;
mod figures;
pub mod node;
pub mod policy;
pub mod rbac;
mod webhook;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use kinit_api::status::{Status, qualified};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry as Families;
use serde_json::Value;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::authn::{MASTERS, User};
use crate::cache::{Cache, Change, within};
use crate::options::{AuthorizationMode, AuthorizationOptions};
use crate::registry;
use crate::reload::{Figures as Reloads, Followed};
use crate::request::ResourceRequest;
use abac::Abac;
use config::Entrant;
use figures::{Decided, Figures};
use node::NodeAsk;
use policy::Policy;
use rbac::{Ask, Rule};
use webhook::{Opinion, Verdict, Webhook};

const GROUP: &str = "rbac.authorization.k8s.io";
const KINDS: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// One who is asked, in the order of the configuration.
struct Member {
    link: Link,
    decided: Arc<Decided>,
}

enum Link {
    Mode(AuthorizationMode),
    Abac(Abac),
    Webhook(Box<Webhook>),
}

/// What was decided, and why if that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Whether somebody said no, and not only nobody yes.
    pub refused: bool,
    pub reason: String,
    /// What kept somebody from an opinion of their own; empty where nothing did.
    pub error: String,
}

/// What those said who did not allow it.
#[derive(Default)]
struct Told {
    reasons: Vec<String>,
    errors: Vec<String>,
}

/// How far a question came without a webhook.
enum Step<'c> {
    Done(Decision),
    /// This webhook has to be asked this, and then those behind it.
    Ask(&'c Webhook, Value, usize),
}

/// How many questions may hold up a thread, where those who ask can't wait.
const IN_PLACE: usize = 4;

/// Decides what users may do. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    chain: Arc<ArcSwap<Vec<Member>>>,
    policy: Arc<RwLock<Policy>>,
    node_rules: Arc<[Rule]>,
    cache: Cache,
    fed: watch::Sender<bool>,
    in_place: Arc<Semaphore>,
    followed: Arc<Mutex<Option<Followed>>>,
    reloads: Arc<Reloads>,
    figures: Figures,
}

/// Brings the configuration to work.
fn chain(entrants: Vec<Entrant>, options: &AuthorizationOptions, figures: &Figures) -> anyhow::Result<Vec<Member>> {
    let member = |entrant: Entrant| {
        let name = match &entrant {
            Entrant::Webhook(config) => &config.name,
            Entrant::Mode(_, name) => name,
        };
        let decided = figures.of(entrant.mode().name(), name);
        let link = match (entrant, &options.policy_file) {
            (Entrant::Webhook(config), _) => Link::Webhook(Box::new(Webhook::new(config)?)),
            (Entrant::Mode(AuthorizationMode::Abac, _), Some(file)) => Link::Abac(Abac::load(file)?),
            (Entrant::Mode(mode, _), _) => Link::Mode(mode),
        };
        anyhow::Ok(Member { link, decided })
    };
    entrants.into_iter().map(member).collect()
}

/// What strangers sent, without what would make it look like HTML.
pub fn harmless(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// That roles which are bound to the user are not there.
fn lost_roles(policy: &Policy, user: &User, ask: &Ask<'_>) -> Option<String> {
    let namespace = match *ask {
        Ask::Resource { namespace, .. } => namespace,
        Ask::Path { .. } => "",
    };
    match policy.missing(&user.name, &user.groups, namespace).as_slice() {
        [] => None,
        [one] => Some(format!("RBAC: {one}")),
        several => Some(format!("RBAC: [{}]", several.join(", "))),
    }
}

impl Decision {
    /// The reason as refusals end with it.
    fn why(&self) -> String {
        if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) }
    }

    /// What a user is told about what they asked for.
    fn checked(&self, user: &User, ask: &Ask<'_>) -> Result<(), Status> {
        if self.allowed {
            return Ok(());
        }
        let (verb, group, resource, subresource, name, namespace) = match *ask {
            Ask::Resource { verb, group, resource, subresource, name, namespace } => {
                (verb, group, resource, subresource, name, namespace)
            }
            Ask::Path { verb, path } => {
                let what = harmless(&format!("User {:?} cannot {verb} path {path:?}", user.name));
                return Err(Status::forbidden("", "", "", format!("forbidden: {what}{}", self.why())));
            }
        };
        let what = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let shown = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let refused = format!("User {:?} cannot {verb} resource {what:?} in API group {group:?} {place}", user.name);
        let (object, refused) = (qualified(group, resource), harmless(&refused));
        let message = format!("{object}{shown} is forbidden: {refused}{}", self.why());
        Err(Status::forbidden(group, resource, name, message))
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        let Verdict { opinion, reason, error } = verdict;
        Self { allowed: opinion == Opinion::Allow, refused: opinion == Opinion::Refuse, reason, error }
    }
}

impl Told {
    /// Notes what one without an opinion says.
    fn note(&mut self, verdict: Verdict) {
        self.reasons.extend(Some(verdict.reason).filter(|text| !text.is_empty()));
        self.errors.extend(Some(verdict.error).filter(|text| !text.is_empty()));
    }

    /// Nobody had an opinion.
    fn decision(&self) -> Decision {
        let error = match self.errors.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Decision { reason: self.reasons.join("\n"), error, ..Decision::default() }
    }
}

impl Link {
    fn mode(&self) -> AuthorizationMode {
        match self {
            Self::Mode(mode) => *mode,
            Self::Abac(_) => AuthorizationMode::Abac,
            Self::Webhook(_) => AuthorizationMode::Webhook,
        }
    }
}

impl Authorizer {
    /// The error names a flag or a file.
    pub fn new(options: &AuthorizationOptions, cache: Cache) -> anyhow::Result<Self> {
        let (entrants, followed) = match &options.config {
            Some(path) => {
                let named = || format!("--authorization-config: {}", path.display());
                let text = std::fs::read_to_string(path).with_context(named)?;
                let entrants = config::parse(&text).map_err(anyhow::Error::msg).with_context(named)?;
                (entrants, Some(Followed::new(path.clone(), &text)))
            }
            None => (config::of_flags(options).map_err(anyhow::Error::msg)?, None),
        };
        let figures = Figures::default();
        let objects = bootstrap::objects();
        let node_role = objects
            .iter()
            .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "system:node");
        Ok(Self {
            chain: Arc::new(ArcSwap::from_pointee(chain(entrants, options, &figures)?)),
            policy: Arc::default(),
            node_rules: node_role.map(rbac::rules_of).unwrap_or_default().into(),
            cache,
            fed: watch::channel(false).0,
            in_place: Arc::new(Semaphore::new(IN_PLACE)),
            followed: Arc::new(Mutex::new(followed)),
            reloads: Arc::default(),
            figures,
        })
    }

    pub fn register(&self, families: &mut Families) {
        if self.followed.lock().is_some() {
            self.reloads.register("authorization", families);
        }
        families.register_collector(Box::new(self.figures.clone()));
    }

    /// Follows the configuration file, until `shutdown`.
    pub async fn reload(self, options: AuthorizationOptions, shutdown: CancellationToken) {
        let followed = self.followed.lock().take();
        let Some(mut followed) = followed else { return };
        loop {
            let text = tokio::select! {
                () = shutdown.cancelled() => return,
                text = followed.changed() => text,
            };
            let new = self.changed(&text, &options);
            self.reloads.count(new.is_ok());
            match new {
                Ok(new) => {
                    self.chain.store(Arc::new(new));
                    tracing::info!("the authorization configuration has been reloaded");
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the changed authorization configuration is not used");
                }
            }
        }
    }

    /// The chain that a file's new text says. Only webhooks may come and go.
    fn changed(&self, text: &str, options: &AuthorizationOptions) -> anyhow::Result<Vec<Member>> {
        let entrants = config::parse(text).map_err(anyhow::Error::msg)?;
        let fixed = |mode: &AuthorizationMode| *mode != AuthorizationMode::Webhook;
        let mut new: Vec<AuthorizationMode> = entrants.iter().map(Entrant::mode).filter(fixed).collect();
        let mut old: Vec<AuthorizationMode> =
            self.chain.load().iter().map(|member| member.link.mode()).filter(fixed).collect();
        new.sort();
        old.sort();
        anyhow::ensure!(new == old, "authorizers other than webhooks can't be added or removed while the server runs");
        chain(entrants, options, &self.figures)
    }

    fn has(&self, mode: AuthorizationMode) -> bool {
        self.chain.load().iter().any(|member| member.link.mode() == mode)
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
    ///
    /// For expressions and plugins, which cannot wait: a webhook that has not been asked yet holds up their thread.
    pub fn allows(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> bool {
        if let Step::Done(decision) = self.walk(&self.chain.load(), 0, user, ask, selected_node, &mut Told::default()) {
            return decision.allowed;
        }
        let Ok(_turn) = self.in_place.try_acquire() else {
            tracing::warn!("too many questions wait for webhooks; one is answered with no");
            return false;
        };
        let decided = self.decide(user, ask, selected_node);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(decided)).allowed
    }

    /// Whether `user` may do what is asked, and why.
    pub async fn decide(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> Decision {
        let chain = self.chain.load_full();
        let (mut from, mut told) = (0, Told::default());
        loop {
            let (webhook, spec, place) = match self.walk(&chain, from, user, ask, selected_node, &mut told) {
                Step::Done(decision) => return decision,
                Step::Ask(webhook, spec, place) => (webhook, spec, place),
            };
            let verdict = webhook.ask(spec).await;
            if verdict.opinion != Opinion::None {
                let decision = verdict.into();
                chain[place].decided.note(&decision);
                return decision;
            }
            told.note(verdict);
            from = place + 1;
        }
    }

    /// Asks those of the chain from a place on, as far as nobody has to be waited for. `told` is what the others said.
    fn walk<'c>(
        &self,
        chain: &'c [Member],
        from: usize,
        user: &User,
        ask: &Ask<'_>,
        node: &str,
        told: &mut Told,
    ) -> Step<'c> {
        let allowed = || Step::Done(Decision { allowed: true, ..Decision::default() });
        if user.in_group(MASTERS) {
            return allowed();
        }
        for (place, Member { link, decided }) in chain.iter().enumerate().skip(from) {
            let allows = match link {
                Link::Mode(AuthorizationMode::AlwaysAllow) => true,
                Link::Mode(AuthorizationMode::Rbac) => {
                    let policy = self.policy.read();
                    let allows = policy.allows(&user.name, &user.groups, ask);
                    if !allows {
                        told.reasons.extend(lost_roles(&policy, user, ask));
                    }
                    allows
                }
                Link::Mode(AuthorizationMode::Node) => match self.ask_node(user, ask, node) {
                    Ok(()) => true,
                    Err(why) => {
                        told.reasons.extend(Some(why).filter(|why| !why.is_empty()));
                        false
                    }
                },
                Link::Mode(_) => false,
                Link::Abac(abac) => abac.allows(user, ask),
                Link::Webhook(webhook) => match webhook.known(user, ask) {
                    Ok(verdict) if verdict.opinion == Opinion::None => {
                        told.note(verdict);
                        false
                    }
                    Ok(verdict) => {
                        let decision = verdict.into();
                        decided.note(&decision);
                        return Step::Done(decision);
                    }
                    Err(spec) => return Step::Ask(webhook, spec, place),
                },
            };
            if allows {
                decided.allowed.one();
                return allowed();
            }
        }
        Step::Done(told.decision())
    }

    fn ask_node(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> Result<(), String> {
        let node = user.node().ok_or_else(String::new)?;
        let Ask::Resource { verb, group, resource, subresource, name, namespace } = *ask else {
            return Err(String::new());
        };
        let ask = NodeAsk { node, verb, group, resource, subresource, namespace, name, selected_node };
        node::decide(&ask, &self.node_rules, |resource, namespace, name| self.related(node, resource, namespace, name))
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
                within(&pods, namespace).any(|(_, entry)| {
                    entry.field(spec, "spec.nodeName") == node
                        && entry.object().is_some_and(|pod| node::pod_uses(&pod.into_value(), resource, name))
                })
            }
        }
    }

    /// Why RBAC allows what is asked, in upstream's words; empty where something else does.
    pub fn reason(&self, user: &User, ask: &Ask<'_>) -> String {
        if user.in_group(MASTERS) || !self.has(AuthorizationMode::Rbac) {
            return String::new();
        }
        let binding = self.policy.read().binding(&user.name, &user.groups, ask);
        binding.map(|binding| format!("RBAC: allowed by {binding}")).unwrap_or_default()
    }

    /// Whether there may be more rules than are known: what webhooks allow cannot be listed.
    pub fn rules_incomplete(&self, user: &User) -> Option<&'static str> {
        if self.has(AuthorizationMode::Webhook) {
            Some("webhook authorizer does not support user rule resolution")
        } else if user.node().is_some() && self.has(AuthorizationMode::Node) {
            Some("node authorizer does not support user rule resolution")
        } else {
            None
        }
    }

    /// Every rule that holds for the user in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        let all = || vec!["*".to_owned()];
        for _ in [user.in_group(MASTERS), self.has(AuthorizationMode::AlwaysAllow)].into_iter().filter(|all| *all) {
            rules.push(Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() });
            rules.push(Rule { verbs: all(), urls: all(), ..Rule::default() });
        }
        if self.has(AuthorizationMode::Rbac) {
            rules.extend(self.policy.read().rules_for(&user.name, &user.groups, namespace));
        }
        rules
    }

    /// [`Authorizer::check`] for what a request is made for, which is counted. Where nobody allows it and somebody could not be
    /// asked, the error is an internal one.
    pub async fn admits(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> Result<(), Status> {
        let began = Instant::now();
        let decision = self.decide(user, ask, selected_node).await;
        self.figures.attempted(&decision, began.elapsed());
        if !decision.allowed && !decision.error.is_empty() {
            return Err(Status::failed(decision.error));
        }
        decision.checked(user, ask)
    }

    /// Whether `user` may do what `request` asks.
    pub async fn check_request(&self, user: &User, request: &ResourceRequest) -> Result<(), Status> {
        self.check(user, &request.ask(), request.selected("spec.nodeName")).await
    }

    /// Whether `user` may do what is asked; the error says what they may not.
    pub async fn check(&self, user: &User, ask: &Ask<'_>, selected_node: &str) -> Result<(), Status> {
        self.decide(user, ask, selected_node).await.checked(user, ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_without_an_opinion_is_put_together() {
        let verdict =
            |reason: &str, error: &str| Verdict { opinion: Opinion::None, reason: reason.into(), error: error.into() };
        for (verdicts, reason, error) in [
            (vec![verdict("", "")], "", ""),
            (vec![verdict("unknown here", ""), verdict("", "timed out")], "unknown here", "timed out"),
            (vec![verdict("a", "x"), verdict("b", "y")], "a\nb", "[x, y]"),
        ] {
            let mut told = Told::default();
            verdicts.into_iter().for_each(|verdict| told.note(verdict));
            let wanted = Decision { reason: reason.into(), error: error.into(), ..Decision::default() };
            assert_eq!(told.decision(), wanted);
        }
    }

    #[test]
    fn refusals_end_with_the_reason() {
        let ask = Ask::Path { verb: "get", path: "/x" };
        let decision = Decision { reason: "unknown here".into(), ..Decision::default() };
        let refused = decision.checked(&User::new("ann", &[]), &ask).unwrap_err();
        assert_eq!(refused.message, "forbidden: User \"ann\" cannot get path \"/x\": unknown here");
    }
}
