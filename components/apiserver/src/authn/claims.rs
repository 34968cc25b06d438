//! From a token's claims to a user: by the claims' names or by expressions. Pure.

use std::collections::BTreeMap;

use kinit_cel::{CALL_LIMIT, Decl, DeclKind, Program, Scope, Type, Value};
use serde_json::{Value as Json, json};

use super::User;

/// Where one of the user's attributes comes from.
#[derive(Debug)]
pub enum Source {
    /// A claim, with what is put before its value.
    Claim {
        name: String,
        prefix: String,
    },
    Expression(Program),
}

/// A condition on claims or on the user.
#[derive(Debug)]
pub enum Rule {
    /// A claim has to have this value.
    Claim {
        name: String,
        value: String,
    },
    Expression {
        program: Program,
        message: String,
        source: String,
    },
}

/// All that an issuer's configuration says of claims.
#[derive(Debug)]
pub struct Mapper {
    pub username: Source,
    pub groups: Option<Source>,
    pub uid: Option<Source>,
    pub extra: Vec<(String, Program)>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

/// Compiles an expression over `claims`.
pub fn over_claims(source: &str) -> Result<Program, String> {
    compile(source, "claims", Type::map(Type::String, Type::Dyn))
}

/// Compiles a condition over `user`.
pub fn over_user(source: &str) -> Result<Program, String> {
    condition(compile(source, "user", user_decl().kind_of())?)
}

/// An expression that has to be true or false.
pub fn condition(program: Program) -> Result<Program, String> {
    match program.result() {
        Type::Bool => Ok(program),
        other => Err(format!("must evaluate to bool, not {other}")),
    }
}

fn compile(source: &str, variable: &str, of: Type) -> Result<Program, String> {
    let scope = Scope { variables: [(variable.to_owned(), of)].into(), structs: Vec::new() };
    Program::compile(source, &scope).map_err(|error| format!("compilation failed: {error}"))
}

fn user_decl() -> Decl {
    let text = || Decl::of(DeclKind::String);
    let extra = Decl::of(DeclKind::Map(Decl::list(text()).into()));
    let fields = [("username", text()), ("uid", text()), ("groups", Decl::list(text())), ("extra", extra)];
    Decl::object("kubernetes.UserInfo", fields.map(|(name, decl)| (name.to_owned(), decl)))
}

impl Mapper {
    /// The user; the error says which claim or rule is in the way.
    pub fn user(&self, claims: &Json) -> Result<User, String> {
        for rule in &self.claim_rules {
            rule.check("claims", claims, None)?;
        }
        let mut user = User { name: self.name(claims)?, ..User::default() };
        if let Some(groups) = &self.groups {
            user.groups = groups.texts(claims).map_err(|why| format!("oidc: groups: {why}"))?;
        }
        if let Some(uid) = &self.uid {
            let mut found = uid.texts(claims).map_err(|why| format!("oidc: uid: {why}"))?;
            user.uid = found.pop().filter(|_| found.is_empty()).ok_or("oidc: the uid is not one string")?;
        }
        for (key, program) in &self.extra {
            let values = texts(&run(program, "claims", claims)?).map_err(|why| format!("oidc: extra {key}: {why}"))?;
            let values: Vec<String> = values.into_iter().filter(|value| !value.is_empty()).collect();
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        let shown = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        for rule in &self.user_rules {
            rule.check("user", &shown, Some(&user_decl()))?;
        }
        Ok(user)
    }

    fn name(&self, claims: &Json) -> Result<String, String> {
        let name = match &self.username {
            Source::Claim { name, prefix } => {
                let value = claims[name].as_str().ok_or_else(|| format!("oidc: parse username claims {name:?}"))?;
                // An address that nobody has verified may be anybody's.
                let verified = claims.get("email_verified").is_none_or(|verified| verified == true);
                if name == "email" && !verified {
                    return Err("oidc: email not verified".into());
                }
                format!("{prefix}{value}")
            }
            Source::Expression(program) => match run(program, "claims", claims)? {
                Json::String(name) => name,
                other => return Err(format!("oidc: the username is not a string but {other}")),
            },
        };
        if name.is_empty() { Err("oidc: the username is empty".into()) } else { Ok(name) }
    }
}

impl Source {
    /// One string or several; a claim that is not there gives none.
    fn texts(&self, claims: &Json) -> Result<Vec<String>, String> {
        match self {
            Self::Claim { name, prefix } => {
                let found = texts(&claims[name])?;
                Ok(found.into_iter().map(|value| format!("{prefix}{value}")).collect())
            }
            Self::Expression(program) => {
                let found = texts(&run(program, "claims", claims)?)?;
                Ok(found.into_iter().filter(|value| !value.is_empty()).collect())
            }
        }
    }
}

impl Rule {
    fn check(&self, variable: &str, value: &Json, decl: Option<&Decl>) -> Result<(), String> {
        match self {
            Self::Claim { name, value: wanted } => match value[name].as_str() {
                Some(found) if found == wanted => Ok(()),
                Some(found) => Err(format!("oidc: claim {name} value {found} does not match {wanted}")),
                None => Err(format!("oidc: required claim {name} not present in ID token")),
            },
            Self::Expression { program, message, source } => {
                let given = [(variable, Value::of_json(value, decl))];
                match program.run(&given, CALL_LIMIT).0 {
                    Ok(Value::Bool(true)) => Ok(()),
                    Ok(_) if !message.is_empty() => Err(format!("oidc: {message}")),
                    Ok(_) => Err(format!("oidc: validation expression '{source}' failed")),
                    Err(error) => Err(format!("oidc: expression '{source}' resulted in error: {error}")),
                }
            }
        }
    }
}

fn run(program: &Program, variable: &str, value: &Json) -> Result<Json, String> {
    let given = [(variable, Value::of_json(value, None))];
    let result = program.run(&given, CALL_LIMIT).0.map_err(|error| format!("oidc: {error}"))?;
    result.to_json().ok_or_else(|| "oidc: an expression gives what is no JSON".into())
}

fn texts(value: &Json) -> Result<Vec<String>, String> {
    let wrong = || format!("a string or a list of strings is expected, not {value}");
    match value {
        Json::Null => Ok(Vec::new()),
        Json::String(text) => Ok(vec![text.clone()]),
        Json::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// A mapper by the names of claims alone, as the flags make it.
pub fn by_names(username: Source, groups: Option<Source>, required: BTreeMap<String, String>) -> Mapper {
    let claim_rules = required.into_iter().map(|(name, value)| Rule::Claim { name, value });
    let claim_rules = claim_rules.collect();
    Mapper { username, groups, uid: None, extra: Vec::new(), claim_rules, user_rules: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, prefix: &str) -> Source {
        Source::Claim { name: name.into(), prefix: prefix.into() }
    }

    fn expression(source: &str) -> Source {
        Source::Expression(over_claims(source).unwrap())
    }

    #[test]
    fn claims_make_a_user_by_name() {
        let required = [("aud2".to_owned(), "x".to_owned())].into();
        let mapper = by_names(claim("sub", "oidc:"), Some(claim("groups", "g:")), required);
        let user = mapper.user(&json!({"sub": "ann", "groups": ["a", "b"], "aud2": "x"})).unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("oidc:ann", &["g:a".to_owned(), "g:b".into()][..]));
        assert_eq!(mapper.user(&json!({"sub": "ann", "groups": "a", "aud2": "x"})).unwrap().groups, ["g:a"]);
        assert!(mapper.user(&json!({"sub": "ann"})).unwrap_err().contains("required claim aud2"));
        assert!(mapper.user(&json!({"sub": "ann", "aud2": "y"})).unwrap_err().contains("does not match"));
        assert!(mapper.user(&json!({"sub": 7, "aud2": "x"})).is_err());
        let mail = by_names(claim("email", ""), None, BTreeMap::new());
        assert!(mail.user(&json!({"email": "a@b", "email_verified": false})).is_err());
        assert_eq!(mail.user(&json!({"email": "a@b"})).unwrap().name, "a@b");
    }

    #[test]
    fn claims_make_a_user_by_expressions() {
        let mapper = Mapper {
            username: expression("claims.sub + '@x'"),
            groups: Some(expression("claims.roles.split(',')")),
            uid: Some(expression("claims.id")),
            extra: vec![("example.org/team".into(), over_claims("claims.?team.orValue('')").unwrap())],
            claim_rules: vec![Rule::Expression {
                program: condition(over_claims("claims.exp > claims.nbf").unwrap()).unwrap(),
                message: "too short".into(),
                source: String::new(),
            }],
            user_rules: vec![Rule::Expression {
                program: over_user("!user.username.startsWith('system:') && user.groups.size() < 3").unwrap(),
                message: String::new(),
                source: "s".into(),
            }],
        };
        let claims =
            |sub: &str, exp: i64| json!({"sub": sub, "roles": "a,b", "id": "u", "exp": exp, "nbf": 1, "team": "red"});
        let user = mapper.user(&claims("ann", 2)).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str(), user.groups.len()), ("ann@x", "u", 2));
        assert_eq!(user.extra["example.org/team"], ["red"]);
        assert_eq!(mapper.user(&claims("ann", 1)).unwrap_err(), "oidc: too short");
        assert!(mapper.user(&claims("system:x", 2)).unwrap_err().contains("validation expression"));
        assert!(over_user("user.nothing == ''").is_err() && over_user("user.username").is_err());
    }
}
