//! What a Pod runs in: users and kernel parameters, names and addresses that it is told.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{address, complain, list, str_of, text};

/// The most name servers, search paths, and characters of all search paths that a resolver takes.
const NAME_SERVERS: usize = 3;
const SEARCH_PATHS: usize = 32;
const SEARCH_CHARACTERS: usize = 2048;
const SYSCTL: &str = "must have at most 253 characters and match regex \
                      ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// The kernel parameters that a Pod sets.
pub(super) fn sysctls(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (at, parameter) in list(&spec["securityContext"], "sysctls").iter().enumerate() {
        let path = path.child("sysctls").index(at).child("name");
        match str_of(parameter, "name") {
            "" => errors.push(Error::required(&path, "")),
            name if !is_sysctl(name) => errors.push(Error::invalid(&path, name, SYSCTL)),
            name if !names.insert(name) => errors.push(Error::duplicate(&path, name)),
            _ => {}
        }
        let name = str_of(parameter, "name").replace('/', ".");
        let of_network = name.starts_with("net.");
        let of_messages = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
            || name == "kernel.sem";
        for (namespaced, field) in [(of_network, "hostNetwork"), (of_messages, "hostIPC")] {
            if namespaced && spec[field] == true {
                let text = format!("may not be specified when '{field}' is true");
                errors.push(Error::invalid(&path, str_of(parameter, "name"), text));
            }
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let ends = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(ends)
                && bytes.last().is_some_and(ends)
                && bytes.iter().all(|byte| ends(byte) || b"-_".contains(byte))
        })
}

/// How a Pod resolves names.
pub(super) fn resolver(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = &spec["dnsConfig"];
    let path = path.child("dnsConfig");
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if str_of(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            errors.push(Error::required(&path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&path.child("nameservers"), text));
            return;
        }
    }
    if servers.len() > NAME_SERVERS {
        let text = format!("must not have more than {NAME_SERVERS} nameservers");
        errors.push(Error::invalid(&path.child("nameservers"), servers.to_vec(), text));
    }
    for (at, server) in servers.iter().enumerate() {
        address::check(server, &path.child("nameservers").index(at), errors);
    }
    let length: usize = searches.iter().filter_map(Value::as_str).map(|search| search.len() + 1).sum();
    for (wrong, text) in [
        (searches.len() > SEARCH_PATHS, format!("must not have more than {SEARCH_PATHS} search paths")),
        (
            length > SEARCH_CHARACTERS + 1,
            format!("must not have more than {SEARCH_CHARACTERS} characters (including spaces) in the search list"),
        ),
    ] {
        if wrong {
            errors.push(Error::invalid(&path.child("searches"), searches.to_vec(), text));
        }
    }
    for (at, search) in searches.iter().filter_map(Value::as_str).enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        complain(text::dns_subdomain_or_service(search), search, &path.child("searches").index(at), errors);
    }
    for (at, option) in list(config, "options").iter().enumerate() {
        if str_of(option, "name").is_empty() {
            errors.push(Error::required(&path.child("options").index(at), "must not be empty"));
        }
    }
}

/// The names that a Pod's hosts file has besides its own.
pub(super) fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (at, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(at);
        address::check(&alias["ip"], &path.child("ip"), errors);
        for (at, name) in list(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            complain(text::dns_subdomain(name), name, &path.child("hostnames").index(at), errors);
        }
    }
}
