//! What a user sees of work that goes on. Phases speak through [`Reporter`]; only this module knows terminals.

mod lines;
mod terminal;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

pub use lines::LineReporter;
pub use terminal::TerminalReporter;

/// What a phase did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something was made or changed.
    Changed,
    /// All was as it should be.
    Unchanged,
    /// It was left out, and why.
    Skipped(String),
}

impl From<crate::host::Change> for Outcome {
    fn from(change: crate::host::Change) -> Self {
        match change {
            crate::host::Change::Changed => Self::Changed,
            crate::host::Change::Unchanged => Self::Unchanged,
        }
    }
}

/// Who is told of progress. All of it goes to standard error.
pub trait Reporter: Send + Sync {
    /// Work under `name` begins.
    fn begin(&self, name: &str);
    /// Work under `name` goes on; `detail` is a few words.
    fn progress(&self, name: &str, detail: &str);
    /// Work under `name` ended.
    fn end(&self, name: &str, outcome: &Outcome, took: Duration);
    /// Work under `name` failed.
    fn failed(&self, name: &str);
    /// Something that the user should know.
    fn warn(&self, text: &str);
    /// Something that the user may want to know.
    fn info(&self, text: &str);
}

/// The reporter that fits standard error.
pub fn for_stderr(verbosity: u8) -> Arc<dyn Reporter> {
    if std::io::stderr().is_terminal() {
        Arc::new(TerminalReporter::new(verbosity))
    } else {
        Arc::new(LineReporter::new(verbosity))
    }
}

/// Says nothing; for tests and machine-readable output.
pub struct Silent;

impl Reporter for Silent {
    fn begin(&self, _name: &str) {}
    fn progress(&self, _name: &str, _detail: &str) {}
    fn end(&self, _name: &str, _outcome: &Outcome, _took: Duration) {}
    fn failed(&self, _name: &str) {}
    fn warn(&self, _text: &str) {}
    fn info(&self, _text: &str) {}
}

/// `0.8s`, `12s`.
fn seconds(took: Duration) -> String {
    if took.as_secs() < 10 { format!("{:.1}s", took.as_secs_f64()) } else { format!("{}s", took.as_secs()) }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Changed => "done".into(),
        Outcome::Unchanged => "unchanged".into(),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    }
}
