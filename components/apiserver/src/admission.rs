//! Admission: what looks at a write between authorization and storage, and may change or refuse it.
//!
//! A plugin is a row of [`PLUGINS`]: a name, whether it runs unless it is switched off, and what it does in each of two
//! phases. Plugins read the watch cache and never wait. A write goes through
//!
//! 1. [`Admission::mutate`]: the plugins that change objects, in the order of the table, and then the webhooks that do;
//! 2. the checks that no configuration changes (strategy and validation, in the handlers);
//! 3. [`Admission::validate`]: the plugins that only look, and then what has to be asked elsewhere.
//!
//! Both run again when a write lost the race for its object, because what is admitted is the state that is stored.

mod audiences;
pub(crate) mod certificates;
mod config;
mod device_claims;
mod event_rate;
pub(crate) mod figures;
mod image_policy;
mod limited;
mod limits;
mod namespaces;
mod node;
mod node_bound;
mod node_selector;
mod optional;
mod pod_security;
mod pods;
mod quota;
mod rbac;
mod runtime_class;
mod service_account;
mod storage;
mod tolerations;

pub use config::Configuration;
pub use service_account::WARN_ONLY_SECONDS;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use kinit_api::object::Object;
use kinit_api::status::{Status, qualified};
use parking_lot::Mutex;
use prometheus_client::registry::Registry as Families;

use crate::authz::Authorizer;
use crate::cache::Cache;
use crate::convert::Converter;
use crate::options::{AdmissionOptions, Options};
use crate::policy::{self, Policies};
use crate::registry::subresource;
use crate::request::{ResourceRequest, Verb};
use crate::storage::Etcd;
use crate::strategy::DeleteOptions;
use crate::webhook::dispatch::{Rounds, Webhooks};
use crate::webhook::users::Users;
use figures::{ADMIT, Figures, Times, VALIDATE};
use image_policy::ImagePolicy;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As webhooks' rules name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What admission notes of a request for the audit log. Clones share the notes.
#[derive(Clone, Debug, Default)]
pub struct Annotations(Arc<Mutex<BTreeMap<String, String>>>);

impl Annotations {
    /// Notes `value`; what is there under the key stays, as upstream has it.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        self.0.lock().entry(key.into()).or_insert_with(|| value.into());
    }

    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().clone()
    }
}

/// One write, as plugins see it. In a deletion the object that they get is the stored one, which is to go.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    pub operation: Operation,
    pub request: &'a ResourceRequest,
    /// The object's name, also where the request names a collection; its prefix where it is still to be generated.
    pub name: &'a str,
    /// The stored object of an update.
    pub old: Option<&'a Object>,
    /// How a deletion is to be done.
    pub deletion: Option<&'a DeleteOptions>,
    /// What refusals call the object, where its name has been generated since.
    pub told: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub fn new(operation: Operation, request: &'a ResourceRequest, name: &'a str, old: Option<&'a Object>) -> Self {
        Self { operation, request, name, old, deletion: None, told: None }
    }

    /// Whether the write is of this resource of the core group itself or, with a name after a slash, of a subresource.
    pub(crate) fn is(&self, what: &str) -> bool {
        self.of("", what)
    }

    pub(crate) fn of(&self, group: &str, what: &str) -> bool {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let spec = &self.request.spec;
        spec.group() == group && spec.resource() == resource && self.request.subresource == subresource
    }

    /// Group, version and kind of the object that is written, which may be a subresource's own.
    pub fn kind(&self) -> (&str, &str, &str) {
        let spec = &self.request.spec;
        let own = subresource(spec.group(), spec.resource(), &self.request.subresource);
        own.map_or((spec.group(), spec.version(), spec.kind()), |row| row.kind)
    }

    /// The name as webhooks and the like are told it: empty for a creation whose name is still to be generated.
    pub fn own_name<'b>(&'b self, object: &'b Object) -> &'b str {
        let creates = self.operation == Operation::Create && self.request.subresource.is_empty();
        match () {
            () if creates => object.name(),
            () if self.is_of_collection() => "",
            () => self.name,
        }
    }

    /// Whether the object is one of many that are being deleted together, and that the request does not name.
    pub(crate) fn is_of_collection(&self) -> bool {
        self.operation == Operation::Delete && self.request.verb == Verb::DeleteCollection
    }

    /// Whether nothing is going to be stored.
    pub fn dry_run(&self) -> bool {
        self.request.is_dry_run() || self.deletion.is_some_and(|options| options.dry_run)
    }

    /// A refusal, in the words that all plugins' refusals have.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        let spec = &self.request.spec;
        let what = qualified(spec.group(), spec.resource());
        let name = if self.is_of_collection() { "Unknown" } else { self.told.unwrap_or(self.name) };
        Status::forbidden(spec.group(), spec.resource(), name, format!("{what} {name:?} is forbidden: {why}"))
    }
}

