//! The small commands: `preflight`, `config`, `version`, `completion`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use kinit_preflight::{Role, has_errors};
use serde_json::json;

use super::init::host_defaults;
use super::output::{Format, emit};
use super::{Cli, print};
use crate::config::settings::{InitOverrides, KUBERNETES_VERSION, TokenSettings};
use crate::config::v1beta4::{
    API_VERSION, ApiEndpoint, BootstrapToken, BootstrapTokenDiscovery, Discovery, InitConfiguration, JoinConfiguration,
    NodeRegistration,
};
use crate::config::{Documents, InitSettings};
use crate::host::RealHost;
use crate::join::{JoinOverrides, JoinSettings};
use crate::preflight;

/// Flags of `kinit preflight`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit preflight --join -o json")]
pub struct PreflightArgs {
    /// Check for a worker instead of a control plane
    #[arg(long)]
    pub join: bool,
    /// File with InitConfiguration and ClusterConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Checks whose errors become warnings, or `all`
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Subcommands of `kinit config`.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print the defaults
    #[command(subcommand)]
    Print(PrintCommand),
    /// Check a configuration file
    Validate {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// The images that kinit makes
    #[command(subcommand)]
    Images(ImagesCommand),
}

/// Subcommands of `kinit config print`.
#[derive(Debug, clap::Subcommand)]
pub enum PrintCommand {
    /// What init does when it is told nothing
    InitDefaults,
    /// What join does when it is told only where the cluster is
    JoinDefaults,
}

/// Subcommands of `kinit config images`.
#[derive(Debug, clap::Subcommand)]
pub enum ImagesCommand {
    /// List their names
    List,
}

/// Runs `kinit preflight`.
pub async fn preflight(args: PreflightArgs) -> anyhow::Result<ExitCode> {
    let documents = Documents::load(args.config.as_deref())?;
    let settings = InitSettings::resolve(documents, InitOverrides::default(), &host_defaults()?)?;
    let (request, role) = if args.join {
        (preflight::join_request(&settings.node), Role::Worker)
    } else {
        (preflight::init_request(&settings), Role::ControlPlane)
    };
    let host = RealHost::new()?;
    let findings = preflight::judge(&host, request, role, &args.ignore_preflight_errors).await?;
    emit(args.output, &findings, || {
        let lines = findings.iter().map(|finding| {
            format!("{:?} {}: {}\n  hint: {}\n", finding.severity, finding.name, finding.message, finding.hint)
        });
        let text: String = lines.collect();
        if text.is_empty() { "This host is ready.\n".into() } else { text }
    })?;
    Ok(if has_errors(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs `kinit config`.
pub fn config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Print(PrintCommand::InitDefaults) => print(&init_defaults()?),
        ConfigCommand::Print(PrintCommand::JoinDefaults) => print(&join_defaults()?),
        ConfigCommand::Images(ImagesCommand::List) => {
            let settings = crate::config::Settings::resolve(Default::default(), None, None)?;
            let names = crate::images::COMPONENTS.iter().map(|component| settings.image(component.name) + "\n");
            print(&names.collect::<String>())
        }
        ConfigCommand::Validate { config } => {
            let documents = Documents::load(Some(&config))?;
            let host = host_defaults()?;
            if documents.join.is_some() {
                JoinSettings::resolve(documents.join.clone(), JoinOverrides::default(), &host)?;
            }
            if documents.init.is_some() || documents.cluster.is_some() {
                InitSettings::resolve(documents, InitOverrides::default(), &host)?;
            }
            print("ok\n")
        }
    }
}

fn init_defaults() -> anyhow::Result<String> {
    let node = NodeRegistration {
        name: "node".into(),
        cri_socket: crate::config::settings::CONTAINERD_SOCKET.into(),
        image_pull_policy: "IfNotPresent".into(),
        ..NodeRegistration::default()
    };
    let token =
        TokenSettings::resolve(&BootstrapToken { token: "abcdef.0123456789abcdef".into(), ..Default::default() })?;
    let init = InitConfiguration {
        api_version: API_VERSION.into(),
        kind: "InitConfiguration".into(),
        bootstrap_tokens: vec![BootstrapToken {
            token: token.token.reveal(),
            ttl: "24h0m0s".into(),
            usages: token.usages,
            groups: token.groups,
            ..BootstrapToken::default()
        }],
        local_api_endpoint: ApiEndpoint { advertise_address: "1.2.3.4".into(), bind_port: 6443 },
        node_registration: node,
        ..InitConfiguration::default()
    };
    let cluster = crate::config::Settings::resolve(Default::default(), None, None)?.to_document();
    Ok(format!("{}---\n{}", serde_yaml::to_string(&init)?, serde_yaml::to_string(&cluster)?))
}

fn join_defaults() -> anyhow::Result<String> {
    let token = "abcdef.0123456789abcdef";
    let join = JoinConfiguration {
        api_version: API_VERSION.into(),
        kind: "JoinConfiguration".into(),
        ca_cert_path: "/etc/kubernetes/pki/ca.crt".into(),
        discovery: Discovery {
            bootstrap_token: Some(BootstrapTokenDiscovery {
                token: token.into(),
                api_server_endpoint: "kube-apiserver:6443".into(),
                unsafe_skip_ca_verification: true,
                ..BootstrapTokenDiscovery::default()
            }),
            tls_bootstrap_token: token.into(),
            ..Discovery::default()
        },
        node_registration: NodeRegistration {
            name: "node".into(),
            cri_socket: crate::config::settings::CONTAINERD_SOCKET.into(),
            image_pull_policy: "IfNotPresent".into(),
            ..NodeRegistration::default()
        },
        ..JoinConfiguration::default()
    };
    Ok(serde_yaml::to_string(&join)?)
}

/// Runs `kinit version`.
pub fn version(output: Format) -> anyhow::Result<()> {
    let data = json!({"clientVersion": {"gitVersion": KUBERNETES_VERSION, "kinitVersion": env!("CARGO_PKG_VERSION"), "platform": "linux/amd64"}});
    emit(output, &data, || format!("kinit {}, Kubernetes {KUBERNETES_VERSION}\n", env!("CARGO_PKG_VERSION")))
}

/// Runs `kinit completion`.
pub fn completion(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kinit", &mut text);
    print(&String::from_utf8_lossy(&text))
}
