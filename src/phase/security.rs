//! What a cluster begins with in security: Secrets encrypted by a key of its own, an audit log, and nothing for strangers
//! but health and what joining takes. Each is a file that the API server reads, and a flag that is there if the file is,
//! so clusters that were made without stay as they are.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::control_plane::MANIFESTS_DIR;
use super::init::InitContext;
use super::{Outcome, Result, certs};
use crate::config::InitSettings;
use crate::config::v1beta4::HostPathMount;
use crate::host::Change;
use crate::templates;

/// Which Secrets are encrypted by, in the PKI folder, because control planes share it as they share keys.
pub const ENCRYPTION: &str = "encryption.yaml";
/// Where the files are that say nothing secret.
const FOLDER: &str = "/etc/kubernetes/apiserver";
const AUDIT_POLICY: &str = "audit-policy.yaml";
const AUTHENTICATION: &str = "authentication.yaml";
/// Where the audit log is; reset empties the folder above it.
const AUDIT_LOGS: &str = "/var/log/kinit/audit";

/// Which of the files are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Security {
    /// Secrets are encrypted.
    pub encryption: bool,
    /// There is an audit policy.
    pub audit: bool,
    /// Strangers are kept out.
    pub authentication: bool,
}

impl Security {
    /// Looks which files are on the host.
    pub fn of(context: &InitContext) -> anyhow::Result<Self> {
        let there =
            |name: &str| Ok::<_, crate::host::Error>(context.host.read(&Path::new(FOLDER).join(name))?.is_some());
        Ok(Self {
            encryption: certs::store(context)?.folder().join(ENCRYPTION).exists(),
            audit: there(AUDIT_POLICY)?,
            authentication: there(AUTHENTICATION)?,
        })
    }

    /// The API server's flags.
    pub fn flags(self, settings: &InitSettings) -> Vec<(&'static str, String)> {
        let mut flags = Vec::new();
        if self.encryption {
            let file = settings.cluster.certificates_dir.join(ENCRYPTION);
            flags.push(("encryption-provider-config", file.display().to_string()));
            flags.push(("encryption-provider-config-automatic-reload", "true".into()));
        }
        if self.audit {
            flags.push(("audit-policy-file", format!("{FOLDER}/{AUDIT_POLICY}")));
            flags.push(("audit-log-path", format!("{AUDIT_LOGS}/audit.log")));
            flags.push(("audit-log-maxage", "30".into()));
            flags.push(("audit-log-maxbackup", "10".into()));
            flags.push(("audit-log-maxsize", "100".into()));
        }
        if self.authentication && !says_itself(settings) {
            flags.push(("authentication-config", format!("{FOLDER}/{AUTHENTICATION}")));
        }
        flags
    }

    /// The folders that the API server's container has to see, and whether it only reads them.
    pub fn mounts(self, mount: impl Fn(&str, &Path, bool) -> HostPathMount) -> Vec<HostPathMount> {
        let mut mounts = Vec::new();
        if self.audit || self.authentication {
            mounts.push(mount("apiserver-config", Path::new(FOLDER), true));
        }
        if self.audit {
            mounts.push(mount("audit-logs", Path::new(AUDIT_LOGS), false));
        }
        mounts
    }
}

/// Whether the user's own flags say who is believed and who needs no credential, which the file then may not.
fn says_itself(settings: &InitSettings) -> bool {
    let flags = &settings.cluster.api_server.extra_args;
    flags.iter().any(|flag| flag.name == "anonymous-auth" || flag.name.starts_with("oidc-"))
}

/// Makes the files that are not there. A key is made for a new cluster alone: one that has an API server already keeps
/// its Secrets as that one does.
pub fn ensure(context: &InitContext, new_cluster: bool) -> Result {
    let mut change = Change::Unchanged;
    let running = context.host.read(&Path::new(MANIFESTS_DIR).join("kube-apiserver.yaml"))?.is_some();
    for (name, template) in [(AUDIT_POLICY, templates::AUDIT_POLICY), (AUTHENTICATION, templates::AUTHENTICATION)] {
        let path = Path::new(FOLDER).join(name);
        // An administrator's own changes stay, and so does a cluster from before there were such files.
        if running || context.host.read(&path)?.is_some() {
            continue;
        }
        change = change.or(context.host.write(&path, templates::render(template, json!({}))?.as_bytes(), 0o600)?);
    }
    let key = certs::store(context)?.folder().join(ENCRYPTION);
    if new_cluster && !running && !key.exists() {
        let secret: [u8; 32] = rand::random();
        let text = templates::render(templates::ENCRYPTION, json!({"secret": BASE64.encode(secret)}))?;
        kinit_pki::files::write_atomic(&key, text.as_bytes(), 0o600)?;
        change = Change::Changed;
    }
    Ok(Outcome::from(change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::control_plane::tests_support::context;

    #[test]
    fn a_new_cluster_gets_all_and_another_only_what_is_there() {
        let (context, host) = context("192.0.2.1");
        let folder = tempfile::tempdir().unwrap();
        let mut context = context;
        context.settings.cluster.certificates_dir = folder.path().to_owned();
        assert_eq!(Security::of(&context).unwrap(), Security::default());
        assert_eq!(ensure(&context, true).unwrap(), Outcome::Changed);
        assert_eq!(ensure(&context, true).unwrap(), Outcome::Unchanged);
        let all = Security::of(&context).unwrap();
        assert_eq!(all, Security { encryption: true, audit: true, authentication: true });
        let names: Vec<&str> = all.flags(&context.settings).iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"authentication-config") && names.contains(&"encryption-provider-config"));
        let own = crate::config::v1beta4::Arg { name: "anonymous-auth".into(), value: "false".into() };
        context.settings.cluster.api_server.extra_args.push(own);
        let names: Vec<&str> = all.flags(&context.settings).iter().map(|(name, _)| *name).collect();
        assert!(!names.contains(&"authentication-config"));
        let written = host.written();
        assert!(written.iter().any(|(path, _)| path.ends_with(AUDIT_POLICY)));
    }

    #[test]
    fn who_joins_makes_no_key() {
        let (context, _) = context("192.0.2.1");
        ensure(&context, false).unwrap();
        assert!(!Security::of(&context).unwrap().encryption);
    }
}
