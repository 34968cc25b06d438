//! Who asks: the client certificate's subject, or nobody.

use kinit_serving::listener::Peer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The asking user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// The user of a connection: the common name and organizations of its certificate, which the TLS layer has verified.
pub fn user(peer: &Peer) -> User {
    let Some(leaf) = peer.certificates.first() else { return User::anonymous() };
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return User::anonymous() };
    let subject = certificate.subject();
    let text = |attribute: &x509_parser::prelude::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let Some(name) = subject.iter_common_name().next().and_then(text) else { return User::anonymous() };
    let mut groups: Vec<String> = subject.iter_organization().filter_map(text).collect();
    groups.push("system:authenticated".into());
    User { name, groups }
}
