//! The members that a cluster begins with.

use std::collections::BTreeMap;

use url::Url;

use super::ConfigError;

/// The members that are named, each with its URLs; this one alone when none is.
pub fn initial_cluster(
    name: &str,
    named: &[String],
    own_urls: &[String],
) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let wrong = |problem: String| Err(ConfigError::Cluster(problem));
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in named.iter().filter(|member| !member.is_empty()) {
        let Some((name, url)) = member.split_once('=') else { return wrong(format!("{member:?} is not NAME=URL")) };
        check_url("initial-cluster", url)?;
        members.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    for url in own_urls {
        check_url("initial-advertise-peer-urls", url)?;
    }
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let own = sorted(own_urls);
    if members.is_empty() {
        members.insert(name.to_owned(), own);
        return Ok(members);
    }
    match members.get(name) {
        None => wrong(format!("this member's name {name:?} is not in it")),
        Some(urls) if sorted(urls) != own => wrong(format!(
            "it has {} for this member, but --initial-advertise-peer-urls has {}",
            urls.join(","),
            own.join(",")
        )),
        Some(_) => Ok(members),
    }
}

pub(super) fn check_url(flag: &'static str, url: &str) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::Url { flag, url: url.to_owned(), reason: reason.to_owned() };
    let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" if parsed.has_host() => Ok(()),
        _ => Err(wrong("it is no http or https URL")),
    }
}
