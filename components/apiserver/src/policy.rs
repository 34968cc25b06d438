//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules about writes, written as expressions.
//!
//! [`set`] keeps the compiled policies with their bindings, [`matching`] says which writes a policy means, [`scope`] is
//! what expressions see, [`params`] finds what bindings parametrize policies with. [`validating`] and [`mutating`] run
//! them; [`check`] looks at policies that are to be stored, [`typing`] tells in their status what does not fit the types that they
//! are about, [`conditions`] evaluates the match conditions of webhooks, and [`devices`] reads the expressions of device classes.

pub mod check;
pub mod conditions;
mod devices;
mod expressions;
mod matching;
mod mutating;
mod params;
mod scope;
mod set;
#[cfg(test)]
mod tests;
pub mod typing;
mod validating;

use std::sync::Arc;

use kinit_api::object::Object;
use kinit_api::status::Status;

use crate::admission::{Attributes, Context};
use crate::webhook::hooks;
use set::Set;

pub use mutating::Rounds;

const GROUP: &str = "admissionregistration.k8s.io";

/// All policies. Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    validating: Arc<Set>,
    mutating: Arc<Set>,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            validating: Arc::new(Set::new("validatingadmissionpolicies", "validatingadmissionpolicybindings")),
            mutating: Arc::new(Set::new("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")),
        }
    }
}

impl Policies {
    /// Lets the mutating policies change the object; says whether one did.
    pub async fn mutate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &mut Object,
        rounds: &mut Rounds,
    ) -> Result<bool, Status> {
        let policies = self.mutating.get(context.cache);
        if policies.is_empty() || exempt(attributes) {
            return Ok(false);
        }
        let namespace = namespace(context, attributes, object).await?;
        mutating::run(context, attributes, object, namespace.as_ref(), &policies, rounds)
    }

    /// Lets the validating policies look at the object.
    pub async fn validate(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
    ) -> Result<(), Status> {
        let policies = self.validating.get(context.cache);
        if policies.is_empty() || exempt(attributes) {
            return Ok(());
        }
        let namespace = namespace(context, attributes, object).await?;
        validating::run(context, attributes, object, namespace.as_ref(), &policies).await
    }
}

/// Whether a write is about policies: none may stand between an administrator and its mending.
fn exempt(attributes: &Attributes<'_>) -> bool {
    let resource = attributes.request.spec.resource();
    attributes.request.spec.group() == GROUP && resource.contains("admissionpolic")
}

/// The namespace that a write is in, or the one that is written.
async fn namespace(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &Object,
) -> Result<Option<Object>, Status> {
    let name = attributes.request.authorized_namespace();
    if hooks::is_namespace(attributes) {
        return Ok(Some(object.clone()));
    }
    if name.is_empty() {
        return Ok(None);
    }
    match context.cache.find("", "namespaces", "", name).and_then(|entry| entry.object()) {
        Some(namespace) => Ok(Some(namespace)),
        // The cache may be behind a namespace that has just been made.
        None => context.etcd.object("", "namespaces", "", name).await.map(Some),
    }
}
