//! `kinit explain`.

use serde_json::json;

use super::output::{Format, emit};
use crate::codes;
use kinit_preflight::explain::{EXPLANATIONS, explain};

/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 90;

/// Arguments of `kinit explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kinit explain Swap\n  kinit explain ApiUnreachable")]
pub struct ExplainArgs {
    /// The code of an error, or the name of what preflight found; without one all are listed
    pub code: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Runs the command.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let Some(code) = &args.code else {
        let lines = |all: &[(&str, &str)]| all.iter().map(|(name, _)| format!("  {name}\n")).collect::<String>();
        let (errors, checks) = (lines(codes::EXPLANATIONS), lines(EXPLANATIONS));
        let names = |all: &[(&'static str, &str)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let data = json!({"errors": names(codes::EXPLANATIONS), "checks": names(EXPLANATIONS)});
        return emit(args.output, &data, || {
            format!("Codes of errors:\n{errors}\nNames of preflight's checks:\n{checks}")
        });
    };
    let error = codes::EXPLANATIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(code)).copied();
    let (name, text) = error.or_else(|| explain(code)).ok_or_else(|| {
        anyhow::anyhow!(
            "nothing is known of {code:?}\nhint: `kinit explain` lists the codes and names that there are\ncode: Usage"
        )
    })?;
    let width = console::Term::stdout().size_checked().map_or(WIDEST, |(_, columns)| usize::from(columns));
    emit(args.output, &json!({"name": name, "text": text}), || {
        format!("{name}\n\n{}\n", wrapped(text, width.min(WIDEST)))
    })
}

/// The text in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_too_long_and_no_word_is_lost() {
        let text = wrapped("one two three four", 9);
        assert_eq!(text, "one two\nthree\nfour");
    }
}
