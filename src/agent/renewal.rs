//! The certificates of a control plane, issued anew before they end. Servers read them again by themselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kinit_pki::certificate::BACKDATE;
use kinit_pki::{CERTIFICATES, Certificate, CertificateSpec, Kubeconfig, PkiStore};
use serde::{Deserialize, Serialize};

use crate::certificates::renew_kubeconfig;
use crate::phase::kubeconfig;
use crate::report::{Reporter, describe};

/// How long before its end a certificate that lives for a year is renewed at the latest.
const LATEST: Duration = Duration::from_secs(60 * 24 * 3600);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// Something with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    name: &'static str,
    begin: Timestamp,
    end: Timestamp,
}

impl Due {
    fn of(name: &'static str, certificate: &Certificate) -> Self {
        // Certificates begin a little before they are issued, for clocks that are behind.
        let begin = certificate.not_before.as_second() + BACKDATE.as_secs() as i64;
        let begin = Timestamp::from_second(begin).unwrap_or(certificate.not_before);
        Self { name, begin, end: certificate.not_after }
    }

    /// When it is to be renewed: with a third of its life left, or two months if that is later.
    fn at(&self) -> Timestamp {
        let life = (self.end.as_second() - self.begin.as_second()).max(0);
        let before = (life / 3).min(LATEST.as_secs() as i64);
        Timestamp::from_second(self.end.as_second() - before).unwrap_or(self.end)
    }
}

/// What is to be renewed now, and how long to wait before looking again.
fn plan(all: &[Due], now: Timestamp) -> (Vec<&'static str>, Duration) {
    let due = all.iter().filter(|one| one.at() <= now).map(|one| one.name).collect();
    let next = all.iter().map(|one| one.at().as_second() - now.as_second()).filter(|left| *left > 0).min();
    let pause = next.map_or(LONGEST_PAUSE, |left| Duration::from_secs(left.unsigned_abs()));
    (due, pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// What is renewed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The PKI folder.
    pub folder: PathBuf,
    /// What new keys are, as the ClusterConfiguration says it.
    pub algorithm: String,
}

/// Looks and renews, for good.
pub async fn run(work: Work, reporter: Arc<dyn Reporter>) {
    loop {
        let now = Timestamp::now();
        let pause = match gather(&work.folder) {
            Ok(all) => {
                let (due, pause) = plan(&all, now);
                for name in due {
                    match renew(&work, name, &all, now) {
                        Ok(end) => reporter.info(&format!("[renewal] {name} is renewed; it ends on {end}")),
                        Err(error) => reporter.warn(&format!("{name} could not be renewed: {}", describe(&error))),
                    }
                }
                pause
            }
            Err(error) => {
                reporter.warn(&format!("certificates could not be read: {}", describe(&error)));
                LONGEST_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Every leaf and kubeconfig that is here and that a key here can sign anew. In external CA mode that is none.
fn gather(folder: &std::path::Path) -> anyhow::Result<Vec<Due>> {
    let store = PkiStore::new(folder);
    CERTIFICATES.iter().try_for_each(|spec| store.finish(spec))?;
    let signs = |name: &str| CertificateSpec::find(name).is_some_and(|spec| store.key_path(spec).exists());
    let mut all = Vec::new();
    for spec in CERTIFICATES.iter().filter(|spec| spec.authority.is_some_and(signs)) {
        if let Some(certificate) = store.certificate(spec)? {
            all.push(Due::of(spec.name, &certificate));
        }
    }
    for user in kubeconfig::USERS.iter().filter(|_| signs("ca")) {
        if let Some(certificate) = embedded(user.file)? {
            all.push(Due::of(user.file, &certificate));
        }
    }
    Ok(all)
}

/// The client certificate in a kubeconfig; one that it only points to is the kubelet's own affair.
fn embedded(file: &str) -> anyhow::Result<Option<Certificate>> {
    let path = kubeconfig::path(file);
    if !path.exists() {
        return Ok(None);
    }
    let config = Kubeconfig::load(&path)?;
    let Some(user) = config.current()?.1.filter(|user| user.client_certificate_data.is_some()) else { return Ok(None) };
    Ok(user.certificate_pem()?.map(|(pem, _)| Certificate::from_pem(&pem, file)).transpose()?)
}

/// Issues one anew, for as long as the one before.
fn renew(work: &Work, name: &str, all: &[Due], now: Timestamp) -> anyhow::Result<Timestamp> {
    let before = PkiStore::new(&work.folder);
    let mut issuance = before.issuance();
    issuance.algorithm = work.algorithm.parse().map_err(anyhow::Error::msg)?;
    if let Some(one) = all.iter().find(|one| one.name == name) {
        let life = one.end.as_second() - one.begin.as_second();
        issuance.leaf_validity = Duration::from_secs(life.unsigned_abs());
    }
    let store = before.with(issuance);
    match CertificateSpec::find(name) {
        Some(spec) => Ok(store.renew(spec, now)?.not_after),
        None => renew_kubeconfig(&store, name, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_in_time() {
        let day = 24 * 3600;
        let due = |begin: i64, end: i64| Due {
            name: "x",
            begin: Timestamp::from_second(begin).unwrap(),
            end: Timestamp::from_second(end).unwrap(),
        };
        // Begin and end, now, whether it is renewed, and the pause in seconds.
        for (one, now, wanted, pause) in [
            (due(0, 365 * day), 100 * day, false, 3600),
            (due(0, 365 * day), 305 * day - 60, false, 60),
            (due(0, 365 * day), 305 * day, true, 3600),
            (due(0, 300), 100, false, 100),
            (due(0, 300), 199, false, 5),
            (due(0, 300), 200, true, 3600),
            (due(0, 300), 900, true, 3600),
            (due(300, 0), 100, true, 3600),
        ] {
            let all = [one.clone()];
            let (names, wait) = plan(&all, Timestamp::from_second(now).unwrap());
            assert_eq!((!names.is_empty(), wait.as_secs()), (wanted, pause), "{one:?} at {now}");
        }
    }

    #[test]
    fn a_leaf_is_issued_anew_for_as_long_as_before_and_without_a_key_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut issuance = PkiStore::new(folder.path()).issuance();
        issuance.leaf_validity = Duration::from_secs(3600);
        let store = PkiStore::new(folder.path()).with(issuance);
        let host = crate::config::settings::HostDefaults {
            host_name: "cp1".into(),
            address: "10.0.0.1".parse().ok(),
            cri_socket: None,
        };
        let settings = crate::config::InitSettings::resolve(Default::default(), Default::default(), &host).unwrap();
        for name in ["ca", "apiserver"] {
            store.ensure(CertificateSpec::find(name).unwrap(), &settings.pki_subject(), now).unwrap();
        }
        let all = gather(folder.path()).unwrap();
        assert_eq!(all.iter().map(|one| one.name).collect::<Vec<_>>(), ["apiserver"]);
        let later = Timestamp::from_second(now.as_second() + 1800).unwrap();
        let work = Work { folder: folder.path().to_owned(), algorithm: "ECDSA-P384".into() };
        let end = renew(&work, "apiserver", &all, later).unwrap();
        let key = kinit_pki::PrivateKey::load(&folder.path().join("apiserver.key")).unwrap();
        assert!(key.public_der().len() > 100, "P-384 has longer keys than P-256");
        assert_eq!(end.as_second(), later.as_second() + 3600);
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(gather(folder.path()).unwrap().is_empty());
    }
}
