//! Phase `images`: every component's image, made from its binary and put into the container runtime.

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::init::InitContext;
use super::{Outcome, Phase, Result};
use crate::host::{Change, Host, record};
use crate::images::{Binaries, Binary, COMPONENTS, Component, ImageStore, pack};

/// Images packed and written at once. Each is held in memory while it is.
const AT_ONCE: usize = 2;

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("images", "packs the components into images and gives them to the container runtime", |context| {
        async move {
            let settings = &context.settings.cluster;
            import(context.host.as_ref(), context.images.as_ref(), &context.binaries, COMPONENTS, |name| {
                settings.image(name)
            })
            .await
        }
        .boxed()
    });

/// Packs and imports `components`.
pub async fn import(
    host: &dyn Host,
    store: &dyn ImageStore,
    binaries: &Binaries,
    components: &[Component],
    image_name: impl Fn(&str) -> String + Send,
) -> Result {
    let named: Vec<(&'static str, String)> =
        components.iter().map(|component| (component.name, image_name(component.name))).collect();
    // Boxed one by one: a closure that returns a borrowing future cannot be named for all lifetimes.
    let work: Vec<BoxFuture<'_, anyhow::Result<Change>>> =
        named.into_iter().map(|(component, name)| one(host, store, binaries, component, name).boxed()).collect();
    let change = stream::iter(work)
        .buffer_unordered(AT_ONCE)
        .try_fold(Change::Unchanged, |all, one| async move { Ok(all.or(one)) })
        .await?;
    Ok(Outcome::from(change))
}

async fn one(
    host: &dyn Host,
    store: &dyn ImageStore,
    binaries: &Binaries,
    component: &'static str,
    name: String,
) -> anyhow::Result<Change> {
    let path = binaries.find(component)?;
    host.note(record::Entry::Image { name: name.clone() })?;
    let binary = Binary { name: component.into(), path };
    let image = tokio::task::spawn_blocking(move || pack(&name, &binary)).await??;
    host.note(record::Entry::Image { name: image.config_digest.clone() })?;
    Ok(store.ensure(image).await?)
}
