//! Asking a webhook whose token it is, by `TokenReview`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::User;
use crate::remote::Remote;

/// How long the webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Args)]
pub struct TokenWebhookOptions {
    /// Kubeconfig file of the server that is asked whose a bearer token is
    #[arg(id = "authentication-token-webhook-config-file", long = "authentication-token-webhook-config-file")]
    config_file: Option<PathBuf>,
    /// How long its answers count
    #[arg(id = "authentication-token-webhook-cache-ttl", long = "authentication-token-webhook-cache-ttl", default_value = "2m0s", value_parser = kinit_duration::flag)]
    pub cache_ttl: Duration,
    /// The version of the question
    #[arg(id = "authentication-token-webhook-version", long = "authentication-token-webhook-version", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    version: String,
}

/// The server and the version in which it is asked.
pub struct TokenWebhook {
    remote: Remote,
    version: String,
}

impl TokenWebhook {
    pub fn new(options: &TokenWebhookOptions) -> anyhow::Result<Option<Self>> {
        let Some(file) = &options.config_file else { return Ok(None) };
        Ok(Some(Self { remote: Remote::load(file)?, version: options.version.clone() }))
    }

    /// The token's user and those of `audiences` that the token is for; `None` if the webhook knows nobody of it, or none of
    /// them. `api` are the API's own audiences, which count where the webhook says nothing of any.
    pub async fn user(
        &self,
        token: &str,
        audiences: &[String],
        api: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let version = format!("authentication.k8s.io/{}", self.version);
        let mut review = json!({"kind": "TokenReview", "apiVersion": version, "metadata": {}, "spec": {"token": token}, "status": {}});
        if !audiences.is_empty() {
            review["spec"]["audiences"] = json!(audiences);
        }
        let answer = self.remote.ask(&review, TIMEOUT).await?;
        read(&answer["status"], audiences, api)
    }
}

/// Reads the answer's status.
fn read(status: &Value, audiences: &[String], api: &[String]) -> Result<Option<(User, Vec<String>)>, String> {
    if status["authenticated"] != true {
        return match status["error"].as_str().unwrap_or_default() {
            "" => Ok(None),
            error => Err(error.to_owned()),
        };
    }
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    // Who says nothing of audiences has not looked at them, and vouches for the API's own alone.
    let told = list(&status["audiences"]);
    let vouched = if told.is_empty() { api } else { &told };
    let common: Vec<String> = audiences.iter().filter(|audience| vouched.contains(audience)).cloned().collect();
    if common.is_empty() && !audiences.is_empty() {
        return Ok(None);
    }
    let user = &status["user"];
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let extra = user["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), list(values)));
    let user = User { name: text("username"), uid: text("uid"), groups: list(&user["groups"]), extra: extra.collect() };
    Ok(Some((user, common)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_user_for_common_audiences() {
        let own = ["api".to_owned()];
        let good = json!({"authenticated": true, "user": {"username": "ann", "groups": ["a"], "extra": {"k": ["v"]}}});
        let (user, audiences) = read(&good, &own, &own).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.extra["k"].as_slice()), ("ann", &["v".to_owned()][..]));
        assert_eq!(audiences, own);
        let with = |audiences: Value| {
            let mut status = good.clone();
            status["audiences"] = audiences;
            read(&status, &own, &own).unwrap()
        };
        assert!(with(json!(["api", "x"])).is_some());
        assert!(with(json!(["x"])).is_none());
        let others = ["x".to_owned(), "y".to_owned()];
        assert!(read(&good, &others, &own).unwrap().is_none(), "it vouches for the API's own alone");
        let mut told = good.clone();
        told["audiences"] = json!(["x"]);
        assert_eq!(read(&told, &others, &own).unwrap().unwrap().1, ["x"]);
        assert_eq!(read(&json!({"authenticated": false}), &own, &own), Ok(None));
        assert_eq!(read(&json!({"error": "no"}), &own, &own), Err("no".into()));
    }
}
