//! A member: data directory, log, state machine, listeners, from start to end.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::{Request, Response, header};
use hyper::body::Incoming;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{Tls, TlsError};
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::apply::Machine;
use crate::config::{Config, ConfigError, Listen};
use crate::fatal::Fatal;
use crate::membership::Membership;
use crate::metrics::{Figures, register};
use crate::mvcc::backend::BackendError;
use crate::mvcc::commit::CommitThread;
use crate::mvcc::store::Store;
use crate::node::{Node, replay};
use crate::options::Options;
use crate::rpc::http::Site;
use crate::rpc::{Context, routes};
use crate::wal::{Wal, WalError};
use crate::{compactor, expiry, gateway};

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
    #[error("{path}: {source}")]
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
    #[error("stopped: {0}")]
    Fatal(String),
}

/// Where a running member is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// One per client URL.
    pub clients: Vec<SocketAddr>,
    /// One per metrics URL.
    pub metrics: Vec<SocketAddr>,
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
    machine: Arc<Machine>,
    wal: Wal,
    commits: CommitThread,
    membership: Membership,
    /// Held so that no second server uses the directory.
    _lock: Flock<File>,
}

impl Server {
    /// Checks the options.
    pub fn new(options: Options) -> Result<Self, ServerError> {
        Ok(Self { config: Config::new(options)?, ready: watch::Sender::new(None) })
    }

    /// To be asked while [`Server::run`] runs.
    pub fn handle(&self) -> Handle {
        Handle { addresses: self.ready.subscribe() }
    }

    /// Runs until `shutdown`, or until the disk fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let fatal = Fatal::default();
        // Addresses are taken before anything is written, so that a port in use changes nothing on disk.
        let (clients, metrics_listeners) = self.bind().await?;
        let opened = {
            let (config, fatal) = (self.config.clone(), fatal.clone());
            let opening = tokio::task::spawn_blocking(move || open(&config, &fatal));
            opening.await.map_err(|error| ServerError::Fatal(error.to_string()))??
        };
        let figures = Arc::new(Figures::default());
        let term = opened.wal.hard_state().term;
        let most = self.config.max_request_bytes;
        let machine = opened.machine.clone();
        let (node, proposer) = Node::start(opened.wal, machine.clone(), figures.clone(), most, fatal.clone())
            .map_err(ServerError::Thread)?;
        let context = Arc::new(Context {
            machine: machine.clone(),
            proposer,
            membership: opened.membership,
            term,
            max_txn_ops: self.config.max_txn_ops,
            max_request_bytes: most,
            quota: self.config.quota,
            client_cert_auth: self.config.client_cert_auth,
            tokens: Mutex::default(),
            progress_interval: self.config.progress_interval,
            data_dir: self.config.data_dir.clone(),
            shutdown: shutdown.child_token(),
        });
        let metrics = Metrics::default();
        register(&metrics, &figures, machine, self.config.quota.unwrap_or(u64::MAX));

        let addresses = Addresses {
            clients: clients.iter().map(Listener::address).collect(),
            metrics: metrics_listeners.iter().map(Listener::address).collect(),
        };
        let tasks = TaskTracker::new();
        let end = context.shutdown.clone();
        let limits = Limits { http2_streams: self.config.max_concurrent_streams, drain: DRAIN };
        let site = Site { context: context.clone(), metrics };
        let dispatch = Dispatch { routes: Some(routes(&context)), site };
        for listener in clients {
            tasks.spawn(listener.serve(dispatch.clone(), limits, end.clone()));
        }
        for listener in metrics_listeners {
            tasks.spawn(listener.serve(Dispatch { routes: None, ..dispatch.clone() }, limits, end.clone()));
        }
        tasks.spawn(expiry::run(context.clone(), end.clone()));
        tasks.spawn(compactor::run(context.clone(), self.config.auto_compaction, end.clone()));
        tracing::info!(
            name = self.config.name,
            member = format!("{:x}", context.membership.member_id),
            clients = ?addresses.clients,
            "ready to serve client requests"
        );
        self.ready.send_replace(Some(addresses));

        tokio::select! {
            () = shutdown.cancelled() => {}
            () = fatal.raised() => end.cancel(),
        }
        tasks.close();
        tasks.wait().await;
        node.stop().await;
        let commits = opened.commits;
        let _ = tokio::task::spawn_blocking(move || drop(commits)).await;
        fatal.reason().map_or(Ok(()), |reason| Err(ServerError::Fatal(reason)))
    }

    async fn bind(&self) -> Result<(Vec<Listener>, Vec<Listener>), ServerError> {
        let tls = self.config.tls.clone().map(Tls::new).transpose()?;
        let listen = |listens: Vec<Listen>| {
            let tls = tls.clone();
            async move {
                let mut listeners = Vec::new();
                for listen in listens {
                    let tls = tls.clone().filter(|_| listen.tls);
                    listeners.push(Listener::bind(listen.address, tls).await.map_err(ServerError::Listen)?);
                }
                Ok::<_, ServerError>(listeners)
            }
        };
        let clients = listen(self.config.listen_client.clone()).await?;
        let metrics = listen(self.config.listen_metrics.clone()).await?;
        Ok((clients, metrics))
    }
}

fn open(config: &Config, fatal: &Fatal) -> Result<Opened, ServerError> {
    let member = config.data_dir.join("member");
    if member.join("snap").exists() {
        return Err(ServerError::Foreign { path: config.data_dir.clone() });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::DataDir { path, source }
    };
    std::fs::create_dir_all(&member).map_err(failed(&member))?;
    // Whoever can read the store can read every secret in it.
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    std::fs::set_permissions(&config.data_dir, private).map_err(failed(&config.data_dir))?;
    let lock_path = member.join("lock");
    let lock_file = File::create(&lock_path).map_err(failed(&lock_path))?;
    let lock = Flock::lock(lock_file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| ServerError::InUse { path: config.data_dir.clone() })?;

    let restored = Store::open(&member.join("store"))?;
    let membership =
        Membership::alone(&config.name, &config.peer_urls, &config.advertise_client_urls, &config.cluster_token);
    let identity = restored.store.identity((membership.member_id, membership.cluster_id))?;
    let membership = membership.with_identity(identity);
    let machine = Machine::new(restored, Instant::now()).map_err(|error| ServerError::Users(error.to_string()))?;
    let machine = Arc::new(machine);
    let commits = {
        let fatal = fatal.clone();
        machine.store.spawn_commits(move |error| fatal.raise(error.to_string())).map_err(ServerError::Thread)?
    };
    let wal = replay(&config.wal_dir, &machine, membership.member_id)?;
    Ok(Opened { machine, wal, commits, membership, _lock: lock })
}

/// gRPC and plain HTTP on one port; on a metrics URL the latter alone.
#[derive(Clone)]
struct Dispatch {
    routes: Option<Routes>,
    site: Site,
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        match &self.routes {
            Some(routes) if grpc => {
                let answer = routes.clone().call(request.map(Body::new));
                Box::pin(answer)
            }
            Some(routes) if request.uri().path().starts_with("/v3/") => {
                // JSON writes bytes in base64 and has names beside them.
                let most = self.site.context.max_request_bytes * 2;
                Box::pin(gateway::respond(routes.clone(), request, most).map(Ok))
            }
            _ => {
                let response = self.site.respond(&request).map(Body::new);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
