//! Spinners, for people at a terminal.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::{Outcome, Reporter, seconds, words};

/// One spinner per piece of work that goes on; ended ones become lines.
pub struct TerminalReporter {
    bars: MultiProgress,
    open: Mutex<HashMap<String, ProgressBar>>,
    verbosity: u8,
}

impl TerminalReporter {
    /// With `verbosity` above 0, steps become lines too.
    pub fn new(verbosity: u8) -> Self {
        Self { bars: MultiProgress::new(), open: Mutex::default(), verbosity }
    }

    fn line(&self, text: &str) {
        // Nobody can be told that the terminal is gone.
        let _ = self.bars.println(text);
    }

    fn close(&self, name: &str) {
        if let Some(bar) = self.open.lock().remove(name) {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for TerminalReporter {
    fn begin(&self, name: &str) {
        let style = ProgressStyle::with_template("{spinner:.cyan} {prefix:.bold} {wide_msg:.dim}")
            .expect("the template is a constant that parses");
        let bar = self.bars.add(ProgressBar::new_spinner()).with_style(style);
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(80));
        self.open.lock().insert(name.to_owned(), bar);
    }

    fn progress(&self, name: &str, detail: &str) {
        if let Some(bar) = self.open.lock().get(name) {
            bar.set_message(detail.to_owned());
        }
        if self.verbosity > 0 {
            self.line(&format!("  {name}: {detail}"));
        }
    }

    fn end(&self, name: &str, outcome: &Outcome, took: Duration) {
        self.close(name);
        let mark = match outcome {
            Outcome::Changed => console::style("✓").green(),
            Outcome::Unchanged => console::style("=").dim(),
            Outcome::Skipped(_) => console::style("-").yellow(),
        };
        let detail = match outcome {
            Outcome::Changed => seconds(took),
            other => format!("{} {}", words(other), seconds(took)),
        };
        self.line(&format!("{mark} {name} {}", console::style(detail).dim()));
    }

    fn failed(&self, name: &str) {
        self.close(name);
        self.line(&format!("{} {name}", console::style("✗").red()));
    }

    fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", console::style("warning:").yellow()));
    }

    fn info(&self, text: &str) {
        self.line(text);
    }
}
