//! A whole PKI on disk against what kubeadm v1.36 makes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;
use kinit_pki::certificate::{CA_VALIDITY, LEAF_VALIDITY};
use kinit_pki::kubeconfig::Credential;
use kinit_pki::{
    Authority, CERTIFICATES, Certificate, CertificateRequest, CertificateSpec, Ensured, Kubeconfig, PkiStore,
    PrivateKey, Profile, Subject, Usage,
};
use x509_parser::prelude::{FromDer, X509Certificate};

fn subject() -> Subject {
    Subject {
        node_name: "cp1".into(),
        advertise_address: "10.88.0.11".parse().unwrap(),
        service_address: "10.96.0.1".parse().unwrap(),
        dns_domain: "cluster.local".into(),
        endpoint_host: Some("api.example".into()),
        api_server_names: vec!["192.0.2.1".into(), "more.example".into(), "cp1".into()],
        etcd_server_names: vec![],
        etcd_peer_names: vec!["192.0.2.9".into()],
    }
}

fn now() -> Timestamp {
    "2027-01-01T12:00:00Z".parse().unwrap()
}

fn make_all(folder: &Path) -> PkiStore {
    let store = PkiStore::new(folder.join("pki"));
    for spec in CERTIFICATES {
        assert_eq!(store.ensure(spec, &subject(), now()).unwrap(), Ensured::Created, "{}", spec.name);
    }
    assert_eq!(store.ensure_service_account_key().unwrap(), Ensured::Created);
    store
}

fn texts<T: ToString>(items: &[T]) -> BTreeSet<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn every_certificate_is_as_kubeadm_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    let api_names = "api.example cp1 kubernetes kubernetes.default kubernetes.default.svc \
                     kubernetes.default.svc.cluster.local more.example";
    // name, file, CN, O, usages, DNS names, addresses
    let expected = [
        ("ca", "ca", "kubernetes", "", "", "kubernetes", ""),
        ("apiserver", "apiserver", "kube-apiserver", "", "S", api_names, "10.88.0.11 10.96.0.1 192.0.2.1"),
        ("apiserver-kubelet-client", "apiserver-kubelet-client", "kube-apiserver-kubelet-client", "", "C", "", ""),
        ("front-proxy-ca", "front-proxy-ca", "front-proxy-ca", "", "", "front-proxy-ca", ""),
        ("front-proxy-client", "front-proxy-client", "front-proxy-client", "", "C", "", ""),
        ("etcd-ca", "etcd/ca", "etcd-ca", "", "", "etcd-ca", ""),
        ("etcd-server", "etcd/server", "cp1", "", "SC", "cp1 localhost", "10.88.0.11 127.0.0.1 ::1"),
        ("etcd-peer", "etcd/peer", "cp1", "", "SC", "cp1 localhost", "10.88.0.11 127.0.0.1 192.0.2.9 ::1"),
        ("etcd-healthcheck-client", "etcd/healthcheck-client", "kube-etcd-healthcheck-client", "", "C", "", ""),
        ("apiserver-etcd-client", "apiserver-etcd-client", "kube-apiserver-etcd-client", "", "C", "", ""),
    ];
    assert_eq!(expected.len(), CERTIFICATES.len());
    for (name, file, common_name, organizations, usages, dns, ips) in expected {
        let spec = CertificateSpec::find(name).unwrap();
        let found = Certificate::load(&store.folder().join(format!("{file}.crt"))).unwrap();
        assert_eq!(found.common_name, common_name, "{name}");
        assert_eq!(found.organizations.join(" "), organizations, "{name}");
        let letters: String =
            found.usages.iter().map(|usage| if *usage == Usage::Server { 'S' } else { 'C' }).collect();
        assert_eq!(letters, usages, "{name}");
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(texts(&found.dns_names), split(dns), "{name}");
        assert_eq!(texts(&found.ips), split(ips), "{name}");
        let life = if spec.is_authority() { CA_VALIDITY } else { LEAF_VALIDITY };
        assert!(found.remaining(now()) <= life && found.remaining(now()) > life - std::time::Duration::from_secs(2));
        assert_eq!(now().duration_since(found.not_before).as_secs(), 300, "{name}");
        assert_eq!(found.is_ca, spec.is_authority(), "{name}");
        let signer = spec.authority.map_or(spec, |name| CertificateSpec::find(name).unwrap());
        assert!(found.is_signed_by(&store.certificate(signer).unwrap().unwrap()), "{name}");

        let (_, parsed) = X509Certificate::from_der(found.der()).unwrap();
        let usage = parsed.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment(), "{name}");
        assert_eq!(usage.key_cert_sign(), spec.is_authority(), "{name}");
        let mode = store.key_path(spec).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(store.folder().join("etcd").metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn serial_numbers_differ_and_are_positive() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    let mut seen = BTreeSet::new();
    for spec in CERTIFICATES {
        let found = store.certificate(spec).unwrap().unwrap();
        let (_, parsed) = X509Certificate::from_der(found.der()).unwrap();
        assert!(parsed.raw_serial()[0] < 0x80, "{} has a negative serial number", spec.name);
        assert!(seen.insert(parsed.raw_serial().to_vec()), "{}", spec.name);
    }
}

