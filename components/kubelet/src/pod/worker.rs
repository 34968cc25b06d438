//! The task that runs one pod: Sync until it is told to end, then Terminating, then Terminated.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::actions::{self, Actions};
use super::conditions::Resizing;
use super::images::Pulls;
use super::resize::{self, Allotted, Given};
use super::start::{self, Place, Start};
use super::state::PodState;
use super::status::{self, Failure, Inputs, Waiting};
use super::{admission, container, facts, report, sandbox, stop};
use crate::context::Context;
use crate::error::Result;
use crate::events::Kind;
use crate::volumes;

/// How often all is looked at even if nothing happened: volumes follow their sources at this pace.
const RESYNC: Duration = Duration::from_secs(60);
/// How long to wait after something failed; it doubles with each failure up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(8);
/// How long to wait until a status is told again that the API did not take.
const RETELL: Duration = Duration::from_secs(3);
/// How long a pod waits until others have made room, and until it is looked whether there is more for it.
const ROOM: Duration = Duration::from_secs(1);
const MORE: Duration = Duration::from_secs(10);
const LAST_WORDS_LIMIT: usize = 4096;
/// Lines of a log that stand in for last words.
const LOG_LINES: usize = 80;

/// What a worker is told; only the latest counts.
#[derive(Clone)]
pub enum Command {
    /// Run this.
    Run(Arc<Pod>),
    /// End it; the API's copy, if there is one, is then deleted.
    End(Arc<Pod>),
}

impl Command {
    /// The pod that it is about.
    pub fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Run(pod) | Self::End(pod) => pod,
        }
    }
}

/// A pod's worker.
pub struct Worker {
    context: Arc<Context>,
    commands: watch::Receiver<Command>,
    wake: Arc<Notify>,
    waiting: Waiting,
    pulls: Pulls,
    given: Given,
    /// What the containers may have; `None` until the pod is taken.
    allotted: Option<Allotted>,
    resizing: Resizing,
    /// Whether others are making room for the pod.
    queues: bool,
    failure: Option<Failure>,
    reported: Option<PodStatus>,
    /// The version of the pod in the API that has the last status.
    told_at: Option<u64>,
    /// Whether the last status did not reach the API.
    untold: bool,
}

impl Worker {
    /// A worker for the pod that `commands` tells of.
    pub fn new(context: Arc<Context>, commands: watch::Receiver<Command>, wake: Arc<Notify>) -> Self {
        let (waiting, pulls, given, resizing) = Default::default();
        Self {
            context,
            commands,
            wake,
            waiting,
            pulls,
            given,
            allotted: None,
            resizing,
            queues: false,
            failure: None,
            reported: None,
            told_at: None,
            untold: false,
        }
    }

