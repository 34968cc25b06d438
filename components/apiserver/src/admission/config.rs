//! `AdmissionConfiguration`: what plugins are told beyond being switched on. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_yaml::Value;

use super::event_rate::{EventRates, Limit};
use super::image_policy;
use super::limited::Limited;
use super::node_selector::Selectors;
use super::tolerations::Tolerations;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    plugins: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    path: Option<PathBuf>,
    configuration: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EventRateFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodSecurityFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Debug, Default, Deserialize)]
struct NodeSelectorFile {
    #[serde(default, rename = "podNodeSelectorPluginConfig")]
    selectors: Selectors,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TolerationFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    default: Vec<serde_json::Value>,
    #[serde(default)]
    whitelist: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct QuotaFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ImageFile {
    image_policy: image_policy::Settings,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WebhookFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    kube_config_file: PathBuf,
}

/// Whose Pods no standard is asked of.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Exemptions {
    pub usernames: Vec<String>,
    pub runtime_classes: Vec<String>,
    pub namespaces: Vec<String>,
}

impl Exemptions {
    /// Whether a Pod, or a template of one, is of a runtime class whose Pods no standard is asked of.
    pub fn has_class(&self, pod: &serde_json::Value) -> bool {
        let class = pod["spec"]["runtimeClassName"].as_str();
        class.is_some_and(|class| self.runtime_classes.iter().any(|own| own == class))
    }
}

/// What all plugins are told.
#[derive(Debug, Default)]
pub struct Configuration {
    /// Labels that a namespace is looked at as having, where it has none of its own.
    pub pod_security: BTreeMap<String, String>,
    pub exempt: Exemptions,
    pub event_rates: EventRates,
    pub node_selectors: Selectors,
    pub tolerations: Tolerations,
    /// What may be used only where a quota is about it.
    pub limited: Vec<Limited>,
    /// Who is asked about images.
    pub images: Option<image_policy::Settings>,
    /// The kubeconfigs of those whom webhooks are called as, by the plugin that calls them.
    pub webhook_users: BTreeMap<String, PathBuf>,
}

impl Configuration {
    /// Reads the file and those that it names; errors name them.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("--admission-control-config-file: {}", path.display());
        let text = std::fs::read_to_string(path).with_context(named)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("/"))).with_context(named)
    }

    fn parse(text: &str, folder: &Path) -> anyhow::Result<Self> {
        let file: File = serde_yaml::from_str(text)?;
        expect(&file.api_version, &file.kind, "apiserver.config.k8s.io/v1", "AdmissionConfiguration")?;
        let mut all = Self::default();
        for entry in file.plugins {
            let value = match (entry.path, entry.configuration) {
                (_, Some(value)) => value,
                (Some(path), None) => {
                    let path = folder.join(path);
                    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                    serde_yaml::from_str(&text).with_context(|| path.display().to_string())?
                }
                (None, None) => continue,
            };
            all.add(&entry.name, value).with_context(|| format!("plugin {}", entry.name))?;
        }
        Ok(all)
    }

    fn add(&mut self, plugin: &str, value: Value) -> anyhow::Result<()> {
        match plugin {
            "PodSecurity" => {
                let file: PodSecurityFile = serde_yaml::from_value(value)?;
                expect(
                    &file.api_version,
                    &file.kind,
                    "pod-security.admission.config.k8s.io/v1",
                    "PodSecurityConfiguration",
                )?;
                for field in file.defaults.keys() {
                    let known = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
                    ensure!(known.contains(&field.as_str()), "defaults: unknown field {field:?}");
                }
                self.pod_security = file.defaults;
                self.exempt = file.exemptions;
            }
            "EventRateLimit" => {
                let file: EventRateFile = serde_yaml::from_value(value)?;
                expect(&file.api_version, &file.kind, "eventratelimit.admission.k8s.io/v1alpha1", "Configuration")?;
                self.event_rates = EventRates::new(file.limits)?;
            }
            "PodNodeSelector" => {
                // A form of its own, without a version; upstream takes what it cannot read for nothing.
                let file: NodeSelectorFile = serde_yaml::from_value(value).unwrap_or_default();
                self.node_selectors = file.selectors;
            }
            "PodTolerationRestriction" => {
                let file: TolerationFile = serde_yaml::from_value(value)?;
                let version = "podtolerationrestriction.admission.k8s.io/v1alpha1";
                expect(&file.api_version, &file.kind, version, "Configuration")?;
                self.tolerations = Tolerations { default: file.default, allowed: file.whitelist };
            }
            "ResourceQuota" => {
                let file: QuotaFile = serde_yaml::from_value(value)?;
                if file.api_version.starts_with("resourcequota.admission.k8s.io/") {
                    // The versions and the name from before v1 say the same.
                    let known =
                        ["v1beta1", "v1alpha1"].map(|version| format!("resourcequota.admission.k8s.io/{version}"));
                    ensure!(known.contains(&file.api_version), "no version {}", file.api_version);
                    expect(&file.api_version, &file.kind, &file.api_version, "Configuration")?;
                } else {
                    expect(&file.api_version, &file.kind, "apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration")?;
                }
                for (at, limited) in file.limited_resources.iter().enumerate() {
                    ensure!(!limited.resource.is_empty(), "limitedResources[{at}].resource: Required value");
                }
                self.limited = file.limited_resources;
            }
            "ImagePolicyWebhook" => {
                // A form of its own, without a version, in which upstream passes over what it does not know.
                let file: ImageFile = serde_yaml::from_value(value)?;
                self.images = Some(file.image_policy);
            }
            "MutatingAdmissionWebhook" | "ValidatingAdmissionWebhook" => {
                let file: WebhookFile = serde_yaml::from_value(value)?;
                let expected = "WebhookAdmissionConfiguration";
                expect(&file.api_version, &file.kind, "apiserver.config.k8s.io/v1", expected)?;
                let path = file.kube_config_file;
                if !path.as_os_str().is_empty() {
                    ensure!(
                        path.is_absolute(),
                        "kubeConfigFile: Invalid value: {:?}: must be an absolute file path",
                        path.display().to_string()
                    );
                    self.webhook_users.insert(plugin.to_owned(), path);
                }
            }
            // Who takes none is told nothing, as upstream has it.
            _ => {}
        }
        Ok(())
    }
}

