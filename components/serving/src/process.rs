//! The `main` of every component: options, logging, signals, the runtime and the exit code.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command, Parser};
use kinit_flags::go;
use kinit_flags::version::{self, Asked};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::zpages::Flags;

/// What the command line says of logging. Kubernetes' verbosity 0 to 3 is information, 4 and 5 debug, more is trace.
pub trait LogOptions {
    /// The value of `--v`.
    fn verbosity(&self) -> u8;
    /// Whether `--logging-format=json` was given.
    fn json(&self) -> bool {
        false
    }
    /// The least level that is logged, where it is above information.
    fn least(&self) -> Option<&'static str> {
        None
    }
    /// Whether the log goes to standard output.
    fn to_stdout(&self) -> bool {
        false
    }
}

/// Parses the command line, sets logging up, runs `run` until it ends, and makes an exit code of it: 0, or 1 with the
/// error's chain on standard error. SIGTERM and SIGINT cancel the token once; a second signal ends the process at once.
pub fn main<O, F, R>(run: F) -> ExitCode
where
    O: Parser + LogOptions,
    F: FnOnce(O, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    main_with_flags(|options, _, shutdown| run(options, shutdown))
}

/// [`main`] for components that tell what flags they were started with.
pub fn main_with_flags<O, F, R>(run: F) -> ExitCode
where
    O: Parser + LogOptions,
    F: FnOnce(O, Flags, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let (flags, mut matches) = read(O::command(), std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Some(words) = matches.get_one(VERSION).and_then(said) {
        // Nothing is left to be done if nobody reads it.
        let _ = writeln!(std::io::stdout(), "{words}");
        return ExitCode::SUCCESS;
    }
    let options = O::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    start(options, |options, shutdown| run(options, flags, shutdown))
}

const VERSION: &str = "version";

/// Reads a command line as upstream's components read theirs. With `--version` nothing else has to be there.
fn read(command: Command, arguments: impl IntoIterator<Item = OsString>) -> Result<(Flags, ArgMatches), clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(go::dashes).collect();
    let version = Arg::new(VERSION)
        .long(VERSION)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("WHAT")
        .value_parser(ValueParser::new(version::parse))
        .help("Says the version and ends; with raw, all of it; a version of the same three numbers is reported from then on");
    let mut command = go::switches(command).disable_version_flag(true).args_override_self(true).arg(version);
    let asks = |argument: &OsString| argument.to_str().is_some_and(|text| text.split('=').next() == Some("--version"));
    if arguments.iter().any(asks) {
        command = command.mut_args(|arg| arg.required(false));
    }
    let matches = command.clone().try_get_matches_from(arguments)?;
    if let Some(Asked::Report(version)) = matches.get_one(VERSION) {
        kinit_version::report(version);
    }
    Ok((Flags::of(&command, &matches), matches))
}

/// What is said in answer to `--version`. It begins with the name that Kubernetes' own components give there: by it kubeadm finds
/// a kubelet's version.
fn said(asked: &Asked) -> Option<String> {
    match asked {
        Asked::Version => Some(format!("Kubernetes {}", kinit_version::kubernetes())),
        Asked::Raw => Some(version::raw()),
        Asked::Nothing | Asked::Report(_) => None,
    }
}

/// [`main`] for options that come together in a way of their own.
pub fn start<O, F, R>(options: O, run: F) -> ExitCode
where
    O: LogOptions,
    F: FnOnce(O, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    init(options.verbosity(), options.least(), options.json(), options.to_stdout());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .max_blocking_threads(32)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let shutdown = shutdown_token()?;
        run(options, shutdown).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Two to four threads: components wait more than they compute, and each thread costs memory on a small machine.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4))
}

/// Logs to standard error; `RUST_LOG` overrules `--v`.
pub fn init_logging(verbosity: u8, json: bool) {
    init(verbosity, None, json, false);
}

fn init(verbosity: u8, least: Option<&str>, json: bool, to_stdout: bool) {
    let level = least.unwrap_or(match verbosity {
        0..=3 => "info",
        4..=5 => "debug",
        _ => "trace",
    });
    // Below the highest verbosity the transport's own chatter hides what a component does.
    let quiet = if verbosity > 6 || least.is_some() {
        ""
    } else {
        ",hyper=info,h2=info,rustls=info,tower=info,hyper_util=info,kube_client::client::builder=off"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level}{quiet}")));
    let (writer, ansi) = if to_stdout {
        (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal())
    } else {
        (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal())
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    // A second initialisation happens only in tests that boot several components in one process; the first one stays.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// A token that SIGTERM or SIGINT cancels.
pub fn shutdown_token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("shutting down");
        cancel.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "kubelet")]
    struct Options {
        #[arg(long, required = true)]
        needed: Option<String>,
        #[arg(long)]
        on: bool,
    }

    fn given(arguments: &[&str]) -> Result<(Flags, ArgMatches), clap::Error> {
        read(Options::command(), std::iter::once("kubelet").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_version_is_said_as_kubernetes_components_say_it() {
        let own = kinit_version::kubernetes();
        let words = |arguments: &[&str]| given(arguments).ok()?.1.get_one(VERSION).and_then(said);
        assert_eq!(words(&["--version"]), Some(format!("Kubernetes {own}")));
        assert_eq!(words(&["--version=true", "--on"]), Some(format!("Kubernetes {own}")));
        assert!(words(&["--version=raw"]).is_some_and(|words| words.starts_with("version.Info{")));
        assert_eq!(words(&["--version=false", "--needed=x"]), None);
    }

    #[test]
    fn command_lines_are_read_as_upstream_reads_them() {
        for (arguments, words) in [
            (&["--bogus"][..], "Usage: kubelet"),
            (&["--on"], "--needed"),
            (&["--version=v1.2.3"], "must match major/minor/patch"),
            (&["--needed=x", "--on", "false"], "unexpected argument 'false'"),
        ] {
            let error = given(arguments).expect_err("refused").to_string();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
        let (_, matches) = given(&["--needed=x", "--needed=y_z", "--on=T", "--on=0"]).expect("the last counts");
        assert_eq!(matches.get_one::<String>("needed").map(String::as_str), Some("y_z"));
        assert_eq!(matches.get_one::<bool>("on"), Some(&false));
    }
}
