//! The shell around the core.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use kinit_runtime::leader::{self, Candidate};
use kinit_serving::health::{Health, Scope};
use kinit_serving::listener::{Listener, Peer};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{ClientAuth, Holder, Tls, TlsOptions};
use kinit_serving::zpages::{Flags, Pages};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::core::{Action, Core, Event};
use crate::figures::{Figures, Outcome};
use crate::options::Options;
use crate::profile::Profile;
use crate::watches;
use crate::writes::Writer;

/// Events that wait for the core; when there are more the watches wait.
const EVENTS: usize = 1024;
/// Writes under way at once; when there are more decisions wait.
const WRITES: usize = 128;

/// A scheduler that is ready to run.
pub struct Server {
    options: Options,
    flags: Flags,
    config: Configuration,
    profiles: Vec<Profile>,
}

impl Server {
    /// Reads the configuration. `flags` are what the process was started with.
    pub fn new(options: Options, flags: Flags) -> anyhow::Result<Self> {
        options.foreign.settle()?;
        let config = Configuration::load(options.config.as_deref(), &options.foreign)?;
        let profiles = Profile::all(&config)?;
        Ok(Self { options, flags, config, profiles })
    }

    /// Runs until shutdown, or until another scheduler leads.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let kubeconfig = self.options.kubeconfig.as_ref().or(self.config.client_connection.kubeconfig.as_ref());
        let kubeconfig = kubeconfig.context("there is no --kubeconfig, which says how the API server is reached")?;
        let client = kinit_runtime::from_kubeconfig(kubeconfig).await?;
        let synced = Arc::new(AtomicBool::new(false));
        let metrics = Metrics::default();
        let figures = Figures::shown(&metrics);
        let listener = self.bind(&synced, &metrics).await?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(listener(shutdown.clone()));

        let (sender, receiver) = mpsc::channel(EVENTS);
        tasks.spawn(watches::follow(client.clone(), sender.clone()));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let lost = CancellationToken::new();
        let elect = self.options.leader_elect.or(self.config.leader_election.leader_elect).unwrap_or(true);
        let candidate = elect.then(|| self.config.leader_election.candidate(&host));
        tasks.spawn(lead(candidate, client.clone(), sender.clone(), shutdown.clone(), lost.clone()));
        let first = Duration::from_secs(self.config.pod_initial_backoff_seconds.unwrap_or(1));
        let longest = Duration::from_secs(self.config.pod_max_backoff_seconds.unwrap_or(10));
        let core = Core::new(self.profiles, first, longest);
        let writer = Writer::new(client, &format!("default-scheduler-{host}"));
        let decisions = Loop { core, writer, sender, figures, synced };
        tokio::select! {
            () = decisions.run(receiver) => {}
            () = shutdown.cancelled() => {}
            () = lost.cancelled() => if !shutdown.is_cancelled() {
                anyhow::bail!("another scheduler leads now; this one must start anew");
            },
        }
        // The Lease is given back so that another replica leads at once.
        let _ = tokio::time::timeout(Duration::from_secs(1), tasks.join_next()).await;
        Ok(())
    }

    /// Binds the secure port.
    async fn bind(
        &self,
        synced: &Arc<AtomicBool>,
        metrics: &Metrics,
    ) -> anyhow::Result<impl FnOnce(CancellationToken) -> futures::future::BoxFuture<'static, ()>> {
        let local = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let holder = Holder {
            pair: "kube-scheduler",
            host: "localhost",
            names: &[],
            addresses: &local,
            bind: self.options.bind_address,
        };
        let identity = self.options.serving.identity(&self.options.cert_dir, &holder, jiff::Timestamp::now())?;
        let mut tls = TlsOptions::http(identity, ClientAuth::None);
        self.options.tls.apply(&mut tls);
        tls.sni.clone_from(&self.options.serving.tls_sni_cert_key);
        let tls = Tls::new(tls)?;
        let address = SocketAddr::new(self.options.bind_address, self.options.secure_port);
        let listener = Listener::bind(address, Some(tls)).await?;
        let limits = self.options.serving.limits();
        let health = Health::new();
        let synced = synced.clone();
        health.add("scheduler-informers-synced", Scope::Ready, move || {
            if synced.load(Ordering::Relaxed) { Ok(()) } else { Err("pods and nodes were not listed yet".into()) }
        });
        let metrics = metrics.clone();
        let paths = ["/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz"];
        let pages = Arc::new(Pages::new("kube-scheduler", Some(self.flags.clone()), paths));
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let answer = health.respond(request.uri().path(), request.uri().query());
            let answer = answer.unwrap_or_else(|| show(&request, (&health, &metrics), &pages));
            async move { Ok::<_, Infallible>(answer) }
        });
        let service = hyper_util::service::TowerToHyperService::new(service);
        Ok(move |shutdown| {
            let serving: futures::future::BoxFuture<'static, ()> = Box::pin(listener.serve(service, limits, shutdown));
            serving
        })
    }
}

