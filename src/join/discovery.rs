//! Finding a cluster.
//!
//! By a token: anybody may read the ConfigMap `cluster-info`. It is first read from a server that is not yet believed;
//! what makes it believed is the token's signature over it and the hash of the CA in it. Then it is read again from the
//! same server, now believing that CA only, and must be the same.

use std::path::Path;
use std::time::Duration;

use kinit_pki::{Certificate, Kubeconfig};
use serde_json::Value;
use tokio::time::Instant;

use super::Source;
use crate::api::{self, Api, KubeApi, Trust, Verb};
use crate::token::Token;

/// How long a new token may take to be signed with: the controller manager that did so may just be gone, and then another one
/// takes over after its lease.
const SIGNED_WITHIN: Duration = Duration::from_secs(30);
const SIGNED_POLL: Duration = Duration::from_millis(250);
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// Why a cluster is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error(
        "no API server answers at {endpoint}: {source}\nhint: is it the right address, and is the control plane up?"
    )]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: api::Error,
    },
    /// The cluster says nothing about itself.
    #[error(
        "the API server at {endpoint} does not show cluster-info: {source}\nhint: is this a cluster that was made by kinit or kubeadm?"
    )]
    NoInfo {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: api::Error,
    },
    /// The token did not sign.
    #[error(
        "the cluster at {endpoint} does not know token {id}: it is wrong or has ended\nhint: make a new one on the control plane: kinit token create --print-join-command"
    )]
    Token {
        /// The endpoint.
        endpoint: String,
        /// Public part of the token.
        id: String,
    },
    /// The CA is another.
    #[error(
        "the CA of the cluster at {endpoint} is {found}, not one of those given\nhint: this is another cluster, or somebody is in between; `kinit token create --print-join-command` on the control plane shows the right hash"
    )]
    Hash {
        /// The endpoint.
        endpoint: String,
        /// Hash of the CA that was found.
        found: String,
    },
    /// What the cluster says cannot be understood, or it says it differently the second time.
    #[error("cluster-info of {endpoint}: {reason}")]
    Invalid {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of its own.
    #[error(transparent)]
    Credentials(#[from] kinit_pki::Error),
    /// A call of its own.
    #[error(transparent)]
    Api(#[from] api::Error),
}

/// A cluster that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// URL of its API.
    pub server: String,
    /// Its CA, PEM.
    pub ca: String,
}

/// Finds and checks the cluster.
pub async fn discover(source: &Source) -> Result<Found, Error> {
    match source {
        Source::Token { endpoint, token, hashes } => by_token(endpoint, token, hashes).await,
        Source::File { at, .. } => {
            let config = file(at).await?;
            let (cluster, _) = config.current()?;
            let ca = cluster.ca_pem()?.ok_or_else(|| Error::Invalid {
                endpoint: cluster.server.clone(),
                reason: format!("{at} has no CA"),
            })?;
            Ok(Found { server: cluster.server.clone(), ca })
        }
    }
}

/// The kubeconfig at a path, or at an https URL whose server this host believes.
pub(super) async fn file(at: &str) -> Result<Kubeconfig, Error> {
    if at.starts_with("https://") {
        return Ok(Kubeconfig::parse(&api::download(at).await?, at)?);
    }
    Ok(Kubeconfig::load(Path::new(at))?)
}

async fn by_token(endpoint: &str, token: &Token, hashes: &[String]) -> Result<Found, Error> {
    let url = format!("https://{endpoint}");
    let end = Instant::now() + SIGNED_WITHIN;
    let (text, found) = loop {
        let first = read(&url, &Trust::Anyone, endpoint).await?;
        match believed(&first, endpoint, token, hashes) {
            Err(Error::Token { .. }) if signature(&first, token).is_none() && Instant::now() < end => {
                tokio::time::sleep(SIGNED_POLL).await;
            }
            result => break result?,
        }
    };
    let second = read(&url, &Trust::Authorities(found.ca.clone()), endpoint).await?;
    let (again, _) = believed(&second, endpoint, token, hashes)?;
    if again != text {
        return Err(Error::Invalid { endpoint: endpoint.into(), reason: "it changed between two readings".into() });
    }
    // The server that the cluster names may be lost just now; the one that answered is of the same cluster.
    if found.server != url && read(&found.server, &Trust::Authorities(found.ca.clone()), endpoint).await.is_err() {
        return Ok(Found { server: url, ..found });
    }
    Ok(found)
}

async fn read(url: &str, trust: &Trust, endpoint: &str) -> Result<Value, Error> {
    let api = KubeApi::new(url, trust, None)?;
    api.call(Verb::Get, CLUSTER_INFO, None).await.map_err(|source| match source {
        source @ api::Error::Unreachable { .. } => Error::Unreachable { endpoint: endpoint.into(), source },
        source => Error::NoInfo { endpoint: endpoint.into(), source },
    })
}

/// What the token signed, if it has.
fn signature<'a>(info: &'a Value, token: &Token) -> Option<&'a str> {
    info.pointer("/data")?.get(format!("jws-kubeconfig-{}", token.id()))?.as_str()
}

/// Checks the signature and the hash; gives the text and what it says.
fn believed(info: &Value, endpoint: &str, token: &Token, hashes: &[String]) -> Result<(String, Found), Error> {
    let invalid = |reason: String| Error::Invalid { endpoint: endpoint.to_owned(), reason };
    let data = |key: &str| info.pointer("/data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let text = data("kubeconfig").ok_or_else(|| invalid("it holds no kubeconfig".into()))?;
    if !token.verifies(text, signature(info, token).unwrap_or_default()) {
        return Err(Error::Token { endpoint: endpoint.into(), id: token.id().into() });
    }
    let config = Kubeconfig::parse(text, "cluster-info")?;
    let (cluster, _) = config.current()?;
    let ca = cluster.ca_pem()?.ok_or_else(|| invalid("it holds no CA".into()))?;
    let hash = Certificate::from_pem(&ca, "the cluster's CA")?.public_key_hash();
    if !hashes.is_empty() && !hashes.contains(&hash) {
        return Err(Error::Hash { endpoint: endpoint.into(), found: hash });
    }
    Ok((text.to_owned(), Found { server: cluster.server.clone(), ca }))
}