/// What plugins may look at.
pub struct Context<'a> {
    pub cache: &'a Cache,
    pub authorizer: &'a Authorizer,
    pub options: &'a Options,
    pub etcd: &'a Etcd,
    pub converter: &'a Converter,
    pub configuration: &'a Configuration,
    pub standards: &'a pod_security::Figures,
}

type Mutator = fn(&Context<'_>, &Attributes<'_>, &mut Object) -> Result<(), Status>;
type Validator = fn(&Context<'_>, &Attributes<'_>, &Object) -> Result<(), Status>;

/// A row of [`PLUGINS`].
struct Plugin {
    name: &'static str,
    default: bool,
    mutate: Option<Mutator>,
    validate: Option<Validator>,
    /// The operations that upstream calls it for, and counts it in.
    of: &'static [Operation],
}

impl Plugin {
    const fn on(name: &'static str) -> Self {
        Self { name, default: true, mutate: None, validate: None, of: ALL }
    }

    const fn off(name: &'static str) -> Self {
        Self { name, default: false, mutate: None, validate: None, of: ALL }
    }

    const fn of(mut self, operations: &'static [Operation]) -> Self {
        self.of = operations;
        self
    }

    const fn mutates(mut self, mutate: Mutator) -> Self {
        self.mutate = Some(mutate);
        self
    }

    const fn validates(mut self, validate: Validator) -> Self {
        self.validate = Some(validate);
        self
    }
}

const ALL: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
const WRITES: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];
const CHANGES: &[Operation] = &[Operation::Create, Operation::Update];
const CREATIONS: &[Operation] = &[Operation::Create];
const UPDATES: &[Operation] = &[Operation::Update];

const MUTATING_POLICIES: &str = "MutatingAdmissionPolicy";
const VALIDATING_POLICIES: &str = "ValidatingAdmissionPolicy";
const MUTATING_WEBHOOKS: &str = "MutatingAdmissionWebhook";
const VALIDATING_WEBHOOKS: &str = "ValidatingAdmissionWebhook";
const QUOTA: &str = "ResourceQuota";
const IMAGE_POLICY: &str = "ImagePolicyWebhook";
const EVENT_RATES: &str = "EventRateLimit";
const AUTO_PROVISION: &str = "NamespaceAutoProvision";

/// Every plugin in upstream's order: its name, whether it is on by default, and what it does. A row that does nothing
/// stands for what is done elsewhere (what waits for an answer has a place of its own in [`Admission`]), or for what
/// upstream does behind a feature gate that is off.
const PLUGINS: &[Plugin] = &[
    Plugin::off("AlwaysAdmit"),
    Plugin::off(AUTO_PROVISION).of(CREATIONS),
    Plugin::on("NamespaceLifecycle").of(WRITES).mutates(namespaces::lifecycle),
    Plugin::off("NamespaceExists"),
    Plugin::off("LimitPodHardAntiAffinityTopology").of(CHANGES).validates(optional::limit_anti_affinity),
    Plugin::on("LimitRanger").of(CHANGES).mutates(limits::defaults).validates(limits::check),
    Plugin::on("ServiceAccount").of(CHANGES).mutates(service_account::admit).validates(service_account::check),
    Plugin::off("NodeRestriction").of(WRITES).mutates(node::restrict),
    Plugin::on("TaintNodesByCondition").of(CREATIONS).mutates(node::taint),
    Plugin::off("AlwaysPullImages").of(CHANGES).mutates(optional::pull_always),
    Plugin::off(IMAGE_POLICY).of(CHANGES),
    Plugin::on("PodSecurity").of(CHANGES).validates(pod_security::check),
    Plugin::off("PodNodeSelector").of(CREATIONS).mutates(node_selector::set).validates(node_selector::check),
    Plugin::on("Priority").of(WRITES).mutates(pods::priority).validates(pods::one_default),
    Plugin::on("DefaultTolerationSeconds").of(CHANGES).mutates(pods::tolerations),
    Plugin::off("PodTolerationRestriction").of(CHANGES).mutates(tolerations::give).validates(tolerations::check),
    Plugin::off(EVENT_RATES).of(CHANGES).validates(event_rate::check),
    Plugin::off("ExtendedResourceToleration").of(CHANGES).mutates(optional::tolerate_devices),
    Plugin::on("DefaultStorageClass").of(CREATIONS).mutates(storage::default_class),
    Plugin::on("StorageObjectInUseProtection").of(CREATIONS).mutates(storage::protect),
    Plugin::on("PodGroupProtection"),
    Plugin::off("OwnerReferencesPermissionEnforcement").of(CHANGES).validates(optional::owners),
    Plugin::on("PersistentVolumeClaimResize").of(UPDATES).validates(storage::resize),
    Plugin::on("RuntimeClass").of(CREATIONS).mutates(runtime_class::set).validates(runtime_class::check),
    Plugin::on("CertificateApproval").of(UPDATES).validates(certificates::approval),
    Plugin::on("CertificateSigning").of(UPDATES).validates(certificates::signing),
    Plugin::on("ClusterTrustBundleAttest").of(CHANGES).validates(certificates::attestation),
    Plugin::on("CertificateSubjectRestriction").of(CREATIONS).validates(certificates::subject),
    Plugin::on("DefaultIngressClass").of(CREATIONS).mutates(storage::default_ingress),
    Plugin::off("DenyServiceExternalIPs").of(CHANGES).validates(optional::deny_external),
    Plugin::on("PodTopologyLabels").of(CREATIONS).mutates(pods::topology),
    Plugin::on("PodGroupWorkloadExists"),
    Plugin::on("NodeDeclaredFeatureValidator").of(UPDATES).validates(node_bound::features),
    Plugin::on("JobValidation"),
    Plugin::on("PodResizeValidator").of(UPDATES).validates(node_bound::resize),
    Plugin::on(MUTATING_POLICIES),
    Plugin::on(MUTATING_WEBHOOKS),
    Plugin::on(VALIDATING_POLICIES),
    Plugin::on(VALIDATING_WEBHOOKS),
    Plugin::on(QUOTA),
    Plugin::off("AlwaysDeny").validates(optional::deny),
];