/// Metrics and what the process is, for clients on this host alone: there is no asking the API server who may see them yet.
fn show(
    request: &http::Request<hyper::body::Incoming>,
    (health, metrics): (&Health, &Metrics),
    pages: &Pages,
) -> http::Response<kinit_serving::Body> {
    let local = request.extensions().get::<Peer>().is_some_and(|peer| peer.address.ip().is_loopback());
    let (path, query) = (request.uri().path(), request.uri().query());
    if matches!(path, "/metrics" | "/metrics/slis" | "/flagz" | "/statusz") && !local {
        return kinit_serving::text(http::StatusCode::FORBIDDEN, "this is shown on this host alone\n");
    }
    metrics
        .respond(path)
        .or_else(|| Metrics::indicators(path, health))
        .or_else(|| pages.respond(path, query, request.headers()))
        .unwrap_or_else(|| kinit_serving::text(http::StatusCode::NOT_FOUND, "there is nothing here\n"))
}

async fn lead(
    candidate: Option<Candidate>,
    client: kube::Client,
    events: mpsc::Sender<Event>,
    shutdown: CancellationToken,
    lost: CancellationToken,
) {
    let Some(candidate) = candidate else {
        let _ = events.send(Event::Leads).await;
        return;
    };
    let Some(token) = leader::lead(client, candidate, &shutdown).await else { return };
    let _ = events.send(Event::Leads).await;
    token.cancelled().await;
    lost.cancel();
}

/// The one task that owns the core.
struct Loop {
    core: Core,
    writer: Writer,
    sender: mpsc::Sender<Event>,
    figures: Figures,
    synced: Arc<AtomicBool>,
}

impl Loop {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let begin = Instant::now();
        let slots = Arc::new(Semaphore::new(WRITES));
        let (mut pods, mut nodes) = (false, false);
        loop {
            let pause = self.core.wake().map(|at| at.saturating_sub(begin.elapsed()));
            let event = tokio::select! {
                event = events.recv() => match event { Some(event) => Some(event), None => return },
                () = tokio::time::sleep(pause.unwrap_or(Duration::from_secs(3600))) => None,
            };
            // Everything that is known already is taken in before the next decision.
            let mut next = event;
            while let Some(event) = next {
                pods |= matches!(event, Event::PodsListed(_));
                nodes |= matches!(event, Event::NodesListed(_));
                self.core.step(event, begin.elapsed());
                next = events.try_recv().ok();
            }
            self.synced.store(pods && nodes, Ordering::Relaxed);
            self.decide(begin, &slots, &mut events).await;
            self.figures.queued(self.core.depths());
        }
    }

    async fn decide(&mut self, begin: Instant, slots: &Arc<Semaphore>, events: &mut mpsc::Receiver<Event>) {
        loop {
            let started = Instant::now();
            let Some(action) = self.core.next(begin.elapsed()) else { return };
            self.figures.decided(started.elapsed());
            let Ok(slot) = self.slot(begin, slots, events).await else { return };
            let (writer, sender, figures) = (self.writer.clone(), self.sender.clone(), self.figures.clone());
            match action {
                Action::Bind { pod, node, steps, attempts } => {
                    tracing::debug!(pod = pod.key, node, "binds");
                    tokio::spawn(async move {
                        let well = if steps.is_empty() {
                            let well = writer.bind(&pod, &node).await;
                            drop(slot);
                            well
                        } else {
                            // Volumes may take minutes to be made; nobody is to wait for them.
                            drop(slot);
                            writer.prepare(&pod, &node, &steps).await && writer.bind(&pod, &node).await
                        };
                        let outcome = if well { Outcome::Scheduled } else { Outcome::Error };
                        figures.attempted(&pod.scheduler, outcome, started.elapsed());
                        let _ = sender.send(Event::Bound { pod, attempts, well }).await;
                    });
                }
                Action::Refuse { pod, message, eviction, give_up } => {
                    tracing::debug!(pod = pod.key, message, "cannot be scheduled");
                    figures.attempted(&pod.scheduler, Outcome::Unschedulable, started.elapsed());
                    tokio::spawn(async move {
                        writer.refuse(&pod, &message, eviction.as_ref(), give_up).await;
                        drop(slot);
                    });
                }
            }
            while let Ok(event) = events.try_recv() {
                self.core.step(event, begin.elapsed());
            }
        }
    }

    /// Waits for a free slot, and keeps taking events in meanwhile: those who hold a slot may wait to send one.
    async fn slot(
        &mut self,
        begin: Instant,
        slots: &Arc<Semaphore>,
        events: &mut mpsc::Receiver<Event>,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, tokio::sync::AcquireError> {
        loop {
            tokio::select! {
                slot = slots.clone().acquire_owned() => return slot,
                Some(event) = events.recv() => self.core.step(event, begin.elapsed()),
            }
        }
    }
}
