//! Where flags come from: the command line, the environment, or a file in their place.
//!
//! All three end as one command line, so that a flag has one meaning and one check.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Command;
use serde_yaml::Value;

/// Why the flags do not come together.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{variable} is set and --{flag} is given as well; leave one of them out")]
    Twice { variable: String, flag: String },
    #[error("--config-file needs a file")]
    NoFile,
    #[error("--config-file {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("--config-file {path}: it is no YAML: {source}")]
    NoYaml { path: String, source: serde_yaml::Error },
    #[error("--config-file {path}: {problem}")]
    Content { path: String, problem: String },
}

/// One command line, and what is to be said of how it came together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub arguments: Vec<String>,
    pub notes: Vec<String>,
}

/// What is known of a flag here.
#[derive(Clone, Copy)]
struct Flag {
    duration: bool,
}

fn flags(command: &Command) -> BTreeMap<String, Flag> {
    let mut flags = BTreeMap::new();
    for arg in command.get_arguments() {
        let duration = arg.get_value_parser().type_id() == TypeId::of::<Duration>();
        let aliases = arg.get_all_aliases().unwrap_or_default();
        for name in arg.get_long().into_iter().chain(aliases) {
            flags.insert(name.to_owned(), Flag { duration });
        }
    }
    flags
}

/// Brings everything together. The environment is that of the process, of which only `ETCD_` matters.
pub fn collect(
    command: &Command,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Given, SourceError> {
    let flags = flags(command);
    let arguments: Vec<String> = arguments.into_iter().map(|argument| with_two_dashes(argument, &flags)).collect();
    let asks = |argument: &String| matches!(argument.as_str(), "-h" | "--help" | "--version" | "-V");
    // A tool has flags of its own, and whoever asks for help gets it.
    if arguments.get(1).is_some_and(|first| !first.starts_with('-')) || arguments.iter().any(asks) {
        return Ok(Given { arguments, notes: Vec::new() });
    }
    let from_environment = || environment.iter().find(|(name, value)| name == "ETCD_CONFIG_FILE" && !value.is_empty());
    let file = match value_of(&arguments, "config-file")? {
        Some(file) => Some(file),
        None => from_environment().map(|(_, value)| value.clone()),
    };
    let program = arguments.first().cloned().unwrap_or_default();
    let Some(path) = file else { return with_environment(arguments, &flags, environment) };
    let text = read(Path::new(&path)).map_err(|source| SourceError::Unreadable { path: path.clone(), source })?;
    let content: Value =
        serde_yaml::from_str(&text).map_err(|source| SourceError::NoYaml { path: path.clone(), source })?;
    let mut given = Given::default();
    given.arguments.push(program);
    given.notes.push(format!("flags are taken from {path}; others and the environment are passed over"));
    from_file(&content, &flags, &mut given).map_err(|problem| SourceError::Content { path, problem })?;
    Ok(given)
}

/// Go takes `-name` for `--name`.
fn with_two_dashes(argument: String, flags: &BTreeMap<String, Flag>) -> String {
    let name = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    let known = name.map(|rest| rest.split('=').next().unwrap_or(rest)).is_some_and(|name| flags.contains_key(name));
    if known { format!("-{argument}") } else { argument }
}

fn value_of(arguments: &[String], flag: &str) -> Result<Option<String>, SourceError> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--").and_then(|rest| rest.strip_prefix(flag)) {
            Some("") => return arguments.next().cloned().map(Some).ok_or(SourceError::NoFile),
            Some(rest) if rest.starts_with('=') => return Ok(Some(rest[1..].to_owned())),
            _ => {}
        }
    }
    Ok(None)
}

fn with_environment(
    mut arguments: Vec<String>,
    flags: &BTreeMap<String, Flag>,
    environment: Vec<(String, String)>,
) -> Result<Given, SourceError> {
    let name_of = |argument: &String| Some(argument.strip_prefix("--")?.split('=').next()?.to_owned());
    let on_line: BTreeSet<String> = arguments.iter().filter_map(name_of).collect();
    let mut notes = Vec::new();
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix("ETCD_") else { continue };
        let flag = rest.to_lowercase().replace('_', "-");
        if !flags.contains_key(&flag) {
            notes.push(format!("the environment has {variable}, which is no flag, and is passed over"));
        } else if on_line.contains(&flag) {
            return Err(SourceError::Twice { variable, flag });
        } else if !value.is_empty() {
            arguments.push(format!("--{flag}={value}"));
        }
    }
    Ok(Given { arguments, notes })
}

/// Keys of a file that are no flags: what was said of the proxy of etcd's first versions.
const OF_BEFORE: [&str; 6] = [
    "proxy",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
];

/// Maps of a file, their keys, and the flags that these are.
const SECTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    ("socket-options", &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")]),
];

fn from_file(content: &Value, flags: &BTreeMap<String, Flag>, given: &mut Given) -> Result<(), String> {
    let keys = match content {
        Value::Null => return Ok(()),
        Value::Mapping(keys) => keys,
        _ => return Err("it holds no keys with values".to_owned()),
    };
    for (key, value) in keys {
        let key = key.as_str().ok_or("a key is no text")?;
        if let Some((_, rows)) = SECTIONS.iter().find(|(section, _)| *section == key) {
            section(key, rows, value, flags, given)?;
        } else if key == "discovery-config" && !is_nothing(value) {
            return Err("discovery-config: name the members with initial-cluster instead".to_owned());
        } else if OF_BEFORE.contains(&key) {
            given.notes.push(format!("{key} belongs to the proxy that etcd had once, and is passed over"));
        } else if let Some((section, (name, _))) = sectioned(key) {
            return Err(format!("{key} stands under {section}, as {name}"));
        } else if let Some(flag) = flags.get(key).filter(|_| key != "config-file") {
            put(key, key, *flag, value, given)?;
        } else if key != "discovery-config" {
            return Err(format!("{key:?} is not known"));
        }
    }
    Ok(())
}

