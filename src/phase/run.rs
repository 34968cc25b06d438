//! Running phases.

use std::time::Instant;

use futures::future::{BoxFuture, try_join_all};

use super::{Outcome, Phase, Tree};
use crate::report::Reporter;

/// Why a phase failed, with all of its own causes.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why phases did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No phase has that name.
    #[error("there is no phase {name:?}\nhint: the phases are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// A phase failed.
    #[error("phase {name}")]
    Failed {
        /// The phase.
        name: String,
        /// Why.
        source: Cause,
    },
}

/// A phase failed; what it failed by keeps its type.
pub fn failed(name: &str, source: anyhow::Error) -> Error {
    Error::Failed { name: name.to_owned(), source: source.reallocate_into_boxed_dyn_error_without_backtrace() }
}

/// Runs all of a tree but what is named in `skip`.
pub async fn run_tree<C: Sync>(
    tree: Tree<C>,
    context: &C,
    reporter: &dyn Reporter,
    skip: &[String],
) -> Result<(), Error> {
    for stage in tree {
        let lanes = stage.iter().map(|lane| async move {
            for phase in *lane {
                run_named(phase, phase.name.to_owned(), context, reporter, skip).await?;
            }
            Ok(())
        });
        try_join_all(lanes).await?;
    }
    Ok(())
}

/// Runs one phase and what it consists of; `path` is its name with those of its parents, separated by `/`.
/// Parts of it that are named in `skip` are left out; what goes before it where it runs by itself is not.
pub async fn run_one<C: Sync>(
    tree: Tree<C>,
    path: &str,
    context: &C,
    reporter: &dyn Reporter,
    skip: &[String],
) -> Result<(), Error> {
    let phase = find(tree, path).ok_or_else(|| unknown(tree, path))?;
    let first = phase.alone_after.map(|first| find(tree, first).ok_or_else(|| unknown(tree, first))).transpose()?;
    if let Some(first) = first {
        run_named(first, first.name.to_owned(), context, reporter, &[]).await?;
    }
    run_named(phase, path.to_owned(), context, reporter, skip).await
}

/// Our name of a phase's part that kubeadm's users know by another: the DNS add-on is not CoreDNS.
pub fn own_name(path: String) -> String {
    if path == "addon/coredns" { "addon/cluster-dns".into() } else { path }
}

/// Runs a phase's children without telling of each; for a command in which they are one step.
pub async fn run_all<C: Sync>(phase: &Phase<C>, context: &C) -> super::Result {
    let mut all = Outcome::Unchanged;
    for child in phase.children {
        if let Some(action) = child.action
            && action(context).await? == Outcome::Changed
        {
            all = Outcome::Changed;
        }
    }
    Ok(all)
}

fn run_named<'a, C: Sync>(
    phase: &'a Phase<C>,
    path: String,
    context: &'a C,
    reporter: &'a dyn Reporter,
    skip: &'a [String],
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let begin = Instant::now();
        if skip.contains(&path) {
            reporter.end(&path, &Outcome::Skipped("by --skip-phases".into()), begin.elapsed());
            return Ok(());
        }
        if let Some(action) = phase.action {
            reporter.begin(&path);
            match action(context).await {
                Ok(outcome) => reporter.end(&path, &outcome, begin.elapsed()),
                Err(source) => {
                    reporter.failed(&path);
                    return Err(failed(&path, source));
                }
            }
        }
        for child in phase.children {
            run_named(child, format!("{path}/{}", child.name), context, reporter, skip).await?;
        }
        Ok(())
    })
}

/// The phase at `path`.
pub fn find<C>(tree: Tree<C>, path: &str) -> Option<&'static Phase<C>> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    let top = tree.iter().flat_map(|stage| stage.iter()).flat_map(|lane| lane.iter());
    let mut phase = top.into_iter().find(|phase| phase.name == first)?;
    for part in parts {
        phase = phase.children.iter().find(|child| child.name == part)?;
    }
    Some(phase)
}

/// Refuses names that no phase has.
pub fn validate_names<C>(tree: Tree<C>, names: &[String]) -> Result<(), Error> {
    names.iter().find(|name| find(tree, name).is_none()).map_or(Ok(()), |name| Err(unknown(tree, name)))
}

fn unknown<C>(tree: Tree<C>, name: &str) -> Error {
    let top = tree.iter().flat_map(|stage| stage.iter()).flat_map(|lane| lane.iter());
    let known = top.map(|phase| phase.name).collect::<Vec<_>>().join(", ");
    Error::Unknown { name: name.to_owned(), known }
}
