//! What kubeadm's flags may look like, in the words that the parser knows.

use std::collections::HashSet;
use std::ffi::OsString;

/// The most that any level means here.
const LEVELS: usize = 5;

/// The names of all flags of a command, and of those below it, that are given without a value.
pub fn switches(command: &clap::Command) -> HashSet<String> {
    let own = command.get_arguments().filter(|one| matches!(one.get_action(), clap::ArgAction::SetTrue));
    let own = own.flat_map(|one| one.get_long_and_visible_aliases().unwrap_or_default()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(switches)).collect()
}

/// Writes `-v=2`, `-v2`, `--v=2` and `--v 2` as `-vv`, and of `switches` `--dry-run=true` as `--dry-run` and `--dry-run=false` as
/// nothing; all else stays. What follows `--` is not looked at.
pub fn plain(arguments: impl Iterator<Item = OsString>, switches: &HashSet<String>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut rest = arguments.peekable();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            out.push(argument);
            out.extend(rest);
            break;
        }
        let text = argument.to_string_lossy().into_owned();
        if let Some((name, value)) = text.strip_prefix("--").and_then(|text| text.split_once('='))
            && switches.contains(name)
            && let Some(on) = truth(value)
        {
            if on {
                out.push(format!("--{name}").into());
            }
            continue;
        }
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

/// What Go's programs take for a truth value.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn levels_are_counted_and_switches_take_values() {
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
            ("kinit init --dry-run=true --upload-certs=false", "kinit init --dry-run"),
            ("kinit init --dry-run=maybe", "kinit init --dry-run=maybe"),
            ("kinit upgrade apply --etcd-upgrade=false", "kinit upgrade apply --etcd-upgrade=false"),
        ] {
            let switches = switches(&super::super::Cli::command());
            let all = plain(given.split(' ').map(OsString::from), &switches);
            let all: Vec<String> = all.into_iter().map(|one| one.to_string_lossy().into_owned()).collect();
            assert_eq!(all.join(" "), wanted);
        }
    }
}
