//! Asking webhooks about a write: the mutating ones one after another, the validating ones at the same time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use kinit_api::object::Object;
use kinit_api::patch::operations;
use kinit_api::status::Status;
use kinit_api::strict;
use kinit_api::validate::text;
use serde_json::{Value, json};

use super::forms::{self, Forms};
use super::hooks::{self, Hook, Hooks};
use super::review::{self, Answer};
use super::users::Users;
use crate::admission::figures::OfWebhooks;
use crate::admission::{Attributes, Context, Operation};
use crate::registry::Spec;
use crate::{custom, fields};

/// What all webhooks share. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    pub figures: OfWebhooks,
    mutating: Arc<Kind>,
    validating: Arc<Kind>,
}

/// The webhooks of one kind, and as whom they are called.
struct Kind {
    hooks: Hooks,
    users: Users,
    mutates: bool,
}

/// What is remembered of the first round of mutation for the second.
#[derive(Default)]
pub struct Rounds {
    second: bool,
    /// What the webhooks of the first round left.
    left: Option<Object>,
    /// Webhooks that were asked and want to be asked again if somebody changes the object after them.
    asked: HashSet<String>,
    again: HashSet<String>,
    /// Whether a webhook changed the object.
    pub changed: bool,
}

impl Rounds {
    /// Begins the second round, with the object as the plugins have left it.
    pub fn next(&mut self) {
        self.second = true;
    }

    fn begin(&mut self, object: &Object) {
        if self.second && self.left.as_ref() != Some(object) {
            self.again.extend(self.asked.drain());
        }
    }

    fn note(&mut self, hook: &Hook, changed: bool) {
        if changed {
            self.again.extend(self.asked.drain());
            self.changed = true;
        }
        if hook.reinvoked {
            self.asked.insert(hook.uid.clone());
        }
    }
}

/// Why a webhook did not say yes.
enum Failure {
    /// It could not be asked, or its answer is none; its failure policy says what that means.
    Calling(String),
    /// It said no, or the write cannot be asked about.
    Refused(Status),
}

impl Webhooks {
    /// Webhooks that are called as these users.
    pub fn new(mutating: Users, validating: Users) -> Self {
        let kind = |plural, users, mutates| Arc::new(Kind { hooks: Hooks::new(plural), users, mutates });
        Self {
            figures: OfWebhooks::default(),
            mutating: kind("mutatingwebhookconfigurations", mutating, true),
            validating: kind("validatingwebhookconfigurations", validating, false),
        }
    }

