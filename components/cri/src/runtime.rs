//! Both CRI services over one unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;

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

/// Gives each call that has no time limit of its own the usual one.
#[derive(Debug, Clone, Copy)]
pub struct Patience(Duration);

impl Interceptor for Patience {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !request.metadata().contains_key("grpc-timeout") {
            request.set_timeout(self.0);
        }
        Ok(request)
    }
}

/// The connection to a runtime.
pub type Timed = InterceptedService<Channel, Patience>;

/// A container runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The runtime service.
    pub runtime: RuntimeServiceClient<Timed>,
    /// The image service.
    pub images: ImageServiceClient<Timed>,
}

impl Runtime {
    /// The runtime at a socket, which is connected to by the first call, and again when the connection broke. Calls that
    /// take longer than `timeout` are given up; creating a sandbox includes its network.
    pub fn new(socket: &Path, timeout: Duration) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime.local").connect_with_connector_lazy(connector);
        let channel = InterceptedService::new(channel, Patience(timeout));
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(LIMIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_its_own_stays() {
        let mut patience = Patience(Duration::from_secs(7));
        let limit = |request: Request<()>| request.metadata().get("grpc-timeout").cloned().unwrap();
        assert_eq!(limit(patience.call(Request::new(())).unwrap()), "7000000u");
        let mut own = Request::new(());
        own.set_timeout(Duration::from_secs(60));
        assert_eq!(limit(patience.call(own).unwrap()), "60000000u");
    }
}
