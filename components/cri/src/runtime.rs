//! Both CRI services over one unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;

/// Calls that take longer are given up; creating a sandbox includes its network.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Listings of a full node exceed tonic's default of 4 MB.
const LIMIT: usize = 16 << 20;

/// What the runtime refused, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", status.message())]
pub struct Error {
    /// What was asked for.
    pub what: String,
    /// What the runtime said.
    pub status: Box<Status>,
}

impl Error {
    /// Names what was asked for.
    pub fn new(what: impl Into<String>, status: Status) -> Self {
        Self { what: what.into(), status: Box::new(status) }
    }

    /// Whether the thing asked about is not there.
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }
}

/// A container runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The runtime service.
    pub runtime: RuntimeServiceClient<Channel>,
    /// The image service.
    pub images: ImageServiceClient<Channel>,
}

impl Runtime {
    /// The runtime at a socket, which is connected to by the first call, and again when the connection broke.
    pub fn new(socket: &Path) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime.local").connect_with_connector_lazy(connector);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(LIMIT),
        }
    }

    /// A request with the usual time limit.
    pub fn request<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(TIMEOUT);
        request
    }
}
