//! A member: data directory, log, state machine, listeners, from start to end.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{Tls, TlsError};
use nix::fcntl::Flock;
use nix::sys::mman::MlockAllFlags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::apply::Machine;
use crate::auth::password;
use crate::auth::provider::AuthToken;
use crate::auth::token::Tokens;
use crate::config::{Config, ConfigError, Listen};
use crate::direct::Clients;
use crate::dispatch::Dispatch;
use crate::fatal::Fatal;
use crate::membership::Roster;
use crate::metrics::{Figures, register};
use crate::mvcc::backend::BackendError;
use crate::mvcc::commit::CommitThread;
use crate::node::inbox::Inbox;
use crate::node::standing::Standing;
use crate::node::{End, Node, Parts, Proposer, Run, clock, open};
use crate::options::Options;
use crate::peer::join::join;
use crate::peer::{self, Peers};
use crate::proto::peer::peer_server::PeerServer;
use crate::raft::{self, Place};
use crate::rpc::access::{Access, Side};
use crate::rpc::http::Site;
use crate::rpc::{Context, routes};
use crate::wal::WalError;
use crate::{compactor, corruption, expiry, publish, start};

/// Connections with requests under way have this long after shutdown begins.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a member does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("cannot access data directory: {path}: {source}{}", owner(.path))]
    DataDir { path: PathBuf, source: io::Error },
    #[error("{path}: another server uses this data directory; stop it, or choose another --data-dir")]
    InUse { path: PathBuf },
    #[error(
        "{path}: holds the data of another make of etcd, which this server cannot read; save a snapshot from the old server with \
         `etcdctl snapshot save FILE`, and restore it with `etcd snapshot restore FILE --data-dir DIR`"
    )]
    Foreign { path: PathBuf },
    #[error("the stored users and roles are not readable: {0}")]
    Users(String),
    #[error(transparent)]
    Listen(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot join the cluster: {0}")]
    Join(String),
    #[error("--memory-mlock: cannot keep the process in memory: {0}")]
    Memory(nix::errno::Errno),
    #[error(
        "the member has been permanently removed from the cluster; add it anew to bring it back, with an empty data directory"
    )]
    Removed,
    #[error("stopped: {0}")]
    Fatal(String),
}

/// A hint for whoever may not use a directory because it is somebody else's.
fn owner(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let own = nix::unistd::geteuid().as_raw();
    let found = path.ancestors().find_map(|path| std::fs::metadata(path).ok());
    match found {
        Some(found) if found.uid() != own && own != 0 => {
            format!("; it belongs to user {}, and this process runs as user {own}", found.uid())
        }
        _ => String::new(),
    }
}

/// Where a running member is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// One per client URL.
    pub clients: Vec<SocketAddr>,
    /// One per metrics URL.
    pub metrics: Vec<SocketAddr>,
    /// One per peer URL.
    pub peers: Vec<SocketAddr>,
}

/// Tells when a server is ready, and where.
#[derive(Clone)]
pub struct Handle {
    addresses: watch::Receiver<Option<Addresses>>,
}

impl Handle {
    /// Waits until requests are served. `None` when the server ended before.
    pub async fn ready(&self) -> Option<Addresses> {
        let mut addresses = self.addresses.clone();
        let ready = addresses.wait_for(Option::is_some).await.ok()?;
        ready.clone()
    }

    /// The first client URL's address, once the server is ready.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addresses.borrow().as_ref().and_then(|addresses| addresses.clients.first().copied())
    }
}

/// A member that is not running yet.
pub struct Server {
    config: Config,
    ready: watch::Sender<Option<Addresses>>,
}

/// What is open while a member runs.
struct Opened {
    run: Run,
    commits: CommitThread,
    context: Arc<Context>,
    inbox: Arc<Inbox>,
    /// Held so that no second server uses the directory.
    _lock: Flock<File>,
}

impl Server {
    /// Checks the options.
    pub fn new(options: Options) -> Result<Self, ServerError> {
        for note in &options.notes {
            tracing::warn!("{note}");
        }
        Ok(Self { config: Config::new(options)?, ready: watch::Sender::new(None) })
    }

    /// To be asked while [`Server::run`] runs.
    pub fn handle(&self) -> Handle {
        Handle { addresses: self.ready.subscribe() }
    }

