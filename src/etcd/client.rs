//! etcd over its own wire.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{Error, Member, MemberStatus, Members};

use kinit_etcd_api::rpc;
use rpc::cluster_client::ClusterClient;
use rpc::maintenance_client::MaintenanceClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(15);

/// What is shown to etcd and whom it is believed by.
#[derive(Clone)]
pub struct Credentials {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    /// Those of the API server or of probes, from a control plane's PKI folder.
    pub fn of_folder(folder: &Path) -> Result<Self, Error> {
        let name = if folder.join("apiserver-etcd-client.crt").exists() {
            "apiserver-etcd-client"
        } else {
            "etcd/healthcheck-client"
        };
        Self::of_files(
            &folder.join("etcd/ca.crt"),
            &folder.join(format!("{name}.crt")),
            &folder.join(format!("{name}.key")),
        )
    }

    /// From three files.
    pub fn of_files(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| Error::File { path: path.display().to_string(), source })
        };
        Ok(Self { ca: read(ca)?, certificate: read(certificate)?, key: read(key)? })
    }
}

/// One cluster of etcd.
#[derive(Clone)]
pub struct Etcd {
    endpoints: Vec<String>,
    credentials: Option<Credentials>,
}

impl Etcd {
    /// The cluster that answers at `endpoints`. Nothing is connected yet.
    pub fn new(endpoints: Vec<String>, credentials: Option<Credentials>) -> Self {
        Self { endpoints, credentials }
    }

    /// Where it is asked.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn channel(&self, endpoint: &str) -> Result<Channel, Error> {
        let fail = |reason: String| Error::Unreachable { endpoint: endpoint.to_owned(), reason };
        let mut built = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| fail(chain(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        if let Some(credentials) = self.credentials.as_ref().filter(|_| endpoint.starts_with("https://")) {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&credentials.ca))
                .identity(Identity::from_pem(&credentials.certificate, &credentials.key));
            built = built.tls_config(tls).map_err(|error| fail(chain(&error)))?;
        }
        Ok(built.connect_lazy())
    }

    /// What the member at `endpoint` says of itself.
    pub async fn status(&self, endpoint: &str) -> Result<MemberStatus, Error> {
        let mut client = MaintenanceClient::new(self.channel(endpoint)?);
        let answer = within(client.status(rpc::StatusRequest {}), endpoint, "tell its state").await?;
        let id = answer.header.map_or(0, |header| header.member_id);
        Ok(MemberStatus {
            endpoint: endpoint.to_owned(),
            id,
            version: answer.version,
            db_size: answer.db_size,
            is_leader: answer.leader == id,
            is_learner: answer.is_learner,
            raft_term: answer.raft_term,
            raft_index: answer.raft_index,
            errors: answer.errors,
        })
    }

    /// The stream of a snapshot from the first member that answers.
    pub(super) async fn snapshot(&self) -> Result<tonic::Streaming<rpc::SnapshotResponse>, Error> {
        let mut last = None;
        for endpoint in &self.endpoints {
            let mut client = MaintenanceClient::new(self.channel(endpoint)?).max_decoding_message_size(64 << 20);
            match within(client.snapshot(rpc::SnapshotRequest {}), endpoint, "give a snapshot").await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_endpoint))
    }

    /// Asks one member after the other until one answers.
    async fn first<T, F>(&self, what: &'static str, ask: impl Fn(ClusterClient<Channel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut last = None;
        for endpoint in &self.endpoints {
            let client = ClusterClient::new(self.channel(endpoint)?);
            match within(ask(client), endpoint, what).await {
                Err(error @ Error::Unreachable { .. }) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(no_endpoint))
    }
}

fn no_endpoint() -> Error {
    Error::Unreachable { endpoint: String::new(), reason: "no endpoint is known".into() }
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    endpoint: &str,
    what: &'static str,
) -> Result<T, Error> {
    let unreachable = |reason: String| Error::Unreachable { endpoint: endpoint.to_owned(), reason };
    match tokio::time::timeout(TIMEOUT, call).await {
        Err(_) => Err(unreachable(format!("it did not answer within {}s", TIMEOUT.as_secs()))),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status))
            if status.code() == tonic::Code::Unavailable && std::error::Error::source(&status).is_some() =>
        {
            Err(unreachable(chain(&status)))
        }
        Ok(Err(status)) => Err(Error::Refused { what, reason: status.message().to_owned() }),
    }
}

/// The innermost cause says the most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn members(all: Vec<rpc::Member>) -> Vec<Member> {
    all.into_iter()
        .map(|member| Member {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
            is_learner: member.is_learner,
        })
        .collect()
}

#[async_trait]
impl Members for Etcd {
    async fn list(&self) -> Result<Vec<Member>, Error> {
        let ask = |mut client: ClusterClient<Channel>| async move {
            client.member_list(rpc::MemberListRequest { linearizable: true }).await
        };
        Ok(members(self.first("list its members", ask).await?.members))
    }

    async fn add_learner(&self, peer_url: &str) -> Result<Vec<Member>, Error> {
        let ask = |mut client: ClusterClient<Channel>| {
            let request = rpc::MemberAddRequest { peer_ur_ls: vec![peer_url.to_owned()], is_learner: true };
            async move { client.member_add(request).await }
        };
        Ok(members(self.first("add the member", ask).await?.members))
    }

    async fn promote(&self, id: u64) -> Result<(), Error> {
        let ask = |mut client: ClusterClient<Channel>| async move {
            client.member_promote(rpc::MemberPromoteRequest { id }).await
        };
        self.first("promote the member", ask).await.map(|_| ())
    }

    async fn remove(&self, id: u64) -> Result<(), Error> {
        let ask = |mut client: ClusterClient<Channel>| async move {
            client.member_remove(rpc::MemberRemoveRequest { id }).await
        };
        self.first("remove the member", ask).await.map(|_| ())
    }

    async fn update(&self, id: u64, peer_url: &str) -> Result<(), Error> {
        let ask = |mut client: ClusterClient<Channel>| {
            let request = rpc::MemberUpdateRequest { id, peer_ur_ls: vec![peer_url.to_owned()] };
            async move { client.member_update(request).await }
        };
        self.first("update the member", ask).await.map(|_| ())
    }
}