    /// Runs until the pod is gone.
    pub async fn run(mut self) {
        let mut retry = FIRST_RETRY;
        loop {
            let command = self.commands.borrow_and_update().clone();
            let mut later = self.commands.clone();
            let result = match &command {
                Command::Run(pod) => tokio::select! {
                    result = self.sync(pod) => result,
                    // A pod that is to end waits for no image and no hook.
                    _ = later.wait_for(|command| matches!(command, Command::End(_))) => continue,
                },
                Command::End(pod) => {
                    let grace = facts::grace_period(pod);
                    tokio::select! {
                        result = self.terminate(pod, grace) => match result {
                            Ok(()) => return,
                            Err(error) => Err(error),
                        },
                        _ = later.wait_for(|command| facts::grace_period(command.pod()) < grace) => continue,
                    }
                }
            };
            let pause = match result {
                Ok(pause) => {
                    retry = FIRST_RETRY;
                    pause.unwrap_or(RESYNC)
                }
                Err(error) => {
                    tracing::warn!(pod = facts::full_name(command.pod()), %error, "cannot bring the pod to where it should be");
                    let pause = self.pulls.next(Instant::now()).unwrap_or(retry);
                    retry = (retry * 2).min(LONGEST_RETRY);
                    pause
                }
            };
            let pause = if self.untold { pause.min(RETELL) } else { pause };
            let until = Instant::now() + pause;
            tokio::select! {
                changed = self.commands.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Looks and acts until nothing is left to do now; says when to look again.
    async fn sync(&mut self, pod: &Arc<Pod>) -> Result<Option<Duration>> {
        loop {
            let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
            let now = Timestamp::now();
            let deadline = self.check_deadline(pod, now);
            if self.is_over(pod) {
                return self.finish(pod, &state).await;
            }
            if self.queues {
                return Ok(Some(ROOM));
            }
            let pod = &self.allot(pod, &state);
            self.context.probes.follow(&self.context, pod, &state, &self.wake);
            let probes = self.context.probes.verdicts(&state);
            self.given.retain(|id, _| state.containers.iter().any(|one| one.status.id == *id));
            let changes = resize::changes(pod, &state, &self.given);
            let applied = resize::apply(&self.context, pod, &state, &changes, &mut self.given).await;
            let left = !resize::changes(pod, &state, &self.given).is_empty();
            self.resizing.progress = left.then(|| applied.err());
            let mut todo = actions::compute(pod, &state, &probes, now.as_nanosecond() as i64);
            todo.restart_for_resize(&state, changes.iter().filter(|change| change.restart).map(|change| change.id));
            self.note_pauses(pod, &state, &todo);
            self.report(pod, &state).await;
            if todo.stop_all || todo.create_sandbox.is_some() || !todo.stop.is_empty() || !todo.start.is_empty() {
                if let Err(error) = self.act(pod, &state, &todo).await {
                    let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
                    self.report(pod, &state).await;
                    return Err(error);
                }
                if self.commands.has_changed().unwrap_or(true) {
                    return Ok(Some(Duration::ZERO));
                }
                continue;
            }
            stop::collect(&self.context, &state).await;
            if !state.containers.is_empty() {
                let ips = state.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                if let Err(error) = volumes::make(&self.context, pod, &ips).await {
                    tracing::debug!(pod = facts::full_name(pod), %error, "volumes stay as they are");
                }
            }
            let more = (self.resizing != Resizing::default()).then_some(MORE);
            return Ok(todo.again.into_iter().chain(deadline).chain(more).min());
        }
    }

    /// Whether the pod never runs again: the API says so, or the kubelet has decided it.
    fn is_over(&self, pod: &Pod) -> bool {
        self.failure.is_some()
            || status::is_terminal(pod.status.as_ref())
            || status::is_terminal(self.reported.as_ref())
    }

    /// Ends what still runs of a pod that is over, and leaves the rest to be asked about.
    async fn finish(&mut self, pod: &Arc<Pod>, state: &PodState) -> Result<Option<Duration>> {
        self.context.probes.forget(facts::uid(pod));
        let own = facts::grace_period(pod);
        let grace = self.failure.as_ref().and_then(|failure| failure.grace).unwrap_or(own).min(own);
        stop::all(&self.context, pod, state, grace).await?;
        self.context.claims.lock().release(facts::uid(pod));
        let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
        self.report(pod, &state).await;
        Ok(None)
    }

    /// The pod with what it is allotted: what it wants, if the node has that, or else what it had.
    fn allot(&mut self, pod: &Arc<Pod>, state: &PodState) -> Arc<Pod> {
        let wanted = resize::wanted(pod);
        let allotted = self.allotted.get_or_insert_with(|| resize::allotted_before(pod, state));
        if resize::differ(&wanted, allotted) {
            let answer = self.context.claims.lock().resize(pod, self.context.room);
            match answer {
                Ok(()) => {
                    *allotted = wanted;
                    self.resizing.pending = None;
                }
                Err(pending) => {
                    if self.resizing.pending.as_ref() != Some(&pending) {
                        let reason = if pending.reason == "Deferred" { "ResizeDeferred" } else { "ResizeInfeasible" };
                        self.context.events.pod(pod, None, Kind::Warning, reason, pending.message.clone());
                    }
                    self.resizing.pending = Some(pending);
                }
            }
        } else {
            self.resizing.pending = None;
        }
        resize::with(pod, allotted)
    }

    /// Has others make room for a critical pod; whether that helps.
    fn make_room(&self, pod: &Pod) -> bool {
        let victims = self.context.claims.lock().victims(pod, self.context.room);
        for uid in victims.iter().flatten() {
            tracing::warn!(pod = facts::full_name(pod), victim = uid, "makes room for a critical pod");
            let message = "Preempted in order to admit critical pod".to_owned();
            self.context.fail(uid, Failure { grace: Some(1), ..Failure::new("Preempting", message) });
        }
        victims.is_some_and(|all| !all.is_empty())
    }

    /// Takes a pod, or says why not. Those that this node has had before, and static ones, are not asked about again.
    fn admit(&self, pod: &Pod) -> std::result::Result<(), Failure> {
        let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if self.is_over(pod) {
            return Ok(());
        }
        if facts::is_static(pod) || started {
            if !started {
                self.make_room(pod);
            }
            self.context.claims.lock().note(pod);
            return Ok(());
        }
        if self.context.ends.load(Ordering::Relaxed) {
            return Err(Failure::new("NodeShutdown", "Pod was rejected as the node is shutting down."));
        }
        admission::refusal(pod, &self.context.config).map_or(Ok(()), Err)?;
        self.context.claims.lock().take(pod, self.context.room)
    }

    /// Fails a pod that has been told to or has run too long; else says when it will have.
    fn check_deadline(&mut self, pod: &Pod, now: Timestamp) -> Option<Duration> {
        if let Some(failure) = self.context.failures.lock().get(facts::uid(pod)) {
            self.failure = Some(failure.clone());
        }
        self.queues = false;
        if self.reported.is_none()
            && self.failure.is_none()
            && let Err(refusal) = self.admit(pod)
        {
            self.queues = facts::is_critical(pod) && self.make_room(pod);
            if self.queues {
                return None;
            }
            self.context.events.pod(pod, None, Kind::Warning, refusal.reason, refusal.message.clone());
            self.failure = Some(refusal);
        }
        let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
        let told = self.reported.as_ref().or(pod.status.as_ref());
        let begin = told?.start_time.as_ref()?.0.as_second();
        let left = begin + seconds - now.as_second();
        if left > 0 {
            return Some(Duration::from_secs(left as u64));
        }
        if !self.is_over(pod) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.context.events.pod(pod, None, Kind::Normal, "DeadlineExceeded", message);
            self.failure = Some(Failure { grace: Some(1), ..Failure::new("DeadlineExceeded", message) });
        }
        None
    }

    /// A container that pauses before its next start says so.
    fn note_pauses(&mut self, pod: &Pod, state: &PodState, todo: &Actions) {
        let names: Vec<String> = pod.spec.iter().flat_map(facts::containers).map(|one| one.name.clone()).collect();
        for name in names {
            let Some(ended) = state.latest(&name).filter(|instance| instance.is_exited()) else { continue };
            let pause = actions::pause(ended);
            if !todo.waits.contains(&name) || pause.is_zero() {
                continue;
            }
            let (of, seconds) = (facts::runtime_name(pod), pause.as_secs());
            let message = format!("back-off {seconds}s restarting failed container={name} pod={of}");
            let said = self.waiting.insert(name.clone(), ("CrashLoopBackOff".into(), message.clone()));
            if said.is_none_or(|(_, said)| said != message) {
                let text = format!("Back-off restarting failed container {name} in pod {of}");
                self.context.events.pod(pod, Some(&name), Kind::Warning, "BackOff", text);
            }
        }
    }

    async fn act(&mut self, pod: &Arc<Pod>, state: &PodState, todo: &Actions) -> Result<()> {
        if todo.stop_all {
            if todo.create_sandbox.is_some() {
                let text = "Pod sandbox changed, it will be killed and re-created.";
                self.context.events.pod(pod, None, Kind::Normal, "SandboxChanged", text);
            }
            stop::all(&self.context, pod, state, facts::grace_period(pod)).await?;
        }
        for (id, reason) in &todo.stop {
            let Some(instance) = state.containers.iter().find(|one| one.status.id == *id) else { continue };
            tracing::info!(pod = facts::full_name(pod), container = instance.name, reason, "stops a container");
            let ip = state.sandbox().and_then(|sandbox| sandbox.ips.first()).map(String::as_str);
            let grace = actions::grace(pod, &instance.name, reason);
            stop::instance(&self.context, pod, instance, ip, grace, reason).await?;
        }
        for id in &todo.discard {
            tracing::info!(pod = facts::full_name(pod), id, "removes a container that was never started");
            stop::discard(&self.context, id).await?;
        }
        if todo.start.is_empty() && todo.create_sandbox.is_none() {
            return Ok(());
        }
        let attempt = todo.create_sandbox.or_else(|| state.sandbox().map(|sandbox| sandbox.attempt)).unwrap_or(0);
        let config = sandbox::config(&self.context, pod, attempt);
        let present = state.sandbox().filter(|_| todo.create_sandbox.is_none());
        // Volumes come first: a pod whose volumes cannot be made takes no address.
        let ips = present.map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let volumes = match volumes::make(&self.context, pod, &ips).await {
            Ok(volumes) => volumes,
            Err(error) => {
                self.context.events.pod(pod, None, Kind::Warning, "FailedMount", error.to_string());
                return Err(error);
            }
        };
        let place = match present {
            Some(sandbox) => Place { id: sandbox.id.clone(), ips, config },
            None => start::sandbox(&self.context, pod, config).await?,
        };
        let context = self.context.clone();
        let start = Start { context: &context, pod, place: &place, volumes: &volumes };
        let mut failed = None;
        for (name, restarts) in &todo.start {
            let Some(wanted) = container::find(pod, name) else { continue };
            match start.run(&wanted, *restarts, &mut self.pulls).await {
                Ok(()) => {
                    self.waiting.remove(name);
                }
                Err((reason, error)) => {
                    self.waiting.insert(name.clone(), (reason.to_owned(), error.to_string()));
                    // The others need not wait for it.
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn terminate(&mut self, pod: &Arc<Pod>, grace: i64) -> Result<()> {
        let uid = facts::uid(pod);
        self.context.probes.forget(uid);
        let state = PodState::read(&self.context.runtime, uid).await?;
        stop::all(&self.context, pod, &state, grace.max(1)).await?;
        let state = PodState::read(&self.context.runtime, uid).await?;
        self.ended(pod, &state).await;
        stop::remove(&self.context, &state).await?;
        volumes::remove(&self.context, uid).await?;
        volumes::image::release(&self.context, pod).await;
        for parent in sandbox::cgroup_parents(pod, &self.context.config.cgroup_driver) {
            crate::cgroups::remove(&parent);
        }
        // Logs of a pod that is gone can be asked for no more.
        let _ = std::fs::remove_dir_all(sandbox::log_folder(pod));
        self.context.failures.lock().remove(uid);
        self.context.claims.lock().release(uid);
        if pod.metadata.deletion_timestamp.is_some() && !facts::is_static(pod) {
            let api: Api<Pod> = Api::namespaced(self.context.client()?, facts::namespace(pod));
            report::delete(&api, pod).await?;
        }
        tracing::info!(pod = facts::full_name(pod), "the pod is gone");
        Ok(())
    }

    /// Tells how a pod ended that is deleted: with all its containers stopped, it has succeeded or failed.
    async fn ended(&mut self, pod: &Arc<Pod>, state: &PodState) {
        if facts::is_static(pod) || pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        if state.containers.is_empty() && status::is_terminal(pod.status.as_ref()) {
            // All of it was told before; somebody's finalizer holds the object.
            return;
        }
        let mut status = self.status(pod, state);
        status::close(&mut status, Timestamp::now());
        if let Err(error) = report::send(&self.context, pod, &status).await {
            tracing::debug!(pod = facts::full_name(pod), %error, "the last status was not taken");
        }
    }

    fn status(&self, pod: &Pod, state: &PodState) -> PodStatus {
        let words = self.last_words(pod, state);
        let probes = self.context.probes.verdicts(state);
        let host_ip = self.context.node_ip.to_string();
        // Conditions and start time go on from what was said before, which the source's copy may lag behind.
        let mut latest = Pod::clone(pod);
        if let Some(reported) = &self.reported {
            latest.status = Some(carried_on(pod, reported));
        }
        let inputs = Inputs {
            pod: &latest,
            state,
            probes: &probes,
            waiting: &self.waiting,
            words: &words,
            given: &self.given,
            resizing: &self.resizing,
            failure: self.failure.as_ref(),
            host_ip: &host_ip,
            now: Timestamp::now(),
        };
        status::of(&inputs)
    }

    /// Tells the API of the pod's status if it changed. What fails is tried at the next look.
    async fn report(&mut self, pod: &Arc<Pod>, state: &PodState) {
        if self.context.client().is_err() {
            return;
        }
        let status = self.status(pod, state);
        let forgotten = facts::is_static(pod) && self.context.mirrors_lost.lock().remove(facts::name(pod));
        let overwritten = report::is_overwritten(pod, &status, self.told_at);
        if self.reported.as_ref() == Some(&status) && !forgotten && !overwritten {
            return;
        }
        // An API server that does not answer may be one that waits for this very pod.
        let told = tokio::time::timeout(report::PATIENCE, report::send(&self.context, pod, &status)).await;
        match told.unwrap_or(Err(crate::error::Error::NotConnected)) {
            Ok(version) => {
                self.told_at = version;
                self.reported = Some(status);
                self.untold = false;
            }
            Err(error) => {
                self.untold = true;
                tracing::debug!(pod = facts::full_name(pod), %error, "the status was not taken");
            }
        }
    }

    /// What ended containers left to be told: what they wrote for that, or the end of their logs if they ask for it.
    fn last_words(&self, pod: &Pod, state: &PodState) -> HashMap<String, String> {
        let mut all = HashMap::new();
        for instance in state.containers.iter().filter(|instance| instance.is_exited()) {
            let path = volumes::last_words(&self.context, facts::uid(pod), &instance.name, instance.restarts());
            let mut text = std::fs::read(path).unwrap_or_default();
            let falls_back = container::find(pod, &instance.name)
                .is_some_and(|one| one.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"));
            if text.is_empty() && falls_back && instance.status.exit_code != 0 {
                let log = sandbox::log_folder(pod).join(container::log_path(&instance.name, instance.restarts()));
                text = crate::logs::tail(&log, LOG_LINES);
            }
            if !text.is_empty() {
                let text = &text[text.len().saturating_sub(LAST_WORDS_LIMIT)..];
                all.insert(instance.status.id.clone(), String::from_utf8_lossy(text).into_owned());
            }
        }
        all
    }
}

/// The status last told, with what others have since put into the source's copy.
fn carried_on(pod: &Pod, reported: &PodStatus) -> PodStatus {
    let mut status = reported.clone();
    let own = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        "PodResizePending",
        "PodResizeInProgress",
        "DisruptionTarget",
    ];
    let theirs = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let theirs = theirs.filter(|condition| !own.contains(&condition.type_.as_str())).cloned();
    let kept = status.conditions.take().into_iter().flatten().filter(|one| own.contains(&one.type_.as_str()));
    status.conditions = Some(theirs.chain(kept).collect());
    if status::is_terminal(pod.status.as_ref()) {
        status.phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    }
    status
}