/// What a plugin does in one of the phases.
#[derive(Clone)]
struct Step<F> {
    run: F,
    of: &'static [Operation],
    times: Arc<Times>,
}

impl<F> Step<F> {
    /// It did its part since `began`; returns when it was ready.
    fn note(&self, operation: Operation, refused: bool, began: Instant) -> Instant {
        if self.of.contains(&operation) { self.times.note(operation, refused, began) } else { began }
    }
}

/// The plugins that run.
#[derive(Clone)]
pub struct Admission {
    configuration: Arc<Configuration>,
    mutators: Arc<[Step<Mutator>]>,
    validators: Arc<[Step<Validator>]>,
    policies: Policies,
    webhooks: Webhooks,
    mutating_policies: Option<Arc<Times>>,
    validating_policies: Option<Arc<Times>>,
    mutating_webhooks: Option<Arc<Times>>,
    validating_webhooks: Option<Arc<Times>>,
    quotas: Option<(quota::Quotas, Arc<Times>)>,
    provisions: Option<Arc<Times>>,
    images: Option<(Arc<ImagePolicy>, Arc<Times>)>,
    figures: Figures,
    standards: pod_security::Figures,
}

/// What is wrong with the names of plugins that options switch, in upstream's words.
fn misnamed(options: &AdmissionOptions) -> Vec<String> {
    let (on, off) = (&options.enable_admission_plugins, &options.disable_admission_plugins);
    let known = |name: &String| PLUGINS.iter().any(|plugin| plugin.name == name);
    let mut problems = Vec::new();
    for (flag, names) in [("enable-admission-plugins", on), ("disable-admission-plugins", off)] {
        let unknown = names.iter().filter(|name| !known(name));
        problems.extend(unknown.map(|name| format!("{flag} plugin {name:?} is unknown")));
    }
    let both: BTreeSet<&str> = on.iter().filter(|name| off.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        let both = Vec::from_iter(both).join(" ");
        problems.push(format!("[{both}] in enable-admission-plugins and disable-admission-plugins overlapped"));
    }
    problems
}

