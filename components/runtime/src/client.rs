//! Clients.
//!
//! A component runs for months, and the certificate in its kubeconfig does not live that long: whoever looks after it writes
//! the file anew, and the client takes what it says then for the requests that follow.
//!
//! The parts of a node go to the API servers through the node's own balancer. A node that kubeadm joined has none: there
//! they go where its kubelet goes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use kube::client::Body;
use parking_lot::Mutex;
use tower_service::Service;

/// Where a Pod that has the host's root mounted finds what the kubelet is known by.
const KUBELET: &str = "/host/etc/kubernetes/kubelet.conf";
/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error("kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The client cannot be made of it.
    #[error("kubeconfig {path}: {source}")]
    Client {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// A client with the credentials of a kubeconfig file, which follows the file.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, Error> {
    client(File { path: path.into(), kubelet: None }).await
}

/// The same for a part of a node. Where nothing listens at the balancer's address that the file names, the server is the
/// one in the kubelet's own kubeconfig, if that is there, until a balancer listens.
pub async fn on_node(path: &Path) -> Result<kube::Client, Error> {
    client(File { path: path.into(), kubelet: Some(KUBELET.into()) }).await
}

async fn client(file: File) -> Result<kube::Client, Error> {
    let now = file.read().await?;
    let namespace = now.client.default_namespace().to_owned();
    let following = Following { file: Arc::new(file), current: Arc::new(Mutex::new(now)) };
    Ok(kube::Client::new(following, namespace))
}

/// Sends each request by the client that the file makes now.
struct Following {
    file: Arc<File>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    client: kube::Client,
    stamp: Option<SystemTime>,
    /// The balancer that was not there.
    missing: Option<Uri>,
    looked: Instant,
}

/// A kubeconfig, and the kubelet's.
struct File {
    path: PathBuf,
    kubelet: Option<PathBuf>,
}

impl File {
    /// The client to use now. A file that cannot be used is told of, and the one before stays.
    async fn client(&self, current: &Mutex<Current>) -> kube::Client {
        let missing = {
            let mut current = current.lock();
            if current.looked.elapsed() < LOOK_EVERY {
                return current.client.clone();
            }
            current.looked = Instant::now();
            match &current.missing {
                _ if stamp(&self.path) != current.stamp => None,
                None => return current.client.clone(),
                Some(balancer) => Some(balancer.clone()),
            }
        };
        if let Some(balancer) = missing
            && !listens(&balancer).await
        {
            return current.lock().client.clone();
        }
        match self.read().await {
            Ok(new) => {
                tracing::info!(path = %self.path.display(), "kubeconfig reloaded");
                *current.lock() = new;
            }
            Err(error) => tracing::warn!(%error, "changed kubeconfig is not usable yet; keeping the old one"),
        }
        current.lock().client.clone()
    }

    async fn read(&self) -> Result<Current, Error> {
        // Looked at before it is read: what is written in between is seen the next time.
        let stamp = stamp(&self.path);
        let mut config = config(&self.path).await?;
        let mut missing = None;
        if let Some(kubelet) = self.kubelet.as_deref().filter(|path| path.exists())
            && !listens(&config.cluster_url).await
        {
            let server = self::config(kubelet).await?.cluster_url;
            tracing::info!(balancer = %config.cluster_url, %server, "no balancer listens; goes where the kubelet goes");
            missing = Some(std::mem::replace(&mut config.cluster_url, server));
        }
        config.connect_timeout = Some(Duration::from_secs(5));
        // Watches are silent for minutes.
        config.read_timeout = None;
        config.headers.extend(user_agent());
        let fail = |source| Error::Client { path: self.path.clone(), source: Box::new(source) };
        let client = kube::Client::try_from(config).map_err(fail)?;
        Ok(Current { client, stamp, missing, looked: Instant::now() })
    }
}

/// Whether somebody takes connections at an address of this host. Addresses elsewhere are not asked.
async fn listens(url: &Uri) -> bool {
    let Some(address) = url.host().and_then(|host| host.parse::<IpAddr>().ok()).filter(IpAddr::is_loopback) else {
        return true;
    };
    tokio::net::TcpStream::connect((address, url.port_u16().unwrap_or(443))).await.is_ok()
}

impl Service<Request<Body>> for Following {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (file, current) = (self.file.clone(), self.current.clone());
        Box::pin(async move { file.client(&current).await.send(request).await })
    }
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}

async fn config(path: &Path) -> Result<kube::Config, Error> {
    let fail = |reason: String| Error::Kubeconfig { path: path.to_owned(), reason };
    let config = kube::config::Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(config, &options).await.map_err(|error| fail(error.to_string()))
}

/// The program's name and version in the form of upstream's clients; by the name the API server notes who manages a field.
pub fn user_agent() -> Option<(HeaderName, HeaderValue)> {
    let program = std::env::current_exe().ok()?;
    let (version, platform) = (kinit_version::kubernetes(), kinit_version::platform());
    let text = format!("{}/{version} ({platform}) kinit", program.file_name()?.to_str()?);
    Some((USER_AGENT, HeaderValue::try_from(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: n}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        )
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kinit-runtime-{name}-{}.conf", std::process::id()))
    }

    /// Moves the moment that it was looked at into the past.
    fn age(current: &Mutex<Current>) {
        current.lock().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_changes_makes_another_client_and_a_torn_one_does_not() {
        let path = file("changes");
        std::fs::write(&path, config_of("http://127.0.0.1:1")).unwrap();
        let file = File { path: path.clone(), kubelet: None };
        let current = Mutex::new(file.read().await.unwrap());
        assert_eq!(from_kubeconfig(&path).await.unwrap().default_namespace(), "n");
        for (text, read) in [("{", false), (&*config_of("http://127.0.0.1:2"), true)] {
            age(&current);
            current.lock().stamp = None;
            std::fs::write(&path, text).unwrap();
            file.client(&current).await;
            assert_eq!(current.lock().stamp == stamp(&path), read, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn without_a_balancer_one_goes_where_the_kubelet_goes() {
        let (path, kubelet) = (file("part"), file("kubelet"));
        // At an address of its own, whose port nobody takes until the balancer does.
        let held = tokio::net::TcpListener::bind("127.77.1.1:0").await.unwrap();
        let address = held.local_addr().unwrap();
        drop(held);
        std::fs::write(&path, config_of(&format!("http://{address}"))).unwrap();
        let file = File { path: path.clone(), kubelet: Some(kubelet.clone()) };
        assert_eq!(file.read().await.unwrap().missing, None, "there is no kubelet's file");
        std::fs::write(&kubelet, config_of("http://192.0.2.1:6443")).unwrap();
        let current = Mutex::new(file.read().await.unwrap());
        assert!(current.lock().missing.is_some());
        age(&current);
        file.client(&current).await;
        assert!(current.lock().missing.is_some());
        let _balancer = tokio::net::TcpListener::bind(address).await.unwrap();
        age(&current);
        file.client(&current).await;
        assert_eq!(current.lock().missing, None);
        for path in [path, kubelet] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
