//! `kinit config`.

use std::path::PathBuf;

use serde_json::json;

use super::init::host_defaults;
use super::output::{Format, emit};
use super::{CommonArgs, print};
use crate::config::migrate::migrate;
use crate::config::settings::{CONTAINERD_SOCKET, InitOverrides, Timeouts};
use crate::config::{Documents, InitSettings, Settings, defaults};
use crate::host::{MemoryHost, RealHost};
use crate::images::{Binaries, COMPONENTS, RuntimeImages};
use crate::join::{JoinOverrides, JoinSettings};
use crate::phase::images::import;
use crate::report;

/// Arguments of `kinit config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// What is to be done
    #[command(subcommand)]
    pub command: ConfigCommand,
    /// Accepted for kubeadm's sake: no command here asks a cluster
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Subcommands of `kinit config`.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print configuration
    #[command(subcommand)]
    Print(PrintCommand),
    /// Read a file containing the kinit configuration API and report any validation problems
    Validate(ValidateArgs),
    /// Read an older version of the configuration API from a file, and output the newer version
    Migrate(MigrateArgs),
    /// Interact with container images used by kinit
    #[command(subcommand)]
    Images(ImagesCommand),
}

/// Subcommands of `kinit config print`.
#[derive(Debug, clap::Subcommand)]
pub enum PrintCommand {
    /// Print default init configuration, that can be used for 'kinit init'
    #[command(name = "init-defaults")]
    Init(PrintArgs),
    /// Print default join configuration, that can be used for 'kinit join'
    #[command(name = "join-defaults")]
    Join(PrintArgs),
    /// Print default reset configuration, that can be used for 'kinit reset'
    #[command(name = "reset-defaults")]
    Reset(PrintArgs),
    /// Print default upgrade configuration, that can be used for 'kinit upgrade'
    #[command(name = "upgrade-defaults")]
    Upgrade(PrintArgs),
}

/// Flags of `kinit config print`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kinit config print init-defaults --component-configs KubeletConfiguration > kinit.yaml"
)]
pub struct PrintArgs {
    /// A comma-separated list for component config API objects to print the default values for. Available values:
    /// [KubeProxyConfiguration KubeletConfiguration]
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub component_configs: Vec<String>,
}

/// Flags of `kinit config validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit config validate --config kinit.yaml")]
pub struct ValidateArgs {
    /// Path to a kinit config file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Allow validation of deprecated APIs; they are told how to be migrated either way
    #[arg(long)]
    pub allow_deprecated_api: bool,
    /// Allow validation of experimental, unreleased APIs; there are none
    #[arg(long)]
    pub allow_experimental_api: bool,
}

/// Flags of `kinit config migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit config migrate --old-config kubeadm.yaml --new-config kinit.yaml")]
pub struct MigrateArgs {
    /// Path to the config file that is using an old API version and should be converted
    #[arg(long, value_name = "FILE")]
    pub old_config: PathBuf,
    /// Path to the resulting equivalent config file using the new API version [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub new_config: Option<PathBuf>,
    /// Allow migration to experimental, unreleased APIs; there are none
    #[arg(long)]
    pub allow_experimental_api: bool,
}

/// Subcommands of `kinit config images`.
#[derive(Debug, clap::Subcommand)]
pub enum ImagesCommand {
    /// Print a list of images kinit will use
    List(ImagesArgs),
    /// Give this host's container runtime the images, which are made of the binaries beside kinit
    #[command(
        after_help = "Example:\n  kinit config images pull --cri-socket unix:///var/run/containerd/containerd.sock"
    )]
    Pull(PullArgs),
}