impl Admission {
    /// The error names a plugin that does not exist.
    pub fn new(options: &AdmissionOptions) -> anyhow::Result<Self> {
        let problems = misnamed(options);
        match &*problems {
            [] => {}
            [one] => anyhow::bail!("{one}"),
            all => anyhow::bail!("[{}]", all.join(", ")),
        }
        let configuration = options.admission_control_config_file.as_deref().map(Configuration::load).transpose()?;
        let configuration = Arc::new(configuration.unwrap_or_default());
        let limits_events = options.enable_admission_plugins.iter().any(|name| name == EVENT_RATES);
        anyhow::ensure!(
            !limits_events || !configuration.event_rates.is_empty(),
            "{EVENT_RATES} needs its limits in --admission-control-config-file"
        );
        let on: HashSet<&str> = options.enable_admission_plugins.iter().map(String::as_str).collect();
        let off: HashSet<&str> = options.disable_admission_plugins.iter().map(String::as_str).collect();
        let runs = |plugin: &&Plugin| (plugin.default || on.contains(plugin.name)) && !off.contains(plugin.name);
        let running = || PLUGINS.iter().filter(runs);
        let mut timed = Vec::new();
        let mut times = |name: &'static str, step: &'static str| {
            let times = Arc::<Times>::default();
            timed.push((name, step, times.clone()));
            times
        };
        let mutators = running()
            .filter_map(|plugin| Some(Step { run: plugin.mutate?, of: plugin.of, times: times(plugin.name, ADMIT) }));
        let mutators = mutators.collect();
        let validators = running().filter_map(|plugin| {
            Some(Step { run: plugin.validate?, of: plugin.of, times: times(plugin.name, VALIDATE) })
        });
        let validators = validators.collect();
        let mut outside =
            |name: &'static str, step| running().any(|plugin| plugin.name == name).then(|| times(name, step));
        let mutating_policies = outside(MUTATING_POLICIES, ADMIT);
        let mutating_webhooks = outside(MUTATING_WEBHOOKS, ADMIT);
        let validating_policies = outside(VALIDATING_POLICIES, VALIDATE);
        let validating_webhooks = outside(VALIDATING_WEBHOOKS, VALIDATE);
        let provisions = outside(AUTO_PROVISION, ADMIT);
        let images = match outside(IMAGE_POLICY, VALIDATE) {
            Some(times) => {
                let settings = configuration.images.as_ref();
                let settings = settings
                    .with_context(|| format!("{IMAGE_POLICY} needs its server in --admission-control-config-file"))?;
                Some((Arc::new(ImagePolicy::new(settings).context(IMAGE_POLICY)?), times))
            }
            None => None,
        };
        let users = |plugin: &'static str| {
            let file = configuration.webhook_users.get(plugin);
            file.map_or_else(|| Ok(Users::default()), |file| Users::load(file)).context(plugin)
        };
        let webhooks = Webhooks::new(users(MUTATING_WEBHOOKS)?, users(VALIDATING_WEBHOOKS)?);
        let quotas = outside(QUOTA, VALIDATE).map(|times| (quota::Quotas::default(), times));
        Ok(Self {
            configuration,
            mutators,
            validators,
            policies: Policies::default(),
            webhooks,
            mutating_policies,
            validating_policies,
            mutating_webhooks,
            validating_webhooks,
            quotas,
            provisions,
            images,
            figures: Figures::new(timed),
            standards: pod_security::Figures::default(),
        })
    }

    pub fn register(&self, families: &mut Families) {
        self.figures.register(families);
        self.standards.register(families);
        self.webhooks.figures.register(families);
    }

    /// Whether what is written into a namespace that does not exist makes it.
    pub fn provisions(&self, request: &ResourceRequest) -> bool {
        self.provisions.is_some() && !request.is_dry_run()
    }

    /// What came of making a namespace since `began`.
    pub fn note_provision(&self, refused: bool, began: Instant) {
        if let Some(times) = &self.provisions {
            times.note(Operation::Create, refused, began);
        }
    }

    /// What plugins are told.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// How often plugins held Pods against standards.
    pub fn standards(&self) -> &pod_security::Figures {
        &self.standards
    }

    /// Lets everything that may change `object` do so; says whether anything did that is not a plugin of the table, and so
    /// may have changed what only the server may.
    pub async fn mutate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
    ) -> Result<bool, Status> {
        let began = Instant::now();
        let done = self.mutate_by_all(context, attributes, object).await;
        self.figures.admit().note(attributes.operation, done.is_err(), began);
        done
    }

    async fn mutate_by_all(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
    ) -> Result<bool, Status> {
        let plugins = |object: &mut Object| {
            let mut began = Instant::now();
            self.mutators.iter().try_for_each(|plugin| {
                let done = (plugin.run)(context, attributes, object);
                began = plugin.note(attributes.operation, done.is_err(), began);
                done
            })
        };
        plugins(object)?;
        let mut rounds = Rounds::default();
        let mut of_policies = policy::Rounds::default();
        self.mutate_outside(context, attributes, object, &mut rounds, &mut of_policies).await?;
        if rounds.changed {
            // What a plugin or a webhook did may depend on what another has changed since.
            rounds.next();
            plugins(object)?;
            self.mutate_outside(context, attributes, object, &mut rounds, &mut of_policies).await?;
        }
        Ok(rounds.changed)
    }

    async fn mutate_outside(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
        rounds: &mut Rounds,
        of_policies: &mut policy::Rounds,
    ) -> Result<(), Status> {
        let operation = attributes.operation;
        // No policy is about what is on its way out, and upstream does not count them there either.
        if let Some(times) = &self.mutating_policies {
            let began = Instant::now();
            let done = self.policies.mutate(context, attributes, object, of_policies).await;
            if operation != Operation::Delete {
                times.note(operation, done.is_err(), began);
            }
            rounds.changed |= done?;
        }
        if let Some(times) = &self.mutating_webhooks {
            let began = Instant::now();
            let done = self.webhooks.mutate(context, attributes, object, rounds).await;
            attributes.request.delays.add(times.note(operation, done.is_err(), began).duration_since(began));
            done?;
        }
        Ok(())
    }

    /// Lets everything look at `object` as it is going to be stored.
    pub async fn validate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
    ) -> Result<(), Status> {
        let began = Instant::now();
        let creates = attributes.operation == Operation::Create && attributes.request.subresource.is_empty();
        let told = Some(object.name()).filter(|name| creates && !name.is_empty());
        let done = self.validate_by_all(context, &Attributes { told, ..*attributes }, object).await;
        self.figures.validate().note(attributes.operation, done.is_err(), began);
        done
    }

    async fn validate_by_all(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
    ) -> Result<(), Status> {
        let operation = attributes.operation;
        // Not a plugin, because nobody may switch it off.
        rbac::escalation(context, attributes, object)?;
        certificates::readable(attributes, object)?;
        device_claims::check(context, attributes, object).await?;
        let mut began = Instant::now();
        self.validators.iter().try_for_each(|plugin| {
            let done = (plugin.run)(context, attributes, object);
            began = plugin.note(operation, done.is_err(), began);
            done
        })?;
        if let Some((images, times)) = &self.images {
            let done = images.check(attributes, object).await;
            if CHANGES.contains(&operation) {
                began = times.note(operation, done.is_err(), began);
            }
            done?;
        }
        if let Some(times) = &self.validating_policies {
            let done = self.policies.validate(context, attributes, object).await;
            began = times.note(operation, done.is_err(), began);
            done?;
        }
        if let Some(times) = &self.validating_webhooks {
            let done = self.webhooks.validate(context, attributes, object).await;
            let ended = times.note(operation, done.is_err(), began);
            attributes.request.delays.add(ended.duration_since(began));
            began = ended;
            done?;
        }
        // Last, because what is refused afterwards would have been charged.
        if let Some((quotas, times)) = &self.quotas {
            let done = quotas.charge(context, attributes, object).await;
            if CHANGES.contains(&operation) {
                times.note(operation, done.is_err(), began);
            }
            done?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn unknown_plugins_are_refused_by_name() {
        let options = |arguments: &[&str]| {
            let all = ["x", "--etcd-servers=http://127.0.0.1:1"].iter().chain(arguments);
            Options::parse_from(all).admission
        };
        let mutators = |arguments: &[&str]| Admission::new(&options(arguments)).unwrap().mutators.len();
        let default = mutators(&[]);
        assert_eq!(mutators(&["--enable-admission-plugins=NodeRestriction"]), default + 1);
        assert_eq!(mutators(&["--disable-admission-plugins=Priority"]), default - 1);
        let error = Admission::new(&options(&["--enable-admission-plugins=Nothing"])).err().unwrap();
        assert_eq!(error.to_string(), "enable-admission-plugins plugin \"Nothing\" is unknown");
        for (flags, wanted) in [
            (
                ["--enable-admission-plugins=Priority", "--disable-admission-plugins=Priority"],
                "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (
                ["--enable-admission-plugins=A", "--disable-admission-plugins=B"],
                "[enable-admission-plugins plugin \"A\" is unknown, disable-admission-plugins plugin \"B\" is unknown]",
            ),
        ] {
            assert_eq!(Admission::new(&options(&flags)).err().unwrap().to_string(), wanted);
        }
        let error = Admission::new(&options(&["--enable-admission-plugins=ImagePolicyWebhook"])).err().unwrap();
        assert!(error.to_string().contains("needs its server"), "{error}");
        let error = Admission::new(&options(&["--enable-admission-plugins=EventRateLimit"])).err().unwrap();
        assert!(error.to_string().contains("needs its limits"), "{error}");
    }
}
