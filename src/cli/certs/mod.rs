//! `kinit certs` and `kinit kubeconfig`.

mod expiration;
mod renew;
mod request;
mod user;

use std::path::PathBuf;

use serde_json::json;

use super::output::{Format, emit};
pub use user::{KubeconfigCommand, run as run_kubeconfig};

/// The kubeconfigs that hold a client certificate and are looked after like certificates.
const KUBECONFIGS: &[&str] = &["admin.conf", "controller-manager.conf", "scheduler.conf", "super-admin.conf"];

/// Subcommands of `kinit certs`.
#[derive(Debug, clap::Subcommand)]
pub enum CertsCommand {
    /// Check certificates expiration for a Kubernetes cluster
    CheckExpiration(CheckArgs),
    /// Renew certificates for a Kubernetes cluster
    Renew(RenewArgs),
    /// Generate keys and certificate signing requests
    GenerateCsr(RequestArgs),
    /// Generate certificate keys
    CertificateKey(KeyArgs),
}

/// Flags of `kinit certs check-expiration`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit certs check-expiration -o json")]
pub struct CheckArgs {
    /// The path where to save and store the certificates
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
    /// Path to a kinit configuration file, whose ClusterConfiguration says where the certificates are
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Accepted for kubeadm's sake; the certificates on this host are looked at, and the cluster is not asked
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit certs renew`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit certs renew all")]
pub struct RenewArgs {
    /// `all`, or the name of a certificate as check-expiration shows it
    pub name: String,
    /// The path where to save and store the certificates
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
    /// Path to a kinit configuration file; keys and lives are as its ClusterConfiguration says
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Accepted for kubeadm's sake; the certificates on this host are renewed, and the cluster is not asked
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Flags of `kinit certs generate-csr`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kinit certs generate-csr --cert-dir /root/requests --kubeconfig-dir /root/requests"
)]
pub struct RequestArgs {
    /// The path where to save the keys and requests
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
    /// The path where to save the kubeconfig files
    #[arg(long, default_value = "/etc/kubernetes", value_name = "DIR")]
    pub kubeconfig_dir: PathBuf,
    /// Path to a kinit configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `kinit certs certificate-key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit certs certificate-key")]
pub struct KeyArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Runs `kinit certs`.
pub fn run(command: CertsCommand) -> anyhow::Result<()> {
    match command {
        CertsCommand::CheckExpiration(args) => expiration::run(&args),
        CertsCommand::Renew(args) => renew::run(&args),
        CertsCommand::GenerateCsr(args) => request::run(&args),
        CertsCommand::CertificateKey(args) => {
            let key = crate::certificates::new_key();
            emit(args.output, &json!({"certificateKey": key}), || format!("{key}\n"))
        }
    }
}
