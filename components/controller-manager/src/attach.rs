//! Attaching volumes of drivers to the nodes whose pods use them, and detaching them: a VolumeAttachment says what is
//! wanted, and the driver's own attacher does it.
//!
//! A volume stays attached as long as a pod that uses it is on the node, or the node says that it has it mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Informer, Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::context::Context;

/// How soon something is looked at again that nobody tells of.
const AGAIN: Duration = Duration::from_secs(2);
/// A node that is not ready and still says that it has a volume mounted is believed for this long.
const BELIEVED: Duration = Duration::from_secs(360);

/// A volume of a driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Volume {
    /// The name of the persistent volume.
    name: String,
    driver: String,
    handle: String,
    /// Whether only one node may have it.
    single: bool,
}

impl Volume {
    fn of(volume: &PersistentVolume) -> Option<Self> {
        let spec = volume.spec.as_ref()?;
        let source = spec.csi.as_ref()?;
        let many = |mode: &String| mode == "ReadWriteMany" || mode == "ReadOnlyMany";
        Some(Self {
            name: volume.metadata.name.clone()?,
            driver: source.driver.clone(),
            handle: source.volume_handle.clone(),
            single: !spec.access_modes.iter().flatten().any(many),
        })
    }

    /// The name of the object by which it is attached to a node, as kubelets expect it.
    fn attachment(&self, node: &str) -> String {
        let text = format!("{}{}{node}", self.handle, self.driver);
        format!("csi-{}", hex::encode(Sha256::digest(text)))
    }

    /// What a node's status calls it.
    fn on_node(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver, self.handle)
    }
}

/// An attachment, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attachment {
    name: String,
    node: String,
    volume: String,
    attached: bool,
    ending: bool,
}

