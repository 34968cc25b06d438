//! Phase `certs`: keys and certificates.

use futures::FutureExt;
use kinit_pki::{CertificateSpec, Ensured, PkiStore};

use super::init::InitContext;
use super::{Outcome, Phase, Result};

macro_rules! certificate_phases {
    ($($name:literal: $about:literal,)*) => {
        &[
            $(Phase::leaf($name, $about, |context| async move { ensure(context, $name) }.boxed()),)*
            Phase::leaf("sa", "makes the key pair that signs service account tokens", |context| {
                async move { service_account(context) }.boxed()
            }),
        ]
    };
}

/// The phase; its children are the rows of [`kinit_pki::CERTIFICATES`] in their order.
pub const PHASE: Phase<InitContext> = Phase::node(
    "certs",
    "makes the keys and certificates of the control plane",
    certificate_phases! {
        "ca": "makes the cluster's CA",
        "apiserver": "makes what the API server serves with",
        "apiserver-kubelet-client": "makes what the API server shows to kubelets",
        "front-proxy-ca": "makes the CA of the aggregation layer",
        "front-proxy-client": "makes what the API server shows to aggregated API servers",
        "etcd-ca": "makes the CA of etcd",
        "etcd-server": "makes what etcd serves its clients with",
        "etcd-peer": "makes what etcd members show to each other",
        "etcd-healthcheck-client": "makes what probes of etcd show",
        "apiserver-etcd-client": "makes what the API server shows to etcd",
    },
);

/// The PKI folder to work in: a copy of the real one in a dry run.
pub fn store(context: &InitContext) -> anyhow::Result<PkiStore> {
    let folder = context.host.stage(&context.settings.cluster.certificates_dir)?;
    Ok(PkiStore::new(folder).with(context.settings.cluster.issuance))
}

fn outcome(ensured: Ensured) -> Outcome {
    match ensured {
        Ensured::Created => Outcome::Changed,
        Ensured::Kept => Outcome::Unchanged,
    }
}

fn ensure(context: &InitContext, name: &str) -> Result {
    let of_etcd = name.starts_with("etcd-") || name == "apiserver-etcd-client";
    if of_etcd && context.settings.cluster.external_etcd.is_some() {
        return Ok(Outcome::Skipped("etcd runs elsewhere".into()));
    }
    let spec = CertificateSpec::find(name).ok_or_else(|| anyhow::anyhow!("no certificate is called {name}"))?;
    Ok(outcome(store(context)?.ensure(spec, &context.settings.pki_subject(), context.now)?))
}

fn service_account(context: &InitContext) -> Result {
    Ok(outcome(store(context)?.ensure_service_account_key()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_are_the_rows_of_the_table() {
        let phases: Vec<&str> = PHASE.children.iter().map(|phase| phase.name).collect();
        let rows: Vec<&str> = kinit_pki::CERTIFICATES.iter().map(|spec| spec.name).chain(["sa"]).collect();
        assert_eq!(phases, rows);
    }
}
