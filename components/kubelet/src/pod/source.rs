//! Where pods come from: files on this host, and the API. Both end in the table of workers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service, Toleration};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::worker::{Command, Worker};
use super::{facts, leftovers, report};
use crate::context::Context;
use crate::error::{Error, Result};

const SCAN: Duration = Duration::from_secs(20);
const RECONNECT: Duration = Duration::from_millis(500);

struct Entry {
    commands: watch::Sender<Command>,
}

/// What follows from a command.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A worker begins.
    Begin,
    /// The pod's worker is told.
    Tell,
    /// It waits until an earlier pod of its name has ended.
    Queue,
    Nothing,
}

impl Step {
    /// `present` is what the pod's worker was told last, `namesake` whether there is a worker for a pod of its name.
    fn of(present: Option<&Command>, namesake: impl FnOnce() -> bool, command: &Command) -> Self {
        let is_static = facts::is_static(command.pod());
        match (present, command) {
            // A static pod that gets its former manifest back begins anew; any other never runs again.
            (Some(Command::End(_)), Command::Run(_)) if is_static => Self::Queue,
            (Some(Command::End(_)), Command::Run(_)) => Self::Nothing,
            (Some(_), _) => Self::Tell,
            (None, Command::Run(_)) if is_static && namesake() => Self::Queue,
            (None, Command::End(_)) if is_static => Self::Nothing,
            (None, _) => Self::Begin,
        }
    }
}

/// The API's image of a static pod, as far as it matters here.
type Mirrors = HashMap<(String, String), Arc<Pod>>;

/// One worker per pod uid.
#[derive(Clone)]
pub struct Pods {
    context: Arc<Context>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    api: Arc<Mutex<HashMap<String, Arc<Pod>>>>,
    mirrors: Arc<Mutex<Mirrors>>,
    /// Static pods that begin when an earlier one of their name has ended: both would want the same ports and files.
    queued: Arc<Mutex<HashMap<String, Arc<Pod>>>>,
    /// Whether the folder of static pods was read: before that an image without a pod proves nothing.
    files_read: Arc<AtomicBool>,
    /// Whether the API's pods were listed.
    api_read: Arc<AtomicBool>,
}