    /// Lets the mutating webhooks change the object.
    pub async fn mutate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        let all = self.mutating.hooks.get(context.cache);
        if all.is_empty() || hooks::exempt(attributes) {
            return Ok(());
        }
        rounds.begin(object);
        let mut forms = Forms::default();
        for (at, hook) in all.iter().enumerate() {
            let Some((spec, request)) = called(context, attributes, object, hook, &mut forms).await? else { continue };
            if rounds.second && !rounds.again.contains(&hook.uid) {
                continue;
            }
            let place = format!("round_{}_index_{at}", u8::from(rounds.second));
            let patched = match self.ask(context, attributes, hook, &request, &self.mutating).await {
                Ok(answer) => patched(context, attributes, hook, &spec, object, &answer).await,
                Err(failure) => Err(failure),
            };
            let notes = &attributes.request.annotations;
            let new = patched.as_ref().ok().and_then(Option::as_ref);
            // What is being made has a moment of its creation that no patch leaves as exact as it was.
            let changed = new.is_some_and(|new| attributes.operation == Operation::Create || new != object);
            notes.add(format!("mutation.webhook.admission.k8s.io/{place}"), mutation(hook, changed));
            match patched {
                Ok(new) => {
                    if let Some(new) = new {
                        *object = new;
                        forms.clear();
                    }
                    rounds.note(hook, changed);
                }
                Err(Failure::Calling(why)) if hook.fails_open => {
                    tracing::warn!(webhook = hook.name, why, "a webhook could not be asked; its policy is to go on");
                    notes.add(format!("failed-open.mutation.webhook.admission.k8s.io/{place}"), &*hook.name);
                    rounds.note(hook, false);
                }
                Err(failure) => return Err(failure.status(hook)),
            }
        }
        rounds.left = Some(object.clone());
        Ok(())
    }

    /// Asks the validating webhooks.
    pub async fn validate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
    ) -> Result<(), Status> {
        let all = self.validating.hooks.get(context.cache);
        if all.is_empty() || hooks::exempt(attributes) {
            return Ok(());
        }
        let mut relevant = Vec::new();
        let mut forms = Forms::default();
        for hook in all.iter() {
            if let Some((_, request)) = called(context, attributes, object, hook, &mut forms).await? {
                relevant.push((hook, request));
            }
        }
        if relevant.is_empty() {
            return Ok(());
        }
        let asked = relevant.iter().enumerate().map(|(at, (hook, request))| async move {
            match self.ask(context, attributes, hook, request, &self.validating).await {
                Ok(_) => Ok(()),
                Err(Failure::Calling(why)) if hook.fails_open => {
                    tracing::warn!(webhook = hook.name, why, "a webhook could not be asked; its policy is to go on");
                    let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}");
                    attributes.request.annotations.add(key, &*hook.name);
                    Ok(())
                }
                Err(failure) => Err(failure.status(hook)),
            }
        });
        futures::future::join_all(asked).await.into_iter().collect()
    }

    /// Asks one webhook, and notes how long that took.
    async fn ask(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        hook: &Hook,
        request: &Value,
        kind: &Kind,
    ) -> Result<Answer, Failure> {
        let began = Instant::now();
        let said = self.answer(context, attributes, hook, request, kind).await;
        // What its policy lets pass is not rejected.
        let refused = match &said {
            Ok(_) => false,
            Err(Failure::Calling(_)) => !hook.fails_open,
            Err(Failure::Refused(_)) => true,
        };
        self.figures.note(&hook.name, kind.mutates, attributes.operation, refused, began);
        said
    }

    /// Asks one webhook, and notes what it says beside its answer.
    async fn answer(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        hook: &Hook,
        request: &Value,
        kind: &Kind,
    ) -> Result<Answer, Failure> {
        if attributes.dry_run() && !hook.without_side_effects {
            let text = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Failure::Refused(Status::bad_request(text)));
        }
        let Some(version) = hook.review else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Failure::Calling(why.to_owned()));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let found = hook.client.resolve(context.cache);
        let (target, path) = found.map_err(|why| Failure::Calling(format!("could not get REST client: {why}")))?;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}timeout={}s", hook.timeout.as_secs());
        let body = review::encode(version, &uid, request).into();
        let said = kind.users.client(&target).send(&target, &path, body, hook.timeout).await;
        let read = said.and_then(|answer| review::read(version, answer.object()?));
        let read = read.map_err(|why| Failure::Calling(format!("failed to call webhook: {why}")))?;
        let answer = review::decode(version, &uid, kind.mutates, &read)
            .map_err(|why| Failure::Calling(format!("received invalid webhook response: {why}")))?;
        for (key, value) in &answer.annotations {
            let key = format!("{}/{key}", hook.name);
            if key.matches('/').count() == 1 && text::qualified_name(&key).is_empty() {
                attributes.request.annotations.add(key, value);
            } else {
                tracing::warn!(key, "a webhook's audit annotation has a name that none can have");
            }
        }
        answer.warnings.iter().for_each(|text| attributes.request.warnings.add(text));
        if answer.allowed { Ok(answer) } else { Err(Failure::Refused(review::refusal(&hook.name, &answer.result))) }
    }
}

impl Failure {
    fn status(self, hook: &Hook) -> Status {
        match self {
            Self::Calling(why) => Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)),
            Self::Refused(status) => status,
        }
    }
}

