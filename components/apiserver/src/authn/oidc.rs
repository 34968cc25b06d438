//! The flags from before there was a configuration file: one issuer of OpenID Connect.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::claims::{self, Source};
use super::config::{IssuerConfig, check_url};

/// The issuer that the `--oidc-…` flags name.
#[derive(Clone, Debug, Args)]
pub struct OidcOptions {
    /// URL of an OpenID issuer whose tokens are believed; https alone
    #[arg(id = "oidc-issuer-url", long = "oidc-issuer-url", requires = "oidc-client-id")]
    issuer_url: Option<String>,
    /// The client that its tokens have to be for
    #[arg(id = "oidc-client-id", long = "oidc-client-id", requires = "oidc-issuer-url")]
    client_id: Option<String>,
    /// CA file that the issuer's certificate is checked against; the system's where it is not given
    #[arg(id = "oidc-ca-file", long = "oidc-ca-file", requires = "oidc-issuer-url")]
    ca_file: Option<PathBuf>,
    /// The claim that is the user's name
    #[arg(id = "oidc-username-claim", long = "oidc-username-claim", default_value = "sub")]
    username_claim: String,
    /// What is put before names; - for nothing
    #[arg(id = "oidc-username-prefix", long = "oidc-username-prefix", default_value = "")]
    username_prefix: String,
    /// The claim that has the user's groups
    #[arg(id = "oidc-groups-claim", long = "oidc-groups-claim", default_value = "")]
    groups_claim: String,
    /// What is put before groups
    #[arg(id = "oidc-groups-prefix", long = "oidc-groups-prefix", default_value = "")]
    groups_prefix: String,
    /// Claims that tokens must have, as name=value
    #[arg(id = "oidc-required-claim", long = "oidc-required-claim", value_delimiter = ',')]
    required_claim: Vec<String>,
    /// Algorithms that tokens may be signed with
    #[arg(id = "oidc-signing-algs", long = "oidc-signing-algs", value_delimiter = ',', default_value = "RS256")]
    signing_algs: Vec<String>,
}

impl OidcOptions {
    /// The issuer, if there is one; the error names a flag.
    pub fn issuer(&self) -> anyhow::Result<Option<IssuerConfig>> {
        let (Some(url), Some(client)) = (&self.issuer_url, &self.client_id) else { return Ok(None) };
        let mut wrong = Vec::new();
        check_url(url, "--oidc-issuer-url", &mut wrong);
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join(", "));
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file).with_context(|| format!("--oidc-ca-file: {}", file.display()))
        };
        let authorities = self.ca_file.as_ref().map(read).transpose()?.unwrap_or_default();
        let mut required = BTreeMap::new();
        for pair in &self.required_claim {
            let (name, value) = pair.split_once('=').with_context(|| format!("--oidc-required-claim: {pair:?}"))?;
            required.insert(name.to_owned(), value.to_owned());
        }
        let prefix = match (self.username_prefix.as_str(), self.username_claim.as_str()) {
            ("-", _) | ("", "email") => String::new(),
            // Names of two issuers must not be taken for each other.
            ("", _) => format!("{url}#"),
            (prefix, _) => prefix.to_owned(),
        };
        let username = Source::Claim { name: self.username_claim.clone(), prefix };
        let groups = (!self.groups_claim.is_empty())
            .then(|| Source::Claim { name: self.groups_claim.clone(), prefix: self.groups_prefix.clone() });
        Ok(Some(IssuerConfig {
            url: url.clone(),
            discovery: None,
            authorities,
            audiences: vec![client.clone()],
            algorithms: self.signing_algs.clone(),
            mapper: claims::by_names(username, groups, required),
        }))
    }
}
