//! `kinit token`.

use std::path::PathBuf;

use jiff::Timestamp;
use kinit_pki::{Certificate, Kubeconfig};
use serde::Serialize;
use serde_json::Value;

use super::output::{Format, emit, table};
use super::print;
use crate::api::{self, KubeApi, Verb};
use crate::config::Documents;
use crate::config::settings::TokenSettings;
use crate::config::v1beta4::BootstrapToken;
use crate::join::fetch::Ticket;
use crate::phase::kubeconfig;
use crate::token::Token;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// Arguments of `kinit token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// What is to be done
    #[command(subcommand)]
    pub command: TokenCommand,
    /// The kubeconfig to use
    #[command(flatten)]
    pub config: KubeconfigArg,
    /// Change nothing, only print what would be printed
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// Subcommands of `kinit token`.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Create bootstrap tokens on the server
    Create(CreateArgs),
    /// List bootstrap tokens on the server
    List(ListArgs),
    /// Delete bootstrap tokens on the server
    Delete(DeleteArgs),
    /// Generate and print a bootstrap token, but do not create it on the server
    Generate(GenerateArgs),
}

/// The kubeconfig to use.
#[derive(Debug, clap::Args)]
pub struct KubeconfigArg {
    /// The kubeconfig to use
    #[arg(long, global = true, value_name = "FILE", env = "KUBECONFIG", default_value_os_t = kubeconfig::path("admin.conf"))]
    pub kubeconfig: PathBuf,
}

impl KubeconfigArg {
    /// Reads it.
    pub fn load(&self) -> anyhow::Result<Kubeconfig> {
        Kubeconfig::load(&self.kubeconfig).map_err(|error| {
            anyhow::anyhow!("{error}\nhint: run this as root on a control plane, or name a kubeconfig by --kubeconfig")
        })
    }
}

/// Flags of `kinit token create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit token create --ttl 2h --print-join-command")]
pub struct CreateArgs {
    /// The token [default: a random one]
    pub token: Option<String>,
    /// Its life; 0 never ends
    #[arg(long, default_value = "24h0m0s", value_name = "DURATION")]
    pub ttl: String,
    /// What it is for
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub description: String,
    /// What it can be used for
    #[arg(long, value_delimiter = ',', default_value = "signing,authentication", value_name = "USAGES")]
    pub usages: Vec<String>,
    /// Groups that who shows it is in
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "system:bootstrappers:kubeadm:default-node-token",
        value_name = "GROUPS"
    )]
    pub groups: Vec<String>,
    /// Instead of printing only the token, print the full 'kinit join' flag needed to join the cluster using the token
    #[arg(long)]
    pub print_join_command: bool,
    /// When used together with '--print-join-command', print the full 'kinit join' flag needed to join the cluster as a
    /// control-plane
    #[arg(long, value_name = "KEY", requires = "print_join_command")]
    pub certificate_key: Option<String>,
    /// A file with an InitConfiguration whose bootstrapTokens are created; the first one is printed
    #[arg(long = "config", value_name = "FILE", conflicts_with_all = ["token", "ttl", "description", "usages", "groups"])]
    pub file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit token generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit token generate")]
