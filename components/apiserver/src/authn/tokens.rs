//! ServiceAccount tokens: signed JWTs, bound to objects that must still exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kinit_api::object::Object;
use kinit_pki::PrivateKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::User;
use crate::cache::{Cache, Entry};
use crate::options::AuthenticationOptions;

/// Claims about the cluster's objects are under this name.
const CLAIM: &str = "kubernetes.io";
/// Issuer of tokens in Secrets, from before there were others.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Clocks may differ by this many seconds.
const LEEWAY: i64 = 60;
/// What is told of a signature that no key made.
const FORGED: &str = "go-jose/go-jose: error in cryptographic primitive";
const GROUP: &str = "system:serviceaccounts";

/// The keys for tokens, and who issues them for whom.
pub struct Tokens {
    signer: Option<Signer>,
    verifiers: Vec<Verifier>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    /// Where the public keys are, if not at this server.
    jwks_uri: Option<String>,
}

struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    id: String,
}

struct Verifier {
    key: DecodingKey,
    algorithm: Algorithm,
    /// The public key as `/openid/v1/jwks` shows it.
    jwk: Value,
}

impl Tokens {
    /// Reads the keys; errors name the file.
    pub fn new(options: &AuthenticationOptions) -> anyhow::Result<Self> {
        let signer = options.service_account_signing_key_file.as_deref().map(Signer::load).transpose()?;
        let files: Vec<PathBuf> = if options.service_account_key_file.is_empty() {
            options.service_account_signing_key_file.iter().cloned().collect()
        } else {
            options.service_account_key_file.clone()
        };
        let mut verifiers = Vec::new();
        for file in &files {
            verifiers.extend(Verifier::load_all(file)?);
        }
        let issuers = options.service_account_issuer.clone();
        let audiences = if options.api_audiences.is_empty() { issuers.clone() } else { options.api_audiences.clone() };
        Ok(Self { signer, verifiers, issuers, audiences, jwks_uri: options.service_account_jwks_uri.clone() })
    }

    /// The audiences that this API is.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs claims; `issuer` is added to them. The error says that this server has no key.
    pub fn sign(&self, mut claims: Value) -> Result<String, String> {
        let signer = self.signer.as_ref().ok_or("--service-account-signing-key-file is not given")?;
        claims["iss"] = self.issuers.first().map(String::as_str).unwrap_or_default().into();
        let mut header = Header::new(signer.algorithm);
        header.typ = None;
        header.kid = Some(signer.id.clone());
        jsonwebtoken::encode(&header, &claims, &signer.key).map_err(|error| error.to_string())
    }

