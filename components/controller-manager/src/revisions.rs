//! The history of a set's pod template: one ControllerRevision per template that it had.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::{Actor, Caches};
use crate::{pods, write};

/// Old revisions that are kept if a set does not say.
pub const LIMIT: i32 = 10;
/// Names that are tried for a revision, if those of other templates are in the way.
const NAMES: u32 = 8;

/// The revisions of a set.
pub struct History {
    /// That of the template as it is now.
    pub newest: Arc<ControllerRevision>,
    /// All, in their order.
    pub all: Vec<Arc<ControllerRevision>>,
}

/// What revisions are made from.
pub struct Source<'a> {
    /// What selects revisions that nobody controls.
    pub selector: &'a LabelSelector,
    /// The template.
    pub template: &'a PodTemplateSpec,
    /// The label that tells the revision's hash.
    pub label: &'static str,
}

/// What a revision keeps of a set: its template, as a patch that puts it back.
pub fn data_of(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    serde_json::from_value(revision.data.as_ref()?.0["spec"]["template"].clone()).ok()
}

fn hash(data: &Value, attempt: u32) -> String {
    let salt = if attempt == 0 { String::new() } else { attempt.to_string() };
    hex::encode(&Sha256::digest(data.to_string() + &salt)[..5])
}

/// The newest revision of those with this data, and the number that it is to have. Pure.
fn find(all: &[Arc<ControllerRevision>], data: &Value) -> (Option<Arc<ControllerRevision>>, i64) {
    let same = |one: &&Arc<ControllerRevision>| one.data.as_ref().is_some_and(|found| found.0 == *data);
    let found = all.iter().filter(same).max_by_key(|one| one.revision).cloned();
    let others = all.iter().filter(|one| !same(one)).map(|one| one.revision).max().unwrap_or(0);
    (found, others + 1)
}

/// Finds the revision of the template, or makes it; one of an older template that came back becomes the newest again.
pub async fn revise<K: Resource<DynamicType = ()>>(
    caches: &Caches,
    actor: &Actor,
    set: &K,
    source: &Source<'_>,
) -> Result<History, kube::Error> {
    let namespace = set.meta().namespace.as_deref().unwrap_or_default();
    let api: Api<ControllerRevision> = Api::namespaced(actor.client(), namespace);
    let mut all = Vec::new();
    for one in caches.revisions.list_in(namespace) {
        if pods::is_controlled_by(&one.metadata, set.meta().uid.as_deref()) {
            all.push(one);
        } else if pods::controller(&one.metadata).is_none()
            && set.meta().deletion_timestamp.is_none()
            && one.metadata.deletion_timestamp.is_none()
            && pods::matches(source.selector, one.metadata.labels.as_ref())
        {
            let mut owners = one.metadata.owner_references.clone().unwrap_or_default();
            owners.push(pods::owner(set));
            let taken = json!({"metadata": {"ownerReferences": owners}});
            all.push(Arc::new(write::object(&api, one.as_ref(), &taken).await?));
        }
    }
    all.sort_by_key(|one| one.revision);
    let data = data_of(source.template);
    let (found, number) = find(&all, &data);
    let newest = match found {
        Some(found) if found.revision < number => {
            Arc::new(write::object(&api, found.as_ref(), &json!({"revision": number})).await?)
        }
        Some(found) => found,
        None => Arc::new(create(&api, set, source, data, number).await?),
    };
    all.retain(|one| one.metadata.name != newest.metadata.name);
    all.push(newest.clone());
    Ok(History { newest, all })
}

async fn create<K: Resource<DynamicType = ()>>(
    api: &Api<ControllerRevision>,
    set: &K,
    source: &Source<'_>,
    data: Value,
    revision: i64,
) -> Result<ControllerRevision, kube::Error> {
    let mut attempt = 0;
    loop {
        let hash = hash(&data, attempt);
        let name = format!("{}-{hash}", set.meta().name.as_deref().unwrap_or_default());
        let template = source.template.metadata.clone().unwrap_or_default();
        let mut labels = template.labels.unwrap_or_default();
        labels.insert(source.label.to_owned(), hash);
        let made = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                annotations: set.meta().annotations.clone(),
                owner_references: Some(vec![pods::owner(set)]),
                ..Default::default()
            },
            data: Some(RawExtension(data.clone())),
            revision,
        };
        match api.create(&PostParams::default(), &made).await {
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < NAMES => {
                let there = api.get(&name).await?;
                let ours = pods::is_controlled_by(&there.metadata, set.meta().uid.as_deref());
                if ours && there.data == made.data {
                    return Ok(there);
                }
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// Removes the oldest revisions beyond the limit, but those in use.
pub async fn trim(
    actor: &Actor,
    history: &History,
    limit: Option<i32>,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), kube::Error> {
    let namespace = history.newest.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<ControllerRevision> = Api::namespaced(actor.client(), namespace);
    let newest = &history.newest.metadata.name;
    let old: Vec<_> = history.all.iter().filter(|one| one.metadata.name != *newest && !in_use(one)).collect();
    let kept = limit.unwrap_or(LIMIT).max(0) as usize;
    for one in old.iter().take(old.len().saturating_sub(kept)) {
        match api.delete(one.metadata.name.as_deref().unwrap_or_default(), &Default::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => {
                other?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_comes_back_is_the_newest_again() {
        let revision = |name: &str, number: i64| {
            Arc::new(ControllerRevision {
                metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
                data: Some(RawExtension(json!({"is": &name[..1]}))),
                revision: number,
            })
        };
        let all = [revision("a1", 1), revision("b", 2), revision("a2", 3), revision("c", 4)];
        for (data, wanted) in [("a", (Some("a2"), 5)), ("b", (Some("b"), 5)), ("c", (Some("c"), 4)), ("d", (None, 5))] {
            let (found, number) = find(&all, &json!({"is": data}));
            let name = found.as_ref().and_then(|one| one.metadata.name.as_deref());
            assert_eq!((name, number), wanted, "{data}");
        }
        assert_ne!(hash(&json!({}), 0), hash(&json!({}), 1));
    }

    #[test]
    fn a_revision_gives_the_template_back() {
        let template: PodTemplateSpec =
            serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}})).unwrap();
        let revision = ControllerRevision { data: Some(RawExtension(data_of(&template))), ..Default::default() };
        assert_eq!(template_of(&revision), Some(template));
    }
}
