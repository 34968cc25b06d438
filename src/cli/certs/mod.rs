//! `kinit certs` and `kinit kubeconfig`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, Certificate, CertificateSpec, Kubeconfig, PkiStore, Profile};
use serde::Serialize;

use super::output::{Format, emit, table};
use super::print;
use crate::phase::kubeconfig;

const KUBECONFIGS: &[&str] = &["admin.conf", "controller-manager.conf", "scheduler.conf", "super-admin.conf"];

/// Subcommands of `kinit certs`.
#[derive(Debug, clap::Subcommand)]
pub enum CertsCommand {
    /// Show when certificates end
    CheckExpiration(CheckArgs),
    /// Issue certificates of the control plane anew
    Renew(RenewArgs),
}

/// Flags of `kinit certs check-expiration`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Folder of keys and certificates
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit certs renew`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit certs renew all")]
pub struct RenewArgs {
    /// `all`, or the name of a certificate as check-expiration shows it
    pub name: String,
    /// Folder of keys and certificates
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
}

/// Subcommands of `kinit kubeconfig`.
#[derive(Debug, clap::Subcommand)]
pub enum KubeconfigCommand {
    /// Print a kubeconfig for another user
    User(UserArgs),
}

/// Flags of `kinit kubeconfig user`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit kubeconfig user --client-name alice --org developers > alice.conf")]
pub struct UserArgs {
    /// Name of the user
    #[arg(long, value_name = "NAME")]
    pub client_name: String,
    /// Its groups, two at most
    #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
    pub org: Vec<String>,
    /// Folder of keys and certificates
    #[arg(long, default_value = "/etc/kubernetes/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
}

/// When a certificate ends.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiration {
    name: String,
    expires: String,
    residual_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<&'static str>,
    externally_managed: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expirations {
    certificates: Vec<Expiration>,
    certificate_authorities: Vec<Expiration>,
}

/// Runs `kinit certs`.
pub fn run(command: CertsCommand) -> anyhow::Result<()> {
    match command {
        CertsCommand::CheckExpiration(args) => check(&args),
        CertsCommand::Renew(args) => renew(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let store = PkiStore::new(&args.cert_dir);
    let now = Timestamp::now();
    let entry = |name: &str, certificate: &Certificate, authority: Option<&'static str>| Expiration {
        name: name.to_owned(),
        expires: certificate.not_after.to_string(),
        residual_seconds: certificate.remaining(now).as_secs(),
        certificate_authority: authority,
        externally_managed: authority
            .and_then(CertificateSpec::find)
            .is_some_and(|spec| !store.key_path(spec).exists()),
    };
    let mut all = Expirations { certificates: Vec::new(), certificate_authorities: Vec::new() };
    for file in KUBECONFIGS {
        let path = kubeconfig::path(file);
        if !path.exists() {
            continue;
        }
        let config = Kubeconfig::load(&path)?;
        if let Some((pem, _)) = config.current()?.1.map(|user| user.certificate_pem()).transpose()?.flatten() {
            all.certificates.push(entry(file, &Certificate::from_pem(&pem, file)?, Some("ca")));
        }
    }
    for spec in CERTIFICATES {
        if let Some(certificate) = store.certificate(spec)? {
            let list = if spec.is_authority() { &mut all.certificate_authorities } else { &mut all.certificates };
            list.push(entry(spec.name, &certificate, spec.authority));
        }
    }
    if all.certificates.is_empty() && all.certificate_authorities.is_empty() {
        anyhow::bail!(
            "there are no certificates in {}\nhint: run this on a control plane, or name the folder by --cert-dir",
            args.cert_dir.display()
        );
    }
    emit(args.output, &all, || {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let row = |one: &Expiration| vec![one.name.clone(), one.expires.clone(), residual(one.residual_seconds)];
        let leaves = all.certificates.iter().map(|one| {
            [row(one), vec![one.certificate_authority.unwrap_or_default().to_owned(), yes(one.externally_managed)]]
                .concat()
        });
        let authorities =
            all.certificate_authorities.iter().map(|one| [row(one), vec![yes(one.externally_managed)]].concat());
        format!(
            "{}\n{}",
            table(&["CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY", "EXTERNALLY MANAGED"], leaves),
            table(&["CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME", "EXTERNALLY MANAGED"], authorities),
        )
    })
}

fn residual(seconds: u64) -> String {
    match seconds {
        0 => "<invalid>".into(),
        seconds if seconds < 48 * 3600 => format!("{}h", seconds / 3600),
        seconds if seconds < 365 * 86400 => format!("{}d", seconds / 86400),
        seconds => format!("{}y", seconds / (365 * 86400)),
    }
}

fn renew(args: &RenewArgs) -> anyhow::Result<()> {
    let store = PkiStore::new(&args.cert_dir);
    let leaves = || CERTIFICATES.iter().filter(|spec| !spec.is_authority()).map(|spec| spec.name);
    let all = args.name == "all";
    let names: Vec<&str> =
        leaves().chain(KUBECONFIGS.iter().copied()).filter(|name| all || *name == args.name).collect();
    if names.is_empty() {
        let known = leaves().chain(KUBECONFIGS.iter().copied()).collect::<Vec<_>>().join(", ");
        anyhow::bail!("there is no certificate {:?} to renew\nhint: there are all, {known}", args.name);
    }
    let now = Timestamp::now();
    for name in names {
        let end = match CertificateSpec::find(name) {
            Some(spec) => store.renew(spec, now)?.not_after,
            None => renew_kubeconfig(&store, name, now)?,
        };
        print(&format!("{name} renewed; it ends on {end}\n"))?;
    }
    print("\nRestart kube-apiserver, kube-controller-manager, kube-scheduler and etcd so that they use them.\n")
}

fn renew_kubeconfig(store: &PkiStore, file: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let path = kubeconfig::path(file);
    let config = Kubeconfig::load(&path)?;
    let (cluster, user) = config.current()?;
    let pem = user.map(|user| user.certificate_pem()).transpose()?.flatten();
    let (pem, _) = pem.ok_or_else(|| anyhow::anyhow!("{} has no client certificate to renew", path.display()))?;
    let present = Certificate::from_pem(&pem, file)?;
    let groups: Vec<&str> = present.organizations.iter().map(String::as_str).collect();
    let profile = Profile::client(present.common_name.clone(), &groups);
    let name = config.clusters.first().map_or("kubernetes", |named| named.name.as_str());
    let text = kubeconfig::issue(store, name, &cluster.server, &profile, now)?;
    kinit_pki::files::write_atomic(&path, text.as_bytes(), 0o600)?;
    let renewed = Kubeconfig::parse(&text, file)?;
    let end = renewed.current()?.1.map(|user| user.certificate_pem()).transpose()?.flatten();
    Ok(end
        .map(|(pem, _)| Certificate::from_pem(&pem, file))
        .transpose()?
        .map_or(now, |certificate| certificate.not_after))
}

/// Runs `kinit kubeconfig`.
pub fn run_kubeconfig(command: KubeconfigCommand) -> anyhow::Result<()> {
    let KubeconfigCommand::User(args) = command;
    let admin = kubeconfig::path("admin.conf");
    let config = Kubeconfig::load(Path::new(&admin))?;
    let (cluster, _) = config.current()?;
    let groups: Vec<&str> = args.org.iter().map(String::as_str).collect();
    let profile = Profile::client(args.client_name, &groups);
    let name = config.clusters.first().map_or("kubernetes", |named| named.name.as_str());
    print(&kubeconfig::issue(&PkiStore::new(args.cert_dir), name, &cluster.server, &profile, Timestamp::now())?)
}
