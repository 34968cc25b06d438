//! Clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, USER_AGENT};

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

/// A client with the credentials of a kubeconfig file.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, Error> {
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
