//! Admission: what looks at a write between authorization and storage, and may change or refuse it.
//!
//! A plugin is a row of [`PLUGINS`]: a name, whether it runs unless it is switched off, and a function that reads the
//! watch cache and never waits. Those that change an object run before those that only look.

mod certificates;
mod node;
mod pods;
mod rbac;
mod service_account;

pub use service_account::WARN_ONLY_SECONDS;

use std::collections::HashSet;
use std::sync::Arc;

use kinit_api::object::Object;
use kinit_api::status::{Status, qualified};

use crate::authz::Authorizer;
use crate::cache::Cache;
use crate::options::{AdmissionOptions, Options};
use crate::request::ResourceRequest;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as plugins see it.
pub struct Attributes<'a> {
    pub operation: Operation,
    pub request: &'a ResourceRequest,
    /// The object's name, also where the request names a collection.
    pub name: &'a str,
    /// The stored object; absent for a creation.
    pub old: Option<&'a Object>,
}

impl Attributes<'_> {
    /// Whether the write is of this resource of the core group itself or, with a name after a slash, of a subresource.
    fn is(&self, what: &str) -> bool {
        self.of("", what)
    }

    fn of(&self, group: &str, what: &str) -> bool {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let spec = self.request.spec;
        spec.group == group && spec.resource == resource && self.request.subresource == subresource
    }

    /// A refusal, in the words that all plugins' refusals have.
    fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        let spec = self.request.spec;
        let what = qualified(spec.group, spec.resource);
        Status::forbidden(spec.group, spec.resource, self.name, format!("{what} {:?} is forbidden: {why}", self.name))
    }
}

/// What plugins may look at.
pub struct Context<'a> {
    pub cache: &'a Cache,
    pub authorizer: &'a Authorizer,
    pub options: &'a Options,
}

type Plugin = fn(&Context<'_>, &Attributes<'_>, &mut Object) -> Result<(), Status>;

/// Every plugin: its name, whether it is on by default, and what it does.
const PLUGINS: &[(&str, bool, Plugin)] = &[
    ("ServiceAccount", true, service_account::admit),
    ("NodeRestriction", false, node::restrict),
    ("TaintNodesByCondition", true, node::taint),
    ("Priority", true, pods::priority),
    ("DefaultTolerationSeconds", true, pods::tolerations),
    ("CertificateApproval", true, certificates::approval),
    ("CertificateSigning", true, certificates::signing),
    ("CertificateSubjectRestriction", true, certificates::subject),
];

/// Plugins that upstream has by default and whose work is done elsewhere here, or is not there yet; naming them is no
/// mistake.
const ELSEWHERE: &[&str] = &["NamespaceLifecycle", "AlwaysAdmit"];

/// The plugins that run.
#[derive(Clone)]
pub struct Admission {
    plugins: Arc<[Plugin]>,
}

impl Admission {
    /// The error names a plugin that does not exist.
    pub fn new(options: &AdmissionOptions) -> anyhow::Result<Self> {
        let known = |name: &&String| {
            let name = name.as_str();
            ELSEWHERE.contains(&name) || PLUGINS.iter().any(|(own, _, _)| *own == name)
        };
        let named = options.enable_admission_plugins.iter().chain(&options.disable_admission_plugins);
        if let Some(unknown) = named.clone().find(|name| !known(name)) {
            let all: Vec<&str> = PLUGINS.iter().map(|(name, _, _)| *name).collect();
            anyhow::bail!("there is no admission plugin {unknown:?}; there are {}", all.join(", "));
        }
        let on: HashSet<&str> = options.enable_admission_plugins.iter().map(String::as_str).collect();
        let off: HashSet<&str> = options.disable_admission_plugins.iter().map(String::as_str).collect();
        let runs = |(name, default, _): &&(&str, bool, Plugin)| (*default || on.contains(name)) && !off.contains(name);
        Ok(Self { plugins: PLUGINS.iter().filter(runs).map(|(_, _, plugin)| *plugin).collect() })
    }

    /// Lets every plugin look at `object`, the new state, or the stored one that is to go.
    pub fn admit(&self, context: &Context<'_>, attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|plugin| plugin(context, attributes, object))?;
        // Not a plugin, because nobody may switch it off.
        rbac::escalation(context, attributes, object)
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
        assert_eq!(Admission::new(&options(&[])).unwrap().plugins.len(), PLUGINS.len() - 1);
        let both = options(&["--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=Priority"]);
        assert_eq!(Admission::new(&both).unwrap().plugins.len(), PLUGINS.len() - 1);
        let error = Admission::new(&options(&["--enable-admission-plugins=Nothing"])).err().unwrap();
        assert!(error.to_string().contains("\"Nothing\""), "{error}");
    }
}
