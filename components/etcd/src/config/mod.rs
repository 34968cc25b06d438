//! What the options mean: checked, parsed and with every default filled in.

mod cluster;
mod features;
mod tls;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kinit_serving::tls::TlsOptions;
use url::Url;

use crate::auth::provider::{AuthToken, AuthTokenError};
use crate::options::{ClusterState, CompactionMode, Options, ReadOnly};
use crate::peer::PeerTls;

pub use cluster::initial_cluster;
pub use features::Features;

/// The version that clients are told. Features that clients ask for by version are those of this one.
pub const VERSION: &str = "3.6.8";
/// The cluster's version: the one that all members have in common.
pub const CLUSTER_VERSION: &str = "3.6.0";

/// Longer than any connection.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The quota when none is given.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// What is wrong with the options. Each names the flag and says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--{flag}: {url:?} is no URL that can be listened on ({reason}); write it as https://10.0.0.1:2379")]
    Url { flag: &'static str, url: String, reason: String },
    #[error(
        "--{flag}: cannot listen on TLS for {url}: KeyFile and CertFile are not presented; give --{pair}cert-file and --{pair}key-file"
    )]
    NoCertificate { flag: &'static str, url: String, pair: &'static str },
    #[error("--{0}-file and --{1}-file must be given together")]
    HalfPair(&'static str, &'static str),
    #[error("--client-cert-auth needs --trusted-ca-file")]
    NoClientCa,
    #[error("--{flag}: {value:?} is no duration; write it as 5s, 10m or 1h30m")]
    Duration { flag: &'static str, value: String },
    #[error("--{0} must be more than nothing")]
    NoTime(&'static str),
    #[error(transparent)]
    Foreign(#[from] kinit_flags::Refused),
    #[error("--tls-min-version is newer than --tls-max-version")]
    Versions,
    #[error("--cipher-suites choose among those of TLS 1.2, which --tls-min-version leaves out")]
    Suites,
    #[error("--auth-token: {0}")]
    AuthToken(#[from] AuthTokenError),
    #[error("--auto-compaction-retention: {0:?} is no number of revisions")]
    Revisions(String),
    #[error("--feature-gates: {0}")]
    Feature(String),
    #[error("--initial-cluster: {0}")]
    Cluster(String),
    #[error(
        "--election-timeout: {election} ms must be at least five times --heartbeat-interval, {heartbeat} ms, and at most 50 s"
    )]
    Timing { heartbeat: u64, election: u64 },
    #[error("--peer-client-cert-auth needs --peer-trusted-ca-file")]
    NoPeerCa,
}

/// A URL to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: bool,
}

/// Automatic compactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    Off,
    /// Leaves this much time.
    Periodic(Duration),
    /// Leaves this many revisions.
    Revisions(i64),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    pub wal_dir: PathBuf,
    pub listen_client: Vec<Listen>,
    /// For plain HTTP alone; gRPC alone is then on the others.
    pub listen_http: Vec<Listen>,
    pub listen_metrics: Vec<Listen>,
    pub tls: Option<TlsOptions>,
    pub client_cert_auth: bool,
    pub advertise_client_urls: Vec<String>,
    pub listen_peer: Vec<Listen>,
    /// How other members are served, and how they are reached.
    pub peer_tls: Option<TlsOptions>,
    pub peer_files: PeerTls,
    pub peer_urls: Vec<String>,
    /// The members that the cluster begins with, this one among them, by their names.
    pub initial_cluster: BTreeMap<String, Vec<String>>,
    /// Whether the cluster is there already.
    pub joins: bool,
    pub cluster_token: String,
    pub heartbeat: Duration,
    /// In heartbeats.
    pub election_ticks: u32,
    pub pre_vote: bool,
    /// Whether a leader answers reads by a lease.
    pub leases: bool,
    pub strict_reconfig: bool,
    /// Log entries kept for members that are behind.
    pub kept_entries: u64,
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    pub max_concurrent_streams: u32,
    /// `None`: no limit.
    pub quota: Option<u64>,
    pub auto_compaction: AutoCompaction,
    pub progress_interval: Duration,
    pub features: Features,
    pub keep_alive: Option<Duration>,
    pub keep_alive_timeout: Duration,
    /// Whether ports are shared with other processes.
    pub shared_ports: bool,
    pub gateway: bool,
    pub access: Access,
    pub memory_mlock: bool,
    /// Free bytes of the store from which on it is defragmented at start.
    pub defragment_from: Option<u64>,
    pub max_learners: usize,
    pub auth_token: AuthToken,
    pub bcrypt_cost: u32,
    /// How often the leader compares all members' data.
    pub corrupt_check: Option<Duration>,
    pub compact_hash_check: Duration,
}

