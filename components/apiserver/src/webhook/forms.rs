//! The version in which a webhook is asked: its rules may name another one than the request's, of the same objects.

use std::sync::Arc;

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::Value;

use super::review;
use crate::admission::{Attributes, Context};
use crate::registry::Spec;
use crate::view;

/// What webhooks are asked about one state of a write, made once for each version.
#[derive(Default)]
pub struct Forms(Vec<(Spec, Arc<Value>)>);

impl Forms {
    /// The AdmissionReview's request in the version of a row.
    pub async fn request(
        &mut self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        spec: &Spec,
        object: &Object,
    ) -> Result<Arc<Value>, Status> {
        if let Some((_, request)) = self.0.iter().find(|(own, _)| Arc::ptr_eq(own, spec)) {
            return Ok(request.clone());
        }
        let shown = to(context, attributes, spec, object).await?;
        let old = match attributes.old {
            Some(old) => Some(to(context, attributes, spec, old).await?),
            None => None,
        };
        let request = Arc::new(review::request(attributes, spec, &shown, old.as_ref()));
        self.0.push((spec.clone(), request.clone()));
        Ok(request)
    }

    /// Forgets what has been made of a state that is no longer.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether the write is of the resource's own kind, and not of a subresource's.
fn is_whole(attributes: &Attributes<'_>) -> bool {
    attributes.kind().2 == attributes.request.spec.kind()
}

/// The written object in the version of a row.
pub async fn to(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    spec: &Spec,
    object: &Object,
) -> Result<Object, Status> {
    let object = object.clone();
    match is_whole(attributes) {
        true if spec.custom.is_some() => context.converter.object(spec, object).await,
        true => Ok(view::shown(spec, object)),
        false => Ok(object),
    }
}

/// An object in the version of a row as the handlers have it.
pub async fn from(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    spec: &Spec,
    object: Object,
) -> Result<Object, Status> {
    match is_whole(attributes) {
        true if spec.custom.is_some() => context.converter.object(&attributes.request.spec, object).await,
        true => Ok(view::stored(spec, object)),
        false => Ok(object),
    }
}
