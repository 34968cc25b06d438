//! `--runtime-config`: what is served is what v1.36 serves by default, so an API may be switched to what it is alone.

use crate::registry::RESOURCES;

/// Checks one pair, `KEY=true`, `KEY=false` or `KEY` alone for true, and gives it back. A key is a group and version, those with a
/// resource, or one of `api/ga`, `api/beta` and `api/alpha`, which stand for all versions of their form, and `api/all`.
pub fn parse(pair: &str) -> Result<String, String> {
    if pair.is_empty() {
        return Ok(String::new());
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let (key, value) = (key.trim(), value.trim());
    let wanted = match value {
        // Upstream wants a word for those that stand for several.
        "" if stands_for_several(key) => return Err(format!("invalid value {key}=")),
        "" => true,
        _ => kinit_flags::go::boolean(value).map_err(|why| format!("invalid value of {key}: {value}: {why}"))?,
    };
    let (is, what) = match key {
        "api/all" if wanted => (false, "not all versions are there: those that are off by default are not"),
        "api/all" => (true, "what is served by default cannot be switched off"),
        "api/ga" => (true, "what is served by default cannot be switched off"),
        "api/beta" | "api/alpha" => (false, "versions that are off by default are not there; leave it out"),
        _ => match (served(key)?, known_group(key)) {
            (true, _) => (true, "what is served by default cannot be switched off"),
            (false, true) => (false, "what is off by default is not there; leave it out"),
            (false, false) => (false, "there is no such group by default; leave it out"),
        },
    };
    if is == wanted { Ok(pair.to_owned()) } else { Err(format!("{key} cannot be {wanted} here: {what}")) }
}

fn stands_for_several(key: &str) -> bool {
    matches!(key, "api/all" | "api/ga" | "api/beta" | "api/alpha")
}

/// The core group's version may stand alone, or behind the first element of its paths.
fn parts(key: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["v1"] => parts.insert(0, ""),
        ["api", ..] => parts[0] = "",
        _ => {}
    }
    parts
}

fn served(key: &str) -> Result<bool, String> {
    let (group, version, resource) = match parts(key)[..] {
        [group, version] => (group, version, None),
        [group, version, resource] if resource.to_lowercase() == resource => (group, version, Some(resource)),
        [_, _, resource] => {
            return Err(format!(
                "invalid key {key}: group/version/resource and resource is always lowercase plural, not {resource:?}"
            ));
        }
        _ => return Err(format!("runtime-config invalid key {key}")),
    };
    Ok(RESOURCES.iter().any(|row| {
        let here = row.group() == group && row.version() == version;
        here && resource.is_none_or(|resource| row.resource() == resource)
    }))
}

fn known_group(key: &str) -> bool {
    let parts = parts(key);
    RESOURCES.iter().any(|row| Some(&row.group()) == parts.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_by_default_may_be_said() {
        for pair in [
            "",
            "api/ga=true",
            "api/beta=false",
            "api/alpha=false",
            "api/v1",
            "v1=true",
            "apps/v1",
            "apps/v1=T",
            "apps/v1/deployments=true",
            "networking.k8s.io/v1beta1=false",
            "internal.apiserver.k8s.io/v1alpha1=false",
            "batch/v1/cronjobs",
        ] {
            assert_eq!(parse(pair).as_deref(), Ok(pair));
        }
        for row in RESOURCES.iter() {
            let key = format!("{}/{}/{}", row.group(), row.version(), row.resource());
            assert!(parse(&key).is_ok(), "{key}");
        }
    }

    #[test]
    fn what_would_change_is_refused_by_name() {
        for (pair, words) in [
            ("api/all=true", "api/all cannot be true here: not all"),
            ("api/all=false", "switched off"),
            ("api/all", "invalid value api/all="),
            ("api/ga=false", "switched off"),
            ("api/beta=true", "off by default"),
            ("apps/v1=false", "apps/v1 cannot be false"),
            ("apps/v1/deployments=false", "switched off"),
            ("batch/v2alpha1=true", "off by default"),
            ("batch/v2alpha1/cronjobs", "off by default"),
            ("wardle.example.com/v1=true", "no such group"),
            ("apps/v1/Deployments=true", "always lowercase"),
            ("apps=true", "invalid key apps"),
            ("a/b/c/d", "invalid key"),
            ("apps/v1=maybe", "invalid value of apps/v1: maybe"),
        ] {
            assert!(parse(pair).is_err_and(|error| error.contains(words)), "{pair}: {:?}", parse(pair));
        }
    }
}
