//! The few CRI calls that installing and removing a node need: who is there, and taking every pod away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const TIMEOUT: Duration = Duration::from_secs(30);

/// runtime.v1.VersionResponse
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeVersion {
    /// Version of the kubelet's runtime API.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Name of the runtime.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Version of the runtime.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// Version of the CRI.
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// runtime.v1.VersionRequest
#[derive(Clone, PartialEq, prost::Message)]
struct VersionRequest {
    #[prost(string, tag = "1")]
    version: String,
}

/// runtime.v1.ListPodSandboxRequest, without a filter
#[derive(Clone, PartialEq, prost::Message)]
struct ListRequest {}

/// runtime.v1.ListPodSandboxResponse
#[derive(Clone, PartialEq, prost::Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<SandboxId>,
}

/// The first field of runtime.v1.PodSandbox, StopPodSandboxRequest and RemovePodSandboxRequest
#[derive(Clone, PartialEq, prost::Message)]
struct SandboxId {
    #[prost(string, tag = "1")]
    id: String,
}

/// A response whose fields are of no interest
#[derive(Clone, PartialEq, prost::Message)]
struct Ignored {}

/// What can go wrong towards the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the socket.
    #[error("cannot connect to {path}: {reason}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The runtime refused a call.
    #[error("{method}: {}", status.message())]
    Call {
        /// The call.
        method: &'static str,
        /// What it said.
        status: Box<Status>,
    },
}

/// A connection to a container runtime.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    channel: Channel,
}

impl Sandboxes {
    /// Connects to the socket at `path`.
    pub async fn connect(path: &Path) -> Result<Self, Error> {
        let socket = path.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://runtime.local").connect_with_connector(connector).await.map_err(|error| {
                let mut reason = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(inner) = source {
                    reason = inner.to_string();
                    source = inner.source();
                }
                Error::Connect { path: path.to_owned(), reason }
            })?;
        Ok(Self { channel })
    }

    /// Who the runtime is.
    pub async fn version(&self) -> Result<RuntimeVersion, Error> {
        self.call("Version", VersionRequest { version: "v1".into() }).await
    }

    /// Stops and removes every pod; gives how many there were. One that resists does not keep the others.
    pub async fn remove_all(&self) -> Result<usize, Error> {
        let all: ListResponse = self.call("ListPodSandbox", ListRequest {}).await?;
        let count = all.items.len();
        let mut tasks = tokio::task::JoinSet::new();
        for sandbox in all.items {
            let runtime = self.clone();
            tasks.spawn(async move {
                let stopped: Result<Ignored, Error> = runtime.call("StopPodSandbox", sandbox.clone()).await;
                stopped?;
                runtime.call::<_, Ignored>("RemovePodSandbox", sandbox).await
            });
        }
        let mut failure = None;
        while let Some(result) = tasks.join_next().await {
            if let Ok(Err(error)) = result {
                failure = Some(error);
            }
        }
        failure.map_or(Ok(count), Err)
    }

    async fn call<Q, A>(&self, method: &'static str, message: Q) -> Result<A, Error>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let fail = |status: Status| Error::Call { method, status: Box::new(status) };
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))
            .map_err(|error| fail(Status::internal(error.to_string())))?;
        let mut request = Request::new(message);
        request.set_timeout(TIMEOUT);
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| fail(Status::unavailable(error.to_string())))?;
        Ok(grpc.unary(request, path, ProstCodec::<Q, A>::default()).await.map_err(fail)?.into_inner())
    }
}