    /// The user of a token and which of `audiences` (empty: the API's) it is for. `Ok(None)` is a token that others
    /// may know; an error is one of ours that is no longer good.
    pub fn user(
        &self,
        token: &str,
        audiences: &[String],
        cache: &Cache,
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let Some(claims) = peek(token) else { return Ok(None) };
        let issuer = claims["iss"].as_str().unwrap_or_default();
        if issuer != LEGACY_ISSUER && !self.issuers.iter().any(|own| own == issuer) {
            return Ok(None);
        }
        self.signed(token)?;
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let own: Vec<&str> = match &claims["aud"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        // Tokens from before there were audiences are for the API's own.
        let own = if own.is_empty() { self.audiences.iter().map(String::as_str).collect() } else { own };
        let common: Vec<String> = wanted.iter().filter(|wanted| own.contains(&wanted.as_str())).cloned().collect();
        if common.is_empty() && !self.audiences.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                listed(&own),
                listed(wanted)
            ));
        }
        let find =
            |group: &str, resource: &str, namespace: &str, name: &str| cache.find(group, resource, namespace, name);
        let user = if issuer == LEGACY_ISSUER {
            legacy_user(token, &claims, &find)
        } else {
            in_time(&claims, jiff::Timestamp::now().as_second()).and_then(|()| bound_user(&claims, &find))
        };
        user.map(|user| Some((user, common)))
    }

    /// That one of the keys made the signature; of those that have the name that the token says, if it says any.
    fn signed(&self, token: &str) -> Result<(), String> {
        let id = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid).unwrap_or_default();
        let mut keys = self.verifiers.iter().filter(|key| id.is_empty() || key.jwk["kid"] == id.as_str()).peekable();
        if keys.peek().is_none() {
            return Err("invalid signature, no keys found".into());
        }
        if keys.any(|key| key.accepts(token)) { Ok(()) } else { Err(FORGED.into()) }
    }

    /// The public keys, for those who verify tokens themselves.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.verifiers.iter().map(|verifier| &verifier.jwk).collect::<Vec<_>>()})
    }

    /// What OpenID Connect clients read first; `None` without an issuer that is a URL. `server` is this server's `host:port`.
    pub fn discovery(&self, server: &str) -> Option<Value> {
        let issuer = self.issuers.first().filter(|issuer| issuer.starts_with("https://"))?;
        let mut algorithms: Vec<&Value> = self.verifiers.iter().map(|verifier| &verifier.jwk["alg"]).collect();
        algorithms.dedup();
        let jwks_uri = self.jwks_uri.clone().unwrap_or_else(|| format!("https://{server}/openid/v1/jwks"));
        Some(json!({
            "issuer": issuer, "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }))
    }
}

impl Signer {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let private = PrivateKey::load(path)?;
        let (algorithm, _) = describe(&private.public_der()).with_context(|| path.display().to_string())?;
        let pem = private.to_pem();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let key = key.with_context(|| path.display().to_string())?;
        Ok(Self { key, algorithm, id: key_id(&private.public_der()) })
    }
}

impl Verifier {
    /// Every public key of a PEM file, and the public half of every private one.
    fn load_all(path: &Path) -> anyhow::Result<Vec<Self>> {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(named)?;
        let mut verifiers = Vec::new();
        for block in pem::parse_many(&text).with_context(named)? {
            let der = match block.tag() {
                "PUBLIC KEY" => block.contents().to_vec(),
                "CERTIFICATE" => kinit_pki::Certificate::from_der(block.contents(), &named())?.public_key_der(),
                tag if tag.ends_with("PRIVATE KEY") => {
                    PrivateKey::from_pem(&pem::encode(&block), &named())?.public_der()
                }
                _ => continue,
            };
            verifiers.push(Self::new(&der).with_context(named)?);
        }
        anyhow::ensure!(!verifiers.is_empty(), "{}: holds no key (PUBLIC KEY, PRIVATE KEY or CERTIFICATE)", named());
        Ok(verifiers)
    }

    fn new(der: &[u8]) -> anyhow::Result<Self> {
        let (algorithm, jwk) = describe(der)?;
        let text = |field: &str| jwk[field].as_str().unwrap_or_default();
        let key = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_components(text("n"), text("e"))?,
            _ => DecodingKey::from_ec_components(text("x"), text("y"))?,
        };
        Ok(Self { key, algorithm, jwk })
    }

    fn accepts(&self, token: &str) -> bool {
        let mut rules = Validation::new(self.algorithm);
        // Audiences and times are looked at afterwards, because what is wrong with them is told in other words.
        (rules.validate_aud, rules.validate_exp) = (false, false);
        rules.required_spec_claims.clear();
        jsonwebtoken::decode::<BTreeMap<String, Value>>(token, &self.key, &rules).is_ok()
    }
}

/// The algorithm of a public key, and the key as a JWK.
fn describe(der: &[u8]) -> anyhow::Result<(Algorithm, Value)> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).context("not a public key")?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let id = key_id(der);
    match info.parsed().context("not a public key")? {
        PublicKey::RSA(key) => {
            let strip = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                encode(&bytes[zeros..])
            };
            let jwk = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256",
                "n": strip(key.modulus), "e": strip(key.exponent)});
            Ok((Algorithm::RS256, jwk))
        }
        PublicKey::EC(point) => {
            let data = point.data();
            let (curve, algorithm, name) = match data.len() {
                65 => ("P-256", Algorithm::ES256, "ES256"),
                97 => ("P-384", Algorithm::ES384, "ES384"),
                _ => anyhow::bail!("only the curves P-256 and P-384 can be used"),
            };
            let (x, y) = data[1..].split_at(data.len() / 2);
            let jwk = json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": name,
                "x": encode(x), "y": encode(y)});
            Ok((algorithm, jwk))
        }
        _ => anyhow::bail!("only RSA and EC keys can be used"),
    }
}

