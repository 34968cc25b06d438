//! Enrolling many hosts at once, from the control plane.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::api::{self, KubeApi};
use crate::config::settings::TokenSettings;
use crate::config::v1beta4::BootstrapToken;
use crate::host::RealHost;
use crate::images::{Binaries, COMPONENTS, HOST_BINARIES, digest_of_file};
use crate::phase::kubeconfig;
use crate::report::{Outcome, Reporter, describe};
use crate::ssh::{self, Credentials, KnownHosts, Session, Target, Unknown};
use crate::token::Token;

/// The token's life: long enough for slow hosts, short enough to be of no use to a finder.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// Where binaries go on a host.
const REMOTE_FOLDER: &str = Binaries::INSTALLED;
const REMOTE_STATE: &str = "/var/lib/kinit";

/// What enrolling needs.
pub struct Enrollment {
    /// The hosts.
    pub targets: Vec<Target>,
    /// Private keys to log in with.
    pub credentials: Credentials,
    /// What to do with hosts that were never seen.
    pub unknown: Unknown,
    /// Where the binaries are here.
    pub binaries: Binaries,
    /// Preflight checks there whose errors become warnings.
    pub ignore_preflight_errors: Vec<String>,
    /// Whether they become control planes.
    pub control_plane: bool,
    /// How many -v there were.
    pub verbose: u8,
}

type Opened = Result<Session, ssh::Error>;

/// A binary to copy.
struct Parcel {
    name: &'static str,
    path: PathBuf,
    digest: String,
}

/// What came of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolled {
    /// The host, as it was named.
    pub host: String,
    /// Whether it is a node now.
    pub joined: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Enrolls all, in the order of the targets. Each failure was reported.
pub async fn enroll(work: &Enrollment, reporter: Arc<dyn Reporter>) -> anyhow::Result<Vec<Enrolled>> {
    let host = RealHost::new()?;
    let admin = kubeconfig::read(&host, "admin.conf")?;
    let (cluster, _) = admin.current()?;
    let ca = cluster.ca_pem()?.context("admin.conf has no CA")?;
    let hash = kinit_pki::Certificate::from_pem(&ca, "admin.conf")?.public_key_hash();
    let endpoint = cluster.server.trim_start_matches("https://").to_owned();
    let parcels = parcels(&work.binaries, work.control_plane).await?;
    let api = KubeApi::from_kubeconfig(&admin)?;
    let settings = TokenSettings {
        ttl: Some(TOKEN_LIFE),
        description: "made by kinit join --ssh".into(),
        ..TokenSettings::resolve(&BootstrapToken::default())?
    };
    api::ensure(&api, &Token::secret_object(&settings, Timestamp::now())).await?;

    let certificate_key = if work.control_plane { Some(upload(&api).await?) } else { None };

    let known = KnownHosts::of_user();
    let open = |target| Session::open(target, &work.credentials, &known, work.unknown);
    // Questions about host keys come before anything moves on the terminal. Without questions nobody waits for others.
    let mut sessions: Vec<Option<Opened>> = work.targets.iter().map(|_| None).collect();
    if work.unknown == Unknown::Ask && std::io::stderr().is_terminal() {
        sessions = join_all(work.targets.iter().map(open)).await.into_iter().map(Some).collect();
    }
    let jobs = work.targets.iter().zip(sessions).map(|(target, session)| {
        let configuration = configuration(&endpoint, &settings.token, &hash, certificate_key.as_deref(), work);
        let (reporter, parcels, open) = (reporter.clone(), &parcels, &open);
        async move {
            let name = target.to_string();
            let begin = Instant::now();
            reporter.begin(&name);
            let session = match session {
                Some(session) => session,
                None => open(target).await,
            };
            let result = match session {
                Ok(session) => {
                    let result = one(&session, parcels, &configuration, reporter.as_ref(), work.verbose).await;
                    session.close().await;
                    result
                }
                Err(error) => Err(error.into()),
            };
            let error = result.err().map(|error| {
                let reason = describe(&error);
                reason.strip_prefix(&format!("{name}: ")).unwrap_or(&reason).to_owned()
            });
            match &error {
                None => reporter.end(&name, &Outcome::Changed, begin.elapsed()),
                Some(reason) => {
                    reporter.failed(&name);
                    reporter.warn(&format!("{name}: {reason}"));
                }
            }
            Enrolled { host: name, joined: error.is_none(), error }
        }
    });
    let hosts = join_all(jobs).await;
    let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{}", settings.token.id());
    if let Err(error) = api::take_back(&api, &path).await {
        reporter.warn(&format!("the token made for this could not be deleted, it ends by itself: {error}"));
    }
    Ok(hosts)
}

