//! `kinit upgrade`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kinit_pki::PkiStore;
use serde::Serialize;
use serde_json::Value;

use super::init::host_defaults;
use super::output::{Format, emit, table};
use super::{CommonArgs, print};
use crate::api::{Api, KubeApi, WouldCall};
use crate::config::settings::{InitOverrides, Timeouts};
use crate::config::v1beta4::{NodeRegistration, UpgradeConfiguration};
use crate::config::{Documents, NodeSettings};
use crate::host::{Host, MemoryHost, RealHost};
use crate::images::{Binaries, ImageStore, RuntimeImages, WouldImport};
use crate::phase::control_plane::{MANIFESTS_DIR, STATIC_PODS};
use crate::phase::init::{InitContext, TREE};
use crate::phase::{agent, kubeconfig, kubelet, run_one};
use crate::report::{self, Outcome, Reporter};
use crate::upgrade::{self, Cluster, Version, apply, phases, skew};

/// Subcommands of `kinit upgrade`.
#[derive(Debug, clap::Subcommand)]
pub enum UpgradeCommand {
    /// Check which versions are available to upgrade to and validate whether your current cluster is upgradeable
    Plan(PlanArgs),
    /// Upgrade your Kubernetes cluster to the version that this kinit brings
    Apply(ApplyArgs),
    /// Upgrade commands for a node in the cluster
    Node(NodeArgs),
    /// Show what differences would be applied to existing static pod manifests
    Diff(DiffArgs),
}