impl Attachment {
    fn of(attachment: &VolumeAttachment) -> Option<Self> {
        Some(Self {
            name: attachment.metadata.name.clone()?,
            node: attachment.spec.node_name.clone(),
            volume: attachment.spec.source.persistent_volume_name.clone()?,
            attached: attachment.status.as_ref().is_some_and(|status| status.attached),
            ending: attachment.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// What is to be done for a node. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    attach: Vec<Volume>,
    detach: Vec<String>,
    /// Volumes that another node has, and which node.
    elsewhere: Vec<(String, String)>,
    /// Whether something has to be looked at again.
    again: bool,
}

/// `wanted` are the volumes of the node's pods, `mounted` those that it says it has, as it names them; `known` finds a
/// volume that an attachment names.
fn plan(
    node: &str,
    wanted: &BTreeSet<Volume>,
    mounted: &[String],
    all: &[Attachment],
    known: impl Fn(&str) -> Option<Volume>,
) -> Plan {
    let mut plan = Plan::default();
    for volume in wanted {
        let of_volume = || all.iter().filter(|one| one.volume == volume.name);
        if let Some(own) = of_volume().find(|one| one.node == node) {
            // One that is ending is made again when it is gone.
            plan.again |= own.ending;
            continue;
        }
        match of_volume().find(|_| volume.single) {
            Some(other) => {
                plan.elsewhere.push((volume.name.clone(), other.node.clone()));
                plan.again = true;
            }
            None => plan.attach.push(volume.clone()),
        }
    }
    for one in all.iter().filter(|one| one.node == node && !one.ending) {
        if wanted.iter().any(|volume| volume.name == one.volume) {
            continue;
        }
        // What others attach by a name of their own, they detach.
        let Some(volume) = known(&one.volume).filter(|volume| volume.attachment(node) == one.name) else { continue };
        if mounted.contains(&volume.on_node()) {
            plan.again = true;
        } else {
            plan.detach.push(one.name.clone());
        }
    }
    plan
}

/// The claims that a pod uses, by key.
fn claims(pod: &Pod) -> impl Iterator<Item = String> {
    let (namespace, name) =
        (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter_map(move |volume| {
        match &volume.persistent_volume_claim {
            Some(claim) => Some(format!("{namespace}/{}", claim.claim_name)),
            None => volume.ephemeral.as_ref().map(|_| format!("{namespace}/{name}-{}", volume.name)),
        }
    })
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// What a node says that it has mounted; one that has long been gone quiet is not believed.
fn mounted(node: &Node, now: Timestamp) -> Vec<String> {
    let Some(status) = &node.status else { return Vec::new() };
    let ready = status.conditions.iter().flatten().find(|one| one.type_ == "Ready");
    let since = ready.filter(|one| one.status != "True").and_then(|one| one.last_transition_time.as_ref());
    let quiet = since.map(|since| Duration::try_from(now.duration_since(since.0)).unwrap_or_default());
    if quiet.is_some_and(|quiet| quiet > BELIEVED) {
        return Vec::new();
    }
    status.volumes_in_use.clone().unwrap_or_default()
}

/// Caches that nobody else here looks at, beside those that all share.
struct Storage {
    context: Arc<Context>,
    attachments: Arc<Informer<VolumeAttachment>>,
    drivers: Arc<Informer<CSIDriver>>,
}

impl Storage {
    fn volume(&self, name: &str) -> Option<Volume> {
        Volume::of(self.context.caches.volumes.get(name)?.as_ref())
    }

    /// The volume of a claim that has to be attached.
    fn of_claim(&self, key: &str) -> Option<Volume> {
        let claim: Arc<PersistentVolumeClaim> = self.context.caches.claims.get(key)?;
        let volume = self.volume(claim.spec.as_ref()?.volume_name.as_deref()?)?;
        let driver = self.drivers.get(&volume.driver);
        driver.is_none_or(|driver| driver.spec.attach_required.unwrap_or(true)).then_some(volume)
    }

    /// The volumes of a node's pods, each with a pod that uses it.
    fn wanted(&self, node: &str) -> BTreeMap<Volume, Arc<Pod>> {
        let mut all = BTreeMap::new();
        for pod in self.context.caches.pods.list().into_iter().filter(|pod| node_of(pod) == Some(node)) {
            for volume in claims(&pod).filter_map(|key| self.of_claim(&key)) {
                all.insert(volume, pod.clone());
            }
        }
        all
    }
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("attachdetach-controller").await;
    let attachments: Arc<Informer<VolumeAttachment>> = Informer::start(actor.client(), &context.shutdown);
    let drivers: Arc<Informer<CSIDriver>> = Informer::start(actor.client(), &context.shutdown);
    let caches = &context.caches;
    attachments.synced().await;
    drivers.synced().await;
    caches.pods.synced().await;
    caches.claims.synced().await;
    caches.volumes.synced().await;
    caches.nodes.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    caches.pods.handle(move |_, pod| {
        if let Some(node) = node_of(pod).filter(|_| claims(pod).next().is_some()) {
            keys.add(node.to_owned());
        }
    });
    let keys = queue.clone();
    attachments.handle(move |_, attachment| keys.add(attachment.spec.node_name.clone()));
    let (keys, all) = (queue.clone(), attachments.clone());
    caches.nodes.handle(move |_, node| {
        // Only a node that has something attached can have something to be detached.
        let name = key_of(node.as_ref());
        if all.list().iter().any(|one| one.spec.node_name == name) {
            keys.add(name);
        }
    });
    let (keys, all) = (queue.clone(), caches.pods.clone());
    caches.claims.handle(move |_, claim| {
        let (key, namespace) = (key_of(claim.as_ref()), claim.metadata.namespace.clone().unwrap_or_default());
        let users = all.list_in(&namespace).into_iter().filter(|pod| claims(pod).any(|used| used == key));
        users.for_each(|pod| node_of(&pod).into_iter().for_each(|node| keys.add(node.to_owned())));
    });
    let storage = Arc::new(Storage { context: context.clone(), attachments, drivers });
    work("attachdetach", queue, 2, context.shutdown.clone(), move |node: String| {
        let (storage, actor) = (storage.clone(), actor.clone());
        async move {
            let all: Vec<Attachment> =
                storage.attachments.list().iter().filter_map(|one| Attachment::of(one)).collect();
            let wanted = storage.wanted(&node);
            let object = storage.context.caches.nodes.get(&node);
            let mounted = object.as_deref().map(|node| mounted(node, Timestamp::now())).unwrap_or_default();
            // What is to go to a node that is no more goes nowhere.
            let names: BTreeSet<Volume> = wanted.keys().filter(|_| object.is_some()).cloned().collect();
            let plan = plan(&node, &names, &mounted, &all, |name| storage.volume(name));
            for (name, other) in &plan.elsewhere {
                let Some((_, pod)) = wanted.iter().find(|(volume, _)| volume.name == *name) else { continue };
                let text = format!(
                    "Multi-Attach error for volume {name:?} Volume is already exclusively attached to one node and \
                     can't be attached to another (it is attached to {other})"
                );
                actor.events.say(About::object(pod.as_ref()), Kind::Warning, "FailedAttachVolume", text);
            }
            let api: Api<VolumeAttachment> = Api::all(actor.client());
            for volume in &plan.attach {
                let object = json!({
                    "metadata": {"name": volume.attachment(&node)},
                    "spec": {
                        "attacher": volume.driver,
                        "nodeName": node,
                        "source": {"persistentVolumeName": volume.name},
                    },
                });
                let object: VolumeAttachment = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
                match api.create(&PostParams::default(), &object).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    other => drop(other?),
                }
            }
            for name in &plan.detach {
                match api.delete(name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
            if let Some(object) = object {
                tell_node(&storage, &Api::all(actor.client()), &object, &all).await?;
            }
            Ok::<_, kube::Error>(plan.again.then_some(AGAIN))
        }
    })
    .await;
}

/// Tells a node what is attached to it, which upstream's kubelets wait for.
async fn tell_node(storage: &Storage, api: &Api<Node>, node: &Node, all: &[Attachment]) -> Result<(), kube::Error> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let own = all.iter().filter(|one| one.node == name && one.attached);
    let attached: BTreeSet<String> = own.filter_map(|one| Some(storage.volume(&one.volume)?.on_node())).collect();
    let told = node.status.iter().flat_map(|status| status.volumes_attached.iter().flatten());
    let told: BTreeSet<String> = told.map(|one| one.name.clone()).collect();
    if attached == told {
        return Ok(());
    }
    let list: Vec<_> = attached.into_iter().map(|name| json!({"name": name, "devicePath": ""})).collect();
    let change = Patch::Merge(json!({"status": {"volumesAttached": list}}));
    match api.patch_status(&name, &PatchParams::default(), &change).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, single: bool) -> Volume {
        Volume { name: name.into(), driver: "d".into(), handle: format!("h-{name}"), single }
    }

    fn at(name: &str, node: &str, ending: bool) -> Attachment {
        let own = volume(name, true).attachment(node);
        Attachment { name: own, node: node.into(), volume: name.into(), attached: true, ending }
    }

    #[test]
    fn volumes_follow_their_pods() {
        let (a, many) = (volume("a", true), volume("m", false));
        let own = [a.on_node()];
        let (there, others) = (a.attachment("n"), Attachment { name: "others".into(), ..at("a", "n", false) });
        for (what, wanted, mounted, all, attach, detach, again) in [
            ("a pod comes", vec![&a], &[][..], vec![], vec!["a"], vec![], false),
            ("it is there", vec![&a], &own, vec![at("a", "n", false)], vec![], vec![], false),
            ("its pod is gone, it is mounted", vec![], &own, vec![at("a", "n", false)], vec![], vec![], true),
            ("and no more", vec![], &[], vec![at("a", "n", false)], vec![], vec![there.as_str()], false),
            ("somebody else attached it", vec![], &[], vec![others], vec![], vec![], false),
            ("it is being detached", vec![], &[], vec![at("a", "n", true)], vec![], vec![], false),
            ("and wanted again", vec![&a], &[], vec![at("a", "n", true)], vec![], vec![], true),
            ("another node has it", vec![&a], &[], vec![at("a", "o", false)], vec![], vec![], true),
            ("and still has it", vec![&a], &[], vec![at("a", "o", true)], vec![], vec![], true),
            ("many nodes may", vec![&many], &[], vec![at("m", "o", false)], vec!["m"], vec![], false),
            ("others are left alone", vec![], &[], vec![at("a", "o", false)], vec![], vec![], false),
        ] {
            let wanted = wanted.into_iter().cloned().collect();
            let found = plan("n", &wanted, mounted, &all, |name| Some(volume(name, true)));
            let attached: Vec<_> = found.attach.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(
                (attached, found.detach, found.again),
                (attach, detach.iter().map(|one: &&str| (*one).to_owned()).collect(), again),
                "{what}"
            );
        }
    }

    #[test]
    fn a_node_is_believed_while_it_may_be_alive() {
        let now: Timestamp = "2027-01-01T01:00:00Z".parse().unwrap();
        for (status, since, count) in [
            ("True", "2027-01-01T00:00:00Z", 1),
            ("Unknown", "2027-01-01T00:59:00Z", 1),
            ("Unknown", "2027-01-01T00:50:00Z", 0),
        ] {
            let node = json!({"status": {"volumesInUse": ["x"],
                "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}});
            assert_eq!(mounted(&serde_json::from_value(node).unwrap(), now).len(), count, "{status} {since}");
        }
    }

    #[test]
    fn a_volume_is_named_as_kubelets_expect() {
        let found: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "h"}}}))
        .unwrap();
        let found = Volume::of(&found).unwrap();
        assert_eq!(found.on_node(), "kubernetes.io/csi/d^h");
        assert!(found.single && found.attachment("n").len() == 68);
        assert!(Volume::of(&PersistentVolume::default()).is_none());
    }
}
