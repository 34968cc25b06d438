//! Configuration files that are followed while the server runs.

use std::path::PathBuf;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};

/// How often a file is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Whether a file says that it is of `wanted`, in one of these versions of `apiserver.config.k8s.io`, of which the first is named
/// to whoever has another.
pub fn check_kind(kind: &str, api_version: &str, wanted: &str, versions: &[&str]) -> Result<(), String> {
    const GROUP: &str = "apiserver.config.k8s.io";
    let known = api_version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
    if kind == wanted && known.is_some_and(|version| versions.contains(&version)) {
        return Ok(());
    }
    Err(format!(
        "no kind {kind:?} is registered for version {api_version:?}; it has to be {wanted} of {GROUP}/{}",
        versions[0]
    ))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    status: &'static str,
}

/// How often a configuration was taken up or refused, and when last.
#[derive(Default)]
pub struct Figures {
    reloads: Family<Label, Counter>,
    last: Family<Label, Gauge>,
}

impl Figures {
    /// Registers them under upstream's names; `of` is `authentication`, for example.
    pub fn register(&self, of: &str, families: &mut Registry) {
        let name = format!("apiserver_{of}_config_controller_automatic_reload");
        families.register(format!("{name}s"), "Reloads of the configuration", self.reloads.clone());
        families.register(format!("{name}_last_timestamp_seconds"), "The last reload", self.last.clone());
    }

    pub fn count(&self, worked: bool) {
        let label = Label { status: if worked { "success" } else { "failure" } };
        self.reloads.get_or_create(&label).inc();
        self.last.get_or_create(&label).set(jiff::Timestamp::now().as_second());
    }
}

/// A file and what was in it last.
pub struct Followed {
    path: PathBuf,
    digest: [u8; 32],
}

impl Followed {
    /// Follows a file whose text has been read.
    pub fn new(path: PathBuf, text: &str) -> Self {
        Self { path, digest: Sha256::digest(text).into() }
    }

    /// The file's text once it is another one.
    pub async fn changed(&mut self) -> String {
        loop {
            tokio::time::sleep(INTERVAL).await;
            // A file that is just being replaced is read the next time.
            let Ok(text) = tokio::fs::read_to_string(&self.path).await else { continue };
            let digest: [u8; 32] = Sha256::digest(&text).into();
            if digest != self.digest {
                self.digest = digest;
                return text;
            }
        }
    }
}