/// Flags that all of them have.
#[derive(Debug, Clone, clap::Args)]
pub struct SharedArgs {
    /// Path to a kinit configuration file with an UpgradeConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The kubeconfig file to use when talking to the cluster [default: admin.conf, on workers kubelet.conf]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A list of checks whose errors will be shown as warnings. Value 'all' ignores errors from all checks
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// Accepted for kubeadm's sake: the version that there is to go to is this kinit's, whatever it is
    #[arg(long, visible_alias = "allow-release-candidate-upgrades")]
    pub allow_experimental_upgrades: bool,
    /// Print the configuration of the cluster that the upgrade works with
    #[arg(long)]
    pub print_config: bool,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Prints the cluster's configuration, if that was asked for.
fn print_config(shared: &SharedArgs, cluster: &Cluster) -> anyhow::Result<()> {
    if shared.print_config { print(&serde_yaml::to_string(&cluster.configuration)?) } else { Ok(()) }
}

/// Flags of `kinit upgrade plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit upgrade plan -o json")]
pub struct PlanArgs {
    /// The version to go to; only the one that this kinit brings is there
    pub version: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Perform the upgrade of etcd
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub etcd_upgrade: bool,
    /// The shared flags
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Flags of `kinit upgrade apply` and `node` that change what is done.
#[derive(Debug, Clone, clap::Args)]
pub struct DoArgs {
    /// Do not change any state, just output what actions would be performed
    #[arg(long)]
    pub dry_run: bool,
    /// Perform the renewal of certificates used by component changed during upgrades
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub certificate_renewal: bool,
    /// Perform the upgrade of etcd
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub etcd_upgrade: bool,
    /// Path to a directory that contains files named "target[suffix][+patchtype].extension"
    #[arg(long, value_name = "DIR")]
    pub patches: Option<PathBuf>,
    /// List of phases to be skipped
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
}

/// Flags of `kinit upgrade apply`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = "Example:\n  kinit upgrade apply --yes")]
pub struct ApplyArgs {
    /// Run one phase alone
    #[command(subcommand)]
    pub phase: Option<ApplyCommand>,
    /// The version to go to; only the one that this kinit brings is there
    pub version: Option<String>,
    /// The flags
    #[command(flatten)]
    pub flags: ApplyFlags,
}

/// What stands below `upgrade apply`.
#[derive(Debug, clap::Subcommand)]
pub enum ApplyCommand {
    /// Use this command to invoke single phase of the "apply" workflow
    #[command(after_help = format!("Phases:\n{}\nExample:\n  kinit upgrade apply phase control-plane --yes", phases::listing(false)))]
    Phase {
        /// The phase and, if it has parts, the part: `addon kube-proxy`; `all` means all parts
        #[arg(required = true, num_args = 1..=2, value_name = "PHASE")]
        words: Vec<String>,
        /// The flags
        #[command(flatten)]
        flags: Box<ApplyFlags>,
    },
}

/// The flags of `kinit upgrade apply` themselves.
#[derive(Debug, Clone, clap::Args)]
pub struct ApplyFlags {
    /// Perform the upgrade and do not prompt for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Force upgrading although some requirements might not be met. This also implies non-interactive mode
    #[arg(short, long)]
    pub force: bool,
    /// What is done
    #[command(flatten)]
    pub work: DoArgs,
    /// The shared flags
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Flags of `kinit upgrade node`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = "Example:\n  kinit upgrade node")]
pub struct NodeArgs {
    /// Run one phase alone
    #[command(subcommand)]
    pub phase: Option<NodeCommand>,
    /// The flags
    #[command(flatten)]
    pub flags: NodeFlags,
}

/// What stands below `upgrade node`.
#[derive(Debug, clap::Subcommand)]
pub enum NodeCommand {
    /// Use this command to invoke single phase of the "node" workflow
    #[command(after_help = format!("Phases:\n{}\nExample:\n  kinit upgrade node phase kubelet-config", phases::listing(true)))]
    Phase {
        /// The phase and, if it has parts, the part: `addon kube-proxy`; `all` means all parts
        #[arg(required = true, num_args = 1..=2, value_name = "PHASE")]
        words: Vec<String>,
        /// The flags
        #[command(flatten)]
        flags: Box<NodeFlags>,
    },
}

/// The flags of `kinit upgrade node` themselves.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeFlags {
    /// What is done
    #[command(flatten)]
    pub work: DoArgs,
    /// The shared flags
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Flags of `kinit upgrade diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit upgrade diff -c 1")]
pub struct DiffArgs {
    /// The version to go to; only the one that this kinit brings is there
    pub version: Option<String>,
    /// How many lines of context in the diff
    #[arg(short, long, value_name = "LINES")]
    pub context_lines: Option<usize>,
    /// The shared flags
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// One component of a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    current_version: String,
    new_version: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Available {
    description: String,
    components: Vec<Component>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    kind: &'static str,
    api_version: &'static str,
    available_upgrades: Vec<Available>,
    problems: Vec<String>,
}

/// Runs the command.
pub async fn run(command: UpgradeCommand, verbose: u8) -> anyhow::Result<()> {
    match command {
        UpgradeCommand::Plan(args) => plan(&args).await,
        UpgradeCommand::Diff(args) => diff(&args, verbose).await,
        UpgradeCommand::Apply(ApplyArgs { phase: Some(ApplyCommand::Phase { words, flags }), .. }) => {
            apply_all(*flags, Some(&words), None, verbose).await
        }
        UpgradeCommand::Apply(args) => apply_all(args.flags, None, args.version, verbose).await,
        UpgradeCommand::Node(NodeArgs { phase: Some(NodeCommand::Phase { words, flags }), .. }) => {
            node(*flags, Some(&words), verbose).await
        }
        UpgradeCommand::Node(args) => node(args.flags, None, verbose).await,
    }
}

fn document(shared: &SharedArgs) -> anyhow::Result<UpgradeConfiguration> {
    let documents = Documents::load(shared.config.as_deref())?;
    documents.only("upgrade", &["UpgradeConfiguration"])?;
    Ok(documents.upgrade.unwrap_or_default())
}

/// The version that is asked for, which can only be this build's.
fn target(given: Option<&str>, file: &str) -> anyhow::Result<Version> {
    let own: Version = kinit_version::kubernetes().parse().map_err(anyhow::Error::msg)?;
    let wanted = given.or(Some(file).filter(|text| !text.is_empty()));
    if let Some(text) = wanted.filter(|text| !["stable", "latest"].contains(text)) {
        let wanted: Version =
            text.parse().map_err(|reason: String| anyhow::anyhow!("{reason}\nhint: for example {own}\ncode: Usage"))?;
        if wanted != own {
            anyhow::bail!(
                "this kinit brings {own}, not {wanted}\nhint: upgrade with the kinit that brings {wanted}\ncode: UpgradeVersion"
            );
        }
    }
    Ok(own)
}

fn api(shared: &SharedArgs) -> anyhow::Result<KubeApi> {
    let admin = kubeconfig::path("admin.conf");
    let path = match &shared.kubeconfig {
        Some(path) => path.clone(),
        None if admin.exists() => admin,
        None => kubeconfig::path("kubelet.conf"),
    };
    if !path.exists() {
        anyhow::bail!(
            "{} is not there\nhint: run this as root on a node of the cluster, or name a kubeconfig by --kubeconfig\ncode: NotControlPlane",
            path.display()
        );
    }
    Ok(KubeApi::from_file(path))
}

async fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    let file = document(&args.shared)?.plan;
    let target = target(args.version.as_deref(), &file.kubernetes_version)?;
    let cluster = Cluster::read(&api(&args.shared)?).await?;
    print_config(&args.shared, &cluster)?;
    let (old, new) = (cluster.version.to_string(), target.to_string());
    let row = |name: &str, node: Option<&str>, current: &str| Component {
        name: name.to_owned(),
        node_name: node.map(str::to_owned),
        current_version: current.to_owned(),
        new_version: new.clone(),
    };
    let mut components: Vec<Component> =
        cluster.kubelets.iter().map(|(node, version)| row("kubelet", Some(node), &version.to_string())).collect();
    let with_etcd = args.etcd_upgrade && file.etcd_upgrade.unwrap_or(true);
    let others = ["kube-proxy", "cluster-dns", "kinit-network"];
    let all = STATIC_PODS.iter().filter(|name| **name != "etcd" || with_etcd).chain(&others);
    components.extend(all.map(|name| row(name, None, &old)));
    let plan = Plan {
        kind: "UpgradePlan",
        api_version: "output.kubeadm.k8s.io/v1alpha3",
        available_upgrades: vec![Available { description: format!("this build of kinit, {new}"), components }],
        problems: skew::problems(&cluster.version, &target, &cluster.kubelets)
            .into_iter()
            .map(|problem| problem.message)
            .collect(),
    };
    emit(args.output, &plan, || {
        let rows = plan.available_upgrades.iter().flat_map(|one| &one.components).map(|one| {
            let node = one.node_name.clone().unwrap_or_default();
            vec![one.name.clone(), node, one.current_version.clone(), one.new_version.clone()]
        });
        let mut text = table(&["COMPONENT", "NODE", "CURRENT", "TARGET"], rows);
        for problem in &plan.problems {
            text.push_str(&format!("\nThis speaks against it: {problem}\n"));
        }
        if plan.problems.is_empty() {
            text.push_str("\nYou can now apply the upgrade by executing the following command:\n\n  kinit upgrade apply\n\nand then, with the same kinit on each other node:\n\n  kinit upgrade node\n");
        }
        text
    })
}

/// What a command works with on this host.
struct Work {
    context: InitContext,
    dry: Option<Arc<MemoryHost>>,
    cluster: Cluster,
    reporter: Arc<dyn Reporter>,
}

impl Work {
    async fn begin(
        shared: &SharedArgs,
        dry_run: bool,
        overrides: InitOverrides,
        timeouts: Timeouts,
        verbose: u8,
    ) -> anyhow::Result<Self> {
        let real = api(shared)?;
        let cluster = Cluster::read(&real).await?;
        print_config(shared, &cluster)?;
        let real: Arc<dyn Api> = Arc::new(real);
        let dry = if dry_run { Some(Arc::new(MemoryHost::dry_run()?)) } else { None };
        let host: Arc<dyn Host> = match &dry {
            Some(host) => host.clone(),
            None => Arc::new(RealHost::new()?),
        };
        let node = this_node(host.as_ref())?;
        let manifest = host.read(&Path::new(MANIFESTS_DIR).join("kube-apiserver.yaml"))?;
        let manifest: Value = match &manifest {
            Some(text) => serde_yaml::from_slice(text)?,
            // A worker has none; an address is wanted all the same and never used.
            None => {
                serde_json::json!({"metadata": {"annotations": {"kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint": "192.0.2.1:6443"}}})
            }
        };
        let mut settings = upgrade::cluster::settings(&cluster, &node, &manifest, overrides)?;
        settings.timeouts = timeouts;
        let (images, api): (Arc<dyn ImageStore>, Arc<dyn Api>) = if dry_run {
            (Arc::new(WouldImport), Arc::new(WouldCall))
        } else {
            (Arc::new(RuntimeImages::new(settings.node.cri_path().to_owned())), real)
        };
        let reporter = report::for_stderr(verbose);
        let context = InitContext {
            settings,
            host,
            images,
            binaries: Binaries::new(shared.common.bin_dir.as_deref()),
            super_api: api.clone(),
            api,
            reporter: reporter.clone(),
            kubeconfig_dir: kubeconfig::KUBERNETES_DIR.into(),
            now: Timestamp::now(),
        };
        Ok(Self { context, dry, cluster, reporter })
    }

    fn skips(&self, phase: &str) -> bool {
        self.context.settings.skip_phases.iter().any(|name| name == phase)
    }

    /// Runs phases of init that are the same in an upgrade.
    async fn phases(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names.iter().filter(|name| !self.skips(name)) {
            let skip = &self.context.settings.skip_phases;
            run_one(TREE, name, &self.context, self.reporter.as_ref(), skip).await?;
        }
        Ok(())
    }

    async fn control_plane(&self, with_etcd: bool, renew: bool) -> anyhow::Result<()> {
        if self.skips("control-plane") {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let context = &self.context;
        let all = apply::replacements(context, with_etcd)?;
        if renew && !all.is_empty() && self.dry.is_none() {
            let store =
                PkiStore::new(&context.settings.cluster.certificates_dir).with(context.settings.cluster.issuance);
            let renewed = crate::certificates::renew_all(&store, context.now)?;
            self.reporter.info(&format!("[upgrade] {renewed} certificates are renewed"));
        }
        self.reporter.begin("control-plane");
        let (host, api) = (context.host.as_ref(), context.api.as_ref());
        let (node, patience) = (&context.settings.node.name, context.settings.timeouts.upgrade_manifests);
        let outcome = apply::replace(host, api, node, &all, patience, self.reporter.as_ref()).await;
        match outcome {
            Ok(outcome) => self.reporter.end("control-plane", &outcome, begin.elapsed()),
            Err(error) => {
                self.reporter.failed("control-plane");
                return Err(error);
            }
        }
        Ok(())
    }

    /// The agent of this build.
    async fn agent(&self) -> anyhow::Result<()> {
        if self.skips("agent") {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let outcome = agent::replace(self.context.host.as_ref()).await?;
        self.reporter.end("agent", &outcome, begin.elapsed());
        Ok(())
    }

    /// The kubelet of this build, with the flags that it has.
    async fn kubelet(&self) -> anyhow::Result<()> {
        if self.skips("kubelet-config") {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let (context, settings) = (&self.context, &self.context.settings);
        let host = context.host.as_ref();
        let mut config = kubelet::configuration(host, &settings.cluster, &settings.node)?;
        settings.patches.apply("kubeletconfiguration", &mut config)?;
        let outcome = kubelet::files(host, &context.binaries, None, &config)?;
        if outcome == Outcome::Changed {
            kubelet::start(host).await?;
        }
        self.reporter.end("kubelet-config", &outcome, begin.elapsed());
        Ok(())
    }

    fn finish(self, done: &str) -> anyhow::Result<()> {
        match self.dry {
            Some(host) => super::init::Intended::print(&host, Format::Text),
            None => print(done),
        }
    }
}

/// How this host is registered: what its kubelet's own files say.
fn this_node(host: &dyn Host) -> anyhow::Result<NodeSettings> {
    let flags = host.read(Path::new("/var/lib/kubelet/kubeadm-flags.env"))?.unwrap_or_default();
    let flags = String::from_utf8_lossy(&flags).into_owned();
    let flag = |name: &str| {
        let mut all = flags.split(['"', ' ']);
        all.find_map(|word| word.trim_end().strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let registration = NodeRegistration {
        name: flag("--hostname-override"),
        cri_socket: flag("--container-runtime-endpoint"),
        taints: Some(Vec::new()),
        ..NodeRegistration::default()
    };
    Ok(NodeSettings::resolve(&registration, &host_defaults()?, true)?)
}

async fn diff(args: &DiffArgs, verbose: u8) -> anyhow::Result<()> {
    let file = document(&args.shared)?;
    target(args.version.as_deref(), &file.diff.kubernetes_version)?;
    let lines = args.context_lines.or(Some(file.diff.context_lines).filter(|lines| *lines > 0)).unwrap_or(3);
    let timeouts = Timeouts::resolve(&file.timeouts)?;
    let work = Work::begin(&args.shared, true, InitOverrides::default(), timeouts, verbose).await?;
    for one in apply::replacements(&work.context, true)? {
        let path = one.path().display().to_string();
        print(&crate::diff::unified(&path, "new manifest", &one.before, &one.after, lines))?;
    }
    Ok(())
}

async fn apply_all(
    args: ApplyFlags,
    only: Option<&[String]>,
    version: Option<String>,
    verbose: u8,
) -> anyhow::Result<()> {
    let file = document(&args.shared)?;
    let timeouts = Timeouts::resolve(&file.timeouts)?;
    let file = file.apply;
    let target = target(version.as_deref(), &file.kubernetes_version)?;
    let named = [file.skip_phases, args.work.skip_phases.clone()].concat();
    let skip_phases = phases::skipped(only, named, false)?;
    let force = args.force || file.force_upgrade.unwrap_or(false);
    let dry_run = args.work.dry_run || file.dry_run.unwrap_or(false);
    if !dry_run {
        super::as_root()?;
    }
    let folder = args.work.patches.clone().or_else(|| file.patches.map(|part| part.directory.into()));
    let overrides = InitOverrides { patches: folder, skip_phases, ..InitOverrides::default() };
    let work = Work::begin(&args.shared, dry_run, overrides, timeouts, verbose).await?;
    let problems = skew::problems(&work.cluster.version, &target, &work.cluster.kubelets);
    let ignored = [args.shared.ignore_preflight_errors.clone(), file.ignore_preflight_errors].concat();
    let ignores = ignored.iter().any(|name| name == "all" || name == "VersionSkew");
    let fatal: Vec<&str> = problems
        .iter()
        .filter(|problem| !(problem.can_be_forced && (force || ignores)))
        .map(|problem| problem.message.as_str())
        .collect();
    if !fatal.is_empty() {
        anyhow::bail!("{}\nhint: --force goes on where that is possible\ncode: UpgradeVersion", fatal.join("; "));
    }
    if !dry_run {
        super::ask(args.yes || force, &format!("Upgrade this cluster from {} to {target}?", work.cluster.version))?;
    }
    let renew = args.work.certificate_renewal && file.certificate_renewal.unwrap_or(true);
    let with_etcd = args.work.etcd_upgrade && file.etcd_upgrade.unwrap_or(true);
    work.phases(&["images"]).await?;
    work.control_plane(with_etcd, renew).await?;
    work.phases(&["upload-config"]).await?;
    work.agent().await?;
    work.kubelet().await?;
    work.phases(&["addon"]).await?;
    work.finish(&format!(
        "\nSUCCESS! Your cluster was upgraded to {target}. Run `kinit upgrade node` on each other node.\n"
    ))
}

async fn node(args: NodeFlags, only: Option<&[String]>, verbose: u8) -> anyhow::Result<()> {
    let file = document(&args.shared)?;
    let timeouts = Timeouts::resolve(&file.timeouts)?;
    let file = file.node;
    let named = [file.skip_phases, args.work.skip_phases.clone()].concat();
    let skip_phases = phases::skipped(only, named, true)?;
    let dry_run = args.work.dry_run || file.dry_run.unwrap_or(false);
    if !dry_run {
        super::as_root()?;
    }
    let folder = args.work.patches.clone().or_else(|| file.patches.map(|part| part.directory.into()));
    let overrides = InitOverrides { patches: folder, skip_phases, ..InitOverrides::default() };
    let work = Work::begin(&args.shared, dry_run, overrides, timeouts, verbose).await?;
    let is_control_plane = Path::new(MANIFESTS_DIR).join("kube-apiserver.yaml").exists();
    work.phases(&["images"]).await?;
    if is_control_plane {
        let renew = args.work.certificate_renewal && file.certificate_renewal.unwrap_or(true);
        work.control_plane(args.work.etcd_upgrade && file.etcd_upgrade.unwrap_or(true), renew).await?;
    }
    work.agent().await?;
    work.kubelet().await?;
    if work.dry.is_none() && !work.skips("addon") {
        let settings = &work.context.settings;
        let api = work.context.api.as_ref();
        let repository = &settings.cluster.image_repository;
        let parts = |name: &str| !work.skips(&format!("addon/{name}"));
        for name in upgrade::daemons::restart(api, &settings.node.name, repository, parts).await? {
            work.reporter.info(&format!("[addon] {name} is replaced"));
        }
    }
    work.finish("\nThis node was upgraded.\n")
}
