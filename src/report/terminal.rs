//! Spinners, for people at a terminal. Colors are left out where NO_COLOR asks for that, and lines that are longer than the
//! terminal is wide are cut while they change and whole when they stay.

use std::collections::HashMap;
use std::time::Duration;

use console::StyledObject;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
        Self::at(ProgressDrawTarget::stderr(), verbosity)
    }

    fn at(target: ProgressDrawTarget, verbosity: u8) -> Self {
        Self { bars: MultiProgress::with_draw_target(target), open: Mutex::default(), verbosity }
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

/// What standard error's terminal may show in colors; by itself it would be asked of standard output.
fn style<D>(what: D) -> StyledObject<D> {
    console::style(what).for_stderr()
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
            Outcome::Changed => style("✓").green(),
            Outcome::Unchanged => style("=").dim(),
            Outcome::Skipped(_) => style("-").yellow(),
        };
        let detail = match outcome {
            Outcome::Changed => seconds(took),
            other => format!("{} {}", words(other), seconds(took)),
        };
        self.line(&format!("{mark} {name} {}", style(detail).dim()));
    }

    fn failed(&self, name: &str) {
        self.close(name);
        self.line(&format!("{} {name}", style("✗").red()));
    }

    fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", style("warning:").yellow()));
    }

    fn info(&self, text: &str) {
        self.line(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    /// A terminal that keeps what is written to it.
    #[derive(Debug, Clone)]
    struct Paper {
        width: u16,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl indicatif::TermLike for Paper {
        fn width(&self) -> u16 {
            self.width
        }
        fn move_cursor_up(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.lines.lock().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_stays_is_whole_and_what_changes_fits_into_a_narrow_terminal() {
        for width in [1, 12, 40, 200] {
            let paper = Paper { width, lines: Arc::default() };
            let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
            let reporter = TerminalReporter::at(target, 0);
            reporter.begin("certs/apiserver-kubelet-client");
            reporter.progress("certs/apiserver-kubelet-client", &"a long detail ".repeat(20));
            reporter.end(
                "certs/apiserver-kubelet-client",
                &Outcome::Skipped("etcd runs elsewhere".into()),
                Duration::ZERO,
            );
            reporter.warn("this host has two addresses");
            let lines: Vec<String> =
                paper.lines.lock().iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect();
            let said = lines.concat();
            for wanted in
                ["certs/apiserver-kubelet-client skipped: etcd runs elsewhere", "warning: this host has two addresses"]
            {
                assert!(said.contains(wanted), "{width}: {lines:?}");
            }
            let longest =
                lines.iter().filter(|line| line.contains("a long detail")).map(|line| line.chars().count()).max();
            assert!(longest.is_none_or(|longest| longest <= usize::from(width)), "{width}: {lines:?}");
        }
    }
}
