//! What `kinit init` prints at its end.

use serde::Serialize;

use super::super::output::{Format, emit};
use super::flags::InitFlags;
use crate::config::InitSettings;
use crate::host::{Effect, MemoryHost};
use crate::phase::kubeconfig;

/// How others join, and how the cluster is used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `host:port` of the API.
    endpoint: String,
    /// The token, unless it is not to be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Hash of the cluster's CA.
    ca_cert_hash: String,
    /// What the control plane's certificates are kept under, if they are and it is to be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_key: Option<String>,
    /// The administrator's kubeconfig.
    kubeconfig: String,
}

impl Summary {
    /// That of a cluster whose CA is on this host.
    pub fn of(settings: &InitSettings, flags: &InitFlags) -> anyhow::Result<Self> {
        let ca = kinit_pki::Certificate::load(&settings.cluster.certificates_dir.join("ca.crt"))?;
        let (host, port) = settings.endpoint();
        let shown = settings.upload_certs && !flags.skip_certificate_key_print;
        Ok(Self {
            endpoint: crate::config::net::host_port(&host, port),
            token: (!flags.skip_token_print).then(|| settings.tokens[0].token.reveal()),
            ca_cert_hash: ca.public_key_hash(),
            certificate_key: settings.certificate_key.clone().filter(|_| shown),
            kubeconfig: kubeconfig::path("admin.conf").display().to_string(),
        })
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let token = self.token.as_deref().unwrap_or("<token>");
        let join = format!(
            "kinit join {} --token {token} \\\n    --discovery-token-ca-cert-hash {}",
            self.endpoint, self.ca_cert_hash
        );
        let more = match &self.certificate_key {
            None => String::new(),
            Some(key) => format!(
                "To add control planes, run this on each, as root, within two hours:\n\n  {join} \\\n    --control-plane \
                 --certificate-key {key}\n\n"
            ),
        };
        format!(
            "\nYour Kubernetes control-plane has initialized successfully!\n\n\
             To use the cluster, as a regular user:\n\n  \
             mkdir -p $HOME/.kube\n  \
             sudo cp -i {kubeconfig} $HOME/.kube/config\n  \
             sudo chown $(id -u):$(id -g) $HOME/.kube/config\n\n\
             or, as root:\n\n  \
             export KUBECONFIG={kubeconfig}\n\n\
             {more}To add workers, run here, for any number of hosts that you can reach over SSH:\n\n  \
             kinit join --ssh root@HOST --ssh root@HOST\n\n\
             or run this on each, as root:\n\n  \
             {join}\n",
            kubeconfig = self.kubeconfig
        )
    }
}

/// What a dry run would have done.
#[derive(Debug, Serialize)]
pub struct Intended {
    /// Each file that it would write.
    files: Vec<Written>,
    /// All else, in its order.
    actions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Written {
    path: String,
    /// A unified diff to what is there.
    diff: String,
}

impl Intended {
    /// What was done to a host that only remembers.
    fn of(host: &MemoryHost) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for (path, contents) in host.written() {
            let name = path.display().to_string();
            let before = host.before(&path)?;
            let old_name = if before.is_some() { name.as_str() } else { "/dev/null" };
            let before = before.unwrap_or_default();
            let (old, new) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&contents));
            let diff = crate::diff::unified(old_name, &name, &old, &new, 3);
            files.push(Written { path: name, diff });
        }
        let actions = host.effects().into_iter().filter_map(|effect| match effect {
            Effect::Run(command) => Some(format!("run: {command}")),
            Effect::Remove(path) => Some(format!("remove: {}", path.display())),
            Effect::Install(from, to) => Some(format!("copy: {} to {}", from.display(), to.display())),
            Effect::Write(_) => None,
        });
        Ok(Self { files, actions: actions.collect() })
    }

    /// Prints it in the format that was asked for.
    pub fn print(host: &MemoryHost, format: Format) -> anyhow::Result<()> {
        let intended = Self::of(host)?;
        emit(format, &intended, || intended.text())
    }

    fn text(&self) -> String {
        let files = self.files.iter().map(|file| file.diff.clone());
        files.chain(self.actions.iter().map(|action| format!("would {action}\n"))).collect()
    }
}