    /// Runs until `shutdown`, or until the disk fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        if self.config.memory_mlock {
            let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
            nix::sys::mman::mlockall(all).map_err(ServerError::Memory)?;
        }
        loop {
            match self.run_once(&shutdown).await? {
                End::Stopped => return Ok(()),
                End::Removed => return Err(ServerError::Removed),
                End::Restart => tracing::info!("starting again on another member's snapshot"),
            }
        }
    }

    async fn run_once(&self, shutdown: &CancellationToken) -> Result<End, ServerError> {
        let fatal = Fatal::default();
        let config = &self.config;
        // Addresses are taken before anything is written, so that a port in use changes nothing on disk.
        let listeners = self.bind().await?;
        let opened = tokio::select! {
            () = shutdown.cancelled() => return Ok(End::Stopped),
            opened = self.open(&fatal) => opened?,
        };
        let Opened { run, commits, context, inbox, _lock } = opened;
        let peers = run.peers.clone();
        let node = Node::start(run, inbox, config.heartbeat, fatal.clone()).map_err(ServerError::Thread)?;
        let metrics = Metrics::default();
        register(&metrics, &context);

        let tasks = TaskTracker::new();
        let end = context.shutdown.clone();
        let limits = Limits {
            http2_streams: config.max_concurrent_streams,
            drain: DRAIN,
            keep_alive: config.keep_alive,
            keep_alive_timeout: config.keep_alive_timeout,
        };
        let site = Site { context: context.clone(), metrics };
        let addresses = Addresses {
            clients: listeners.clients.iter().map(Listener::address).collect(),
            metrics: listeners.metrics.iter().map(Listener::address).collect(),
            peers: listeners.peers.iter().map(Listener::address).collect(),
        };
        let peer_service = PeerServer::new(context.cluster.clone())
            .max_decoding_message_size(i32::MAX as usize)
            .max_encoding_message_size(i32::MAX as usize);
        let access = Access::new(config.access.clone(), Side::Clients);
        let plain = Dispatch { routes: None, gateway: None, access, site };
        let for_peers = Dispatch {
            routes: Some(Routes::new(peer_service)),
            access: Access::new(config.access.clone(), Side::Peers),
            ..plain.clone()
        };
        for listener in listeners.peers {
            tasks.spawn(listener.serve(for_peers.clone(), limits, end.clone()));
        }
        for listener in listeners.metrics {
            tasks.spawn(listener.serve(plain.clone(), limits, end.clone()));
        }
        if config.features.initial_corrupt_check {
            tokio::select! {
                () = shutdown.cancelled() => {}
                checked = corruption::check_at_start(&context) => {
                    if let Err(problem) = checked {
                        fatal.raise(problem);
                    }
                }
            }
        }
        let mut ended = tokio::select! {
            () = shutdown.cancelled() => Some(End::Stopped),
            () = fatal.raised() => Some(End::Stopped),
            ended = node.ended() => Some(ended),
            () = publish::publish(&context, config) => None,
        };
        if ended.is_none() {
            let services = routes(&context);
            let gateway = config.gateway.then(|| services.clone());
            // With URLs for plain HTTP the others are for gRPC alone.
            let apart = !config.listen_http.is_empty();
            let on_one = Dispatch { routes: Some(services), gateway: gateway.clone(), ..plain.clone() };
            let grpc_alone = apart.then(|| Dispatch { gateway: None, ..on_one.clone() });
            for listener in listeners.clients {
                let clients = Clients::new(grpc_alone.clone().unwrap_or_else(|| on_one.clone()), limits);
                tasks.spawn(listener.speak(clients, limits.drain, end.clone()));
            }
            for listener in listeners.http {
                tasks.spawn(listener.serve(
                    Dispatch { gateway: gateway.clone(), ..plain.clone() },
                    limits,
                    end.clone(),
                ));
            }
            tasks.spawn(corruption::run(context.clone(), config.clone(), end.clone()));
            tasks.spawn(expiry::run(context.clone(), end.clone()));
            tasks.spawn(compactor::run(context.clone(), config.auto_compaction, end.clone()));
            tracing::info!(
                name = config.name,
                member = format!("{:x}", context.identity.member),
                clients = ?addresses.clients,
                "ready to serve client requests"
            );
            self.ready.send_replace(Some(addresses));
            ended = Some(tokio::select! {
                () = shutdown.cancelled() => End::Stopped,
                () = fatal.raised() => End::Stopped,
                ended = node.ended() => ended,
            });
        }
        if shutdown.is_cancelled() {
            publish::hand_over(&context).await;
        }
        end.cancel();
        peers.stop();
        tasks.close();
        tasks.wait().await;
        node.stop().await;
        let _ = tokio::task::spawn_blocking(move || drop(commits)).await;
        match fatal.reason() {
            Some(reason) => Err(ServerError::Fatal(reason)),
            None => Ok(ended.unwrap_or(End::Stopped)),
        }
    }

    /// Opens everything, and joins the cluster if this member is new to it.
    async fn open(&self, fatal: &Fatal) -> Result<Opened, ServerError> {
        let config = self.config.clone();
        let directory = {
            let config = config.clone();
            let opening = tokio::task::spawn_blocking(move || start::open(&config));
            opening.await.map_err(|error| ServerError::Fatal(error.to_string()))??
        };
        let start::Directory { restored, wal, found, identity, lock } = directory;
        let mut roster =
            Roster::stored(restored.members.clone()).map_err(|e| ServerError::Users(e.to_string()))?.list();
        let identity = match identity {
            Some(identity) if !roster.is_empty() => identity,
            known => {
                let joined = join(&config.initial_cluster, &config.peer_urls, &config.peer_files).await;
                let (identity, members) = joined.map_err(ServerError::Join)?;
                if known.is_none() {
                    restored.store.set_identity(identity.member, identity.cluster)?;
                }
                roster = members;
                known.unwrap_or(identity)
            }
        };
        let machine = Machine::new(restored, Instant::now()).map_err(|error| ServerError::Users(error.to_string()))?;
        machine.roster.write().allow_learners(config.max_learners);
        if let AuthToken::Simple { idle } = config.auth_token {
            *machine.tokens.lock() = Tokens::new(idle);
        }
        let machine = Arc::new(machine);
        let commits = {
            let fatal = fatal.clone();
            machine.store.spawn_commits(move |error| fatal.raise(error.to_string())).map_err(ServerError::Thread)?
        };
        let (file, used) = machine.store.size();
        if config.defragment_from.is_some_and(|threshold| file - used >= threshold) {
            let store = machine.store.clone();
            let defragmented = tokio::task::spawn_blocking(move || store.defragment()).await;
            tracing::info!(before = file, after = machine.store.size().0, done = ?defragmented.is_ok(), "defragmented");
        }
        let meta = machine.store.meta();
        let raft_config = raft::Config {
            id: identity.member,
            election_ticks: config.election_ticks,
            heartbeat_ticks: 1,
            pre_vote: config.pre_vote,
            started: clock::now(),
            promise: (config.heartbeat * config.election_ticks).as_nanos() as u64,
            leases: config.leases,
            seed: rand::random(),
        };
        let members = machine.roster.read().voting();
        let (applied, kept) = (Place { index: meta.applied, term: meta.term }, config.kept_entries);
        let (raft, state) = open::consensus(&config.wal_dir, raft_config, applied, members, found, kept)?;

        let (inbox, standing) = (Arc::new(Inbox::default()), Arc::new(Standing::new(identity.member, state.term)));
        let figures = Arc::new(Figures::default());
        let proposer = Proposer::new(inbox.clone(), standing.clone(), figures.clone(), config.max_request_bytes);
        let peers = Peers::new(identity, config.peer_files.clone(), inbox.clone(), figures.clone());
        peers.set_source(machine.clone());
        peers.update(&roster);
        let parts = Parts {
            machine: machine.clone(),
            figures: figures.clone(),
            standing: standing.clone(),
            peers: peers.clone(),
            kept,
        };
        let shutdown = CancellationToken::new();
        let context = Context {
            machine: machine.clone(),
            proposer: proposer.clone(),
            identity,
            cluster: peer::service::Service {
                identity,
                machine: machine.clone(),
                inbox: inbox.clone(),
                standing: standing.clone(),
                proposer,
                peers,
                member_dir: start::member_dir(&config),
                shutdown: shutdown.clone(),
            },
            standing,
            figures,
            strict_reconfig: config.strict_reconfig,
            max_txn_ops: config.max_txn_ops,
            max_request_bytes: config.max_request_bytes,
            quota: config.quota,
            client_cert_auth: config.client_cert_auth,
            progress_interval: config.progress_interval,
            leader_patience: config.heartbeat * config.election_ticks * 3,
            auth_token: config.auth_token.clone(),
            bcrypt_cost: password::cost(config.bcrypt_cost),
            least_ttl: least_ttl(config.heartbeat * config.election_ticks),
            lease_checkpoints: config.features.lease_checkpoint,
            shutdown,
        };
        let run = Run::new(raft, wal, state, parts);
        Ok(Opened { run, commits, context: Arc::new(context), inbox, _lock: lock })
    }

    async fn bind(&self) -> Result<Listeners, ServerError> {
        let tls = self.config.tls.clone().map(Tls::new).transpose()?;
        let peer_tls = self.config.peer_tls.clone().map(Tls::new).transpose()?;
        let shared = self.config.shared_ports;
        Ok(Listeners {
            clients: bind(&self.config.listen_client, &tls, shared).await?,
            http: bind(&self.config.listen_http, &tls, shared).await?,
            metrics: bind(&self.config.listen_metrics, &tls, shared).await?,
            peers: bind(&self.config.listen_peer, &peer_tls, shared).await?,
        })
    }
}

/// In seconds, as etcd has it: one and a half of an election's timeout.
fn least_ttl(election: Duration) -> i64 {
    (election.as_millis() as i64 * 3 / 2 + 999) / 1000
}

struct Listeners {
    clients: Vec<Listener>,
    http: Vec<Listener>,
    metrics: Vec<Listener>,
    peers: Vec<Listener>,
}

async fn bind(listens: &[Listen], tls: &Option<Tls>, shared: bool) -> Result<Vec<Listener>, ServerError> {
    let mut listeners = Vec::new();
    for listen in listens {
        let tls = tls.clone().filter(|_| listen.tls);
        let bound =
            if shared { Listener::bind_shared(listen.address, tls) } else { Listener::bind(listen.address, tls).await };
        listeners.push(bound.map_err(ServerError::Listen)?);
    }
    Ok(listeners)
}
