//! `kinit etcd`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::CommonArgs;
use super::output::{Format, emit, table};
use crate::etcd::{Credentials, Etcd, Members, snapshot};
use crate::host::RealHost;
use crate::images::Binaries;
use crate::report;
use crate::restore;

/// Subcommands of `kinit etcd`.
#[derive(Debug, clap::Subcommand)]
pub enum EtcdCommand {
    /// Save and restore etcd's data
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Show how each member is doing
    Status(AskArgs),
    /// List the members
    Members(AskArgs),
}

/// Subcommands of `kinit etcd snapshot`.
#[derive(Debug, clap::Subcommand)]
pub enum SnapshotCommand {
    /// Save a snapshot of a running member, and check it
    Save(SaveArgs),
    /// Put a snapshot in the place of this host's etcd data
    Restore(RestoreArgs),
    /// Check a snapshot
    Status(FileArgs),
    /// Save snapshots by a systemd timer, keeping the newest
    Schedule(ScheduleArgs),
}

/// Where etcd is.
#[derive(Debug, Clone, clap::Args)]
pub struct EndpointArgs {
    /// URLs of members
    #[arg(long, value_delimiter = ',', value_name = "URLS", default_value = "https://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Folder of keys and certificates
    #[arg(long, value_name = "DIR", default_value = "/etc/kubernetes/pki")]
    pub cert_dir: PathBuf,
}

/// Flags of `kinit etcd status` and `members`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit etcd members -o json")]
pub struct AskArgs {
    /// Where etcd is
    #[command(flatten)]
    pub at: EndpointArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit etcd snapshot save`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kinit etcd snapshot save /root/etcd.db\n  kinit etcd snapshot save --dir /var/lib/kinit/snapshots --keep 24"
)]
pub struct SaveArgs {
    /// The file to write
    #[arg(required_unless_present = "dir", conflicts_with = "dir")]
    pub file: Option<PathBuf>,
    /// A folder to write into, under a name that says when
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep this many of the newest in the folder
    #[arg(long, value_name = "COUNT", requires = "dir", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Where etcd is
    #[command(flatten)]
    pub at: EndpointArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit etcd snapshot status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit etcd snapshot status /root/etcd.db")]
pub struct FileArgs {
    /// The snapshot
    pub file: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `kinit etcd snapshot restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  On a control plane, whose etcd and API server stop meanwhile:\n    kinit etcd snapshot restore /root/etcd.db\n  On a new host, before kinit init:\n    kinit etcd snapshot restore /root/etcd.db\n    kinit init --ignore-preflight-errors=DirAvailable--var-lib-etcd"
)]
pub struct RestoreArgs {
    /// The snapshot
    pub file: PathBuf,
    /// Folder of etcd's data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/etcd")]
    pub data_dir: PathBuf,
    /// Do not ask
    #[arg(short, long, visible_alias = "force")]
    pub yes: bool,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `kinit etcd snapshot schedule`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kinit etcd snapshot schedule --every 1h --keep 24\n  kinit etcd snapshot schedule --off"
)]
pub struct ScheduleArgs {
    /// How often
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub every: String,
    /// How many of the newest stay
    #[arg(long, value_name = "COUNT", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Where they are kept
    #[arg(long, value_name = "DIR", default_value = "/var/backups/kinit")]
    pub dir: PathBuf,
    /// No longer save by a timer
    #[arg(long)]
    pub off: bool,
}

fn etcd(at: &EndpointArgs) -> anyhow::Result<Etcd> {
    let secure = at.endpoints.iter().any(|url| url.starts_with("https://"));
    let credentials = if secure {
        let hint = "hint: run this as root on a control plane, or name its PKI folder by --cert-dir";
        Some(Credentials::of_folder(&at.cert_dir).map_err(|error| anyhow::anyhow!("{error}\n{hint}"))?)
    } else {
        None
    };
    Ok(Etcd::new(at.endpoints.clone(), credentials))
}

