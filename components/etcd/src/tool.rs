//! What the binary does instead of serving.

use std::io::Write;

use crate::options::{SnapshotTool, Tool};
use crate::snapshot::restore::{Status, restore, status};

/// Does it, and writes the outcome to `out` as one line of JSON.
pub fn run(tool: Tool, out: &mut impl Write) -> anyhow::Result<()> {
    let status = match tool {
        Tool::Snapshot(SnapshotTool::Status { file, skip_hash_check }) => status(&file, !skip_hash_check)?,
        Tool::Snapshot(SnapshotTool::Restore { file, data_dir, skip_hash_check }) => {
            restore(&file, &data_dir, !skip_hash_check)?
        }
    };
    let Status { revision, records, leases, bytes } = status;
    let line = serde_json::json!({
        "revision": revision, "totalKey": records, "leases": leases, "totalSize": bytes,
    });
    writeln!(out, "{line}")?;
    Ok(())
}
