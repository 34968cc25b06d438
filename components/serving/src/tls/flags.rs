//! What TLS is spoken, by upstream's flags.

use clap::{Args, ValueEnum};

use super::{TlsOptions, Versions};

/// `--tls-cipher-suites` and `--tls-min-version`.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsFlags {
    /// The cipher suites of TLS 1.2 that are offered; all that are safe without any
    #[arg(long, value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// The oldest version of TLS that is spoken; none before 1.2 is
    #[arg(long, value_enum, default_value = "")]
    pub tls_min_version: MinVersion,
}

/// What `--tls-min-version` may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MinVersion {
    #[default]
    #[value(name = "")]
    Unsaid,
    #[value(name = "VersionTLS10")]
    Tls10,
    #[value(name = "VersionTLS11")]
    Tls11,
    #[value(name = "VersionTLS12")]
    Tls12,
    #[value(name = "VersionTLS13")]
    Tls13,
}

/// Suites by the names that Go has had for them before those of IANA; either is taken.
const OLD_NAMES: [(&str, &str); 2] = [
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

impl TlsFlags {
    /// Writes them into a server's options, whose [`Tls::new`](super::Tls::new) refuses suites that it does not have by name.
    pub fn apply(&self, options: &mut TlsOptions) {
        let named = self.tls_cipher_suites.iter().filter(|suite| !suite.is_empty());
        let known = named.map(|suite| {
            let iana = OLD_NAMES.iter().find(|(old, _)| old == suite).map(|(_, iana)| (*iana).to_owned());
            iana.unwrap_or_else(|| suite.clone())
        });
        options.cipher_suites = known.collect();
        options.versions = match self.tls_min_version {
            MinVersion::Tls13 => Versions::Tls13,
            _ => Versions::Both,
        };
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{ClientAuth, Identity, Tls};
    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        tls: TlsFlags,
    }

    fn server(flags: &[&str]) -> Result<Versions, String> {
        let all = std::iter::once("x").chain(flags.iter().copied());
        let flags = Options::try_parse_from(all).map_err(|error| error.to_string())?.tls;
        let identity = Identity::made("localhost").unwrap();
        let mut options = TlsOptions::http(identity, ClientAuth::None);
        flags.apply(&mut options);
        let versions = options.versions;
        Tls::new(options).map(|_| versions).map_err(|error| error.to_string())
    }

    #[test]
    fn what_hardening_guides_ask_for_is_spoken() {
        for (flags, versions) in [
            (&[][..], Versions::Both),
            (&["--tls-min-version=VersionTLS12"], Versions::Both),
            (&["--tls-min-version=VersionTLS13"], Versions::Tls13),
            (&["--tls-min-version="], Versions::Both),
            (&["--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256"], Versions::Both),
            (&["--tls-cipher-suites=TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"], Versions::Both),
        ] {
            assert_eq!(server(flags), Ok(versions), "{flags:?}");
        }
    }

    #[test]
    fn what_cannot_be_spoken_is_refused_by_name() {
        for (flag, name) in [
            ("--tls-cipher-suites=TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
            ("--tls-cipher-suites=TLS_NOTHING", "TLS_NOTHING"),
            ("--tls-min-version=VersionTLS14", "VersionTLS14"),
        ] {
            assert!(server(&[flag]).is_err_and(|error| error.contains(name)), "{flag}");
        }
    }
}