/// Who may ask, beyond what TLS says.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Names of which a client's certificate must have one; any without.
    pub client_hostnames: Vec<String>,
    pub peer_names: Vec<String>,
    pub peer_hostnames: Vec<String>,
    /// Origins and hosts; `*` is any.
    pub origins: Vec<String>,
    pub hosts: Vec<String>,
}

impl Config {
    /// Checks the options.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        let Options { member, clustering, security, auth, monitoring, features, foreign, .. } = options;
        foreign.settle()?;
        let features = Features::new(&features)?;
        let peer_urls = clustering.initial_advertise_peer_urls;
        let initial_cluster = initial_cluster(&member.name, &clustering.initial_cluster, &peer_urls)?;
        for url in &clustering.advertise_client_urls {
            cluster::check_url("advertise-client-urls", url)?;
        }
        let (heartbeat, election) = (member.heartbeat_interval, member.election_timeout);
        if heartbeat == 0 || election < 5 * heartbeat || election > 50_000 {
            return Err(ConfigError::Timing { heartbeat, election });
        }
        let (tls, peer_tls) = (tls::clients(&security)?, tls::peers(&security)?);
        let listen_peer = listens("listen-peer-urls", &member.listen_peer_urls, "peer-", peer_tls.is_some())?;
        let listen = |flag, urls: &[String]| listens(flag, urls, "", tls.is_some());
        let data_dir = member.data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", member.name)));
        let some = |period: Duration| (!period.is_zero()).then_some(period);
        let needed = |flag, period: Duration| some(period).ok_or(ConfigError::NoTime(flag));
        Ok(Self {
            wal_dir: member.wal_dir.unwrap_or_else(|| data_dir.join("member").join("wal")),
            data_dir,
            listen_client: listen("listen-client-urls", &member.listen_client_urls)?,
            listen_http: listen("listen-client-http-urls", &member.listen_client_http_urls)?,
            listen_metrics: listen("listen-metrics-urls", &monitoring.listen_metrics_urls)?,
            name: member.name,
            client_cert_auth: security.client_cert_auth,
            advertise_client_urls: clustering.advertise_client_urls,
            listen_peer,
            peer_files: tls::peer_files(&security),
            tls,
            peer_tls,
            peer_urls,
            initial_cluster,
            joins: clustering.initial_cluster_state == ClusterState::Existing,
            heartbeat: Duration::from_millis(heartbeat),
            election_ticks: (election / heartbeat) as u32,
            pre_vote: clustering.pre_vote,
            leases: clustering.experimental_read_only_option == ReadOnly::LeaseBased,
            strict_reconfig: clustering.strict_reconfig_check,
            kept_entries: member.snapshot_catchup_entries.unwrap_or(member.snapshot_count),
            cluster_token: clustering.initial_cluster_token,
            max_request_bytes: member.max_request_bytes as usize,
            max_txn_ops: member.max_txn_ops as usize,
            max_concurrent_streams: member.max_concurrent_streams,
            quota: match member.quota_backend_bytes {
                0 => Some(DEFAULT_QUOTA),
                bytes => u64::try_from(bytes).ok(),
            },
            auto_compaction: auto_compaction(clustering.auto_compaction_mode, &clustering.auto_compaction_retention)?,
            progress_interval: needed("watch-progress-notify-interval", member.watch_progress_notify_interval)?,
            features,
            keep_alive: some(member.grpc_keepalive_interval),
            keep_alive_timeout: some(member.grpc_keepalive_timeout).unwrap_or(FOREVER),
            shared_ports: member.socket_reuse_port,
            gateway: member.enable_grpc_gateway,
            access: Access {
                client_hostnames: security.client_cert_allowed_hostname,
                peer_names: security.peer_cert_allowed_cn,
                peer_hostnames: security.peer_cert_allowed_hostname,
                origins: security.cors,
                hosts: security.host_whitelist,
            },
            memory_mlock: member.memory_mlock,
            defragment_from: Some(member.bootstrap_defrag_threshold_megabytes << 20).filter(|bytes| *bytes > 0),
            max_learners: clustering.max_learners,
            auth_token: AuthToken::parse(&auth.auth_token, Duration::from_secs(auth.auth_token_ttl))?,
            bcrypt_cost: auth.bcrypt_cost,
            corrupt_check: some(monitoring.corrupt_check_time),
            compact_hash_check: needed("compact-hash-check-time", monitoring.compact_hash_check_time)?,
        })
    }
}

