//! When certificates end.

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, Certificate, CertificateSpec, Kubeconfig, PkiStore};
use serde::Serialize;

use super::super::output::{emit, table};
use super::{CheckArgs, KUBECONFIGS};
use crate::config::{Documents, Settings};
use crate::phase::kubeconfig;

/// When a certificate ends, in the form that kubeadm prints it in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiration {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_date: Option<String>,
    residual_time: u64,
    externally_managed: bool,
    #[serde(skip_serializing_if = "Option::is_none", rename = "caName")]
    authority: Option<&'static str>,
    missing: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expirations {
    kind: &'static str,
    api_version: &'static str,
    certificates: Vec<Expiration>,
    certificate_authorities: Vec<Expiration>,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let documents = Documents::load(args.config.as_deref())?;
    let folder = match documents.cluster {
        Some(cluster) => Settings::resolve(cluster, None, None)?.certificates_dir,
        None => args.cert_dir.clone(),
    };
    let all = gather(&PkiStore::new(&folder), Timestamp::now())?;
    if all.certificates.iter().chain(&all.certificate_authorities).all(|one| one.missing) {
        anyhow::bail!(
            "there are no certificates in {}\nhint: run this on a control plane, or name the folder by --cert-dir\ncode: NotControlPlane",
            folder.display()
        );
    }
    emit(args.output, &all, || text(&all))
}

fn gather(store: &PkiStore, now: Timestamp) -> anyhow::Result<Expirations> {
    let entry = |name: &str, certificate: Option<&Certificate>, authority: Option<&'static str>| Expiration {
        name: name.to_owned(),
        expiration_date: certificate.map(|certificate| certificate.not_after.to_string()),
        residual_time: certificate.map_or(0, |certificate| certificate.remaining(now).as_secs()),
        externally_managed: authority
            .or(Some(name))
            .and_then(CertificateSpec::find)
            .is_some_and(|spec| store.certificate_path(spec).exists() && !store.key_path(spec).exists()),
        authority,
        missing: certificate.is_none(),
    };
    let mut all = Expirations {
        kind: "CertificateExpirationInfo",
        api_version: "output.kubeadm.k8s.io/v1alpha3",
        certificates: Vec::new(),
        certificate_authorities: Vec::new(),
    };
    for file in KUBECONFIGS {
        all.certificates.push(entry(file, of_kubeconfig(file)?.as_ref(), Some("ca")));
    }
    for spec in CERTIFICATES {
        let list = if spec.is_authority() { &mut all.certificate_authorities } else { &mut all.certificates };
        list.push(entry(spec.name, store.certificate(spec)?.as_ref(), spec.authority));
    }
    all.certificates.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(all)
}

fn of_kubeconfig(file: &str) -> anyhow::Result<Option<Certificate>> {
    let path = kubeconfig::path(file);
    if !path.exists() {
        return Ok(None);
    }
    let config = Kubeconfig::load(&path)?;
    let pem = config.current()?.1.map(|user| user.certificate_pem()).transpose()?.flatten();
    Ok(pem.map(|(pem, _)| Certificate::from_pem(&pem, file)).transpose()?)
}

fn text(all: &Expirations) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let row = |one: &Expiration| match &one.expiration_date {
        None => vec![format!("!MISSING! {}", one.name), String::new(), String::new()],
        Some(date) => vec![one.name.clone(), date.clone(), residual(one.residual_time)],
    };
    let managed = |one: &Expiration| if one.missing { String::new() } else { yes(one.externally_managed) };
    let leaves = all.certificates.iter().map(|one| {
        let authority = if one.missing { "" } else { one.authority.unwrap_or_default() };
        [row(one), vec![authority.to_owned(), managed(one)]].concat()
    });
    let authorities = all.certificate_authorities.iter().map(|one| [row(one), vec![managed(one)]].concat());
    format!(
        "{}\n{}",
        table(&["CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY", "EXTERNALLY MANAGED"], leaves),
        table(&["CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME", "EXTERNALLY MANAGED"], authorities),
    )
}

/// What is left, in the largest unit that says enough.
pub(super) fn residual(seconds: u64) -> String {
    match seconds {
        0 => "<invalid>".into(),
        seconds if seconds < 48 * 3600 => format!("{}h", seconds / 3600),
        seconds if seconds < 2 * 365 * 86400 => format!("{}d", seconds / 86400),
        seconds => format!("{}y", seconds / (365 * 86400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_shown_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let store = PkiStore::new(folder.path());
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let ca = CertificateSpec::find("ca").unwrap();
        let authority = kinit_pki::Authority::create("kubernetes", now).unwrap();
        std::fs::write(store.certificate_path(ca), authority.certificate().to_pem()).unwrap();
        let all = gather(&store, now).unwrap();
        let ca = &all.certificate_authorities[0];
        assert_eq!((ca.missing, ca.externally_managed, ca.expiration_date.is_some()), (false, true, true));
        assert!(all.certificates.iter().all(|one| one.missing));
        let shown = text(&all);
        assert!(shown.contains("!MISSING! apiserver") && shown.contains("10y"), "{shown}");
    }

    #[test]
    fn what_is_left_is_shown_in_one_unit() {
        for (seconds, wanted) in [(0, "<invalid>"), (3600 * 47, "47h"), (86400 * 364, "364d"), (86400 * 3650, "10y")] {
            assert_eq!(residual(seconds), wanted);
        }
    }
}
