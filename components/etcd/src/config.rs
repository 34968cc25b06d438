//! What the options mean: checked, parsed and with every default filled in.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kinit_serving::tls::{ClientAuth, Identity, TlsOptions};
use url::Url;

use crate::options::{ClusterState, CompactionMode, Options};
use crate::peer::PeerTls;

/// The version that clients are told. Features that clients ask for by version are those of this one.
pub const VERSION: &str = "3.6.8";
/// The cluster's version: the one that all members have in common.
pub const CLUSTER_VERSION: &str = "3.6.0";

/// The quota when none is given.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// The features that can be switched, with whether they are on and cannot be switched otherwise yet.
const FEATURES: [(&str, bool); 1] = [("InitialCorruptCheck", true)];

/// What is wrong with the options. Each names the flag and says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--{flag}: {url:?} is no URL that can be listened on ({reason}); write it as https://10.0.0.1:2379")]
    Url { flag: &'static str, url: String, reason: String },
    #[error("--{flag}: https needs --cert-file and --key-file")]
    NoCertificate { flag: &'static str },
    #[error("--{0}-file and --{1}-file must be given together")]
    HalfPair(&'static str, &'static str),
    #[error("--client-cert-auth needs --trusted-ca-file")]
    NoClientCa,
    #[error("--{flag}: {value:?} is no duration; write it as 5s, 10m or 1h30m")]
    Duration { flag: &'static str, value: String },
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
    #[error("--listen-peer-urls: https needs --peer-cert-file and --peer-key-file")]
    NoPeerCertificate,
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
}

impl Config {
    /// Checks the options.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        check_features(&options.feature_gates)?;
        let initial_cluster =
            initial_cluster(&options.name, &options.initial_cluster, &options.initial_advertise_peer_urls)?;
        let (heartbeat, election) = (options.heartbeat_interval, options.election_timeout);
        if heartbeat == 0 || election < 5 * heartbeat || election > 50_000 {
            return Err(ConfigError::Timing { heartbeat, election });
        }
        let tls = tls(&options)?;
        let peer_tls = peer_tls(&options)?;
        let mut listen_peer = Vec::new();
        for url in &options.listen_peer_urls {
            for listen in addresses("listen-peer-urls", url)? {
                if !listen.tls || peer_tls.is_some() {
                    listen_peer.push(listen);
                } else if initial_cluster.len() > 1 {
                    return Err(ConfigError::NoPeerCertificate);
                } else {
                    // Nobody else is there to be served yet.
                    tracing::warn!(url, "--peer-cert-file and --peer-key-file are not given: no other member can join");
                }
            }
        }
        let listen = |flag: &'static str, urls: &[String]| -> Result<Vec<Listen>, ConfigError> {
            let mut listens = Vec::new();
            for url in urls {
                for listen in addresses(flag, url)? {
                    if listen.tls && tls.is_none() {
                        return Err(ConfigError::NoCertificate { flag });
                    }
                    listens.push(listen);
                }
            }
            Ok(listens)
        };
        let listen_client = listen("listen-client-urls", &options.listen_client_urls)?;
        let listen_metrics = listen("listen-metrics-urls", &options.listen_metrics_urls)?;
        let data_dir = options.data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", options.name)));
        let wal_dir = options.wal_dir.unwrap_or_else(|| data_dir.join("member").join("wal"));
        let progress = &options.watch_progress_notify_interval;
        let progress_interval = duration(progress)
            .filter(|interval| !interval.is_zero())
            .ok_or_else(|| ConfigError::Duration { flag: "watch-progress-notify-interval", value: progress.clone() })?;
        Ok(Self {
            name: options.name,
            wal_dir,
            data_dir,
            listen_client,
            listen_metrics,
            tls,
            client_cert_auth: options.client_cert_auth,
            advertise_client_urls: options.advertise_client_urls,
            listen_peer,
            peer_tls,
            peer_files: PeerTls {
                cert: options.peer_cert_file,
                key: options.peer_key_file,
                ca: options.peer_trusted_ca_file,
            },
            peer_urls: options.initial_advertise_peer_urls,
            initial_cluster,
            joins: options.initial_cluster_state == ClusterState::Existing,
            heartbeat: Duration::from_millis(heartbeat),
            election_ticks: (election / heartbeat) as u32,
            pre_vote: options.pre_vote,
            strict_reconfig: options.strict_reconfig_check,
            kept_entries: options.snapshot_count,
            cluster_token: options.initial_cluster_token,
            max_request_bytes: options.max_request_bytes as usize,
            max_txn_ops: options.max_txn_ops as usize,
            max_concurrent_streams: options.max_concurrent_streams,
            quota: match options.quota_backend_bytes {
                0 => Some(DEFAULT_QUOTA),
                bytes => u64::try_from(bytes).ok(),
            },
            auto_compaction: auto_compaction(options.auto_compaction_mode, &options.auto_compaction_retention)?,
            progress_interval,
        })
    }
}

