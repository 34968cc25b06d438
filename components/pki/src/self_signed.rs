//! A serving certificate that no cluster has signed, in the form in which the field's servers make theirs.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{BasicConstraints, IsCa, Issuer, KeyUsagePurpose};

use crate::certificate::{Certificate, LEAF_VALIDITY, Profile, Usage, live};
use crate::error::{Error, Result};
use crate::key::PrivateKey;

/// How long before it is made such a certificate begins.
const BEFORE: Duration = Duration::from_secs(3600);

/// Makes a certificate for `host`, a name or an address, and for these other names and addresses, signed by a CA that is made for
/// it and whose key is thrown away. The chain is the certificate and then its CA, in PEM; so is the key. Both live a year, from an
/// hour before `now`. Names of the subjects are upstream's: `HOST@SECONDS` and `HOST-ca@SECONDS`.
pub fn self_signed(host: &str, names: &[String], addresses: &[IpAddr], now: Timestamp) -> Result<(String, String)> {
    let fail = |error: rcgen::Error| Error::certificate(host, error);
    let from = Timestamp::from_second(now.as_second() - BEFORE.as_secs().cast_signed())
        .map_err(|error| Error::certificate(host, error))?;
    let named = |what: &str| format!("{host}{what}@{}", now.as_second());

    let authority_key = PrivateKey::generate()?;
    let mut authority = Profile { common_name: named("-ca"), ..Profile::default() }.params()?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages.push(KeyUsagePurpose::KeyCertSign);
    live(&mut authority, from, LEAF_VALIDITY);
    let signed = authority.self_signed(authority_key.pair()).map_err(fail)?;
    let authority = Certificate::from_der(signed.der(), host)?;

    let mut profile = Profile { common_name: named(""), usages: vec![Usage::Server], ..Profile::default() };
    match host.parse() {
        Ok(address) => profile.ips.push(address),
        Err(_) => profile.dns_names.push(host.to_owned()),
    }
    profile.dns_names.extend_from_slice(names);
    profile.ips.extend_from_slice(addresses);
    let key = PrivateKey::generate()?;
    let mut leaf = profile.params()?;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.use_authority_key_identifier_extension = true;
    live(&mut leaf, from, LEAF_VALIDITY);
    let issuer = Issuer::from_ca_cert_der(&authority.der().into(), authority_key.pair()).map_err(fail)?;
    let signed = leaf.signed_by(key.pair(), &issuer).map_err(fail)?;
    let leaf = Certificate::from_der(signed.der(), host)?;
    Ok((leaf.to_pem() + &authority.to_pem(), key.to_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_what_upstreams_servers_make() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let own: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let (chain, key) = self_signed("192.0.2.2", &["kubernetes".to_owned()], &own, now).unwrap();
        let chain = Certificate::all_from_pem(&chain, "chain").unwrap();
        let [leaf, authority] = &chain[..] else { panic!("{chain:?}") };
        assert_eq!(leaf.common_name, "192.0.2.2@1800000000");
        assert_eq!(authority.common_name, "192.0.2.2-ca@1800000000");
        assert_eq!(leaf.dns_names, ["kubernetes"]);
        assert_eq!(
            leaf.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.2", "10.0.0.1", "127.0.0.1"]
        );
        assert_eq!((leaf.usages.as_slice(), leaf.is_ca, authority.is_ca), (&[Usage::Server][..], false, true));
        assert!(leaf.is_signed_by(authority) && authority.is_signed_by(authority));
        for one in &chain {
            assert_eq!(one.not_before.as_second(), 1_800_000_000 - 3600, "{}", one.common_name);
            assert_eq!(one.not_after.as_second(), 1_800_000_000 - 3600 + 365 * 24 * 3600, "{}", one.common_name);
        }
        assert_eq!(PrivateKey::from_pem(&key, "key").unwrap().public_der(), leaf.public_key_der());
        let (named, _) = self_signed("localhost", &[], &[], now).unwrap();
        assert_eq!(Certificate::from_pem(&named, "chain").unwrap().dns_names, ["localhost"]);
    }
}
