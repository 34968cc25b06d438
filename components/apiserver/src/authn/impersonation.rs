//! Acting as somebody else: the `Impersonate-*` headers, and the ways in which it may be allowed. Pure; whether the user may
//! is asked by the caller.
//!
//! There is the old way, the verb `impersonate` alone, and the constrained ones: each has a verb of its own for whom, and
//! another for what is done as them.

use http::HeaderMap;
use kinit_api::status::{Status, qualified};
use kinit_api::validate::text::{dns_label, dns_subdomain};

use super::certificates::unescape;
use super::{AUTHENTICATED, MASTERS, User};

const UNAUTHENTICATED: &str = "system:unauthenticated";
const NODES: &str = "system:nodes";
/// What a token of a Pod says about the node that the Pod runs on.
const OWN_NODE: &str = "authentication.kubernetes.io/node-name";
/// What stands for all that such a token says, where the node does not matter.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many on, leave for all of a kind is asked for first.
const MANY: usize = 4;
/// Groups of this are asked about as the API's own users, and no longer as the core group's.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// One permission that the real user needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// Permissions of which all are needed, or the one that stands for them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub instead: Option<Needed>,
    pub all: Vec<Needed>,
}

/// One way in which the wish may be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The verb that whom is asked with.
    pub verb: String,
    /// What the verb of the request itself is put behind; empty in the old way, which does not look at it.
    pub on: String,
    /// Who asks, as authorization is told of them.
    pub requestor: User,
    pub needs: Vec<Needs>,
    /// Who the request is made as then.
    pub user: User,
}

/// A user by a name of a special form.
enum Named<'a> {
    Node(&'a str),
    Account(&'a str, &'a str),
    Other,
}

fn named(name: &str) -> Named<'_> {
    if let Some(node) = name.strip_prefix("system:node:").filter(|node| dns_subdomain(node).is_empty()) {
        return Named::Node(node);
    }
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) if dns_label(namespace).is_empty() && dns_subdomain(name).is_empty() => {
            Named::Account(namespace, name)
        }
        _ => Named::Other,
    }
}

/// Whom the headers ask to be; `None` without such headers.
pub fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let groups = headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok());
    let mut user = User {
        name: text("impersonate-user"),
        uid: text("impersonate-uid"),
        groups: groups.map(str::to_owned).collect(),
        ..User::default()
    };
    for (key, value) in headers {
        if let Some(key) = key.as_str().strip_prefix("impersonate-extra-")
            && let Ok(value) = value.to_str()
        {
            user.extra.entry(unescape(key)).or_default().push(value.to_owned());
        }
    }
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user == User::default() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", in_go(&user))))
}

/// A user as Go's `%#v` writes one.
fn in_go(user: &User) -> String {
    let quoted = |list: &[String]| list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
    let groups = if user.groups.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", quoted(&user.groups)) };
    let extra = user.extra.iter().map(|(key, values)| format!("{key:?}:[]string{{{}}}", quoted(values)));
    let extra = extra.collect::<Vec<_>>().join(", ");
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{extra}}}") };
    let User { name, uid, .. } = user;
    format!(
        "&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:[]string{groups}, Extra:map[string][]string{extra}}}"
    )
}

/// The ways in which `requestor` may become `wanted`, in the order in which they are tried. One that is refused whoever
/// asks is its refusal.
pub fn ways(requestor: &User, wanted: &User) -> Vec<Result<Way, Status>> {
    let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
    let mut all = Vec::new();
    match named(&wanted.name) {
        Named::Node(node) => {
            let own = requestor.extra.get(OWN_NODE).is_some_and(|nodes| nodes.len() == 1 && nodes[0] == node);
            if bare && own && matches!(named(&requestor.name), Named::Account(..)) {
                let mut unplaced = requestor.clone();
                let keys = requestor.extra.keys().cloned().collect();
                unplaced.extra = [(NODE_KEYS.to_owned(), keys)].into();
                all.push(constrained("associated-node", &unplaced, wanted));
            }
            if bare {
                all.push(constrained("arbitrary-node", requestor, wanted));
            }
        }
        Named::Account(..) if bare => all.push(constrained("serviceaccount", requestor, wanted)),
        Named::Account(..) => {}
        Named::Other => all.push(constrained("user-info", requestor, wanted)),
    }
    all.push(Ok(way(None, requestor, wanted)));
    all
}