/// The audit annotation of a mutating webhook that was asked, its fields in upstream's order.
fn mutation(hook: &Hook, changed: bool) -> String {
    let (configuration, webhook) = (json!(hook.configuration), json!(hook.name));
    format!("{{\"configuration\":{configuration},\"webhook\":{webhook},\"mutated\":{changed}}}")
}

/// What the webhook is to be asked about the write, if anything, and in which version.
async fn called(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &Object,
    hook: &Hook,
    forms: &mut Forms,
) -> Result<Option<(Spec, Arc<Value>)>, Status> {
    let others = || context.cache.registry().sharing(attributes.request.index);
    let Some(spec) = hook.wants(attributes, others) else { return Ok(None) };
    if !hook.selects(attributes, object).map_err(Status::internal)? {
        return Ok(None);
    }
    if let Some(selector) = hook.namespaces(attributes).map_err(Status::internal)? {
        let labels = if hooks::is_namespace(attributes) {
            object.labels()
        } else {
            let name = attributes.request.authorized_namespace();
            match context.cache.find("", "namespaces", "", name) {
                Some(entry) => entry.labels().to_map(),
                // The cache may be behind a namespace that has just been made.
                None => context.etcd.object("", "namespaces", "", name).await?.labels(),
            }
        };
        if !selector.matches(&labels) {
            return Ok(None);
        }
    }
    let request = forms.request(context, attributes, &spec, object).await?;
    match hook.conditions.hold(context, attributes, &request) {
        Ok(true) => Ok(Some((spec, request))),
        Ok(false) => Ok(None),
        Err(_) if hook.fails_open => Ok(None),
        Err(why) => Err(attributes.forbidden(why)),
    }
}

/// What the webhook's patch makes of the object; `None` where it sent none.
async fn patched(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    hook: &Hook,
    spec: &Spec,
    object: &Object,
    answer: &Answer,
) -> Result<Option<Object>, Failure> {
    if answer.patch.is_empty() {
        return Ok(None);
    }
    let undecodable = |why: String| Failure::Calling(format!("received undecodable patch in webhook response: {why}"));
    let patch = strict::parse(&answer.patch).map_err(|error| undecodable(strict::go_syntax(&answer.patch, &error)))?;
    let patch = operations::Patch::read(&patch.value);
    let patch = patch.map_err(|why| undecodable(why.replace("[]handlers.jsonPatchOp", "jsonpatch.Patch")))?;
    if patch.is_empty() {
        return Ok(None);
    }
    let internal = |why: String| Failure::Refused(Status::internal(why));
    if attributes.operation == Operation::Delete {
        let why = "attempted to modify the object, which is not supported for this operation";
        return Err(internal(format!("admission webhook {:?} {why}", hook.name)));
    }
    if answer.patch_type != "JSONPatch" {
        return Err(Failure::Calling(format!("unsupported patch type {:?}", answer.patch_type)));
    }
    let shown = forms::to(context, attributes, spec, object).await.map_err(Failure::Refused)?;
    let mut tree = shown.into_value();
    operations::apply(&mut tree, &patch).map_err(|error| internal(error.to_string()))?;
    let mut new = Object::from_value(tree).ok_or_else(|| internal("the patch leaves no object".to_owned()))?;
    let own = &attributes.request.spec;
    let is_whole = attributes.kind().2 == own.kind();
    if is_whole {
        let (version, kind) = (new.api_version(), new.kind());
        let is_own = (version, kind) == (&*spec.api_version(), spec.kind()) || version.is_empty() || kind.is_empty();
        if spec.custom.is_none() && !is_own {
            return Err(internal(foreign(version, kind)));
        }
        fields::conform(spec, &mut new).map_err(|error| internal(error.to_string()))?;
    }
    let mut new = forms::from(context, attributes, spec, new).await.map_err(Failure::Refused)?;
    if is_whole {
        custom::fill(own, &mut new);
    }
    Ok(Some(new))
}

/// What is told of a patched object that is of another kind.
fn foreign(version: &str, kind: &str) -> String {
    let scheme = "pkg/api/legacyscheme/scheme.go:30";
    format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}")
}