#[test]
fn a_second_run_changes_nothing_and_what_is_missing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    let peer = CertificateSpec::find("etcd-peer").unwrap();
    std::fs::remove_file(store.certificate_path(peer)).unwrap();
    let key = PrivateKey::load(&store.key_path(peer)).unwrap().fingerprint();
    for spec in CERTIFICATES {
        let wanted = if spec == peer { Ensured::Created } else { Ensured::Kept };
        assert_eq!(store.ensure(spec, &subject(), now()).unwrap(), wanted, "{}", spec.name);
    }
    assert_eq!(PrivateKey::load(&store.key_path(peer)).unwrap().fingerprint(), key);
    assert_eq!(store.ensure_service_account_key().unwrap(), Ensured::Kept);
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    let spec = CertificateSpec::find("apiserver").unwrap();
    let refused = |subject: &Subject, now: Timestamp| {
        let error = store.ensure(spec, subject, now).unwrap_err().to_string();
        assert!(error.contains("pki/apiserver"), "{error}");
        error
    };
    let moved = Subject { advertise_address: "10.88.0.99".parse::<IpAddr>().unwrap(), ..subject() };
    assert!(refused(&moved, now()).contains("10.88.0.99"));
    assert!(refused(&subject(), "2040-01-01T00:00:00Z".parse().unwrap()).contains("ended"));
    std::fs::copy(store.folder().join("sa.key"), store.key_path(spec)).unwrap();
    assert!(refused(&subject(), now()).contains("does not belong"));
    let stranger = Authority::create("kubernetes", now()).unwrap();
    std::fs::write(store.folder().join("ca.crt"), stranger.certificate().to_pem()).unwrap();
    assert!(refused(&subject(), now()).contains("not signed"));
}

#[test]
fn an_rsa_authority_made_by_others_signs() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ca.key");
    std::fs::write(&key, include_str!("../testdata/rsa-pkcs1.key")).unwrap();
    std::fs::write(folder.path().join("ca.crt"), include_str!("../testdata/rsa-ca.crt")).unwrap();
    let store = PkiStore::new(folder.path());
    assert_eq!(store.ensure(&CERTIFICATES[0], &subject(), now()).unwrap(), Ensured::Kept);
    assert_eq!(store.ensure(&CERTIFICATES[1], &subject(), now()).unwrap(), Ensured::Created);
}

#[test]
fn an_external_authority_without_key_needs_its_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    std::fs::remove_file(store.folder().join("ca.key")).unwrap();
    assert_eq!(store.ensure(&CERTIFICATES[1], &subject(), now()).unwrap(), Ensured::Kept);
    std::fs::remove_file(store.folder().join("apiserver.crt")).unwrap();
    let error = store.ensure(&CERTIFICATES[1], &subject(), now()).unwrap_err().to_string();
    assert!(error.contains("apiserver.crt") && error.contains("ca.key"), "{error}");
}

#[test]
fn a_request_is_signed_with_what_it_asks_and_the_usages_given() {
    let authority = Authority::create("kubernetes", now()).unwrap();
    let key = PrivateKey::generate().unwrap();
    let asked = Profile {
        dns_names: vec!["w1".into()],
        ips: vec!["10.88.0.21".parse().unwrap()],
        usages: vec![Usage::Client, Usage::Server],
        ..Profile::client("system:node:w1", &["system:nodes"])
    };
    let text = CertificateRequest::create(&asked, &key).unwrap();
    let request = CertificateRequest::from_pem(&text, "test").unwrap();
    assert_eq!((request.common_name.as_str(), request.other_names), ("system:node:w1", 0));
    let day = std::time::Duration::from_secs(86400);
    let signed = authority.sign(&request, &[Usage::Client], now(), day).unwrap();
    assert!(signed.is_signed_by(authority.certificate()));
    assert_eq!(signed.public_key_der(), key.public_der());
    assert_eq!(signed.organizations, ["system:nodes"]);
    assert_eq!((signed.dns_names, signed.usages), (vec!["w1".to_owned()], vec![Usage::Client]));
    let tampered = text.replace("MII", "MIJ");
    assert!(CertificateRequest::from_pem(&tampered, "test").is_err());
}

#[test]
fn renewal_keeps_the_names_and_moves_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = make_all(folder.path());
    let spec = CertificateSpec::find("apiserver").unwrap();
    let before = store.certificate(spec).unwrap().unwrap();
    let later = now() + jiff::SignedDuration::from_hours(24 * 200);
    let after = store.renew(spec, later).unwrap();
    assert_eq!((&before.dns_names, &before.ips), (&after.dns_names, &after.ips));
    assert!(after.not_after > before.not_after);
    assert_eq!(store.ensure(spec, &subject(), later).unwrap(), Ensured::Kept);
}

#[test]
fn a_kubeconfig_survives_its_file() {
    let authority = Authority::create("kubernetes", now()).unwrap();
    let profile = Profile::client("kubernetes-admin", &["kubeadm:cluster-admins"]);
    let (certificate, key) = authority.issue(&profile, now(), LEAF_VALIDITY).unwrap();
    let ca = authority.certificate().to_pem();
    let made = Kubeconfig::new(
        "kubernetes",
        "https://10.88.0.11:6443",
        &ca,
        "kubernetes-admin",
        &Credential::Certificate(&certificate, &key),
    );
    let read = Kubeconfig::parse(&made.to_yaml().unwrap(), "test").unwrap();
    assert_eq!(made, read);
    assert_eq!(read.current_context, "kubernetes-admin@kubernetes");
    let (cluster, user) = read.current().unwrap();
    assert_eq!(cluster.ca_pem().unwrap().unwrap(), ca);
    let (shown, _) = user.unwrap().certificate_pem().unwrap().unwrap();
    assert_eq!(Certificate::from_pem(&shown, "test").unwrap(), certificate);
}

#[test]
fn the_hash_of_a_ca_is_that_of_its_public_key() {
    // openssl x509 -pubkey -in testdata/rsa-ca.crt | openssl pkey -pubin -outform der | sha256sum
    let ca = Certificate::from_pem(include_str!("../testdata/rsa-ca.crt"), "test").unwrap();
    assert_eq!(ca.public_key_hash(), format!("sha256:{}", include_str!("../testdata/rsa-ca.hash").trim()));
}