fn key_id(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(der))
}

/// The claims of a JWT, not verified; `None` if it is none.
pub(super) fn peek(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let claims = parts.nth(1)?;
    parts.next()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?).ok()
}

/// What a token says when it is bound to `bound`, the object that it ends with.
pub struct Grant<'a> {
    pub account: &'a Object,
    pub pod: Option<&'a Object>,
    pub secret: Option<&'a Object>,
    pub node: Option<&'a Object>,
    pub audiences: &'a [String],
    /// Seconds since 1970.
    pub now: i64,
    pub seconds: i64,
    /// From this many seconds on, its use is warned of.
    pub warn_after: Option<i64>,
}

impl Grant<'_> {
    /// The claims, without the issuer.
    pub fn claims(&self) -> Value {
        let reference = |object: &Object| json!({"name": object.name(), "uid": object.uid()});
        let namespace = self.account.namespace();
        let mut own = json!({"namespace": namespace, "serviceaccount": reference(self.account)});
        for (field, object) in [("pod", self.pod), ("secret", self.secret), ("node", self.node)] {
            if let Some(object) = object {
                own[field] = reference(object);
            }
        }
        if let Some(seconds) = self.warn_after {
            own["warnafter"] = (self.now + seconds).into();
        }
        json!({
            "aud": self.audiences, "exp": self.now + self.seconds, "iat": self.now, "nbf": self.now,
            "jti": uuid::Uuid::new_v4().to_string(), CLAIM: own,
            "sub": format!("system:serviceaccount:{namespace}:{}", self.account.name()),
        })
    }
}

/// Strings as Go's `%q` writes a list of them.
fn listed(texts: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{:?}", text.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

/// That `now`, in seconds since 1970, is within what the claims say, give or take [`LEEWAY`].
fn in_time(claims: &Value, now: i64) -> Result<(), String> {
    let time = |name: &str| claims[name].as_f64().map(|time| time as i64);
    if time("nbf").is_some_and(|start| now + LEEWAY < start) {
        return Err("service account token is not valid yet".into());
    }
    if time("exp").is_some_and(|end| now - LEEWAY > end) {
        return Err("service account token has expired".into());
    }
    if time("iat").is_some_and(|issued| now + LEEWAY < issued) {
        return Err("service account token is issued in the future".into());
    }
    Ok(())
}

fn account_user(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![GROUP.into(), format!("{GROUP}:{namespace}")],
        extra: BTreeMap::new(),
    }
}

type Find<'a> = &'a dyn Fn(&str, &str, &str, &str) -> Option<std::sync::Arc<Entry>>;

/// The user that verified claims speak of, if everything that the token is bound to is still there.
fn bound_user(claims: &Value, find: Find<'_>) -> Result<User, String> {
    let own = &claims[CLAIM];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&own["namespace"]);
    let (name, uid) = (text(&own["serviceaccount"]["name"]), text(&own["serviceaccount"]["uid"]));
    if text(&claims["sub"]) != format!("system:serviceaccount:{namespace}:{name}") {
        return Err("sub claim is invalid".into());
    }
    alive(find, &ACCOUNT, &namespace, &own["serviceaccount"])?;
    let mut user = account_user(&namespace, &name, &uid);
    let mut tell = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    if own["secret"].is_object() {
        alive(find, &SECRET, &namespace, &own["secret"])?;
    }
    if own["pod"].is_object() {
        alive(find, &POD, &namespace, &own["pod"])?;
        tell("pod-name", text(&own["pod"]["name"]));
        tell("pod-uid", text(&own["pod"]["uid"]));
    }
    if own["node"].is_object() {
        // A Pod's token lives as long as the Pod; its node is only told.
        if !own["pod"].is_object() {
            alive(find, &NODE, "", &own["node"])?;
        }
        tell("node-name", text(&own["node"]["name"]));
        if !text(&own["node"]["uid"]).is_empty() {
            tell("node-uid", text(&own["node"]["uid"]));
        }
    }
    if let Some(id) = claims["jti"].as_str() {
        tell("credential-id", format!("JTI={id}"));
    }
    Ok(user)
}