fn expect(version: &str, kind: &str, wanted_version: &str, wanted_kind: &str) -> anyhow::Result<()> {
    ensure!(
        (version, kind) == (wanted_version, wanted_kind),
        "a {wanted_kind} of {wanted_version} is expected, not a {kind} of {version}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(plugins: &str) -> anyhow::Result<Configuration> {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
        Configuration::parse(&format!("{head}{plugins}"), Path::new("/nowhere"))
    }

    #[test]
    fn plugins_are_told_in_the_file_or_in_others() {
        let all = parse(
            "- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: \
             PodSecurityConfiguration\n    defaults: {enforce: baseline, enforce-version: latest}\n    exemptions: \
             {usernames: [a], namespaces: [kube-system]}\n- name: EventRateLimit\n  configuration:\n    apiVersion: \
             eventratelimit.admission.k8s.io/v1alpha1\n    kind: Configuration\n    limits: [{type: Namespace, qps: 1, \
             burst: 2}]\n",
        )
        .unwrap();
        assert_eq!(all.pod_security["enforce"], "baseline");
        assert_eq!(
            (all.exempt.namespaces.as_slice(), all.exempt.runtime_classes.len()),
            (&["kube-system".to_owned()][..], 0)
        );
        let all = parse(
            "- {name: Priority, configuration: {}}\n- name: PodNodeSelector\n  configuration:\n    \
             podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: a=b}\n- name: PodTolerationRestriction\n  \
             configuration:\n    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1\n    kind: Configuration\n    \
             default: [{key: k, operator: Exists}]\n",
        )
        .unwrap();
        assert_eq!(all.node_selectors["clusterDefaultNodeSelector"], "a=b");
        assert_eq!((all.tolerations.default.len(), all.tolerations.allowed.len()), (1, 0));
        let all = parse(
            "- {name: ImagePolicyWebhook, configuration: {imagePolicy: {kubeConfigFile: /a, allowTTL: 30}}}\n- name: \
             ValidatingAdmissionWebhook\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: \
             WebhookAdmissionConfiguration, kubeConfigFile: /b}\n",
        )
        .unwrap();
        assert!(all.images.is_some());
        assert_eq!(all.webhook_users["ValidatingAdmissionWebhook"], Path::new("/b"));
        let cases = [
            ("- {name: PodSecurity, path: a.yaml}", "/nowhere/a.yaml"),
            ("- {name: PodSecurity, configuration: {apiVersion: v1, kind: Secret}}", "not a Secret of v1"),
            (
                "- {name: EventRateLimit, configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: \
                 Configuration, limits: [{type: Planet, qps: 1, burst: 1}]}}",
                "unknown variant `Planet`",
            ),
            (
                "- {name: MutatingAdmissionWebhook, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: \
                 WebhookAdmissionConfiguration, kubeConfigFile: a/b}}",
                "kubeConfigFile: Invalid value: \"a/b\": must be an absolute file path",
            ),
        ];
        for (plugins, wanted) in cases {
            let error = format!("{:#}", parse(plugins).err().unwrap());
            assert!(error.contains(wanted), "{error}");
        }
    }
}