impl Pods {
    /// An empty table.
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            entries: Arc::default(),
            api: Arc::default(),
            mirrors: Arc::default(),
            queued: Arc::default(),
            files_read: Arc::default(),
            api_read: Arc::default(),
        }
    }

    /// All pods, as they were last wanted.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        let entries = self.entries.lock();
        entries.values().map(|entry| entry.commands.borrow().pod().clone()).collect()
    }

    /// Whether all sources were read once: only then a pod that is not known is gone.
    pub fn complete(&self) -> bool {
        let files = self.context.config.static_pod_path.is_none() || self.files_read.load(Ordering::Acquire);
        files && self.api_read.load(Ordering::Acquire)
    }

    /// The pod of a name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.all().into_iter().find(|pod| facts::namespace(pod) == namespace && facts::name(pod) == name)
    }

    /// Wakes the workers of pods whose containers changed.
    pub fn wake(&self, uid: &str) -> bool {
        self.context.wake(uid)
    }

    fn tell(&self, command: Command) {
        let pod = command.pod().clone();
        if matches!(command, Command::End(_)) {
            // It may not have begun yet.
            self.queued.lock().retain(|_, other| facts::uid(other) != facts::uid(&pod));
        }
        let uid = facts::uid(&pod).to_owned();
        let entries = self.entries.lock();
        let present = entries.get(&uid).map(|entry| entry.commands.borrow().clone());
        let namesake = || {
            let name = facts::full_name(&pod);
            entries.values().any(|entry| facts::full_name(entry.commands.borrow().pod()) == name)
        };
        match Step::of(present.as_ref(), namesake, &command) {
            Step::Begin => self.begin(entries, command),
            Step::Tell => {
                if let Some(entry) = entries.get(&uid) {
                    entry.commands.send_replace(command);
                }
            }
            Step::Queue => {
                self.queued.lock().insert(facts::full_name(&pod), pod);
            }
            Step::Nothing => {}
        }
    }

    /// Starts the worker of a pod that has none.
    fn begin(&self, mut entries: MutexGuard<'_, HashMap<String, Entry>>, command: Command) {
        let pod = command.pod().clone();
        let uid = facts::uid(&pod).to_owned();
        let (commands, receiver) = watch::channel(command);
        let wake = Arc::new(Notify::new());
        self.context.wakes.lock().insert(uid.clone(), wake.clone());
        let worker = Worker::new(self.context.clone(), receiver, wake);
        entries.insert(uid.clone(), Entry { commands });
        drop(entries);
        let pods = self.clone();
        tokio::spawn(async move {
            worker.run().await;
            pods.entries.lock().remove(&uid);
            pods.context.wakes.lock().remove(&uid);
            let next = pods.queued.lock().remove(&facts::full_name(&pod));
            if let Some(next) = next {
                pods.tell(Command::Run(next));
            }
        });
    }

    /// Ends static pods of an earlier run that are not wanted any more.
    fn end_leftovers(&self, before: Vec<Pod>, wanted: &HashMap<PathBuf, Arc<Pod>>) {
        for pod in before {
            if !wanted.values().any(|one| facts::uid(one) == facts::uid(&pod)) {
                tracing::info!(pod = facts::full_name(&pod), "ends a static pod whose manifest is gone or has changed");
                self.begin(self.entries.lock(), Command::End(Arc::new(pod)));
            }
        }
    }

    /// What the API says of a pod.
    fn apply(&self, mut pod: Pod) {
        // Who wrote which field is of no interest here, and as large as the rest.
        pod.metadata.managed_fields = None;
        let pod = Arc::new(pod);
        if facts::is_mirror(&pod) {
            let key = (facts::namespace(&pod).to_owned(), facts::name(&pod).to_owned());
            let old = self.mirrors.lock().insert(key, pod.clone());
            // Somebody may have said so while this node could not be heard; the worker says what is so.
            if is_unready(&pod) && !old.is_some_and(|old| is_unready(&old)) {
                self.tell_again(&pod);
            }
            return;
        }
        self.api.lock().insert(facts::uid(&pod).to_owned(), pod.clone());
        self.tell(if pod.metadata.deletion_timestamp.is_some() { Command::End(pod) } else { Command::Run(pod) });
    }

    /// The API no longer has a pod; `last` is what it was at its end, if that is known.
    fn gone(&self, uid: &str, last: Option<Pod>) {
        if let Some(pod) = self.api.lock().remove(uid) {
            self.tell(Command::End(last.map_or(pod, Arc::new)));
        }
    }

    /// The API no longer has an image of a static pod: it is made anew if the pod still runs.
    fn mirror_gone(&self, pod: &Pod) {
        self.mirrors.lock().remove(&(facts::namespace(pod).to_owned(), facts::name(pod).to_owned()));
        self.tell_again(pod);
    }

    /// Makes the worker of an image's pod tell its status once more.
    fn tell_again(&self, mirror: &Pod) {
        if let Some(own) = self.find(facts::namespace(mirror), facts::name(mirror)) {
            self.context.mirrors_lost.lock().insert(facts::name(&own).to_owned());
            self.wake(facts::uid(&own));
        }
    }

    /// Deletes images of static pods that are no more.
    async fn delete_orphaned_mirrors(&self) {
        if !self.files_read.load(Ordering::Acquire) {
            return;
        }
        let all: Vec<Arc<Pod>> = self.mirrors.lock().values().cloned().collect();
        for mirror in all {
            if self.find(facts::namespace(&mirror), facts::name(&mirror)).is_none() {
                delete_mirror(&self.context, &mirror).await;
            }
        }
    }
}

fn is_unready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "False")
}

