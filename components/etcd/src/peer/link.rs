//! One stream of messages to another member, opened again whenever it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{PeerTls, REMOVED, address, wire};
use crate::membership::Identity;
use crate::metrics::Figures;
use crate::node::inbox::{Control, Inbox};
use crate::proto::peer::peer_client::PeerClient;
use crate::proto::peer::{Batch, Empty};
use crate::raft::Message;

/// Messages that wait for being sent; more are dropped, and consensus sends again what matters.
const WAITING: usize = 1024;
/// Messages, and bytes of them, that are sent as one.
const BATCH: usize = 64;
/// Batches that were sent and not taken by the network yet.
const AHEAD: usize = 8;
/// Between two questions whether the other is there.
const ASK: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection on which nothing comes back for so long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// What members send to one another is bounded where it is made.
const LARGEST: usize = 256 << 20;

/// Another member, and who asks it.
#[derive(Clone, Debug)]
pub struct To {
    pub identity: Identity,
    pub id: u64,
    pub urls: Vec<String>,
    pub tls: PeerTls,
}

impl To {
    /// A connection to the first of the URLs that answers. Certificates are read anew, because they are rotated.
    pub async fn connect(&self) -> Result<PeerClient<Channel>, String> {
        let mut problem = "the member has no URL".to_owned();
        for url in &self.urls {
            match connect(url, &self.tls).await {
                Ok(channel) => {
                    let client = PeerClient::new(channel);
                    return Ok(client.max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST));
                }
                Err(error) => problem = format!("{url}: {error}"),
            }
        }
        Err(problem)
    }

    pub fn address<T>(&self, request: T) -> Request<T> {
        address(Request::new(request), self.identity, self.id)
    }
}

/// Connects to a member's URL.
pub async fn connect(url: &str, tls: &PeerTls) -> Result<Channel, String> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    if url.starts_with("https:") {
        let read =
            |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &tls.ca {
            config = config.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
            config = config.identity(tonic::transport::Identity::from_pem(read(cert)?, read(key)?));
        }
        endpoint = endpoint.tls_config(config).map_err(|error| chain(&error))?;
    }
    endpoint.connect().await.map_err(|error| chain(&error))
}

/// An error with what caused it, because the outermost one says only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Since when there is a stream, while there is one.
#[derive(Default)]
struct Connected {
    now: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Connected {
    fn set(&self, now: bool) {
        *self.since.lock() = now.then(Instant::now);
        self.now.store(now, Ordering::Relaxed);
    }
}

/// See the module. It ends when it is dropped.
pub struct Link {
    to: Arc<To>,
    messages: mpsc::Sender<Message>,
    connected: Arc<Connected>,
    _end: DropGuard,
}

impl Link {
    pub fn start(runtime: &tokio::runtime::Handle, to: To, inbox: Arc<Inbox>, figures: Arc<Figures>) -> Self {
        let (messages, receiver) = mpsc::channel(WAITING);
        let (to, connected, end) = (Arc::new(to), Arc::new(Connected::default()), CancellationToken::new());
        let task = Task { to: to.clone(), connected: connected.clone(), inbox, figures, receiver };
        let stop = end.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
        Self { to, messages, connected, _end: end.drop_guard() }
    }

    /// Gives the message back when it cannot be on its way.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        if !self.is_connected() {
            return Err(message);
        }
        self.messages.try_send(message).map_err(mpsc::error::TrySendError::into_inner)
    }

    pub fn is_connected(&self) -> bool {
        self.connected.now.load(Ordering::Relaxed)
    }

    /// How long the member has been connected to.
    pub fn connected_for(&self) -> Option<Duration> {
        self.connected.since.lock().map(|since| since.elapsed())
    }

    pub fn urls(&self) -> &[String] {
        &self.to.urls
    }

    pub fn target(&self) -> Arc<To> {
        self.to.clone()
    }
}

struct Task {
    to: Arc<To>,
    connected: Arc<Connected>,
    inbox: Arc<Inbox>,
    figures: Arc<Figures>,
    receiver: mpsc::Receiver<Message>,
}

impl Task {
    async fn run(mut self) {
        let mut quiet = false;
        loop {
            let ended = match self.to.connect().await {
                Ok(client) => {
                    quiet = false;
                    self.serve(client).await
                }
                Err(error) => error,
            };
            self.connected.set(false);
            self.inbox.control(Control::Unreachable(self.to.id));
            if ended.contains(REMOVED) {
                return self.inbox.control(Control::Removed);
            }
            if !quiet {
                tracing::warn!(member = format!("{:x}", self.to.id), error = ended, "a member is not reached");
                quiet = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends until the stream ends, and says why it did.
    async fn serve(&mut self, mut client: PeerClient<Channel>) -> String {
        let (batches, stream) = mpsc::channel(AHEAD);
        // What waited for the connection is old.
        while self.receiver.try_recv().is_ok() {}
        self.connected.set(true);
        let (asker, to, figures) = (client.clone(), self.to.clone(), self.figures.clone());
        let ask = async move {
            loop {
                let (mut asker, started) = (asker.clone(), Instant::now());
                let answer = asker.ping(to.address(Empty {})).await;
                // Who does not know the question has answered as well.
                if answer.map_or_else(|status| status.code() == tonic::Code::Unimplemented, |_| true) {
                    figures.peer_answered(to.id, started.elapsed());
                }
                tokio::time::sleep(ASK).await;
            }
        };
        let call = client.messages(self.to.address(ReceiverStream::new(stream)));
        tokio::pin!(call);
        let receiver = &mut self.receiver;
        let feed = async move {
            let mut waiting = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut waiting, BATCH).await > 0 {
                let batch = Batch { messages: waiting.drain(..).filter_map(wire::encode).collect() };
                if batches.send(batch).await.is_err() {
                    break;
                }
            }
            // The call says why it ended.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = &mut call => match outcome {
                Ok(_) => "the member closed the stream".to_owned(),
                Err(status) => format!("{}: {}", status.code(), status.message()),
            },
            () = feed => String::new(),
            () = ask => String::new(),
        }
    }
}