/// `pair` is how the flags of the certificate begin, and `tls` whether there is one.
fn listens(flag: &'static str, urls: &[String], pair: &'static str, tls: bool) -> Result<Vec<Listen>, ConfigError> {
    let mut listens = Vec::new();
    for url in urls {
        for listen in addresses(flag, url)? {
            if listen.tls && !tls {
                return Err(ConfigError::NoCertificate { flag, url: url.clone(), pair });
            }
            listens.push(listen);
        }
    }
    Ok(listens)
}

fn addresses(flag: &'static str, url: &str) -> Result<Vec<Listen>, ConfigError> {
    let wrong = |reason: String| ConfigError::Url { flag, url: url.to_owned(), reason };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let tls = match parsed.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(wrong(format!("its scheme is {other:?}"))),
    };
    let port = parsed.port_or_known_default().ok_or_else(|| wrong("it has no port".to_owned()))?;
    let host = parsed.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut found: Vec<SocketAddr> =
        (host.as_str(), port).to_socket_addrs().map_err(|error| wrong(error.to_string()))?.collect();
    // A name such as localhost may stand for an IPv4 and an IPv6 address; the first of IPv4 is what etcd listens on.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.truncate(1);
    if found.is_empty() {
        return Err(wrong("its host has no address".to_owned()));
    }
    Ok(found.into_iter().map(|address| Listen { address, tls }).collect())
}