/// A flag that has another place in a file.
fn sectioned(flag: &str) -> Option<(&'static str, (&'static str, &'static str))> {
    SECTIONS.iter().find_map(|(section, rows)| rows.iter().find(|(_, name)| *name == flag).map(|row| (*section, *row)))
}

fn section(
    section: &str,
    rows: &[(&str, &str)],
    value: &Value,
    flags: &BTreeMap<String, Flag>,
    given: &mut Given,
) -> Result<(), String> {
    let keys = match value {
        Value::Null => return Ok(()),
        Value::Mapping(keys) => keys,
        _ => return Err(format!("{section}: it holds no keys with values")),
    };
    for (key, value) in keys {
        let row = key.as_str().and_then(|key| rows.iter().find(|(known, _)| *known == key));
        let (key, flag) = row.ok_or_else(|| format!("{section}: {:?} is not known", key.as_str().unwrap_or("?")))?;
        let known = flags.get(*flag).copied().unwrap_or(Flag { duration: false });
        put(&format!("{section}: {key}"), flag, known, value, given)?;
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Sequence(values) => values.is_empty(),
        Value::Mapping(keys) => keys.is_empty(),
        _ => false,
    }
}

fn put(key: &str, flag: &str, known: Flag, value: &Value, given: &mut Given) -> Result<(), String> {
    if is_nothing(value) {
        return Ok(());
    }
    let wrong = || format!("{key}: it is neither text, number, true, false nor a list of them");
    let text = match value {
        Value::Sequence(values) => values.iter().map(scalar).collect::<Option<Vec<_>>>().ok_or_else(wrong)?.join(","),
        // A file's durations are Go's own numbers.
        Value::Number(number) if known.duration => format!("{number}ns"),
        value => scalar(value).ok_or_else(wrong)?,
    };
    given.arguments.push(format!("--{flag}={text}"));
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Given, String> {
        let arguments = std::iter::once("etcd").chain(arguments.iter().copied()).map(str::to_owned).collect();
        let environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>();
        collect(&super::super::command(), arguments, environment, |_| Ok(file.to_owned()))
            .map_err(|error| error.to_string())
    }

    fn arguments(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
        given(arguments, environment, "").map(|given| given.arguments[1..].join(" "))
    }

    #[test]
    fn flags_come_from_the_line_and_the_environment() {
        let name = ("ETCD_NAME", "a");
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Result<&'a str, &'a str>);
        let table: [Case<'_>; 7] = [
            (&["-name", "a", "--data-dir=/d"], &[], Ok("--name a --data-dir=/d")),
            (&["-name=a"], &[("HOME", "/root")], Ok("--name=a")),
            (&["--quota-backend-bytes", "-1"], &[], Ok("--quota-backend-bytes -1")),
            (&["--data-dir=/d"], &[name], Ok("--data-dir=/d --name=a")),
            (&["--name=a"], &[name], Err("ETCD_NAME")),
            (&[], &[("ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME", "5s")], Ok("--experimental-corrupt-check-time=5s")),
            (&["snapshot", "status", "f"], &[name], Ok("snapshot status f")),
        ];
        for (line, environment, expected) in table {
            match (arguments(line, environment), expected) {
                (Ok(given), Ok(expected)) => assert_eq!(given, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (given, expected) => panic!("{line:?}: {given:?}, not {expected:?}"),
            }
        }
        let strange = given(&[], &[("ETCD_NONSENSE", "1"), ("ETCD_NAME", "")], "").expect("passed over");
        assert_eq!((strange.arguments.len(), strange.notes.len()), (1, 1));
    }

    #[test]
    fn a_file_takes_the_place_of_all_others() {
        let file = "
name: 'infra0'
wal-dir:
quota-backend-bytes: 5000
strict-reconfig-check: false
watch-progress-notify-interval: 5000000000
corrupt-check-time: 1h
log-outputs: [stderr]
proxy: 'off'
client-transport-security:
  cert-file: /a
  auto-tls: false
peer-transport-security:
  cert-file: /b
  allowed-cn: [x, y]
";
        let read = given(&["--config-file", "f", "--name=other"], &[("ETCD_NAME", "a")], file).expect("read");
        let expected = "etcd --name=infra0 --quota-backend-bytes=5000 --strict-reconfig-check=false \
                        --watch-progress-notify-interval=5000000000ns --corrupt-check-time=1h --log-outputs=stderr \
                        --cert-file=/a --auto-tls=false --peer-cert-file=/b --peer-cert-allowed-cn=x,y";
        assert_eq!(read.arguments.join(" "), expected);
        assert_eq!(read.notes.len(), 2);
        assert!(super::super::Options::of(read.arguments).is_ok());
        assert_eq!(given(&[], &[("ETCD_CONFIG_FILE", "f")], "name: b").expect("read").arguments[1], "--name=b");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        let table = [
            ("nonsense: 1", "\"nonsense\" is not known"),
            ("cert-file: /a", "stands under client-transport-security"),
            ("peer-transport-security: {ca-file: /a}", "\"ca-file\" is not known"),
            ("name: {a: b}", "name: it is neither"),
            ("- name", "holds no keys"),
            ("name: [", "no YAML"),
            ("discovery-config: {token: x}", "initial-cluster"),
            ("config-file: g", "not known"),
        ];
        for (file, expected) in table {
            let error = given(&["--config-file=f"], &[], file).expect_err("refused");
            assert!(error.contains(expected), "{file:?}: {error}");
        }
    }
}
