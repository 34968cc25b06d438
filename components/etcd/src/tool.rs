//! What the binary does instead of serving.

use std::io::Write;

use crate::options::{SnapshotTool, Tool};
use crate::snapshot::restore::{Status, restore, status};
use crate::start::begin;

/// Does it, and writes the outcome to `out` as one line of JSON.
pub fn run(tool: Tool, out: &mut impl Write) -> anyhow::Result<()> {
    let status = match tool {
        Tool::Snapshot(SnapshotTool::Status { file, skip_hash_check }) => status(&file, !skip_hash_check)?,
        Tool::Snapshot(SnapshotTool::Restore {
            file,
            data_dir,
            name,
            initial_cluster,
            initial_cluster_token,
            initial_advertise_peer_urls,
            skip_hash_check,
        }) => {
            let cluster = crate::config::initial_cluster(&name, &initial_cluster, &initial_advertise_peer_urls)?;
            let status = restore(&file, &data_dir, !skip_hash_check)?;
            // Without members named, whoever starts on it says who they are.
            if !initial_cluster.is_empty() {
                begin(&data_dir.join("member").join("store"), &cluster, &name, &initial_cluster_token)?;
            }
            status
        }
    };
    let Status { revision, records, leases, bytes } = status;
    let line = serde_json::json!({
        "revision": revision, "totalKey": records, "leases": leases, "totalSize": bytes,
    });
    writeln!(out, "{line}")?;
    Ok(())
}
