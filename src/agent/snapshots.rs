//! Snapshots of etcd by time, on hosts where no systemd has timers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::etcd::{Credentials, Etcd, snapshot};
use crate::report::{Reporter, describe};

const ENDPOINT: &str = "https://127.0.0.1:2379";
const CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";

/// What is saved when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Seconds between two of them.
    pub every_seconds: u64,
    /// How many of the newest stay.
    pub keep: u32,
    /// Where they are kept.
    pub folder: PathBuf,
}

/// Saves and throws away, for good.
pub async fn run(schedule: Schedule, reporter: Arc<dyn Reporter>) {
    loop {
        tokio::time::sleep(Duration::from_secs(schedule.every_seconds.max(1))).await;
        if let Err(error) = once(&schedule).await {
            reporter.warn(&format!("no snapshot was saved: {}", describe(&error)));
        }
    }
}

async fn once(schedule: &Schedule) -> anyhow::Result<()> {
    kinit_pki::files::create_private_dir(&schedule.folder)?;
    let credentials = Credentials::of_folder(std::path::Path::new(CERTIFICATES_DIR))?;
    let path = schedule.folder.join(snapshot::name(Timestamp::now()));
    snapshot::save(&Etcd::new(vec![ENDPOINT.into()], Some(credentials)), &path).await?;
    snapshot::prune(&schedule.folder, schedule.keep as usize)?;
    Ok(())
}
