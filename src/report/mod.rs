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
    // A terminal that cannot move its cursor is as good as a pipe.
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    if std::io::stderr().is_terminal() && !dumb {
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

/// An error with its causes, each said once, and its hints on lines of their own at the end. Its code is not shown here.
pub fn describe(error: &anyhow::Error) -> String {
    let (mut text, mut hints) = (String::new(), Vec::new());
    for cause in error.chain().map(ToString::to_string) {
        let cause: Vec<&str> = cause.lines().filter(|line| !line.starts_with(crate::codes::LINE)).collect();
        let cause = cause.join("\n");
        let (said, more): (Vec<&str>, Vec<&str>) = cause.lines().partition(|line| !line.starts_with("hint: "));
        let said = said.join("\n");
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        hints.extend(more.into_iter().map(str::to_owned).filter(|hint| !hints.contains(hint)).collect::<Vec<_>>());
    }
    for hint in hints {
        text.push('\n');
        text.push_str(&hint);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_said_once_and_its_hint_comes_last() {
        let inner = anyhow::anyhow!("no answer\nhint: is it up?\ncode: ApiNotReady");
        let error = Err::<(), _>(inner).context("host w1: no answer").context("phase x").unwrap_err();
        assert_eq!(describe(&error), "phase x: host w1: no answer\nhint: is it up?");
    }
}
