//! NamespaceLifecycle: the system's namespaces stay. That nothing comes into one that ends is the handlers' to see to.

use kinit_api::object::Object;
use kinit_api::status::Status;

use super::{Attributes, Context, Operation};

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub fn lifecycle(_: &Context<'_>, attributes: &Attributes<'_>, _: &mut Object) -> Result<(), Status> {
    let goes = attributes.operation == Operation::Delete && attributes.is("namespaces");
    if goes && IMMORTAL.contains(&attributes.name) {
        return Err(attributes.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}
