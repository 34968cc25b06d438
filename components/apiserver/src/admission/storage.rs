//! Claims, volumes and Ingresses: the classes that they get, what protects them, and when a claim may grow.

use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::status::Status;
use serde_json::Value;

use super::{Attributes, Context, Operation};

/// The newest object of a resource that an annotation marks as the default one; of equally old ones, the first by name.
fn default_of(context: &Context<'_>, group: &str, resource: &str, marks: &[&str]) -> Option<String> {
    let marked = |object: &Object| marks.iter().any(|mark| object.str(&["metadata", "annotations", mark]) == "true");
    let all = context.cache.all(group, resource);
    let classes = all.values().filter_map(|entry| entry.object()).filter(marked);
    let age = |class: &Object| class.str(&["metadata", "creationTimestamp"]).to_owned();
    let newest = classes.max_by(|a, b| age(a).cmp(&age(b)).then_with(|| b.name().cmp(a.name())))?;
    Some(newest.name().to_owned())
}

/// DefaultStorageClass.
pub fn default_class(context: &Context<'_>, attributes: &Attributes<'_>, claim: &mut Object) -> Result<(), Status> {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    const MARKS: &[&str] =
        &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let concerns = attributes.is("persistentvolumeclaims") && attributes.operation == Operation::Create;
    let has_class = claim.get(&["metadata", "annotations", ANNOTATION]).is_some()
        || claim.get(&["spec", "storageClassName"]).is_some_and(|class| !class.is_null());
    if concerns
        && !has_class
        && let Some(class) = default_of(context, "storage.k8s.io", "storageclasses", MARKS)
    {
        claim.set(&["spec", "storageClassName"], class);
    }
    Ok(())
}

/// DefaultIngressClass.
pub fn default_ingress(context: &Context<'_>, attributes: &Attributes<'_>, ingress: &mut Object) -> Result<(), Status> {
    const MARKS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];
    let concerns = attributes.of("networking.k8s.io", "ingresses") && attributes.operation == Operation::Create;
    let has_class = ingress.get(&["metadata", "annotations", "kubernetes.io/ingress.class"]).is_some()
        || ingress.get(&["spec", "ingressClassName"]).is_some_and(|class| !class.is_null());
    if concerns
        && !has_class
        && let Some(class) = default_of(context, "networking.k8s.io", "ingressclasses", MARKS)
    {
        ingress.set(&["spec", "ingressClassName"], class);
    }
    Ok(())
}

/// StorageObjectInUseProtection: what may be in use goes only when its controller lets it.
pub fn protect(_: &Context<'_>, attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let finalizer = if attributes.is("persistentvolumes") {
        "kubernetes.io/pv-protection"
    } else if attributes.is("persistentvolumeclaims") {
        "kubernetes.io/pvc-protection"
    } else if attributes.of("storage.k8s.io", "volumeattributesclasses") {
        "kubernetes.io/vac-protection"
    } else {
        return Ok(());
    };
    let mut all = object.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if !all.iter().any(|own| own == finalizer) {
        all.push(finalizer.into());
        object.set(&["metadata", "finalizers"], all);
    }
    Ok(())
}

/// PersistentVolumeClaimResize: a bound claim may grow if its class says so.
pub fn resize(context: &Context<'_>, attributes: &Attributes<'_>, claim: &Object) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|_| attributes.is("persistentvolumeclaims")) else { return Ok(()) };
    let size = |claim: &Object| {
        let text = claim.str(&["spec", "resources", "requests", "storage"]);
        text.parse::<Quantity>().unwrap_or(Quantity::ZERO)
    };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old.str(&["status", "phase"]) != "Bound" {
        return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = claim.str(&["spec", "storageClassName"]);
    let same = !class.is_empty() && class == old.str(&["spec", "storageClassName"]);
    let found = context.cache.find("storage.k8s.io", "storageclasses", "", class).filter(|_| same);
    let expandable = |class: Object| class.get(&["allowVolumeExpansion"]) == Some(&Value::Bool(true));
    if found.and_then(|entry| entry.object()).is_some_and(expandable) {
        return Ok(());
    }
    Err(attributes.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}
