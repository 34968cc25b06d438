//! Plain lines, for pipes and logs.

use std::io::Write;
use std::time::Duration;

use super::{Outcome, Reporter, seconds, words};

/// One line per event, in kubeadm's manner: `[phase] text`.
pub struct LineReporter {
    verbosity: u8,
}

impl LineReporter {
    /// With `verbosity` above 0, beginnings and steps are told too.
    pub fn new(verbosity: u8) -> Self {
        Self { verbosity }
    }
}

fn line(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

impl Reporter for LineReporter {
    fn begin(&self, name: &str) {
        if self.verbosity > 0 {
            line(&format!("[{name}] begins"));
        }
    }

    fn progress(&self, name: &str, detail: &str) {
        if self.verbosity > 0 {
            line(&format!("[{name}] {detail}"));
        }
    }

    fn end(&self, name: &str, outcome: &Outcome, took: Duration) {
        line(&format!("[{name}] {} ({})", words(outcome), seconds(took)));
    }

    fn failed(&self, name: &str) {
        line(&format!("[{name}] failed"));
    }

    fn warn(&self, text: &str) {
        line(&format!("warning: {text}"));
    }

    fn info(&self, text: &str) {
        line(text);
    }
}
