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
mod limits;
mod namespaces;
mod node;
mod node_bound;
mod optional;
mod pod_security;
mod pods;
mod quota;
mod rbac;
mod runtime_class;
mod service_account;
mod storage;

pub use config::Configuration;
pub use service_account::WARN_ONLY_SECONDS;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kinit_api::object::Object;
use kinit_api::status::{Status, qualified};
use parking_lot::Mutex;

use crate::authz::Authorizer;
use crate::cache::Cache;
use crate::convert::Converter;
use crate::options::{AdmissionOptions, Options};
use crate::policy::{self, Policies};
use crate::registry::subresource;
use crate::request::ResourceRequest;
use crate::storage::Etcd;
use crate::strategy::DeleteOptions;
use crate::webhook::dispatch::{Rounds, Webhooks};

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
pub struct Attributes<'a> {
    pub operation: Operation,
    pub request: &'a ResourceRequest,
    /// The object's name, also where the request names a collection; its prefix where it is still to be generated.
    pub name: &'a str,
    /// The stored object of an update.
    pub old: Option<&'a Object>,
    /// How a deletion is to be done.
    pub deletion: Option<&'a DeleteOptions>,
}

impl<'a> Attributes<'a> {
    pub fn new(operation: Operation, request: &'a ResourceRequest, name: &'a str, old: Option<&'a Object>) -> Self {
        Self { operation, request, name, old, deletion: None }
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
        if creates { object.name() } else { self.name }
    }

    /// Whether nothing is going to be stored.
    pub fn dry_run(&self) -> bool {
        self.request.is_dry_run() || self.deletion.is_some_and(|options| options.dry_run)
    }

    /// A refusal, in the words that all plugins' refusals have.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        let spec = &self.request.spec;
        let what = qualified(spec.group(), spec.resource());
        Status::forbidden(
            spec.group(),
            spec.resource(),
            self.name,
            format!("{what} {:?} is forbidden: {why}", self.name),
        )
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
}

type Mutator = fn(&Context<'_>, &Attributes<'_>, &mut Object) -> Result<(), Status>;
type Validator = fn(&Context<'_>, &Attributes<'_>, &Object) -> Result<(), Status>;

/// A row of [`PLUGINS`].
struct Plugin {
    name: &'static str,
    default: bool,
    /// Whether it may be switched on at all.
    served: bool,
    mutate: Option<Mutator>,
    validate: Option<Validator>,
}

impl Plugin {
    const fn on(name: &'static str) -> Self {
        Self { name, default: true, served: true, mutate: None, validate: None }
    }

    const fn off(name: &'static str) -> Self {
        Self { name, default: false, served: true, mutate: None, validate: None }
    }

