//! kubeadm's way of saying how much to say, in the words that the parser knows.

use std::ffi::OsString;

/// The most that any level means here.
const LEVELS: usize = 5;

/// Writes `-v=2`, `-v2`, `--v=2` and `--v 2` as `-vv`; all else stays. What follows `--` is not looked at.
pub fn plain(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut rest = arguments.peekable();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            out.push(argument);
            out.extend(rest);
            break;
        }
        let text = argument.to_string_lossy().into_owned();
        let level = text.strip_prefix("--v").or_else(|| text.strip_prefix("-v"));
        let level = level.map(|level| level.strip_prefix('=').unwrap_or(level)).and_then(number);
        let level = match level {
            Some(level) => Some(level),
            None if text == "--v" || text == "-v" => {
                let found = rest.peek().and_then(|next| number(&next.to_string_lossy()));
                if found.is_some() {
                    rest.next();
                }
                found.or((text == "--v").then_some(1))
            }
            None => None,
        };
        match level {
            Some(0) => {}
            Some(level) => out.push(format!("-{}", "v".repeat(level.min(LEVELS))).into()),
            None => out.push(argument),
        }
    }
    out
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted() {
        for (given, wanted) in [
            ("kinit init -v=2", "kinit init -vv"),
            ("kinit -v3 init", "kinit -vvv init"),
            ("kinit init --v=0", "kinit init"),
            ("kinit init --v 9 --dry-run", "kinit init -vvvvv --dry-run"),
            ("kinit init -v 1", "kinit init -v"),
            ("kinit init -vv", "kinit init -vv"),
            ("kinit init -v", "kinit init -v"),
            ("kinit init --v", "kinit init -v"),
            ("kinit --verbose version", "kinit --verbose version"),
            ("kinit x -- -v=2", "kinit x -- -v=2"),
        ] {
            let all = plain(given.split(' ').map(OsString::from));
            let all: Vec<String> = all.into_iter().map(|one| one.to_string_lossy().into_owned()).collect();
            assert_eq!(all.join(" "), wanted);
        }
    }
}