/// Runs `kinit etcd`.
pub async fn run(command: EtcdCommand, verbose: u8) -> anyhow::Result<()> {
    match command {
        EtcdCommand::Members(args) => members(&args).await,
        EtcdCommand::Status(args) => status(&args).await,
        EtcdCommand::Snapshot(SnapshotCommand::Save(args)) => save(&args).await,
        EtcdCommand::Snapshot(SnapshotCommand::Status(args)) => {
            snapshot::check(&args.file)?;
            let binaries = Binaries::new(args.common.bin_dir.as_deref());
            let said = restore::describe(&RealHost::new()?, &binaries, &args.file).await?;
            emit(args.output, &said, || {
                let keys = ["revision", "totalKey", "totalSize"];
                table(
                    &["REVISION", "TOTAL KEYS", "TOTAL SIZE"],
                    std::iter::once(keys.iter().map(|key| said[*key].to_string()).collect()),
                )
            })
        }
        EtcdCommand::Snapshot(SnapshotCommand::Restore(args)) => {
            snapshot::check(&args.file)?;
            super::as_root()?;
            let question = format!(
                "This replaces what is in {} by the snapshot; etcd and the API server stop meanwhile. Go on?",
                args.data_dir.display()
            );
            super::ask(args.yes, &question)?;
            let binaries = Binaries::new(args.common.bin_dir.as_deref());
            let host = RealHost::new()?;
            restore::run(&host, &binaries, &args.file, &args.data_dir, report::for_stderr(verbose).as_ref()).await
        }
        EtcdCommand::Snapshot(SnapshotCommand::Schedule(args)) => {
            super::as_root()?;
            let host = RealHost::new()?;
            if args.off {
                return restore::unschedule(&host).await;
            }
            let every =
                kinit_duration::parse(&args.every).ok().filter(|every| every.as_secs() >= 1).ok_or_else(|| {
                    anyhow::anyhow!(
                        "--every {:?} is no duration of a second or more\nhint: for example 1h\ncode: Usage",
                        args.every
                    )
                })?;
            restore::schedule(&host, every, args.keep, &args.dir).await
        }
    }
}

async fn members(args: &AskArgs) -> anyhow::Result<()> {
    let all = etcd(&args.at)?.list().await?;
    emit(args.output, &all, || {
        let rows = all.iter().map(|member| {
            vec![
                format!("{:x}", member.id),
                if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
                member.name.clone(),
                member.peer_urls.join(","),
                member.client_urls.join(","),
                member.is_learner.to_string(),
            ]
        });
        table(&["ID", "STATUS", "NAME", "PEER URLS", "CLIENT URLS", "IS LEARNER"], rows)
    })
}

async fn status(args: &AskArgs) -> anyhow::Result<()> {
    let etcd = etcd(&args.at)?;
    // Every member that is known is asked, not only those named.
    let known: Vec<String> =
        etcd.list().await?.into_iter().filter_map(|member| member.client_urls.into_iter().next()).collect();
    let endpoints = if known.is_empty() { etcd.endpoints().to_vec() } else { known };
    let mut all = Vec::new();
    for endpoint in &endpoints {
        match etcd.status(endpoint).await {
            Ok(one) => all.push(json!(one)),
            Err(error) => all.push(json!({"endpoint": endpoint, "errors": [error.to_string()]})),
        }
    }
    emit(args.output, &all, || {
        let text = |one: &serde_json::Value, key: &str| match &one[key] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let keys = ["endpoint", "id", "version", "dbSize", "isLeader", "isLearner", "raftTerm", "raftIndex"];
        let rows = all.iter().map(|one| {
            let errors = one["errors"].as_array().into_iter().flatten().filter_map(|error| error.as_str());
            let errors = errors.collect::<Vec<_>>().join("; ");
            keys.iter().map(|key| text(one, key)).chain([errors]).collect()
        });
        table(&["ENDPOINT", "ID", "VERSION", "DB SIZE", "LEADER", "LEARNER", "TERM", "INDEX", "ERRORS"], rows)
    })
}

async fn save(args: &SaveArgs) -> anyhow::Result<()> {
    let path = match (&args.file, &args.dir) {
        (Some(file), _) => file.clone(),
        (None, Some(folder)) => {
            kinit_pki::files::create_private_dir(folder)?;
            folder.join(snapshot::name(Timestamp::now()))
        }
        (None, None) => {
            anyhow::bail!("no file is given\nhint: name the file to write, or a folder by --dir\ncode: Usage")
        }
    };
    let size = snapshot::save(&etcd(&args.at)?, Path::new(&path)).await?;
    let gone = match (&args.dir, args.keep) {
        (Some(folder), Some(keep)) => snapshot::prune(folder, keep as usize)?,
        _ => Vec::new(),
    };
    let data = json!({"file": path, "bytes": size, "removed": gone});
    emit(args.output, &data, || format!("snapshot saved at {} ({size} bytes)\n", path.display()))
}
