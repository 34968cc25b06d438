//! Issuing certificates of the control plane anew.

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, CertificateSpec, PkiStore};

use super::super::print;
use super::{KUBECONFIGS, RenewArgs};
use crate::certificates::renew_kubeconfig;
use crate::config::{Documents, Settings};

pub(super) fn run(args: &RenewArgs) -> anyhow::Result<()> {
    let documents = Documents::load(args.config.as_deref())?;
    let settings = Settings::resolve(documents.cluster.unwrap_or_default(), None, None)?;
    let folder = if args.config.is_some() { &settings.certificates_dir } else { &args.cert_dir };
    let store = PkiStore::new(folder).with(settings.issuance);
    let leaves = || CERTIFICATES.iter().filter(|spec| !spec.is_authority());
    let all = args.name == "all";
    let known = || leaves().map(|spec| spec.name).chain(KUBECONFIGS.iter().copied());
    let names: Vec<&str> = known().filter(|name| all || *name == args.name).collect();
    if names.is_empty() {
        let known = known().collect::<Vec<_>>().join(", ");
        anyhow::bail!("there is no certificate {:?} to renew\nhint: there are all, {known}\ncode: Usage", args.name);
    }
    let now = Timestamp::now();
    for name in names {
        let end = match CertificateSpec::find(name) {
            // With an etcd elsewhere there are fewer; what was never there is not missed when all are renewed.
            Some(spec) if all && store.certificate(spec)?.is_none() => {
                print(&format!("MISSING! {name}\n"))?;
                continue;
            }
            Some(spec) => store.renew(spec, now)?.not_after,
            None if all && !crate::phase::kubeconfig::path(name).exists() => {
                print(&format!("MISSING! {name}\n"))?;
                continue;
            }
            None => renew_kubeconfig(&store, name, now)?,
        };
        print(&format!("{name} renewed; it ends on {end}\n"))?;
    }
    print(
        "\nDone renewing certificates. kube-apiserver, kube-controller-manager, kube-scheduler and etcd read them again by\nthemselves, within a minute; upstream's must be restarted.\n",
    )
}