fn auto_compaction(mode: CompactionMode, retention: &str) -> Result<AutoCompaction, ConfigError> {
    match mode {
        CompactionMode::Revision => match retention.parse::<i64>() {
            Ok(0) => Ok(AutoCompaction::Off),
            Ok(revisions) if revisions > 0 => Ok(AutoCompaction::Revisions(revisions)),
            _ => Err(ConfigError::Revisions(retention.to_owned())),
        },
        CompactionMode::Periodic => {
            // A bare number means hours.
            let hours = retention.parse::<u64>().ok().map(|hours| Duration::from_secs(hours * 3600));
            match hours.or_else(|| kinit_duration::parse(retention).ok()) {
                Some(Duration::ZERO) => Ok(AutoCompaction::Off),
                Some(period) => Ok(AutoCompaction::Periodic(period)),
                None => Err(ConfigError::Duration { flag: "auto-compaction-retention", value: retention.to_owned() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let arguments = std::iter::once("etcd").chain(arguments.iter().copied());
        let options = Options::of(arguments).map_err(|error| error.to_string())?;
        Config::new(options).map_err(|error| error.to_string())
    }

    #[test]
    fn kubeadms_flags_are_understood() {
        let config = config(&[
            "--advertise-client-urls=https://10.0.0.1:2379",
            "--cert-file=/pki/etcd/server.crt",
            "--client-cert-auth=true",
            "--data-dir=/var/lib/etcd",
            "--feature-gates=InitialCorruptCheck=true",
            "--initial-advertise-peer-urls=https://10.0.0.1:2380",
            "--initial-cluster=cp1=https://10.0.0.1:2380",
            "--key-file=/pki/etcd/server.key",
            "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=https://10.0.0.1:2380",
            "--name=cp1",
            "--peer-cert-file=/pki/etcd/peer.crt",
            "--peer-client-cert-auth=true",
            "--peer-key-file=/pki/etcd/peer.key",
            "--peer-trusted-ca-file=/pki/etcd/ca.crt",
            "--snapshot-count=10000",
            "--trusted-ca-file=/pki/etcd/ca.crt",
            "--watch-progress-notify-interval=5s",
        ])
        .expect("understood");
        assert_eq!(config.listen_client.len(), 2);
        assert!(config.listen_client.iter().all(|listen| listen.tls));
        assert_eq!(config.wal_dir, PathBuf::from("/var/lib/etcd/member/wal"));
        assert_eq!(config.progress_interval, Duration::from_secs(5));
        assert_eq!(config.quota, Some(DEFAULT_QUOTA));
        assert!(config.features.initial_corrupt_check && !config.features.compact_hash_check);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table: &[(&[&str], &str)] = &[
            (&["--no-such-flag"], "unexpected argument"),
            (&["--listen-client-urls=https://127.0.0.1:0"], "not presented; give --cert-file"),
            (&["--listen-peer-urls=https://127.0.0.1:0"], "not presented; give --peer-cert-file"),
            (&["--experimental-read-only-option=fast"], "lease-based"),
            (&["--listen-client-urls=127.0.0.1:2379"], "no URL"),
            (&["--cert-file=/a"], "together"),
            (&["--client-cert-auth"], "--trusted-ca-file"),
            (&["--watch-progress-notify-interval=soon"], "no duration"),
            (&["--watch-progress-notify-interval=0"], "more than nothing"),
            (&["--enable-pprof"], "--enable-pprof cannot be \"true\" here"),
            (&["--unsafe-no-fsync=true"], "on the disk"),
            (&["--discovery-endpoints=http://h:1"], "--initial-cluster"),
            (&["--logger=capnslog"], "zap"),
            (&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], "newer"),
            (&["--auth-token=jwt"], "sign-method"),
            (&["--auth-token=paper"], "simple or jwt"),
            (&["--feature-gates=LeaseCheckpointPersist=true"], "needs LeaseCheckpoint"),
            (&["--feature-gates=CompactHashCheck=true", "--experimental-compact-hash-check-enabled"], "leave that out"),
            (&["--feature-gates=StopGRPCServiceOnDefrag=true"], "always false"),
            (&["--auto-compaction-retention=x"], "no duration"),
            (&["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"], "revisions"),
            (&["--feature-gates=Nothing=true"], "no feature"),
            (&["--name=a", "--initial-cluster=b=http://h:1"], "not in it"),
            (&["--name=a", "--initial-cluster=a=http://h:1"], "--initial-advertise-peer-urls has"),
            (&["--heartbeat-interval=300"], "five times"),
            (&["--peer-client-cert-auth"], "--peer-trusted-ca-file"),
        ];
        for (arguments, expected) in table {
            let error = config(arguments).expect_err("refused");
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn retention_means_hours_or_revisions() {
        let periodic = |text| auto_compaction(CompactionMode::Periodic, text).expect("understood");
        assert_eq!(periodic("0"), AutoCompaction::Off);
        assert_eq!(periodic("1"), AutoCompaction::Periodic(Duration::from_secs(3600)));
        assert_eq!(periodic("5m"), AutoCompaction::Periodic(Duration::from_secs(300)));
        let revisions = auto_compaction(CompactionMode::Revision, "1000").expect("understood");
        assert_eq!(revisions, AutoCompaction::Revisions(1000));
    }
}