fn constrained(mode: &str, requestor: &User, wanted: &User) -> Result<Way, Status> {
    let refused = |resource: &str, name: &str, why: String| {
        let shown = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!(
            "{}{shown} is forbidden: User {:?} cannot impersonate:{mode} resource {resource:?} in API group \
             {AUTHENTICATION:?} at the cluster scope: {why}",
            qualified(AUTHENTICATION, resource),
            requestor.name,
        );
        Err(Status::forbidden(AUTHENTICATION, resource, name, message))
    };
    if wanted.in_group("") {
        return refused("groups", "", "impersonating the empty string group is not allowed".into());
    }
    if wanted.in_group(MASTERS) {
        return refused("groups", MASTERS, "impersonating the system:masters group is not allowed".into());
    }
    for (key, values) in &wanted.extra {
        let why = if key.is_empty() {
            "impersonating the empty string key in extra is not allowed".to_owned()
        } else if key.to_lowercase() != *key {
            format!("impersonating a non-lowercase key in extra is not allowed: {key:?}")
        } else if values.iter().any(String::is_empty) {
            "impersonating the empty string value in extra is not allowed".to_owned()
        } else if let Err(why) = kinit_api::validate::domain_prefixed_path(key, "extra.key") {
            format!("impersonating an invalid key in extra is not allowed: {why}")
        } else {
            continue;
        };
        return refused("userextras", "", why);
    }
    Ok(way(Some(mode), requestor, wanted))
}

