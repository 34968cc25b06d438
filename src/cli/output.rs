//! The only place that prints.

use std::io::Write;
use std::process::ExitCode;

/// Writes data to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes an error to standard error.
pub fn error(error: &anyhow::Error) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(
        std::io::stderr().lock(),
        "error: {}\n{}",
        crate::report::describe(error),
        code(crate::codes::of(error))
    );
}

fn code(code: &str) -> String {
    format!("{}{code} (`kinit explain {code}` tells more)", crate::codes::LINE)
}

/// What the parser of the command line has to say instead of running a command: help that was asked for, or a mistake.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nobody can be told that the output is gone.
    let _ = error.print();
    if error.use_stderr() {
        let _ = writeln!(std::io::stderr().lock(), "{}", code("Usage"));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Prints data in the format that was asked for.
pub fn emit(format: Format, data: &impl serde::Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    print(&match format {
        Format::Text => text(),
        Format::Json => serde_json::to_string_pretty(data)? + "\n",
        Format::Yaml => serde_yaml::to_string(data)?,
    })
}

/// Columns, each as wide as its widest cell.
pub fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}