async fn parcels(binaries: &Binaries, control_plane: bool) -> anyhow::Result<Vec<Parcel>> {
    let images =
        COMPONENTS.iter().filter(|component| component.on_workers || control_plane).map(|component| component.name);
    let mut parcels = Vec::new();
    for name in images.chain(HOST_BINARIES.iter().copied()).chain(["kinit"]) {
        let path = if name == "kinit" { std::env::current_exe()? } else { binaries.find(name)? };
        let file = path.clone();
        let digest = tokio::task::spawn_blocking(move || digest_of_file(&file)).await?;
        let digest = digest.with_context(|| path.display().to_string())?;
        parcels.push(Parcel { name, path, digest });
    }
    Ok(parcels)
}

/// The JoinConfiguration that a host is given.
fn configuration(endpoint: &str, token: &Token, hash: &str, key: Option<&str>, work: &Enrollment) -> String {
    let registration = json!({"ignorePreflightErrors": work.ignore_preflight_errors});
    let mut document = json!({
        "apiVersion": crate::config::v1beta4::API_VERSION,
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": endpoint,
                "token": token.reveal(),
                "caCertHashes": [hash],
            },
            "tlsBootstrapToken": token.reveal(),
        },
        "nodeRegistration": registration,
    });
    if let Some(key) = key {
        document["controlPlane"] = json!({"certificateKey": key});
    }
    // JSON is YAML.
    document.to_string()
}

/// Keeps this control plane's certificates in the cluster; gives the key that they are encrypted with.
async fn upload(api: &KubeApi) -> anyhow::Result<String> {
    let document = crate::upgrade::cluster::configuration(api).await?;
    let settings = crate::config::Settings::resolve(document, None, None)?;
    let key = crate::certificates::new_key();
    crate::phase::upload_certs::upload(api, &settings, &settings.certificates_dir, &key, Timestamp::now()).await?;
    Ok(key)
}

async fn one(
    session: &Session,
    parcels: &[Parcel],
    configuration: &str,
    reporter: &dyn Reporter,
    verbose: u8,
) -> anyhow::Result<()> {
    let name = session.target().to_string();
    if session.target().user != "root" {
        anyhow::bail!("kinit needs to be root there\nhint: write root@{}\ncode: Ssh", session.target().host);
    }
    let files = session.files().await?;
    files.create_folder(REMOTE_FOLDER).await?;
    files.create_folder(REMOTE_STATE).await?;
    let there = session.run(&format!("sha256sum {REMOTE_FOLDER}/* 2>/dev/null"), |_| {}).await?.stdout;
    for parcel in parcels {
        let path = format!("{REMOTE_FOLDER}/{}", parcel.name);
        let wanted = format!("{}  {path}", parcel.digest.trim_start_matches("sha256:"));
        if there.lines().any(|line| line == wanted) {
            continue;
        }
        reporter.progress(&name, &format!("copies {}", parcel.name));
        files.upload(&parcel.path, &path, 0o755).await?;
    }
    let config = format!("{REMOTE_STATE}/join-{:016x}.yaml", rand::random::<u64>());
    files.write(&config, configuration.as_bytes(), 0o600).await?;
    let command = format!("{REMOTE_FOLDER}/kinit join -v --enrolled --config {config}");
    let ran = session
        .run(&command, |line| {
            if let Some(step) = line.strip_prefix('[') {
                reporter.progress(&name, &step.replacen("] ", ": ", 1));
            } else if verbose > 1 {
                reporter.info(&format!("{name}: {line}"));
            }
        })
        .await;
    files.remove(&config).await?;
    let ran = ran?;
    match ran.code {
        Some(0) => Ok(()),
        code => {
            let reason = reason(&ran.stderr);
            let reason = if reason.is_empty() { format!("kinit join there ended with {code:?}") } else { reason };
            anyhow::bail!("{reason}")
        }
    }
}

/// What the other kinit said was wrong: its error, or what its preflight found.
fn reason(stderr: &str) -> String {
    // Its code is told here anew, for the whole command.
    let stderr = stderr.lines().filter(|line| !line.starts_with("code: ")).collect::<Vec<_>>().join("\n");
    let Some(at) = stderr.find("error: ") else { return stderr.trim().to_owned() };
    if !stderr.contains("error: preflight found") {
        return stderr[at + "error: ".len()..].to_owned();
    }
    let mut lines = Vec::new();
    let mut wanted = false;
    for line in stderr.lines() {
        let is_hint = line.trim_start().starts_with("hint: ") && line.starts_with(' ');
        wanted = line.starts_with("[preflight] error") || (wanted && is_hint);
        if wanted {
            lines.push(line.trim_start_matches("[preflight] error ").trim());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_sides_reason_is_found() {
        let plain = "[certs] done\nerror: phase x: no\nhint: do y";
        assert_eq!(reason(plain), "phase x: no\nhint: do y");
        let findings = "[preflight] error Swap: swap is on\n            hint: off\n[preflight] warning Hostname: h\n            \
                        hint: dns\nerror: preflight found 1 error; nothing was changed\nhint: mend it";
        assert_eq!(reason(findings), "Swap: swap is on\nhint: off");
        assert_eq!(reason("sh: not found\n"), "sh: not found");
    }
}
