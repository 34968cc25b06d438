//! Bootstrap tokens: Secrets in kube-system with which a machine may ask for its first certificate.

use jiff::Timestamp;
use kinit_api::object::Object;
use subtle::ConstantTimeEq;

use super::User;
use crate::cache::Cache;

const GROUP: &str = "system:bootstrappers";

/// The user of a bootstrap token at `now`, if it is one and is good.
pub fn user(token: &str, cache: &Cache, now: Timestamp) -> Option<User> {
    let (id, _) = parse(token)?;
    let secret = cache.find("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?.object()?;
    of_secret(token, &secret, now)
}

fn of_secret(token: &str, secret: &Object, now: Timestamp) -> Option<User> {
    let (id, own_secret) = parse(token)?;
    let data = |key: &str| decode(secret.str(&["data", key]));
    let same: bool = data("token-secret").as_bytes().ct_eq(own_secret.as_bytes()).into();
    let expired = match data("expiration").as_str() {
        "" => false,
        // A time that cannot be read is over.
        text => text.parse::<Timestamp>().is_ok_and(|end| end > now).eq(&false),
    };
    let good = same
        && !expired
        && !secret.is_being_deleted()
        && secret.str(&["type"]) == "bootstrap.kubernetes.io/token"
        && data("token-id") == id
        && data("usage-bootstrap-authentication") == "true";
    if !good {
        tracing::info!(secret = secret.name(), "a bootstrap token was refused");
        return None;
    }
    let extra = data("auth-extra-groups");
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

/// Id and secret of `abcdef.0123456789abcdef`.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn decode(text: &str) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use serde_json::json;

    #[test]
    fn only_a_whole_and_living_token_is_good() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let good = json!({
            "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
            "data": {"token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true"), "expiration": encode("2030-01-01T00:00:00Z"),
                "auth-extra-groups": encode("system:bootstrappers:a")},
        });
        let token = "abcdef.0123456789abcdef";
        let ask = |secret: &serde_json::Value, token: &str, now: &str| {
            of_secret(token, &Object::from_value(secret.clone()).unwrap(), now.parse().unwrap())
        };
        let early = "2029-01-01T00:00:00Z";
        let user = ask(&good, token, early).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:a"]);
        assert_eq!(ask(&good, token, "2031-01-01T00:00:00Z"), None);
        assert_eq!(ask(&good, "abcdef.0123456789abcdee", early), None);
        for (field, value) in [
            ("usage-bootstrap-authentication", encode("false")),
            ("token-id", encode("abcdee")),
            ("expiration", encode("never")),
            ("auth-extra-groups", encode("system:masters")),
        ] {
            let mut wrong = good.clone();
            wrong["data"][field] = value.into();
            assert_eq!(ask(&wrong, token, early), None, "{field}");
        }
        let mut other = good.clone();
        other["type"] = "Opaque".into();
        assert_eq!(ask(&other, token, early), None);
        assert_eq!(parse("ABCDEF.0123456789abcdef"), None);
    }
}
