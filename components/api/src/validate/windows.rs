//! What a Pod's containers are on Windows: whom they run as, and whether they are processes of the host.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, text};

/// The longest domain, which is shorter than this, and the longest name within it.
const DOMAIN: usize = 256;
const USER: usize = 104;
/// What a domain of the older kind and what a user's name cannot have.
const NOT_IN_DOMAINS: &str = "\\/:*?\"<>|";
const NOT_IN_USERS: &str = "\"/\\:;|=,+*?<>@[]";

/// The options of a security context.
pub(super) fn options(options: &Value, path: &Path, errors: &mut Errors) {
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        complain(text::dns_subdomain(name), name, &path.child("gmsaCredentialSpecName"), errors);
    }
    if let Some(spec) = options["gmsaCredentialSpec"].as_str() {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(Error::invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > 64 * 1024 {
            errors.push(Error::invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(user) = options["runAsUserName"].as_str() {
        let path = path.child("runAsUserName");
        errors.extend(user_name(user).into_iter().map(|text| Error::invalid(&path, user, text)));
    }
}

/// What is wrong with the name of a user, perhaps of a domain.
fn user_name(whole: &str) -> Vec<String> {
    let (domain, user) = match whole.split('\\').collect::<Vec<_>>()[..] {
        _ if whole.is_empty() => return vec!["runAsUserName cannot be an empty string".into()],
        _ if whole.chars().any(|letter| letter.is_ascii_control()) => {
            return vec!["runAsUserName cannot contain control characters".into()];
        }
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".into()],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN) {
        wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN} characters"));
    }
    if domain.is_some_and(|domain| !is_old_domain(domain) && !is_dns_domain(domain)) {
        wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > USER {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER} characters"));
    }
    if !user.is_empty() && user.chars().all(|letter| matches!(letter, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains(|letter| NOT_IN_USERS.contains(letter)) {
        wrong.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".into());
    }
    wrong
}

fn is_old_domain(name: &str) -> bool {
    (1..=15).contains(&name.chars().count())
        && !name.starts_with('.')
        && !name.contains(|letter| NOT_IN_DOMAINS.contains(letter))
}

fn is_dns_domain(name: &str) -> bool {
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Containers that are processes of the host: all of a Pod's are, or none, and such a Pod is on the host's network.
pub(super) fn host_processes(spec: &Value, path: &Path, errors: &mut Errors) {
    let of = |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"].as_bool();
    let of_pod = of(spec);
    let (mut all, mut of_host) = (0, 0);
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            let own = of(container);
            if let (Some(of_pod), Some(own)) = (of_pod, own)
                && of_pod != own
            {
                let path = path.child(field).index(at).child("securityContext.windowsOptions.hostProcess");
                let text = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
                errors.push(Error::invalid(&path, own, text));
            }
            all += 1;
            of_host += usize::from(own.or(of_pod) == Some(true));
        }
    }
    if of_host > 0 && of_host != all {
        let text = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", text));
    }
    if of_host > 0 && spec["hostNetwork"] != true {
        let text = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&path.child("hostNetwork"), false, text));
    }
    if of_host > 0 && !super::security::may_be_privileged() {
        errors.push(Error::forbidden(path, "hostProcess containers are disallowed by cluster policy"));
    }
}

#[cfg(test)]
mod tests {
    use super::user_name;

    #[test]
    fn users_have_names_and_perhaps_domains() {
        for right in ["Administrator", "AD\\user", "some.domain-1.com\\user", "my domain\\x"] {
            assert!(user_name(right).is_empty(), "{right}");
        }
        for (wrong, count) in
            [("", 1), ("a\u{7}", 1), ("a\\b\\c", 1), (".ad\\u", 1), ("ad\\", 1), ("..", 1), ("a:b", 1), ("\\u", 1)]
        {
            assert_eq!(user_name(wrong).len(), count, "{wrong}");
        }
        assert_eq!(user_name(&format!("{}\\u", "a".repeat(256))).len(), 2);
        assert_eq!(user_name(&"a".repeat(105)).len(), 1);
    }
}
