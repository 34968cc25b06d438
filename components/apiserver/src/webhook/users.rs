//! As whom admission webhooks are called: a kubeconfig whose users bear the names of the servers that they are shown to.

use std::collections::HashMap;
use std::path::Path;

use kinit_pki::kubeconfig::Kubeconfig;

use super::client::{Client, Target};

/// The port that a name without one stands for.
const HTTPS: &str = "443";

/// A client for each user, and one for the servers that none of them is for.
#[derive(Clone, Default)]
pub struct Users {
    named: HashMap<String, Client>,
    otherwise: Client,
}

impl Users {
    /// Reads a kubeconfig file; errors name it.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Self::new(&Kubeconfig::load(file)?)
    }

    fn new(config: &Kubeconfig) -> anyhow::Result<Self> {
        let named = config.users.iter().map(|named| Ok((named.name.clone(), Client::of_user(&named.user)?)));
        let named = named.collect::<anyhow::Result<HashMap<_, _>>>()?;
        let context = config.contexts.iter().find(|named| named.name == config.current_context);
        let otherwise = named.get("*").or_else(|| named.get(&context?.context.user)).cloned().unwrap_or_default();
        Ok(Self { named, otherwise })
    }

    /// The client of the user that bears the server's name: its own, or one that begins with `*` in place of parts of it,
    /// with the port or, where that is 443, without. Else that of the user `*`, or of the current context.
    pub fn client(&self, target: &Target) -> &Client {
        if self.named.is_empty() {
            return &self.otherwise;
        }
        let (host, port) = match target.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (&*target.authority, HTTPS),
        };
        let whole = self.matching(&format!("{host}:{port}"));
        let whole = whole.or_else(|| if port == HTTPS { self.matching(host.trim_matches(['[', ']'])) } else { None });
        whole.unwrap_or(&self.otherwise)
    }

    fn matching(&self, name: &str) -> Option<&Client> {
        let parts = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
        self.named.get(name).or_else(|| parts.into_iter().find_map(|name| self.named.get(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::client::Trust;

    #[test]
    fn the_user_with_the_servers_name_is_shown_and_else_the_one_for_all() {
        let users = |rest: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Config\nusers:\n- {{name: a.b.svc, user: {{token: port-left-out}}}}\n- {{name:                  'a.b.svc:8443', user: {{token: with-port}}}}\n- {{name: '*.b.svc', user: {{token: star}}}}\n- {{name:                  '*.company.org', user: {{username: u, password: p}}}}\n{rest}"
            );
            Users::new(&Kubeconfig::parse(&text, "test").unwrap()).unwrap()
        };
        let shown = |users: &Users, authority: &str| {
            let (authority, server_name) = (authority.to_owned(), String::new());
            let trust = Trust::Anyone;
            let target = Target { address: Err(String::new()), authority, server_name, trust };
            users.client(&target).shown().unwrap_or_default()
        };
        let own = users("");
        for (authority, wanted) in [
            ("a.b.svc:443", "Bearer port-left-out"),
            ("a.b.svc", "Bearer port-left-out"),
            ("a.b.svc:8443", "Bearer with-port"),
            ("c.b.svc:443", "Bearer star"),
            ("c.b.svc:444", ""),
            ("x.y.company.org", "Basic dTpw"),
            ("company.org", ""),
            ("[::1]:443", ""),
        ] {
            assert_eq!(shown(&own, authority), wanted, "{authority}");
        }
        let all = users("- {name: '*', user: {token: all}}\n");
        assert_eq!(shown(&all, "c.b.svc:444"), "Bearer all");
        let current = users(
            "- {name: me, user: {token: mine}}\ncontexts: [{name: c, context: {cluster: x, user: me}}]\ncurrent-context: \
             c\n",
        );
        assert_eq!(shown(&current, "company.org"), "Bearer mine");
        assert_eq!(shown(&Users::default(), "a.b.svc:443"), "");
    }
}