/// Flags of `kinit config images pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// What is asked for
    #[command(flatten)]
    pub images: ImagesArgs,
    /// Socket of the container runtime
    #[arg(long, value_name = "SOCKET", default_value = CONTAINERD_SOCKET)]
    pub cri_socket: String,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `kinit config images list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit config images list -o json")]
pub struct ImagesArgs {
    /// Path to a kinit configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Choose where images are named from
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub image_repository: Option<String>,
    /// Choose a specific Kubernetes version for the control plane
    #[arg(long, value_name = "VERSION", conflicts_with = "config")]
    pub kubernetes_version: Option<String>,
    /// A set of key=value pairs that describe feature gates of kubeadm; none of them changes the images
    #[arg(long, value_name = "GATES", value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Runs `kinit config`.
pub async fn run(command: ConfigCommand, verbose: u8) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Print(command) => print_defaults(command),
        ConfigCommand::Images(ImagesCommand::List(args)) => images(args),
        ConfigCommand::Images(ImagesCommand::Pull(args)) => pull(args, verbose).await,
        ConfigCommand::Validate(args) => validate(&args),
        ConfigCommand::Migrate(args) => {
            let name = args.old_config.display().to_string();
            let text = std::fs::read_to_string(&args.old_config).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            let text = migrate(&text, &name)?;
            match args.new_config {
                None => print(&text),
                Some(path) => Ok(kinit_pki::files::write_atomic(&path, text.as_bytes(), 0o600)?),
            }
        }
    }
}

fn print_defaults(command: PrintCommand) -> anyhow::Result<()> {
    let (text, args) = match command {
        PrintCommand::Init(args) => (defaults::init()?, args),
        PrintCommand::Join(args) => (defaults::join()?, args),
        PrintCommand::Reset(args) => (defaults::reset()?, args),
        PrintCommand::Upgrade(args) => (defaults::upgrade()?, args),
    };
    let host = MemoryHost::dry_run()?;
    let mut parts = vec![text];
    for kind in &args.component_configs {
        parts.push(defaults::component(kind, &host)?);
    }
    print(&parts.join("---\n"))
}

/// The images are not pulled from anywhere: they are packed here, as `init` and `join` do.
async fn pull(args: PullArgs, verbose: u8) -> anyhow::Result<()> {
    super::as_root()?;
    let settings = image_settings(args.images)?;
    let (host, binaries) = (RealHost::new()?, Binaries::new(args.common.bin_dir.as_deref()));
    let socket = args.cri_socket.trim_start_matches("unix://");
    let store = RuntimeImages::new(socket.into());
    let (begin, reporter) = (std::time::Instant::now(), report::for_stderr(verbose));
    reporter.begin("images");
    let outcome = import(&host, &store, &binaries, COMPONENTS, |name| settings.image(name)).await?;
    reporter.end("images", &outcome, begin.elapsed());
    Ok(())
}

fn images(args: ImagesArgs) -> anyhow::Result<()> {
    let format = args.output;
    let settings = image_settings(args)?;
    let of_etcd = |name: &str| name == "etcd" && settings.external_etcd.is_some();
    let names: Vec<String> =
        COMPONENTS.iter().filter(|one| !of_etcd(one.name)).map(|one| settings.image(one.name)).collect();
    let data = json!({"kind": "Images", "apiVersion": "output.kubeadm.k8s.io/v1alpha3", "images": names});
    emit(format, &data, || names.iter().map(|name| format!("{name}\n")).collect())
}

fn image_settings(args: ImagesArgs) -> anyhow::Result<Settings> {
    let documents = Documents::load(args.config.as_deref())?;
    let mut cluster = documents.cluster.unwrap_or_default();
    if let Some(repository) = args.image_repository {
        cluster.image_repository = repository;
    }
    if let Some(version) = args.kubernetes_version {
        cluster.kubernetes_version = version;
    }
    Ok(Settings::resolve(cluster, None, None)?)
}

fn validate(args: &ValidateArgs) -> anyhow::Result<()> {
    let documents = Documents::load(Some(&args.config))?;
    let host = host_defaults()?;
    if let Some(reset) = &documents.reset {
        Timeouts::resolve(&reset.timeouts)?;
    }
    if let Some(upgrade) = &documents.upgrade {
        Timeouts::resolve(&upgrade.timeouts)?;
    }
    if documents.join.is_some() {
        JoinSettings::resolve(documents.join.clone(), JoinOverrides::default(), &host)?;
    }
    if documents.init.is_some() || documents.cluster.is_some() {
        InitSettings::resolve(documents, InitOverrides::default(), &host)?;
    }
    print("ok\n")
}
