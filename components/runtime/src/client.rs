//! Clients.
//!
//! A component runs for months, and the certificate in its kubeconfig does not live that long: whoever looks after it writes
//! the file anew, and the client takes what it says then for the requests that follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use tower_service::Service;

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
    let now = Following::now(path).await?;
    let namespace = now.client.default_namespace().to_owned();
    let following = Following { path: path.into(), current: Arc::new(Mutex::new(now)) };
    Ok(kube::Client::new(following, namespace))
}

/// Sends each request by the client that the file makes now.
struct Following {
    path: Arc<Path>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    client: kube::Client,
    stamp: Option<SystemTime>,
    looked: Instant,
}

impl Following {
    async fn now(path: &Path) -> Result<Current, Error> {
        // Looked at before it is read: what is written in between is seen the next time.
        let stamp = stamp(path);
        Ok(Current { client: read(path).await?, stamp, looked: Instant::now() })
    }

    /// The client to use now. A file that cannot be used is told of, and the one before stays.
    async fn client(path: &Path, current: &Mutex<Current>) -> kube::Client {
        {
            let mut current = current.lock();
            if current.looked.elapsed() < LOOK_EVERY {
                return current.client.clone();
            }
            current.looked = Instant::now();
            if stamp(path) == current.stamp {
                return current.client.clone();
            }
        }
        match Self::now(path).await {
            Ok(new) => {
                tracing::info!(path = %path.display(), "kubeconfig reloaded");
                *current.lock() = new;
            }
            Err(error) => tracing::warn!(%error, "changed kubeconfig is not usable yet; keeping the old one"),
        }
        current.lock().client.clone()
    }
}

impl Service<Request<Body>> for Following {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (path, current) = (self.path.clone(), self.current.clone());
        Box::pin(async move { Self::client(&path, &current).await.send(request).await })
    }
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}

async fn read(path: &Path) -> Result<kube::Client, Error> {
    let fail = |reason: String| Error::Kubeconfig { path: path.to_owned(), reason };
    let config = kube::config::Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &options).await.map_err(|error| fail(error.to_string()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Watches are silent for minutes.
    config.read_timeout = None;
    config.headers.extend(user_agent());
    kube::Client::try_from(config).map_err(|source| Error::Client { path: path.to_owned(), source: Box::new(source) })
}

/// The program's name and version, by which the API server notes who manages a field.
pub fn user_agent() -> Option<(HeaderName, HeaderValue)> {
    let program = std::env::current_exe().ok()?;
    let text = format!("{}/{}", program.file_name()?.to_str()?, env!("CARGO_PKG_VERSION"));
    Some((USER_AGENT, HeaderValue::try_from(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: n}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        )
    }

    #[tokio::test]
    async fn a_file_that_changes_makes_another_client_and_a_torn_one_does_not() {
        let path = std::env::temp_dir().join(format!("kinit-runtime-{}.conf", std::process::id()));
        std::fs::write(&path, config("http://127.0.0.1:1")).unwrap();
        let current = Mutex::new(Following::now(&path).await.unwrap());
        assert_eq!(from_kubeconfig(&path).await.unwrap().default_namespace(), "n");
        // Moves the moment that it was looked at, and the stamp that was seen, into the past.
        let age = || {
            let mut current = current.lock();
            current.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
            current.stamp = None;
        };
        age();
        std::fs::write(&path, "{").unwrap();
        Following::client(&path, &current).await;
        assert_eq!(current.lock().stamp, None);
        age();
        std::fs::write(&path, config("http://127.0.0.1:2")).unwrap();
        Following::client(&path, &current).await;
        assert_eq!(current.lock().stamp, stamp(&path));
        std::fs::remove_file(&path).unwrap();
    }
}
