//! `--version`: alone it says which version this is; with `raw` all that is known of the build; with a version that has the same
//! three numbers, that one is reported from then on.

/// What was asked for by the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To say nothing and go on.
    Nothing,
    /// To say the version and end.
    Version,
    /// To say all of it and end.
    Raw,
    /// To report this version, `vX.Y.Z` with what may follow.
    Report(String),
}

/// Reads the flag's value.
pub fn parse(text: &str) -> Result<Asked, String> {
    let own = kinit_version::kubernetes();
    if text == "raw" {
        Ok(Asked::Raw)
    } else if text.starts_with('v') {
        match (numbers(text), numbers(own)) {
            (None, _) => Err(format!("could not parse {text:?} as version")),
            (given, own) if given == own => Ok(Asked::Report(text.to_owned())),
            _ => Err(format!("version {text:?} must match major/minor/patch of default version {own:?}")),
        }
    } else {
        Ok(if crate::go::boolean(text)? { Asked::Version } else { Asked::Nothing })
    }
}

/// The three numbers of a semantic version.
fn numbers(text: &str) -> Option<[u64; 3]> {
    let text = text.strip_prefix('v')?;
    let (core, build) = text.split_once('+').map_or((text, None), |(core, build)| (core, Some(build)));
    let (core, before) = core.split_once('-').map_or((core, None), |(core, before)| (core, Some(before)));
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let zero = |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
    if build.is_some_and(|build| !build.split('.').all(part))
        || before.is_some_and(|before| !before.split('.').all(|one| part(one) && !zero(one)))
    {
        return None;
    }
    let mut parts = core.split('.').map(|number| number.parse().ok().filter(|_| !zero(number) && part(number)));
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

/// All that is known of the build, in the form in which upstream's components write it.
pub fn raw() -> String {
    format!(
        "version.Info{{Major:\"{}\", Minor:\"{}\", EmulationMajor:\"\", EmulationMinor:\"\", MinCompatibilityMajor:\"\", \
         MinCompatibilityMinor:\"\", GitVersion:{:?}, GitCommit:\"\", GitTreeState:\"\", BuildDate:\"\", GoVersion:\"\", \
         Compiler:\"\", Platform:{:?}}}",
        numbers(kinit_version::kubernetes()).map_or(0, |all| all[0]),
        numbers(kinit_version::kubernetes()).map_or(0, |all| all[1]),
        kinit_version::kubernetes(),
        kinit_version::platform(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_values_are_upstreams() {
        let own = kinit_version::kubernetes();
        let report = |more: &str| Ok(Asked::Report(format!("{own}{more}")));
        for (text, expected) in [
            ("true".to_owned(), Ok(Asked::Version)),
            ("1".to_owned(), Ok(Asked::Version)),
            ("false".to_owned(), Ok(Asked::Nothing)),
            ("raw".to_owned(), Ok(Asked::Raw)),
            (own.to_owned(), report("")),
            (format!("{own}-custom"), report("-custom")),
            (format!("{own}-eks.1+abc"), report("-eks.1+abc")),
        ] {
            assert_eq!(parse(&text), expected, "{text}");
        }
        for (text, words) in [
            ("v1.2.3", "must match major/minor/patch"),
            ("v1.36", "could not parse"),
            ("v1.36.0-01", "could not parse"),
            ("v1.36.0-", "could not parse"),
            ("v01.36.0", "could not parse"),
            ("vx", "could not parse"),
            ("maybe", "true or false"),
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(words)), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn all_of_it_is_said_as_go_writes_it() {
        let text = raw();
        assert!(text.starts_with("version.Info{Major:\"1\", Minor:\"36\", ") && text.ends_with("\"}"), "{text}");
        assert!(text.contains(&format!("GitVersion:{:?}", kinit_version::kubernetes())), "{text}");
    }
}