    /// A plugin that upstream has and this server has not.
    const fn unserved(name: &'static str) -> Self {
        Self { name, default: false, served: false, mutate: None, validate: None }
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

const MUTATING_POLICIES: &str = "MutatingAdmissionPolicy";
const VALIDATING_POLICIES: &str = "ValidatingAdmissionPolicy";
const MUTATING_WEBHOOKS: &str = "MutatingAdmissionWebhook";
const VALIDATING_WEBHOOKS: &str = "ValidatingAdmissionWebhook";
const QUOTA: &str = "ResourceQuota";
const EVENT_RATES: &str = "EventRateLimit";

/// Every plugin in upstream's order: its name, whether it is on by default, and what it does. A row that does nothing
/// stands for what is done elsewhere (what waits for an answer has a place of its own in [`Admission`]), or for what
/// upstream does behind a feature gate that is off.
const PLUGINS: &[Plugin] = &[
    Plugin::off("AlwaysAdmit"),
    Plugin::unserved("NamespaceAutoProvision"),
    Plugin::on("NamespaceLifecycle").mutates(namespaces::lifecycle),
    Plugin::off("NamespaceExists"),
    Plugin::off("LimitPodHardAntiAffinityTopology").validates(optional::limit_anti_affinity),
    Plugin::on("LimitRanger").mutates(limits::defaults).validates(limits::check),
    Plugin::on("ServiceAccount").mutates(service_account::admit),
    Plugin::off("NodeRestriction").mutates(node::restrict),
    Plugin::on("TaintNodesByCondition").mutates(node::taint),
    Plugin::off("AlwaysPullImages").mutates(optional::pull_always),
    Plugin::unserved("ImagePolicyWebhook"),
    Plugin::on("PodSecurity").validates(pod_security::check),
    Plugin::off("PodNodeSelector").mutates(optional::select_nodes),
    Plugin::on("Priority").mutates(pods::priority).validates(pods::one_default),
    Plugin::on("DefaultTolerationSeconds").mutates(pods::tolerations),
    Plugin::unserved("PodTolerationRestriction"),
    Plugin::off(EVENT_RATES).validates(event_rate::check),
    Plugin::off("ExtendedResourceToleration").mutates(optional::tolerate_devices),
    Plugin::on("DefaultStorageClass").mutates(storage::default_class),
    Plugin::on("StorageObjectInUseProtection").mutates(storage::protect),
    Plugin::on("PodGroupProtection"),
    Plugin::off("OwnerReferencesPermissionEnforcement").validates(optional::owners),
    Plugin::on("PersistentVolumeClaimResize").validates(storage::resize),
    Plugin::on("RuntimeClass").mutates(runtime_class::set).validates(runtime_class::check),
    Plugin::on("CertificateApproval").validates(certificates::approval),
    Plugin::on("CertificateSigning").validates(certificates::signing),
    Plugin::on("ClusterTrustBundleAttest").validates(certificates::attestation),
    Plugin::on("CertificateSubjectRestriction").validates(certificates::subject),
    Plugin::on("DefaultIngressClass").mutates(storage::default_ingress),
    Plugin::off("DenyServiceExternalIPs").validates(optional::deny_external),
    Plugin::on("PodTopologyLabels").mutates(pods::topology),
    Plugin::on("PodGroupWorkloadExists"),
    Plugin::on("NodeDeclaredFeatureValidator").validates(node_bound::features),
    Plugin::on("JobValidation"),
    Plugin::on("PodResizeValidator").validates(node_bound::resize),
    Plugin::on(MUTATING_POLICIES),
    Plugin::on(MUTATING_WEBHOOKS),
    Plugin::on(VALIDATING_POLICIES),
    Plugin::on(VALIDATING_WEBHOOKS),
    Plugin::on(QUOTA),
    Plugin::off("AlwaysDeny").validates(optional::deny),
];

/// The plugins that run.
#[derive(Clone)]
pub struct Admission {
    configuration: Arc<Configuration>,
    mutators: Arc<[Mutator]>,
    validators: Arc<[Validator]>,
    policies: Policies,
    webhooks: Webhooks,
    mutating_policies: bool,
    validating_policies: bool,
    mutating_webhooks: bool,
    validating_webhooks: bool,
    quotas: Option<quota::Quotas>,
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
        let unserved = |name: &&String| PLUGINS.iter().any(|plugin| plugin.name == **name && !plugin.served);
        if let Some(name) = options.enable_admission_plugins.iter().find(unserved) {
            anyhow::bail!("--enable-admission-plugins: {name} is not served by this API server");
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
        Ok(Self {
            configuration,
            mutators: running().filter_map(|plugin| plugin.mutate).collect(),
            validators: running().filter_map(|plugin| plugin.validate).collect(),
            policies: Policies::default(),
            webhooks: Webhooks::default(),
            mutating_policies: running().any(|plugin| plugin.name == MUTATING_POLICIES),
            validating_policies: running().any(|plugin| plugin.name == VALIDATING_POLICIES),
            mutating_webhooks: running().any(|plugin| plugin.name == MUTATING_WEBHOOKS),
            validating_webhooks: running().any(|plugin| plugin.name == VALIDATING_WEBHOOKS),
            quotas: running().any(|plugin| plugin.name == QUOTA).then(quota::Quotas::default),
        })
    }

    /// What plugins are told.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Lets everything that may change `object` do so; says whether anything did that is not a plugin of the table, and so
    /// may have changed what only the server may.
    pub async fn mutate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
    ) -> Result<bool, Status> {
        let plugins =
            |object: &mut Object| self.mutators.iter().try_for_each(|plugin| plugin(context, attributes, object));
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
        if self.mutating_policies {
            rounds.changed |= self.policies.mutate(context, attributes, object, of_policies).await?;
        }
        if self.mutating_webhooks {
            self.webhooks.mutate(context, attributes, object, rounds).await?;
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
        // Not a plugin, because nobody may switch it off.
        rbac::escalation(context, attributes, object)?;
        certificates::readable(attributes, object)?;
        device_claims::check(context, attributes, object).await?;
        self.validators.iter().try_for_each(|plugin| plugin(context, attributes, object))?;
        if self.validating_policies {
            self.policies.validate(context, attributes, object).await?;
        }
        if self.validating_webhooks {
            self.webhooks.validate(context, attributes, object).await?;
        }
        // Last, because what is refused afterwards would have been charged.
        match &self.quotas {
            Some(quotas) => quotas.charge(context, attributes, object).await,
            None => Ok(()),
        }
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
        assert!(error.to_string().contains("ImagePolicyWebhook is not served"), "{error}");
        Admission::new(&options(&["--disable-admission-plugins=ImagePolicyWebhook"])).unwrap();
        let error = Admission::new(&options(&["--enable-admission-plugins=EventRateLimit"])).err().unwrap();
        assert!(error.to_string().contains("needs its limits"), "{error}");
    }
}