pub struct GenerateArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Flags of `kinit token list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit token list -o json")]
pub struct ListArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Arguments of `kinit token delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit token delete abcdef")]
pub struct DeleteArgs {
    /// Tokens, or their first six characters
    #[arg(required = true)]
    pub tokens: Vec<String>,
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    usages: Vec<String>,
    groups: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

/// Runs the command.
pub async fn run(args: TokenArgs) -> anyhow::Result<()> {
    match args.command {
        TokenCommand::Generate(generate) => {
            let token = Token::generate().reveal();
            emit(generate.output, &serde_json::json!({"token": token}), || format!("{token}\n"))
        }
        TokenCommand::Create(create) => self::create(create, &args.config, args.dry_run).await,
        TokenCommand::List(list) => self::list(&list, &args.config).await,
        TokenCommand::Delete(delete) => self::delete(&delete, &args.config, args.dry_run).await,
    }
}

async fn create(args: CreateArgs, config: &KubeconfigArg, dry_run: bool) -> anyhow::Result<()> {
    let tokens = wanted(&args)?;
    let config = config.load()?;
    let api = KubeApi::from_kubeconfig(&config)?;
    for settings in tokens.iter().filter(|_| !dry_run) {
        api.create_secret(settings).await?;
    }
    let token = tokens.first().map(|settings| settings.token.reveal()).unwrap_or_default();
    if !args.print_join_command {
        return emit(args.output, &serde_json::json!({"token": token}), || format!("{token}\n"));
    }
    let (cluster, _) = config.current()?;
    let ca = cluster.ca_pem()?.ok_or_else(|| anyhow::anyhow!("the kubeconfig has no CA"))?;
    let ticket = Ticket {
        endpoint: cluster.server.trim_start_matches("https://").to_owned(),
        token,
        ca_cert_hash: Certificate::from_pem(&ca, "the kubeconfig")?.public_key_hash(),
    };
    let more = args.certificate_key.map(|key| format!(" --control-plane --certificate-key {key}")).unwrap_or_default();
    emit(args.output, &ticket, || {
        format!(
            "kinit join {} --token {} --discovery-token-ca-cert-hash {}{more}\n",
            ticket.endpoint, ticket.token, ticket.ca_cert_hash
        )
    })
}

/// The tokens that are asked for, at least one: those of the file, or the one that the flags tell of.
fn wanted(args: &CreateArgs) -> anyhow::Result<Vec<TokenSettings>> {
    if let Some(path) = &args.file {
        let documents = Documents::load(Some(path))?;
        documents.only("token create", &["InitConfiguration", "ClusterConfiguration"])?;
        let mut tokens = documents.init.unwrap_or_default().bootstrap_tokens;
        if tokens.is_empty() {
            tokens.push(BootstrapToken::default());
        }
        return Ok(tokens.iter().map(TokenSettings::resolve).collect::<Result<_, _>>()?);
    }
    kinit_duration::parse(&args.ttl).map_err(|_| {
        anyhow::anyhow!("--ttl {:?} is no duration\nhint: for example 24h0m0s, or 0\ncode: Usage", args.ttl)
    })?;
    Ok(vec![TokenSettings::resolve(&BootstrapToken {
        token: args.token.clone().unwrap_or_default(),
        ttl: args.ttl.clone(),
        description: args.description.clone(),
        usages: args.usages.clone(),
        groups: args.groups.clone(),
        ..BootstrapToken::default()
    })?])
}

impl KubeApi {
    async fn create_secret(&self, settings: &TokenSettings) -> anyhow::Result<()> {
        use crate::api::Api;
        match self.call(Verb::Post, SECRETS, Some(&Token::secret_object(settings, Timestamp::now()))).await {
            Err(error) if error.code() == Some(409) => {
                anyhow::bail!(
                    "a token with id {:?} is there already\nhint: delete it first, or let kinit make a random one\ncode: TokenExists",
                    settings.token.id()
                )
            }
            other => other.map(|_| ()).map_err(Into::into),
        }
    }
}

async fn list(args: &ListArgs, config: &KubeconfigArg) -> anyhow::Result<()> {
    use crate::api::Api;
    let api = KubeApi::from_kubeconfig(&config.load()?)?;
    let path = format!("{SECRETS}?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken");
    let answer = api.call(Verb::Get, &path, None).await?;
    let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let tokens: Vec<Listed> = items.iter().filter_map(listed).collect();
    emit(args.output, &tokens, || {
        let now = Timestamp::now();
        let rows = tokens.iter().map(|token| {
            let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
            vec![
                token.token.clone(),
                remaining(token.expires.as_deref(), now),
                token.expires.clone().unwrap_or_else(|| "<never>".into()),
                or_none(&token.usages.join(",")),
                or_none(&token.description),
                or_none(&token.groups.join(",")),
            ]
        });
        table(&["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"], rows)
    })
}

fn listed(secret: &Value) -> Option<Listed> {
    use base64::Engine;
    let data = |key: &str| {
        let text = secret.pointer("/data")?.get(key)?.as_str()?;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()
    };
    let usages = ["authentication", "signing"]
        .into_iter()
        .filter(|usage| data(&format!("usage-bootstrap-{usage}")).as_deref() == Some("true"));
    Some(Listed {
        token: format!("{}.{}", data("token-id")?, data("token-secret")?),
        expires: data("expiration"),
        usages: usages.map(str::to_owned).collect(),
        groups: data("auth-extra-groups").map(|all| all.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        description: data("description").unwrap_or_default(),
    })
}

/// What is left of a life, in the largest unit, as kubeadm shows it.
fn remaining(expires: Option<&str>, now: Timestamp) -> String {
    let Some(expires) = expires else { return "<forever>".into() };
    let Ok(end) = expires.parse::<Timestamp>() else { return "<invalid>".into() };
    match end.as_second() - now.as_second() {
        seconds if seconds < 0 => "<expired>".into(),
        seconds if seconds < 60 => format!("{seconds}s"),
        seconds if seconds < 3600 => format!("{}m", seconds / 60),
        seconds if seconds < 48 * 3600 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

async fn delete(args: &DeleteArgs, config: &KubeconfigArg, dry_run: bool) -> anyhow::Result<()> {
    // All are looked at before the first one goes.
    let ids = args.tokens.iter().map(|text| {
        let id = text.split('.').next().unwrap_or_default();
        if id.len() != 6 || !id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()) {
            anyhow::bail!(
                "{text:?} is neither a token nor its first six characters\nhint: `kinit token list` shows them\ncode: TokenUnknown"
            );
        }
        Ok(id)
    });
    let ids: Vec<&str> = ids.collect::<anyhow::Result<_>>()?;
    let api = KubeApi::from_kubeconfig(&config.load()?)?;
    for id in ids {
        let path = format!("{SECRETS}/bootstrap-token-{id}");
        if dry_run {
            print(&format!("would delete bootstrap token {id:?}\n"))?;
            continue;
        }
        if !api::delete(&api, &path).await? {
            anyhow::bail!("there is no token {id}\nhint: `kinit token list` shows them\ncode: TokenUnknown");
        }
        print(&format!("bootstrap token {id:?} deleted\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shown_in_one_unit() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        for (end, wanted) in [
            (Some("2027-01-01T23:30:00Z"), "23h"),
            (Some("2027-01-01T00:05:10Z"), "5m"),
            (Some("2027-01-01T00:00:09Z"), "9s"),
            (Some("2027-01-11T00:00:00Z"), "10d"),
            (Some("2026-01-01T00:00:00Z"), "<expired>"),
            (Some("soon"), "<invalid>"),
            (None, "<forever>"),
        ] {
            assert_eq!(remaining(end, now), wanted);
        }
    }
}