/// The way of a mode, or the old one.
fn way(mode: Option<&str>, requestor: &User, wanted: &User) -> Way {
    let group = if mode.is_some() { AUTHENTICATION } else { "" };
    let need = |group, resource, subresource: &str, namespace: &str, name: &str| Needed {
        group,
        resource,
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let mut user = wanted.clone();
    let who = match named(&wanted.name) {
        Named::Node(node) if mode.is_some() => {
            user.groups = vec![NODES.to_owned()];
            need(group, "nodes", "", "", if mode == Some("associated-node") { "*" } else { node })
        }
        Named::Account(namespace, name) => {
            if wanted.groups.is_empty() {
                user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
            need(group, "serviceaccounts", "", namespace, name)
        }
        _ => need(group, "users", "", "", &wanted.name),
    };
    let mut needs = vec![Needs { instead: None, all: vec![who] }];
    if !wanted.uid.is_empty() {
        needs.push(Needs { instead: None, all: vec![need(AUTHENTICATION, "uids", "", "", &wanted.uid)] });
    }
    // Leave for all is asked for where there are many, but never in the old way, which stays as it was.
    let instead = |count: usize, all: Needed| (mode.is_some() && count >= MANY).then_some(all);
    needs.push(Needs {
        instead: instead(wanted.groups.len(), need(group, "groups", "", "", "*")),
        all: wanted.groups.iter().map(|name| need(group, "groups", "", "", name)).collect(),
    });
    let pairs = wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    let extra: Vec<Needed> = pairs.map(|(key, value)| need(AUTHENTICATION, "userextras", key, "", value)).collect();
    needs.push(Needs { instead: instead(extra.len(), need(AUTHENTICATION, "userextras", "*", "", "*")), all: extra });
    if wanted.name == "system:anonymous" {
        join(&mut user, UNAUTHENTICATED);
    } else if !user.in_group(UNAUTHENTICATED) {
        join(&mut user, AUTHENTICATED);
    }
    let verb = mode.map_or_else(|| "impersonate".to_owned(), |mode| format!("impersonate:{mode}"));
    let on = mode.map(|mode| format!("impersonate-on:{mode}:")).unwrap_or_default();
    Way { verb, on, requestor: requestor.clone(), needs, user }
}

fn join(user: &mut User, group: &str) {
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
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

    fn verbs(requestor: &User, wanted: &User) -> Vec<String> {
        ways(requestor, wanted).into_iter().map(|way| way.map_or_else(|_| "-".into(), |way| way.verb)).collect()
    }

    #[test]
    fn headers_say_whom() {
        assert!(wanted(&headers(&[])).unwrap().is_none());
        let refused = |list: &[(&'static str, &str)]| wanted(&headers(list)).unwrap_err().message;
        let groups = "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"a\", \"b\"}, \
                      Extra:map[string][]string(nil)} without impersonating a user name";
        assert_eq!(refused(&[("impersonate-group", "a"), ("impersonate-group", "b")]), groups);
        let extra = "requested &user.DefaultInfo{Name:\"\", UID:\"1\", Groups:[]string(nil), \
                     Extra:map[string][]string{\"foo\":[]string{\"x\"}}} without impersonating a user name";
        assert_eq!(refused(&[("impersonate-uid", "1"), ("impersonate-extra-foo", "x")]), extra);
        let list = [("impersonate-user", "ann"), ("impersonate-group", "a"), ("impersonate-extra-team", "red")];
        let user = wanted(&headers(&list)).unwrap().unwrap();
        let old = ways(&User::default(), &user).pop().unwrap().unwrap();
        assert_eq!((old.on.as_str(), old.user.groups), ("", vec!["a".to_owned(), "system:authenticated".to_owned()]));
        let resources: Vec<(&str, &str, &str)> = old
            .needs
            .iter()
            .flat_map(|needs| &needs.all)
            .map(|need| (need.resource, need.subresource.as_str(), need.name.as_str()))
            .collect();
        assert_eq!(resources, [("users", "", "ann"), ("groups", "", "a"), ("userextras", "team", "red")]);
    }

    #[test]
    fn the_form_of_a_name_says_which_ways_there_are() {
        let bob = User::new("bob", &[]);
        assert_eq!(verbs(&bob, &User::new("ann", &["a"])), ["impersonate:user-info", "impersonate"]);
        assert_eq!(verbs(&bob, &User::new("ann", &[MASTERS])), ["-", "impersonate"]);
        let node = User::new("system:node:n", &[]);
        assert_eq!(verbs(&bob, &node), ["impersonate:arbitrary-node", "impersonate"]);
        assert_eq!(verbs(&bob, &User::new("system:node:n", &["a"])), ["impersonate"]);
        let account = User::new("system:serviceaccount:x:robot", &[]);
        assert_eq!(verbs(&bob, &account), ["impersonate:serviceaccount", "impersonate"]);
        let mut agent = account.clone();
        agent.extra.insert(OWN_NODE.into(), vec!["n".into()]);
        let all = ["impersonate:associated-node", "impersonate:arbitrary-node", "impersonate"];
        assert_eq!(verbs(&agent, &node), all);
        let first = ways(&agent, &node).remove(0).unwrap();
        assert_eq!((first.needs[0].all[0].name.as_str(), first.on.as_str()), ("*", "impersonate-on:associated-node:"));
        assert_eq!(first.requestor.extra[NODE_KEYS], [OWN_NODE]);
        assert_eq!(first.user.groups, [NODES, AUTHENTICATED]);
    }

    #[test]
    fn groups_follow_the_user() {
        let of = |user: &User| ways(&User::default(), user).pop().unwrap().unwrap().user.groups;
        assert_eq!(of(&User::new("system:serviceaccount:x:robot", &[])).len(), 3);
        assert_eq!(of(&User::new("system:anonymous", &[])), [UNAUTHENTICATED]);
        assert_eq!(of(&User::new("ann", &[UNAUTHENTICATED])), [UNAUTHENTICATED]);
        let many = User::new("ann", &["a", "b", "c", "d"]);
        let way = ways(&User::default(), &many).remove(0).unwrap();
        assert_eq!(way.needs[1].instead.as_ref().unwrap().name, "*");
    }
}