/// What a token may be bound to, and how it is told that it is no longer there or is another one.
struct Bound {
    resource: &'static str,
    /// What it is called before its uid.
    named: &'static str,
    /// What the claim of its uid is called.
    claim: &'static str,
}

const ACCOUNT: Bound = Bound { resource: "serviceaccounts", named: "service account", claim: "claim" };
const SECRET: Bound = Bound { resource: "secrets", named: "secret", claim: "service account secret ref claim" };
const POD: Bound = Bound { resource: "pods", named: "pod", claim: "service account pod ref claim" };
const NODE: Bound = Bound { resource: "nodes", named: "node", claim: "service account node ref claim" };

/// That what a token is bound to is there and has not been on its way out for longer than [`LEEWAY`].
fn alive(find: Find<'_>, bound: &Bound, namespace: &str, reference: &Value) -> Result<(), String> {
    let Bound { resource, named, claim } = bound;
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (name, uid) = (text("name"), text("uid"));
    let is_account = *resource == ACCOUNT.resource;
    let invalidated = || "service account token has been invalidated".to_owned();
    let object = find("", resource, namespace, name).and_then(|entry| entry.object());
    let missing = || if is_account { format!("{resource} {name:?} not found") } else { invalidated() };
    let object = object.ok_or_else(missing)?;
    if object.uid() != uid {
        return Err(format!("{named} UID ({}) does not match {claim} ({uid})", object.uid()));
    }
    let deleted = object.str(&["metadata", "deletionTimestamp"]).parse::<jiff::Timestamp>().ok();
    match deleted {
        Some(deleted) if deleted + jiff::SignedDuration::from_secs(LEEWAY) < jiff::Timestamp::now() => {
            Err(if is_account { format!("{named} {namespace}/{name} has been deleted") } else { invalidated() })
        }
        _ => Ok(()),
    }
}

