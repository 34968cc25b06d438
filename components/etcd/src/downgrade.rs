//! Versions that a cluster may go back to: one minor version before its own, as in etcd.

use crate::config::CLUSTER_VERSION;
use crate::error::Error;

/// Major and minor version.
pub type Version = (u64, u64);

/// The version in a text, `3.5` or `3.5.1`, whatever build or release before the final one it is.
pub fn parse(text: &str) -> Option<Version> {
    let released = text.split(['-', '+']).next()?;
    let numbers: Vec<u64> = released.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match numbers[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

/// The version that the cluster may go back to from its own.
pub fn target(text: &str) -> Result<Version, Error> {
    let asked = parse(text).ok_or(Error::DowngradeFormat)?;
    let (major, minor) = parse(CLUSTER_VERSION).unwrap_or_default();
    if asked == (major, minor.saturating_sub(1)) { Ok(asked) } else { Err(Error::DowngradeTarget) }
}

/// The cluster's version as answers have it.
pub fn cluster_version() -> String {
    let (major, minor) = parse(CLUSTER_VERSION).unwrap_or_default();
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_back() {
        let table = [
            ("3.5.0", Ok((3, 5))),
            ("3.5", Ok((3, 5))),
            ("3.5.9-rc.1", Ok((3, 5))),
            ("3.6.0", Err(Error::DowngradeTarget)),
            ("3.4.0", Err(Error::DowngradeTarget)),
            ("3", Err(Error::DowngradeFormat)),
            ("three.five", Err(Error::DowngradeFormat)),
            ("3.5.x", Err(Error::DowngradeFormat)),
            ("", Err(Error::DowngradeFormat)),
        ];
        for (text, expected) in table {
            assert_eq!(target(text), expected, "{text:?}");
        }
    }
}
