//! `kinit explain`.

use super::print;
use kinit_preflight::explain::{EXPLANATIONS, explain};

/// Arguments of `kinit explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit explain Swap")]
pub struct ExplainArgs {
    /// The name of a finding, as preflight shows it; without one all are listed
    pub code: Option<String>,
}

/// Runs the command.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let Some(code) = &args.code else {
        return print(&EXPLANATIONS.iter().map(|(name, _)| format!("{name}\n")).collect::<String>());
    };
    let (name, text) = explain(code).ok_or_else(|| {
        anyhow::anyhow!("nothing is known of {code:?}\nhint: `kinit explain` lists the names that preflight has")
    })?;
    print(&format!("{name}\n\n{}\n", wrapped(text, 90)))
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