/// The static pods of an earlier run, once the runtime tells of them: nothing runs without it.
async fn leftovers(context: &Context) -> Vec<Pod> {
    loop {
        match leftovers::read(&context.runtime).await {
            Ok(all) => return all,
            Err(error) => tracing::debug!(%error, "the runtime does not say what runs"),
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Follows the folder of static pods, if there is one. Those that ran before and are in it no more are ended first.
pub async fn follow_files(pods: Pods, folder: Option<PathBuf>, shutdown: CancellationToken) {
    let mut before = tokio::select! {
        before = leftovers(&pods.context) => before,
        () = shutdown.cancelled() => return,
    };
    let Some(folder) = folder else { return pods.end_leftovers(before, &HashMap::new()) };
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    // The folder is looked at from time to time in any case; the watch only makes it quick.
    let watching = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        use notify::event::{AccessKind, AccessMode, EventKind};
        // Reading the folder is an event of it too: to read it again for that would never end.
        let read =
            |kind: &EventKind| matches!(kind, EventKind::Access(how) if *how != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| read(&event.kind)) {
            notify.notify_one();
        }
    })
    .and_then(|mut watcher| {
        use notify::Watcher;
        watcher.watch(&folder_of(&folder), notify::RecursiveMode::NonRecursive).map(|()| watcher)
    });
    if let Err(error) = &watching {
        tracing::warn!(folder = %folder.display(), %error, "static pods are looked for only now and then");
    }
    let mut present: HashMap<PathBuf, Arc<Pod>> = HashMap::new();
    loop {
        let found = scan(&folder, &pods.context);
        pods.end_leftovers(std::mem::take(&mut before), &found);
        for (path, pod) in &found {
            if let Some(old) = present.get(path).filter(|old| facts::uid(old) != facts::uid(pod)) {
                pods.tell(Command::End(old.clone()));
            }
            pods.tell(Command::Run(pod.clone()));
        }
        let mut orphans = Vec::new();
        for (path, old) in &present {
            if !found.contains_key(path) {
                pods.tell(Command::End(old.clone()));
                let key = (facts::namespace(old).to_owned(), facts::name(old).to_owned());
                orphans.extend(pods.mirrors.lock().get(&key).cloned());
            }
        }
        if !orphans.is_empty() {
            // The pod that ends may be the API server itself: nothing here waits for what it says.
            let context = pods.context.clone();
            tokio::spawn(async move {
                for mirror in orphans {
                    delete_mirror(&context, &mirror).await;
                }
            });
        }
        present = found;
        pods.files_read.store(true, Ordering::Release);
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(SCAN) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn folder_of(folder: &Path) -> PathBuf {
    // A folder that is not there yet cannot be watched.
    let _ = std::fs::create_dir_all(folder);
    folder.to_owned()
}

async fn delete_mirror(context: &Context, mirror: &Pod) {
    let Ok(client) = context.client() else { return };
    let api: Api<Pod> = Api::namespaced(client, facts::namespace(mirror));
    // What fails is found again when the node's pods are compared the next time.
    match tokio::time::timeout(report::PATIENCE, report::delete(&api, mirror)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(pod = facts::full_name(mirror), %error, "the image of a static pod was not deleted");
        }
        Err(_) => {
            tracing::debug!(pod = facts::full_name(mirror), "nobody heard that the image of a static pod is to go")
        }
    }
}

fn scan(folder: &Path, context: &Context) -> HashMap<PathBuf, Arc<Pod>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || !path.is_file() {
            continue;
        }
        match read(&path, context) {
            Ok(pod) => {
                found.insert(path, Arc::new(pod));
            }
            Err(error) => tracing::warn!(%error, "a static pod cannot be read"),
        }
    }
    found
}

/// Reads a static pod and gives it what the API would: a uid, the node's name in its own, and the node.
fn read(path: &Path, context: &Context) -> Result<Pod> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    let invalid = |reason: String| Error::Invalid { path: path.to_owned(), reason };
    let mut pod: Pod = serde_yaml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    if facts::name(&pod).is_empty() || pod.spec.is_none() {
        return Err(invalid("it is no Pod with a name and a spec".into()));
    }
    let mut digest = Sha256::new();
    digest.update(&text);
    digest.update(context.node_name.as_bytes());
    digest.update(path.as_os_str().as_encoded_bytes());
    let hash = hex::encode(&digest.finalize()[..16]);
    let uid = pod.metadata.uid.get_or_insert_with(|| hash.clone()).clone();
    pod.metadata.name = Some(format!("{}-{}", facts::name(&pod), context.node_name));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(facts::HASH.into(), uid);
    annotations.insert(facts::SOURCE.into(), "file".into());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(context.node_name.clone());
        let all =
            Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Default::default() };
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.contains(&all) {
            tolerations.push(all);
        }
    }
    Ok(pod)
}

