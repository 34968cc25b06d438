//! `AuthenticationConfiguration`: who else may say who somebody is. Pure.

use std::collections::HashSet;

use serde::Deserialize;
use url::Url;

use super::claims::{self, Mapper, Rule, Source};
use crate::reload::check_kind;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<JwtEntry>,
    anonymous: Option<AnonymousEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnonymousEntry {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<PathEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathEntry {
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JwtEntry {
    issuer: IssuerEntry,
    #[serde(default)]
    claim_validation_rules: Vec<RuleEntry>,
    claim_mappings: MappingsEntry,
    #[serde(default)]
    user_validation_rules: Vec<RuleEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IssuerEntry {
    #[serde(default)]
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    #[serde(default)]
    certificate_authority: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
    #[serde(default)]
    egress_selector_type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RuleEntry {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingsEntry {
    #[serde(default)]
    username: SourceEntry,
    #[serde(default)]
    groups: SourceEntry,
    #[serde(default)]
    uid: SourceEntry,
    #[serde(default)]
    extra: Vec<ExtraEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourceEntry {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExtraEntry {
    key: String,
    #[serde(default)]
    value_expression: String,
}

/// Who may ask without a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    Everywhere,
    Nowhere,
    /// For these paths alone.
    Paths(Vec<String>),
}

impl Anonymous {
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Nowhere => false,
            Self::Paths(paths) => paths.iter().any(|own| own == path),
        }
    }
}

/// Somebody whose tokens are believed.
#[derive(Debug)]
pub struct IssuerConfig {
    pub url: String,
    /// Where its keys are told of, if not below its URL.
    pub discovery: Option<String>,
    /// Authorities in PEM; the system's where there are none.
    pub authorities: String,
    pub audiences: Vec<String>,
    /// Algorithms that it may sign with; any where there are none.
    pub algorithms: Vec<String>,
    pub mapper: Mapper,
}

/// What the file says.
#[derive(Debug)]
pub struct Authentication {
    pub issuers: Vec<IssuerConfig>,
    /// Nothing where the file leaves it to the flag.
    pub anonymous: Option<Anonymous>,
}

/// Reads the file's text. `own` are the issuers of ServiceAccount tokens, whose names nobody else may have.
pub fn parse(text: &str, own: &[String]) -> Result<Authentication, String> {
    let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    check_kind(&file.kind, &file.api_version, "AuthenticationConfiguration", &["v1", "v1beta1"])?;
    let mut wrong = Vec::new();
    let (mut issuers, mut seen) = (Vec::new(), HashSet::new());
    for (index, entry) in file.jwt.iter().enumerate() {
        let path = format!("jwt[{index}]");
        let names = [Some(&entry.issuer.url), entry.issuer.discovery_url.as_ref()].into_iter().flatten();
        for name in names.filter(|name| !name.is_empty()) {
            if !seen.insert(name.clone()) {
                wrong.push(format!("{path}.issuer: Duplicate value: {name:?}"));
            }
        }
        issuers.extend(entry.read(&path, own, &mut wrong));
    }
    let anonymous = file.anonymous.map(|entry| {
        if !entry.enabled && !entry.conditions.is_empty() {
            wrong.push(
                "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined".into(),
            );
        }
        match (entry.enabled, entry.conditions.is_empty()) {
            (false, _) => Anonymous::Nowhere,
            (true, true) => Anonymous::Everywhere,
            (true, false) => Anonymous::Paths(entry.conditions.into_iter().map(|one| one.path).collect()),
        }
    });
    if wrong.is_empty() { Ok(Authentication { issuers, anonymous }) } else { Err(wrong.join(", ")) }
}

impl JwtEntry {
    fn read(&self, path: &str, own: &[String], wrong: &mut Vec<String>) -> Option<IssuerConfig> {
        let before = wrong.len();
        let issuer = &self.issuer;
        check_url(&issuer.url, &format!("{path}.issuer.url"), wrong);
        if own.contains(&issuer.url) {
            let why = format!("URL must not overlap with disallowed issuers: {own:?}");
            wrong.push(format!("{path}.issuer.url: Invalid value: {:?}: {why}", issuer.url));
        }
        if let Some(url) = &issuer.discovery_url {
            check_url(url, &format!("{path}.issuer.discoveryURL"), wrong);
            if url.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
                wrong.push(format!(
                    "{path}.issuer.discoveryURL: Invalid value: discoveryURL must be different from URL"
                ));
            }
        }
        if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
            wrong.push(format!(
                "{path}.issuer.audiences: Required value: at least one is required, and none may be empty"
            ));
        }
        let any = issuer.audience_match_policy == "MatchAny";
        if !any && (issuer.audiences.len() > 1 || !issuer.audience_match_policy.is_empty()) {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            wrong.push(format!("{path}.issuer.audienceMatchPolicy: Invalid value: {why}"));
        }
        if !issuer.egress_selector_type.is_empty() {
            wrong.push(format!("{path}.issuer.egressSelectorType: Invalid value: egress selection is not served"));
        }
        let mappings = format!("{path}.claimMappings");
        let username = self.claim_mappings.username.read(&format!("{mappings}.username"), true, wrong);
        if username.is_none() && wrong.len() == before {
            wrong.push(format!("{mappings}.username: Required value: claim or expression is required"));
        }
        let groups = self.claim_mappings.groups.read(&format!("{mappings}.groups"), true, wrong);
        let uid = self.claim_mappings.uid.read(&format!("{mappings}.uid"), false, wrong);
        let mut extra = Vec::new();
        for (index, entry) in self.claim_mappings.extra.iter().enumerate() {
            entry.check(&format!("{mappings}.extra[{index}]"), wrong);
            if extra.iter().any(|(key, _)| *key == entry.key) {
                wrong.push(format!("{mappings}.extra[{index}].key: Duplicate value: {:?}", entry.key));
            }
            match claims::over_claims(&entry.value_expression) {
                Ok(program) => extra.push((entry.key.clone(), program)),
                Err(why) => wrong.push(format!("{mappings}.extra[{index}].valueExpression: Invalid value: {why}")),
            }
        }
        let claim_rules =
            read_rules(&self.claim_validation_rules, &format!("{path}.claimValidationRules"), true, wrong);
        let user_rules = read_rules(&self.user_validation_rules, &format!("{path}.userValidationRules"), false, wrong);
        self.check_email(&mappings, wrong);
        let username = username.filter(|_| wrong.len() == before)?;
        Some(IssuerConfig {
            url: issuer.url.clone(),
            discovery: issuer.discovery_url.clone(),
            authorities: issuer.certificate_authority.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: Vec::new(),
            mapper: Mapper { username, groups, uid, extra, claim_rules, user_rules },
        })
    }

    /// Whoever takes the address as the name has to look whether it has been verified.
    fn check_email(&self, mappings: &str, wrong: &mut Vec<String>) {
        let username = &self.claim_mappings.username.expression;
        let uses = |source: &str, claim: &str| {
            source.split(|c: char| !(c.is_alphanumeric() || "._?".contains(c))).any(|word| {
                let word = word.replace('?', "");
                word.strip_prefix("claims.").is_some_and(|rest| rest.split('.').next() == Some(claim))
            })
        };
        let extra = self.claim_mappings.extra.iter().map(|entry| entry.value_expression.as_str());
        let rules = self.claim_validation_rules.iter().map(|rule| rule.expression.as_str());
        let mut all = extra.chain(rules).chain([username.as_str()]);
        if uses(username, "email") && !all.any(|source| uses(source, "email_verified")) {
            wrong.push(format!(
                "{mappings}.username.expression: Invalid value: claims.email_verified must be used in \
                 claimMappings.username.expression or claimMappings.extra[*].valueExpression or \
                 claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
            ));
        }
    }
}

impl SourceEntry {
    fn read(&self, path: &str, prefixed: bool, wrong: &mut Vec<String>) -> Option<Source> {
        match (self.claim.as_str(), self.expression.as_str()) {
            ("", "") => None,
            ("", source) => {
                if self.prefix.is_some() {
                    wrong.push(format!("{path}.prefix: Invalid value: may not be specified when expression is set"));
                }
                let program = claims::over_claims(source);
                program.map_err(|why| wrong.push(format!("{path}.expression: Invalid value: {source:?}: {why}"))).ok()
            }
            .map(Source::Expression),
            (claim, "") => {
                if prefixed && self.prefix.is_none() {
                    wrong.push(format!(
                        "{path}.prefix: Required value: prefix is required when claim is set. It can be set to an empty \
                         string to disable prefixing"
                    ));
                }
                let prefix = self.prefix.clone().unwrap_or_default();
                Some(Source::Claim { name: claim.to_owned(), prefix })
            }
            _ => {
                wrong.push(format!("{path}: Invalid value: claim and expression can't both be set"));
                None
            }
        }
    }
}

impl ExtraEntry {
    fn check(&self, path: &str, wrong: &mut Vec<String>) {
        let mut refuse = |why: &str| wrong.push(format!("{path}.key: Invalid value: {:?}: {why}", self.key));
        let Some((domain, rest)) = self.key.split_once('/') else {
            return refuse("must be a domain-prefixed path (such as \"acme.io/foo\")");
        };
        if domain.is_empty() || rest.is_empty() {
            refuse("must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        if self.key.to_lowercase() != self.key {
            refuse("must be lowercase");
        }
        let reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
        if reserved("k8s.io") || reserved("kubernetes.io") {
            refuse("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
        }
    }
}

fn read_rules(rules: &[RuleEntry], path: &str, of_claims: bool, wrong: &mut Vec<String>) -> Vec<Rule> {
    let (mut read, mut seen) = (Vec::new(), HashSet::new());
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (claim, source) = (rule.claim.as_str(), rule.expression.as_str());
        if !seen.insert((claim, source)) {
            wrong.push(format!("{path}: Duplicate value: {claim:?}{source:?}"));
            continue;
        }
        let compiled = match (claim, source) {
            ("", "") if of_claims => Err(format!("{path}: Required value: claim or expression is required")),
            ("", "") => Err(format!("{path}.expression: Required value")),
            (claim, "") if of_claims => match rule.message.as_str() {
                "" => Ok(Rule::Claim { name: claim.to_owned(), value: rule.required_value.clone() }),
                _ => Err(format!("{path}.message: Invalid value: may not be specified when claim is set")),
            },
            ("", source) if !rule.required_value.is_empty() => Err(format!(
                "{path}.requiredValue: Invalid value: {source:?}: may not be specified when expression is set"
            )),
            ("", source) => {
                let program = match of_claims {
                    true => claims::over_claims(source).and_then(claims::condition),
                    false => claims::over_user(source),
                };
                let message = rule.message.clone();
                program
                    .map(|program| Rule::Expression { program, message, source: source.to_owned() })
                    .map_err(|why| format!("{path}.expression: Invalid value: {source:?}: {why}"))
            }
            _ => Err(format!("{path}: Invalid value: {claim:?}: claim and expression can't both be set")),
        };
        match compiled {
            Ok(rule) => read.push(rule),
            Err(why) => wrong.push(why),
        }
    }
    read
}

pub(super) fn check_url(text: &str, path: &str, wrong: &mut Vec<String>) {
    let mut refuse = |why: &str| wrong.push(format!("{path}: Invalid value: {text:?}: {why}"));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(_) if text.is_empty() => return wrong.push(format!("{path}: Required value")),
        Err(error) => return refuse(&error.to_string()),
    };
    if url.scheme() != "https" {
        refuse("URL scheme must be https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        refuse("URL must not contain a username or password");
    }
    if url.query().is_some() {
        refuse("URL must not contain a query");
    }
    if url.fragment().is_some() {
        refuse("URL must not contain a fragment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: &str) -> String {
        format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n{body}")
    }

    fn jwt(issuer: &str, rest: &str) -> String {
        file(&format!("jwt:\n- issuer: {{{issuer}}}\n{rest}"))
    }

    const ISSUER: &str = "url: 'https://issuer.example', audiences: [a]";
    const MAPPINGS: &str = "  claimMappings: {username: {claim: sub, prefix: 'x:'}}\n";

    #[test]
    fn anonymous_access_can_be_kept_to_paths() {
        let read = |body: &str| parse(&file(body), &[]).unwrap().anonymous;
        assert_eq!(read(""), None);
        assert_eq!(read("anonymous: {enabled: false}"), Some(Anonymous::Nowhere));
        let paths = read("anonymous: {enabled: true, conditions: [{path: /livez}]}").unwrap();
        assert!(paths.allows("/livez") && !paths.allows("/livez/etcd") && !paths.allows("/api"));
        assert!(read("anonymous: {enabled: true}").unwrap().allows("/api"));
    }

    #[test]
    fn an_issuer_is_read_and_what_is_wrong_is_told() {
        let good = parse(&jwt(ISSUER, MAPPINGS), &[]).unwrap();
        assert_eq!(good.issuers[0].audiences, ["a"]);
        let cases = [
            (jwt("url: 'http://a', audiences: [a]", MAPPINGS), "scheme must be https"),
            (jwt("url: 'https://a?x', audiences: [a]", MAPPINGS), "must not contain a query"),
            (jwt("url: 'https://own', audiences: [a]", MAPPINGS), "disallowed issuers"),
            (jwt("url: 'https://a'", MAPPINGS), "jwt[0].issuer.audiences: Required value"),
            (jwt("url: 'https://a', audiences: [a, b]", MAPPINGS), "must be MatchAny"),
            (
                jwt("url: 'https://a', audiences: [a], discoveryURL: 'https://a/'", MAPPINGS),
                "must be different from URL",
            ),
            (jwt(ISSUER, "  claimMappings: {username: {claim: sub}}\n"), "prefix is required"),
            (jwt(ISSUER, "  claimMappings: {username: {}}\n"), "username: Required value"),
            (jwt(ISSUER, "  claimMappings: {username: {expression: 'nope.x'}}\n"), "compilation failed"),
            (jwt(ISSUER, "  claimMappings: {username: {expression: claims.email}}\n"), "email_verified must be used"),
            (
                jwt(ISSUER, &format!("{MAPPINGS}  claimValidationRules: [{{expression: 'claims.a', claim: b}}]\n")),
                "can't both be set",
            ),
            (
                jwt(ISSUER, &format!("{MAPPINGS}  userValidationRules: [{{message: a}}]\n")),
                "expression: Required value",
            ),
            (
                jwt(
                    ISSUER,
                    "  claimMappings: {username: {claim: a, prefix: ''}, extra: [{key: k8s.io/a, valueExpression: claims.a}]}\n",
                ),
                "reserved for Kubernetes",
            ),
            (file("anonymous: {enabled: false, conditions: [{path: /a}]}"), "enabled should be set to true"),
            (file("jwt: []\nother: 1"), "unknown field"),
        ];
        for (text, wanted) in cases {
            let error = parse(&text, &["https://own".into()]).err().unwrap_or_default();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let verified =
            "  claimMappings: {username: {expression: 'claims.email_verified ? claims.email : claims.sub'}}\n";
        parse(&jwt(ISSUER, verified), &[]).unwrap();
    }
}
