//! `kinit kubeconfig user`.

use std::path::PathBuf;

use jiff::Timestamp;
use kinit_pki::kubeconfig::Credential;
use kinit_pki::{Kubeconfig, PkiStore, Profile};

use super::super::print;
use crate::config::{Documents, Error, Settings};
use crate::phase::kubeconfig;

/// Subcommands of `kinit kubeconfig`.
#[derive(Debug, clap::Subcommand)]
pub enum KubeconfigCommand {
    /// Output a kubeconfig file for an additional user
    User(UserArgs),
}

/// Flags of `kinit kubeconfig user`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit kubeconfig user --client-name alice --org developers > alice.conf")]
pub struct UserArgs {
    /// The name of user. It will be used as the CN if client certificates are created
    #[arg(long, value_name = "NAME")]
    pub client_name: String,
    /// The organizations of the client certificate. It will be used as the O if client certificates are created
    #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
    pub org: Vec<String>,
    /// The token that should be used as the authentication mechanism for this kubeconfig, instead of client certificates
    #[arg(long, value_name = "TOKEN", conflicts_with = "org")]
    pub token: Option<String>,
    /// The validity period of the client certificate. It is an offset from the current time
    #[arg(long, value_name = "DURATION", default_value = "8760h0m0s")]
    pub validity_period: String,
    /// Path to a kinit configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The path where the cluster's CA is
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
}

/// Runs `kinit kubeconfig`.
pub fn run(command: KubeconfigCommand) -> anyhow::Result<()> {
    let KubeconfigCommand::User(args) = command;
    let validity =
        kinit_duration::parse(&args.validity_period).ok().filter(|validity| !validity.is_zero()).ok_or_else(|| {
            Error::value("--validity-period", &args.validity_period, "is no life", "for example 8760h0m0s")
        })?;
    let documents = Documents::load(args.config.as_deref())?;
    documents.only("kubeconfig user", &["InitConfiguration", "ClusterConfiguration"])?;
    let (name, server, mut issuance, folder) = match documents.cluster {
        Some(cluster) => {
            let settings = Settings::resolve(cluster, None, None)?;
            let (host, port) = settings.control_plane_endpoint.clone().ok_or_else(|| {
                let hint = "say it in the file, or leave --config out where admin.conf is";
                Error::value("controlPlaneEndpoint", "", "is missing", hint)
            })?;
            let server = format!("https://{}", crate::config::net::host_port(&host, port));
            (settings.cluster_name, server, settings.issuance, settings.certificates_dir)
        }
        None => {
            let config = Kubeconfig::load(&kubeconfig::path("admin.conf")).map_err(|error| {
                anyhow::anyhow!("{error}\nhint: run this as root on a control plane, or give --config")
            })?;
            let name = config.clusters.first().map_or("kubernetes", |named| named.name.as_str()).to_owned();
            (name, config.current()?.0.server.clone(), Default::default(), args.cert_dir)
        }
    };
    issuance.leaf_validity = validity;
    let store = PkiStore::new(folder).with(issuance);
    if let Some(token) = &args.token {
        let ca = kinit_pki::files::read_text(&store.folder().join("ca.crt"))?;
        let config = Kubeconfig::new(&name, &server, &ca, &args.client_name, &Credential::Token(token));
        return print(&config.to_yaml()?);
    }
    let groups: Vec<&str> = args.org.iter().map(String::as_str).collect();
    let profile = Profile::client(args.client_name, &groups);
    print(&kubeconfig::issue(&store, &name, &server, &profile, Timestamp::now())?)
}
