//! The cluster's API, as little of it as a bootstrapper needs: JSON requests, and making an object be there.
//!
//! [`Api`] is one request; [`KubeApi`] sends it with a kubeconfig's credentials. [`ensure`] and its siblings are built on
//! it and know nothing of HTTP.

mod client;
mod ensure;
mod memory;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use client::{KubeApi, Trust, clock_skew, download};
pub use ensure::{delete, ensure, get, object_path, patch, take_back};
pub use memory::MemoryApi;

/// What can go wrong towards the API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers, or not in a way that can be trusted.
    #[error("{url}: {reason}")]
    Unreachable {
        /// The API server.
        url: String,
        /// Why.
        reason: String,
    },
    /// The API refused.
    #[error("{method} {path}: {code} {message}")]
    Refused {
        /// The verb.
        method: &'static str,
        /// The path.
        path: String,
        /// HTTP status.
        code: u16,
        /// `reason` of the status object.
        reason: String,
        /// What it said.
        message: String,
    },
    /// An object of a kind that is not in the table of kinds.
    #[error("no path is known for objects of kind {kind} in {api_version}")]
    Kind {
        /// Its group and version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// The credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] kinit_pki::Error),
}

impl Error {
    /// The HTTP status, if the API answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later, as the cluster comes up: nobody answers yet, it says so, a
    /// namespace is still being made, or a role has not spread yet.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code: 429 | 500..=599, .. } => true,
            Self::Refused { code: 403, .. } => true,
            Self::Refused { code: 404, message, .. } => message.contains("namespaces"),
            _ => false,
        }
    }
}

/// How a body changes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    Get,
    /// Create.
    Post,
    /// Replace.
    Put,
    /// Merge by RFC 7386.
    MergePatch,
    /// Merge by Kubernetes' strategies.
    StrategicPatch,
    /// Delete.
    Delete,
}

/// How long a cluster that comes up may refuse before that counts: kubeadm's `kubernetesAPICall`.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request to the API.
#[async_trait]
pub trait Api: Send + Sync {
    /// How long a cluster that comes up may refuse before that counts.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Sends `body` to `path` and gives the answer's object; an answer that is not JSON comes as a string.
    async fn call(&self, verb: Verb, path: &str, body: Option<&Value>) -> Result<Value, Error>;
}

/// The API of a dry run: reads find nothing, writes are echoed.
pub struct WouldCall;

#[async_trait]
impl Api for WouldCall {
    async fn call(&self, verb: Verb, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        match (verb, body) {
            (Verb::Get, _) => Err(Error::Refused {
                method: "GET",
                path: path.to_owned(),
                code: 404,
                reason: "NotFound".into(),
                message: "not asked in a dry run".into(),
            }),
            (_, body) => Ok(body.cloned().unwrap_or(Value::Null)),
        }
    }
}