/// Follows the API's pods of this node.
pub async fn follow_api(pods: Pods, client: kube::Client, shutdown: CancellationToken) {
    let api: Api<Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", pods.context.node_name));
    let mut stream = watcher(api, config).boxed();
    let mut listing: Vec<String> = Vec::new();
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = shutdown.cancelled() => return,
        };
        match event {
            Some(Ok(Event::Init)) => {
                listing.clear();
                pods.mirrors.lock().clear();
            }
            Some(Ok(Event::InitApply(pod))) => {
                listing.push(facts::uid(&pod).to_owned());
                pods.apply(pod);
            }
            Some(Ok(Event::InitDone)) => {
                let known: Vec<String> = pods.api.lock().keys().cloned().collect();
                for uid in known.iter().filter(|uid| !listing.contains(uid)) {
                    pods.gone(uid, None);
                }
                pods.api_read.store(true, Ordering::Release);
                pods.delete_orphaned_mirrors().await;
            }
            Some(Ok(Event::Apply(pod))) => pods.apply(pod),
            Some(Ok(Event::Delete(pod))) if facts::is_mirror(&pod) => pods.mirror_gone(&pod),
            Some(Ok(Event::Delete(pod))) => {
                let uid = facts::uid(&pod).to_owned();
                pods.gone(&uid, Some(pod));
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the watch of pods broke");
                tokio::time::sleep(RECONNECT).await;
            }
            None => return,
        }
    }
}

/// Follows services, for the environment of containers.
pub async fn follow_services(context: Arc<Context>, client: kube::Client, shutdown: CancellationToken) {
    let mut stream = watcher(Api::<Service>::all(client), watcher::Config::default()).boxed();
    let mut all: HashMap<(String, String), Service> = HashMap::new();
    let key = |service: &Service| {
        (service.metadata.namespace.clone().unwrap_or_default(), service.metadata.name.clone().unwrap_or_default())
    };
    let slim = |mut service: Service| {
        service.metadata.managed_fields = None;
        service.metadata.annotations = None;
        service.status = None;
        service
    };
    let mut complete = false;
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = shutdown.cancelled() => return,
        };
        match event {
            Some(Ok(Event::Init)) => all.clear(),
            Some(Ok(Event::InitApply(service))) => {
                all.insert(key(&service), slim(service));
            }
            Some(Ok(Event::Apply(service))) => {
                all.insert(key(&service), slim(service));
            }
            Some(Ok(Event::Delete(service))) => {
                all.remove(&key(&service));
            }
            Some(Ok(Event::InitDone)) => complete = true,
            Some(Err(error)) => {
                tracing::debug!(%error, "the watch of services broke");
                tokio::time::sleep(RECONNECT).await;
            }
            None => return,
        }
        if complete {
            context.services.send_replace(Some(Arc::new(all.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_pods_of_one_name_follow_each_other() {
        let pod = |source: &str| -> Arc<Pod> {
            let metadata = serde_json::json!({"name": "p", "uid": "u", "annotations": {facts::SOURCE: source}});
            Arc::new(serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap())
        };
        let (run, end) = (|source| Command::Run(pod(source)), |source| Command::End(pod(source)));
        for (present, namesake, command, wanted) in [
            (None, false, run("file"), Step::Begin),
            (None, true, run("file"), Step::Queue),
            (None, true, run("api"), Step::Begin),
            (None, true, end("file"), Step::Nothing),
            (None, false, end("api"), Step::Begin),
            (Some(run("file")), true, run("file"), Step::Tell),
            (Some(run("api")), true, end("api"), Step::Tell),
            (Some(end("api")), true, run("api"), Step::Nothing),
            (Some(end("file")), true, run("file"), Step::Queue),
            (Some(end("file")), true, end("file"), Step::Tell),
        ] {
            assert_eq!(Step::of(present.as_ref(), || namesake, &command), wanted);
        }
    }
}
