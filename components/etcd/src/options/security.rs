//! Flags of TLS and of users.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Who may connect, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct Security {
    /// This server's certificate for clients.
    #[arg(long)]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub key_file: Option<PathBuf>,
    /// Refuse clients without a certificate of the trusted CA.
    #[arg(long)]
    pub client_cert_auth: bool,
    /// The CA of clients' certificates.
    #[arg(long)]
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificates of clients that are not taken any more.
    #[arg(long)]
    pub client_crl_file: Option<PathBuf>,
    /// Names of which a client's certificate must have one.
    #[arg(long, value_delimiter = ',')]
    pub client_cert_allowed_hostname: Vec<String>,
    /// This server's certificate for other members.
    #[arg(long)]
    pub peer_cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub peer_key_file: Option<PathBuf>,
    /// The certificate shown to other members [default: --peer-cert-file].
    #[arg(long)]
    pub peer_client_cert_file: Option<PathBuf>,
    /// Its private key [default: --peer-key-file].
    #[arg(long)]
    pub peer_client_key_file: Option<PathBuf>,
    /// Refuse members without a certificate of the trusted CA.
    #[arg(long)]
    pub peer_client_cert_auth: bool,
    /// The CA of other members' certificates.
    #[arg(long)]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Certificates of members that are not taken any more.
    #[arg(long)]
    pub peer_crl_file: Option<PathBuf>,
    /// Common names of which a member's certificate must have one.
    #[arg(long, value_delimiter = ',')]
    pub peer_cert_allowed_cn: Vec<String>,
    /// Names of which a member's certificate must have one.
    #[arg(long, value_delimiter = ',')]
    pub peer_cert_allowed_hostname: Vec<String>,
    /// Cipher suites of TLS 1.2, by their IANA names [default: all that are safe].
    #[arg(long, value_delimiter = ',')]
    pub cipher_suites: Vec<String>,
    /// The oldest version of TLS.
    #[arg(long, default_value = "TLS1.2")]
    pub tls_min_version: TlsVersion,
    /// The newest version of TLS [default: the newest there is].
    #[arg(long)]
    pub tls_max_version: Option<TlsVersion>,
    /// Origins whose scripts may ask over HTTP.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub cors: Vec<String>,
    /// Host names that requests over HTTP without TLS may be for.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub host_whitelist: Vec<String>,
}

/// See [`Security::tls_min_version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TlsVersion {
    #[value(name = "TLS1.2")]
    Tls12,
    #[value(name = "TLS1.3")]
    Tls13,
}

/// How users prove themselves.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Auth")]
pub struct Auth {
    /// Tokens: `simple`, or `jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m`.
    #[arg(long, default_value = "simple")]
    pub auth_token: String,
    /// How much computing a password's hash takes: 4 to 31, each twice the one before.
    #[arg(long, default_value_t = 10)]
    pub bcrypt_cost: u32,
    /// Seconds after which a simple token that nobody uses is void.
    #[arg(long, default_value_t = 300)]
    pub auth_token_ttl: u64,
}
