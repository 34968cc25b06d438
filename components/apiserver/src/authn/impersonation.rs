//! Acting as somebody else: the `Impersonate-*` headers. Pure; whether the user may is asked by the caller.

use http::HeaderMap;
use kinit_api::status::Status;

use super::certificates::unescape;
use super::{AUTHENTICATED, User};

/// One permission that the real user needs: a resource of the impersonate verb.
#[derive(Debug, PartialEq, Eq)]
pub struct Needed {
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// Whom the headers ask to be, and what that takes; `None` without such headers.
pub fn wanted(headers: &HeaderMap) -> Result<Option<(User, Vec<Needed>)>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text("impersonate-user");
    let groups: Vec<&str> =
        headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok()).collect();
    let uid = text("impersonate-uid");
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(key, value)| {
            Some((unescape(key.as_str().strip_prefix("impersonate-extra-")?), value.to_str().ok()?.to_owned()))
        })
        .collect();
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::bad_request("requested impersonation of a group, UID or extra without a user"));
    }
    let mut user = User { name: name.to_owned(), uid: uid.to_owned(), ..User::default() };
    let need = |group, resource, subresource: &str, namespace: &str, name: &str| Needed {
        group,
        resource,
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let mut needed = Vec::new();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => {
            needed.push(need("", "serviceaccounts", "", namespace, account));
            if groups.is_empty() {
                user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        None => needed.push(need("", "users", "", "", name)),
    }
    for group in groups {
        needed.push(need("", "groups", "", "", group));
        user.groups.push(group.to_owned());
    }
    if !uid.is_empty() {
        needed.push(need("authentication.k8s.io", "uids", "", "", uid));
    }
    for (key, value) in extra {
        needed.push(need("authentication.k8s.io", "userextras", &key, "", &value));
        user.extra.entry(key).or_default().push(value);
    }
    let general = if name == "system:anonymous" { "system:unauthenticated" } else { AUTHENTICATED };
    if !user.in_group(general) {
        user.groups.push(general.to_owned());
    }
    Ok(Some((user, needed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn headers_say_whom_and_what_it_takes() {
        assert!(wanted(&headers(&[])).unwrap().is_none());
        assert_eq!(wanted(&headers(&[("impersonate-group", "a")])).unwrap_err().code, 400);
        let list = [("impersonate-user", "ann"), ("impersonate-group", "a"), ("impersonate-extra-team", "red")];
        let (user, needed) = wanted(&headers(&list)).unwrap().unwrap();
        assert_eq!(user.groups, ["a", "system:authenticated"]);
        let resources: Vec<(&str, &str, &str)> =
            needed.iter().map(|need| (need.resource, need.subresource.as_str(), need.name.as_str())).collect();
        assert_eq!(resources, [("users", "", "ann"), ("groups", "", "a"), ("userextras", "team", "red")]);
        let (robot, needed) =
            wanted(&headers(&[("impersonate-user", "system:serviceaccount:x:robot")])).unwrap().unwrap();
        assert_eq!(robot.groups.len(), 3);
        assert_eq!((needed[0].resource, needed[0].namespace.as_str()), ("serviceaccounts", "x"));
    }
}
