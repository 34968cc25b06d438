//! `kinit preflight`.

use std::path::PathBuf;
use std::process::ExitCode;

use kinit_preflight::{Finding, Role, has_errors};

use super::CommonArgs;
use super::init::host_defaults;
use super::output::{Format, emit};
use crate::config::settings::InitOverrides;
use crate::config::{Documents, InitSettings};
use crate::host::RealHost;
use crate::images::Binaries;
use crate::{mend, preflight, report};

/// Flags of `kinit preflight`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kinit preflight --join -o json\n  kinit preflight --fix --yes")]
pub struct PreflightArgs {
    /// Check for a worker instead of a control plane
    #[arg(long)]
    pub join: bool,
    /// Path to a kinit configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A list of checks whose errors will be shown as warnings. Value 'all' ignores errors from all checks
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// Mend what can be mended
    #[arg(long)]
    pub fix: bool,
    /// Do not ask before mending
    #[arg(short, long, requires = "fix")]
    pub yes: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Runs the command: fails if there are errors.
pub async fn run(args: PreflightArgs, verbose: u8) -> anyhow::Result<ExitCode> {
    let documents = Documents::load(args.config.as_deref())?;
    let settings = InitSettings::resolve(documents, InitOverrides::default(), &host_defaults()?)?;
    let host = RealHost::new()?;
    let role = if args.join { Role::Worker } else { Role::ControlPlane };
    let binaries = Binaries::new(args.common.bin_dir.as_deref());
    let judge = || async {
        let request = if args.join {
            preflight::worker_request(&settings.node, None).await
        } else {
            preflight::init_request(&settings, &host, &binaries)
        };
        preflight::judge(&host, request, role, &args.ignore_preflight_errors).await
    };
    let mut findings = judge().await?;
    if args.fix {
        let steps = mend::plan(&host, &findings)?;
        if steps.is_empty() {
            report::for_stderr(verbose).info("there is nothing that kinit could mend here");
        } else {
            super::as_root()?;
            let listed: String = steps.iter().map(|step| format!("  {step}\n")).collect();
            super::ask(args.yes, &format!("This would be done:\n{listed}Go on?"))?;
            mend::run(&host, &steps, report::for_stderr(verbose).as_ref()).await?;
            findings = judge().await?;
        }
    }
    emit(args.output, &findings, || text(&findings))?;
    Ok(if has_errors(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "This host is ready.\n".into();
    }
    let lines = findings.iter().map(|finding| {
        format!("{:?} {}: {}\n  hint: {}\n", finding.severity, finding.name, finding.message, finding.hint)
    });
    lines.collect()
}