fn check_features(gates: &[String]) -> Result<(), ConfigError> {
    for gate in gates.iter().filter(|gate| !gate.is_empty()) {
        let parsed = gate.split_once('=').and_then(|(name, on)| Some((name, on.parse::<bool>().ok()?)));
        let (name, on) =
            parsed.ok_or_else(|| ConfigError::Feature(format!("{gate:?} is not NAME=true or NAME=false")))?;
        match FEATURES.iter().find(|(known, _)| *known == name) {
            Some((_, always)) if *always == on => {}
            Some((_, always)) => {
                return Err(ConfigError::Feature(format!("{name} is always {always} here; leave it out")));
            }
            None => return Err(ConfigError::Feature(format!("no feature is named {name:?}"))),
        }
    }
    Ok(())
}

/// The members that are named, each with its URLs; this one alone when none is.
pub fn initial_cluster(
    name: &str,
    named: &[String],
    own_urls: &[String],
) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let wrong = |problem: String| Err(ConfigError::Cluster(problem));
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in named.iter().filter(|member| !member.is_empty()) {
        let Some((name, url)) = member.split_once('=') else { return wrong(format!("{member:?} is not NAME=URL")) };
        check_url("initial-cluster", url)?;
        members.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    for url in own_urls {
        check_url("initial-advertise-peer-urls", url)?;
    }
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let own = sorted(own_urls);
    if members.is_empty() {
        members.insert(name.to_owned(), own);
        return Ok(members);
    }
    match members.get(name) {
        None => wrong(format!("this member's name {name:?} is not in it")),
        Some(urls) if sorted(urls) != own => wrong(format!(
            "it has {} for this member, but --initial-advertise-peer-urls has {}",
            urls.join(","),
            own.join(",")
        )),
        Some(_) => Ok(members),
    }
}

fn check_url(flag: &'static str, url: &str) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::Url { flag, url: url.to_owned(), reason: reason.to_owned() };
    let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" if parsed.has_host() => Ok(()),
        _ => Err(wrong("it is no http or https URL")),
    }
}

fn peer_tls(options: &Options) -> Result<Option<TlsOptions>, ConfigError> {
    if options.peer_client_cert_auth && options.peer_trusted_ca_file.is_none() {
        return Err(ConfigError::NoPeerCa);
    }
    let (Some(cert), Some(key)) = (&options.peer_cert_file, &options.peer_key_file) else {
        let half = options.peer_cert_file.is_some() || options.peer_key_file.is_some();
        return if half { Err(ConfigError::HalfPair("peer-cert", "peer-key")) } else { Ok(None) };
    };
    let client_auth = match &options.peer_trusted_ca_file {
        Some(ca) => ClientAuth::Required(vec![ca.clone()]),
        None => ClientAuth::None,
    };
    Ok(Some(TlsOptions::http(Identity::Files { cert: cert.clone(), key: key.clone() }, client_auth)))
}

fn tls(options: &Options) -> Result<Option<TlsOptions>, ConfigError> {
    if options.client_cert_auth && options.trusted_ca_file.is_none() {
        return Err(ConfigError::NoClientCa);
    }
    let (Some(cert), Some(key)) = (&options.cert_file, &options.key_file) else {
        let half = options.cert_file.is_some() || options.key_file.is_some();
        return if half { Err(ConfigError::HalfPair("cert", "key")) } else { Ok(None) };
    };
    // A trusted CA alone already asks for certificates; etcd does the same.
    let client_auth = match &options.trusted_ca_file {
        Some(ca) => ClientAuth::Required(vec![ca.clone()]),
        None => ClientAuth::None,
    };
    Ok(Some(TlsOptions::http(Identity::Files { cert: cert.clone(), key: key.clone() }, client_auth)))
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
            match hours.or_else(|| duration(retention)) {
                Some(Duration::ZERO) => Ok(AutoCompaction::Off),
                Some(period) => Ok(AutoCompaction::Periodic(period)),
                None => Err(ConfigError::Duration { flag: "auto-compaction-retention", value: retention.to_owned() }),
            }
        }
    }
}

/// A duration as Go writes it: numbers with units, `1h30m`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let arguments = std::iter::once("etcd").chain(arguments.iter().copied());
        let options = Options::try_parse_from(arguments).map_err(|error| error.to_string())?;
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
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table: &[(&[&str], &str)] = &[
            (&["--no-such-flag"], "unexpected argument"),
            (&["--listen-client-urls=https://127.0.0.1:0"], "--cert-file"),
            (&["--listen-client-urls=127.0.0.1:2379"], "no URL"),
            (&["--cert-file=/a"], "together"),
            (&["--client-cert-auth"], "--trusted-ca-file"),
            (&["--watch-progress-notify-interval=soon"], "no duration"),
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
    fn durations_as_go_writes_them() {
        let table = [
            ("5s", Some(Duration::from_secs(5))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("0", Some(Duration::ZERO)),
            ("5", None),
            ("", None),
            ("m", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected, "{text:?}");
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
