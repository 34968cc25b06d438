//! `kinit readdress`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::init::{Intended, host_defaults};
use super::output::Format;
use super::print;
use crate::host::{Host, MemoryHost, RealHost};
use crate::phase::control_plane::STATIC_PODS;
use crate::{readdress, report};

/// Flags of `kinit readdress`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  On a control plane that got another address:   kinit readdress --yes\n  On a node whose control plane got another one:  kinit readdress --server 10.0.0.7:6443"
)]
pub struct ReaddressArgs {
    /// The address to take over [default: that of the default route]
    #[arg(long, value_name = "IP", conflicts_with = "server")]
    pub address: Option<IpAddr>,
    /// On a node that finds no API server any more: where one is, HOST:PORT
    #[arg(long, value_name = "SERVER")]
    pub server: Option<String>,
    /// Folder of keys and certificates
    #[arg(long, value_name = "DIR", default_value = "/etc/kubernetes/pki")]
    pub cert_dir: PathBuf,
    /// Show what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Runs the command.
pub async fn run(args: ReaddressArgs, verbose: u8) -> anyhow::Result<()> {
    let dry = if args.dry_run { Some(Arc::new(MemoryHost::dry_run()?)) } else { None };
    let host: Arc<dyn Host> = match &dry {
        Some(host) => host.clone(),
        None => Arc::new(RealHost::new()?),
    };
    if dry.is_none() {
        super::as_root()?;
    }
    match &args.server {
        Some(server) => {
            let (name, port) = crate::config::net::split_host_port(server, crate::config::settings::API_PORT)
                .map_err(|reason| anyhow::anyhow!("--server {server:?} {reason}\nhint: give HOST:PORT\ncode: Usage"))?;
            readdress::point_to(host.as_ref(), &crate::config::net::host_port(&name, port)).await?;
        }
        None => own(&args, host.as_ref(), verbose).await?,
    }
    match dry {
        Some(host) => Intended::print(&host, Format::Text),
        None => Ok(()),
    }
}

async fn own(args: &ReaddressArgs, host: &dyn Host, verbose: u8) -> anyhow::Result<()> {
    if host.is_real() {
        // What a run that was interrupted left aside.
        crate::restore::put_back(STATIC_PODS)?;
    }
    let Some((old, port)) = readdress::noted(host)? else {
        anyhow::bail!(
            "this host is no control plane\nhint: a worker's kubelet tells its address by itself; --server names a control plane that has moved\ncode: NotControlPlane"
        );
    };
    let new = args.address.or(host_defaults()?.address).ok_or_else(|| {
        anyhow::anyhow!(
            "this host has no default route to take its address from\nhint: give --address\ncode: NodeAddress"
        )
    })?;
    if new == old {
        return print(&format!("This control plane is at {old} already.\n"));
    }
    if !kinit_preflight::own_addresses().contains(&new) {
        anyhow::bail!(
            "no interface of this host has the address {new}\nhint: `ip address` shows those that there are\ncode: NodeAddress"
        );
    }
    if !args.dry_run {
        let question =
            format!("The control plane on this host is stopped, and started again at {new} in place of {old}. Go on?");
        super::ask(args.yes, &question)?;
    }
    readdress::run(host, &args.cert_dir, (old, port), new, report::for_stderr(verbose).as_ref()).await?;
    if args.dry_run {
        return Ok(());
    }
    print(&format!(
        "\nThis control plane is at {new} now. Nodes that find it no more are told by, on each:\n\n  kinit readdress --server {}\n",
        crate::config::net::host_port(&new.to_string(), port)
    ))
}