/// What marks a Secret whose token is no longer taken, although it is still there.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// A token out of a Secret is good as long as that Secret holds it.
fn legacy_user(token: &str, claims: &Value, find: Find<'_>) -> Result<User, String> {
    let text = |field: &str| claims[format!("kubernetes.io/serviceaccount/{field}")].as_str().unwrap_or_default();
    let (namespace, secret) = (text("namespace"), text("secret.name"));
    let (name, uid) = (text("service-account.name"), text("service-account.uid"));
    let subject = claims["sub"].as_str().unwrap_or_default();
    let said = [
        ("sub", subject),
        ("namespace", namespace),
        ("secretName", secret),
        ("serviceAccountName", name),
        ("serviceAccountUID", uid),
    ];
    if let Some((claim, _)) = said.iter().find(|(_, value)| value.is_empty()) {
        return Err(format!("{claim} claim is missing"));
    }
    if subject != format!("system:serviceaccount:{namespace}:{name}") {
        return Err("sub claim is invalid".into());
    }
    let stored = find("", "secrets", namespace, secret).and_then(|entry| entry.object());
    let stored = stored.filter(|stored| !stored.is_being_deleted()).ok_or("Token has been invalidated")?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(token);
    if !bool::from(stored.str(&["data", "token"]).as_bytes().ct_eq(encoded.as_bytes())) {
        return Err("Token does not match server's copy".into());
    }
    let account = find("", ACCOUNT.resource, namespace, name).and_then(|entry| entry.object());
    let account = account.ok_or_else(|| format!("{} {name:?} not found", ACCOUNT.resource))?;
    if account.is_being_deleted() {
        return Err(format!("ServiceAccount {namespace}/{name} has been deleted"));
    }
    if account.uid() != uid {
        return Err(format!("ServiceAccount UID ({}) does not match claim ({uid})", account.uid()));
    }
    if !stored.str(&["metadata", "labels", INVALID_SINCE]).is_empty() {
        return Err(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{name} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    Ok(account_user(namespace, name, uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use std::sync::Arc;

    fn tokens(folder: &Path) -> Tokens {
        use clap::Parser;
        let key = PrivateKey::generate().unwrap();
        std::fs::write(folder.join("sa.key"), key.to_pem()).unwrap();
        std::fs::write(folder.join("sa.pub"), key.public_pem()).unwrap();
        let file = |name: &str| folder.join(name).display().to_string();
        let options = crate::options::Options::parse_from([
            "x".to_owned(),
            "--etcd-servers=http://127.0.0.1:1".to_owned(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-account-issuer=https://cluster".to_owned(),
        ]);
        Tokens::new(&options.authentication).unwrap()
    }

    #[test]
    fn keys_are_found_here_or_where_the_flag_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = tokens(folder.path());
        let found = |tokens: &Tokens| tokens.discovery("h:1").unwrap()["jwks_uri"].clone();
        assert_eq!(found(&tokens), "https://h:1/openid/v1/jwks");
        tokens.jwks_uri = Some("https://keys.example.com/jwks".to_owned());
        assert_eq!(found(&tokens), "https://keys.example.com/jwks");
    }

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn a_signed_token_is_accepted_and_a_changed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path());
        let account = object(json!({"metadata": {"name": "robot", "namespace": "x", "uid": "u1"}}));
        let now = jiff::Timestamp::now().as_second();
        let grant = |now: i64| Grant {
            account: &account,
            pod: None,
            secret: None,
            node: None,
            audiences: &[],
            now,
            seconds: 600,
            warn_after: None,
        };
        let token = tokens.sign(grant(now).claims()).unwrap();
        assert_eq!(tokens.signed(&token), Ok(()));
        let (head, tail) = token.rsplit_once('.').unwrap();
        let forged = format!("{}.{}", head, tail.chars().rev().collect::<String>());
        assert_eq!(tokens.signed(&forged).unwrap_err(), FORGED);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("another".into());
        let key = &tokens.signer.as_ref().unwrap().key;
        let named = jsonwebtoken::encode(&header, &grant(now).claims(), key).unwrap();
        assert_eq!(tokens.signed(&named).unwrap_err(), "invalid signature, no keys found");
        let claims = peek(&token).unwrap();
        for (late, told) in [
            (0, Ok(())),
            (-50, Ok(())),
            (-70, Err("service account token is not valid yet")),
            (650, Ok(())),
            (670, Err("service account token has expired")),
        ] {
            assert_eq!(in_time(&claims, now + late), told.map_err(str::to_owned), "{late}");
        }
        let early = json!({"iat": now + 70});
        assert_eq!(in_time(&early, now).unwrap_err(), "service account token is issued in the future");
        assert_eq!(claims["iss"], "https://cluster");
        assert_eq!(tokens.jwks()["keys"][0]["kid"], tokens.signer.as_ref().unwrap().id);
    }

    #[test]
    fn a_token_ends_with_what_it_is_bound_to() {
        let entry = |resource: &str, value: Value| {
            let spec = find("", "v1", resource).unwrap().1;
            Arc::new(Entry::new(spec, value.to_string().as_bytes(), 1).unwrap())
        };
        let account = object(json!({"metadata": {"name": "robot", "namespace": "x", "uid": "u1"}}));
        let pod = object(json!({"metadata": {"name": "p", "namespace": "x", "uid": "u2"}}));
        let claims = Grant {
            account: &account,
            pod: Some(&pod),
            secret: None,
            node: None,
            audiences: &[],
            now: 1,
            seconds: 600,
            warn_after: None,
        }
        .claims();
        let user = |account_uid: &str, pod_state: Option<Value>| {
            bound_user(&claims, &|_, resource, _, _| match resource {
                "serviceaccounts" => Some(entry(resource, json!({"metadata": {"name": "robot", "uid": account_uid}}))),
                _ => pod_state.clone().map(|pod| entry(resource, pod)),
            })
        };
        let living = json!({"metadata": {"name": "p", "uid": "u2"}});
        let found = user("u1", Some(living.clone())).unwrap();
        assert_eq!(found.name, "system:serviceaccount:x:robot");
        assert_eq!(found.groups, ["system:serviceaccounts", "system:serviceaccounts:x"]);
        assert_eq!(found.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user("u9", Some(living)).unwrap_err(), "service account UID (u9) does not match claim (u1)");
        assert_eq!(user("u1", None).unwrap_err(), "service account token has been invalidated");
        let other = json!({"metadata": {"name": "p", "uid": "u3"}});
        let told = "pod UID (u3) does not match service account pod ref claim (u2)";
        assert_eq!(user("u1", Some(other)).unwrap_err(), told);
        let gone = json!({"metadata": {"name": "p", "uid": "u2", "deletionTimestamp": "2020-01-01T00:00:00Z"}});
        assert!(user("u1", Some(gone)).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_token_out_of_a_secret_is_told_in_upstream_s_words() {
        let entry = |resource: &str, value: &Value| {
            let spec = find("", "v1", resource).unwrap().1;
            Arc::new(Entry::new(spec, value.to_string().as_bytes(), 1).unwrap())
        };
        let claims = json!({
            "sub": "system:serviceaccount:x:robot", "kubernetes.io/serviceaccount/namespace": "x",
            "kubernetes.io/serviceaccount/secret.name": "s", "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": "u1",
        });
        let encoded = base64::engine::general_purpose::STANDARD.encode("t");
        let holds = json!({"metadata": {"name": "s"}, "data": {"token": encoded}});
        let robot = json!({"metadata": {"name": "robot", "uid": "u1"}});
        let told = |claims: &Value, secret: Option<&Value>, account: Option<&Value>| {
            let found = legacy_user("t", claims, &|_, resource, _, _| {
                (if resource == "secrets" { secret } else { account }).map(|value| entry(resource, value))
            });
            found.map(|user| user.name)
        };
        let good = told(&claims, Some(&holds), Some(&robot));
        assert_eq!(good.as_deref(), Ok("system:serviceaccount:x:robot"));
        let with = |claim: &str, value: &str| {
            let mut changed = claims.clone();
            changed[claim] = value.into();
            changed
        };
        let ended =
            json!({"metadata": {"name": "s", "labels": {INVALID_SINCE: "2026-01-01"}}, "data": {"token": encoded}});
        let another = json!({"metadata": {"name": "robot", "uid": "u2"}});
        for (claims, secret, account, why) in [
            (with("sub", ""), Some(&holds), Some(&robot), "sub claim is missing"),
            (with("sub", "system:serviceaccount:y:robot"), Some(&holds), Some(&robot), "sub claim is invalid"),
            (
                with("kubernetes.io/serviceaccount/secret.name", ""),
                Some(&holds),
                Some(&robot),
                "secretName claim is missing",
            ),
            (claims.clone(), None, Some(&robot), "Token has been invalidated"),
            (
                claims.clone(),
                Some(&json!({"metadata": {"name": "s"}})),
                Some(&robot),
                "Token does not match server's copy",
            ),
            (claims.clone(), Some(&holds), None, "serviceaccounts \"robot\" not found"),
            (claims.clone(), Some(&holds), Some(&another), "ServiceAccount UID (u2) does not match claim (u1)"),
        ] {
            assert_eq!(told(&claims, secret, account).unwrap_err(), why);
        }
        let marked = told(&claims, Some(&ended), Some(&robot)).unwrap_err();
        assert!(marked.starts_with("the token in secret x/s for service account x/robot has been marked invalid."));
    }
}
