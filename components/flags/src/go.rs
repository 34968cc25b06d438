//! Values and switches as Go's flags read them.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

/// A truth value in any of the ways that Go takes.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write it as true or false".to_owned()),
    }
}

/// The command with switches as Go's: they stand alone, or have a value behind `=`, and the last of them counts.
pub fn switches(command: Command) -> Command {
    command.mut_args(|arg| {
        if arg.get_value_parser().type_id() != TypeId::of::<bool>() {
            return arg;
        }
        // What is off without a word is so by an action that takes no value.
        let off = matches!(arg.get_action(), ArgAction::SetTrue) && arg.get_default_values().is_empty();
        let arg = if off { arg.default_value("false") } else { arg };
        arg.action(ArgAction::Set)
            .value_parser(boolean)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    })
}

/// An argument with dashes in the flag's name where it has underscores, which upstream's components take as well.
pub fn dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else { return argument };
    let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
    if name.contains('_') { OsStr::new(&format!("{}{value}", name.replace('_', "-"))).to_owned() } else { argument }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[test]
    fn truth_as_go_reads_it() {
        assert_eq!(["1", "T", "true"].map(boolean), [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(["0", "F", "False"].map(boolean), [Ok(false), Ok(false), Ok(false)]);
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }

    #[test]
    fn names_are_written_with_dashes_or_underscores() {
        for (given, read) in [
            ("--leader_elect=a_b", "--leader-elect=a_b"),
            ("--secure_port", "--secure-port"),
            ("--a-b=c_d", "--a-b=c_d"),
            ("a_b", "a_b"),
            ("-a_b", "-a_b"),
        ] {
            assert_eq!(dashes(given.into()), read, "{given}");
        }
    }

    #[derive(Parser)]
    struct Switches {
        #[arg(long)]
        plain: bool,
        #[arg(long, default_value_t = true, action = ArgAction::Set)]
        on: bool,
        #[arg(long)]
        may: Option<bool>,
    }

    #[test]
    fn switches_take_values_and_stand_alone() {
        let read = |arguments: &[&str]| {
            let arguments = std::iter::once("x").chain(arguments.iter().copied());
            let matches = switches(Switches::command()).try_get_matches_from(arguments).ok()?;
            let all = Switches::from_arg_matches(&matches).ok()?;
            Some((all.plain, all.on, all.may))
        };
        for (arguments, expected) in [
            (&[][..], Some((false, true, None))),
            (&["--plain", "--on=F", "--may"], Some((true, false, Some(true)))),
            (&["--plain=0", "--may=false"], Some((false, true, Some(false)))),
            (&["--on", "false"], None),
            (&["--on=maybe"], None),
        ] {
            assert_eq!(read(arguments), expected, "{arguments:?}");
        }
    }
}
