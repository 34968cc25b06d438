//! Servers and clients that the tests share.

#![allow(dead_code, clippy::print_stdout, reason = "each test uses its part; a skipped one says so")]

pub mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinit_etcd::options::Options;
use kinit_etcd::proto::rpc::kv_client::KvClient;
use kinit_etcd::proto::rpc::lease_client::LeaseClient;
use kinit_etcd::proto::rpc::maintenance_client::MaintenanceClient;
use kinit_etcd::proto::rpc::watch_client::WatchClient;
use kinit_etcd::proto::rpc::watch_request::RequestUnion;
use kinit_etcd::proto::rpc::{WatchCreateRequest, WatchRequest, WatchResponse};
use kinit_etcd::server::{Server, ServerError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// A member of ours within the test's process.
pub struct Ours {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServerError>>,
}

impl Ours {
    /// Starts on a data directory, with more flags.
    pub async fn start(data: &Path, flags: &[&str]) -> Self {
        let data = format!("--data-dir={}", data.display());
        let mut arguments = vec!["etcd", data.as_str(), "--listen-metrics-urls=http://127.0.0.1:0"];
        if !flags.iter().any(|flag| flag.starts_with("--listen-client-urls")) {
            arguments.push("--listen-client-urls=http://127.0.0.1:0");
        }
        if !flags.iter().any(|flag| flag.starts_with("--listen-peer-urls")) {
            arguments.push("--listen-peer-urls=http://127.0.0.1:0");
        }
        arguments.extend(flags);
        let server = Server::new(Options::of(arguments).expect("good flags")).expect("good options");
        let (handle, stop) = (server.handle(), CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        let Some(addresses) = handle.ready().await else {
            panic!("the server did not start: {:?}", running.await);
        };
        Self { address: addresses.clients[0], metrics: addresses.metrics[0], stop, running }
    }

    /// Stops and waits.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("no panic").expect("a clean end");
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

/// Every client on one connection.
#[derive(Clone)]
pub struct Client {
    pub kv: KvClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
    pub watch: WatchClient<Channel>,
}

impl Client {
    /// Connects, for as long as a server takes to start.
    pub async fn connect(address: SocketAddr) -> Self {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            match Self::try_connect(address).await {
                Ok(client) => return client,
                Err(error) if tokio::time::Instant::now() > deadline => panic!("{address}: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Connects, if a server is there.
    pub async fn try_connect(address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("a URL").connect().await?;
        let most = 1 << 30;
        Ok(Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(most),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            watch: WatchClient::new(channel).max_decoding_message_size(most),
        })
    }

    /// Opens a stream with these watches. etcd answers the call itself only with the first response, so there must be
    /// one.
    pub async fn watches(&mut self, creates: impl IntoIterator<Item = WatchCreateRequest>) -> Watches {
        let (requests, receiver) = mpsc::channel(16);
        for create in creates {
            let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            requests.try_send(request).expect("few watches");
        }
        let responses = self.watch.watch(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
        Watches { requests, responses }
    }
}

/// A stream of watches.
pub struct Watches {
    pub requests: mpsc::Sender<WatchRequest>,
    pub responses: Streaming<WatchResponse>,
}

impl Watches {
    pub async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(20), self.responses.message()).await;
        next.expect("a response in time").expect("no error").expect("the stream goes on")
    }
}

/// A server in a process of its own, killed when it is dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts a program with etcd's flags.
    pub fn start(program: &Path, data: &Path, flags: &[&str]) -> Self {
        Self::start_with(program, data, flags, &[])
    }

    /// The same with an environment.
    pub fn start_with(program: &Path, data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let [client, peer] = free_addresses();
        let url = |address: SocketAddr| format!("http://{address}");
        // Its identity comes of what it says of itself, which is the same at every start, as an operator's flags are.
        let identity = "http://127.0.0.1:2380";
        let child = Command::new(program)
            .env_clear()
            .envs(environment.iter().copied())
            .args(["--data-dir", &data.display().to_string(), "--name=default"])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", identity])
            .args(["--initial-cluster", &format!("default={identity}"), "--log-level=error"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { child, address: client }
    }

    /// Ends it as a power cut would, as far as the process is concerned.
    pub fn kill(mut self) {
        self.child.kill().expect("killable");
        self.child.wait().expect("ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that were free a moment ago.
pub fn free_addresses() -> [SocketAddr; 2] {
    [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port")).map(|held| held.local_addr().expect("bound"))
}

/// A program of Debian's etcd packages; `None`, and a word why, where it is not installed.
pub fn installed(name: &str) -> Option<PathBuf> {
    let found = which::which_in(name, Some("/usr/bin:/usr/local/bin"), "/").ok();
    if found.is_none() {
        println!("skipped: {name} is not installed (Debian's etcd-client and etcd-server have it)");
    }
    found
}

/// Our own binary.
pub fn own_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_etcd"))
}
