//! Descriptions of the built-in types and their fields, taken from the schemas that the k8s-openapi crate carries and, where
//! it has none, from `words.txt`, as one compressed text of records that end with a zero byte: per type `=definition`, its
//! description, and `name: description` for each field.

use std::collections::BTreeMap;
use std::io::Write;

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::apimachinery::pkg::version;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

macro_rules! kinds {
    ($generator:ident: $($path:path),* $(,)?) => { $($generator.subschema_for::<$path>();)* };
}

/// The text, compressed.
pub fn packed() -> std::io::Result<Vec<u8>> {
    let schemas = definitions();
    let mut all: BTreeMap<String, Words> = schemas.iter().filter_map(|(name, schema)| of_list(name, schema)).collect();
    all.extend(schemas.iter().map(|(name, schema)| (name.clone(), of(schema))));
    add(include_str!("words.txt"), &mut all);
    let mut output = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for (name, words) in all {
        write!(output, "={name}\0{}\0", words.own)?;
        for (field, text) in words.fields {
            write!(output, "{field}: {text}\0")?;
        }
    }
    output.finish()
}

/// What is said of a type and of its fields.
#[derive(Default)]
struct Words {
    own: String,
    fields: BTreeMap<String, String>,
}

fn of(schema: &Value) -> Words {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let fields = fields.map(|(field, schema)| (field.clone(), description(schema).to_owned()));
    Words { own: description(schema).to_owned(), fields: fields.collect() }
}

/// The list of a kind, which for the crate is no type of its own. Nobody asks for those of kinds that are never listed.
fn of_list(name: &str, schema: &Value) -> Option<(String, Words)> {
    let fields = &schema["properties"];
    let kind = name.rsplit('.').next().filter(|_| fields.get("kind").is_some() && fields.get("metadata").is_some())?;
    let fields = [("items", "What the list holds."), ("metadata", "The list's version, and where it goes on.")];
    let fields = fields.map(|(field, text)| (field.to_owned(), text.to_owned())).into();
    Some((format!("{name}List"), Words { own: format!("A list of objects of kind {kind}."), fields }))
}

/// Adds what the crate does not say.
fn add(text: &str, all: &mut BTreeMap<String, Words>) {
    let mut names = Vec::new();
    let mut is_open = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('=') {
            if !std::mem::replace(&mut is_open, true) {
                names.clear();
            }
            names.push(name);
        } else if let Some((field, text)) = line.split_once(": ") {
            is_open = false;
            for name in &names {
                let words = all.entry((*name).to_owned()).or_default();
                if field.is_empty() {
                    words.own = text.to_owned();
                } else {
                    words.fields.insert(field.to_owned(), text.to_owned());
                }
            }
        }
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn definitions() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::new(SchemaSettings::default());
    kinds!(generator:
        api::admissionregistration::v1::MutatingAdmissionPolicy,
        api::admissionregistration::v1::MutatingAdmissionPolicyBinding,
        api::admissionregistration::v1::MutatingWebhookConfiguration,
        api::admissionregistration::v1::ValidatingAdmissionPolicy,
        api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        api::admissionregistration::v1::ValidatingWebhookConfiguration,
        apiextensions::v1::CustomResourceDefinition,
        apiregistration::v1::APIService,
        api::apps::v1::ControllerRevision,
        api::apps::v1::DaemonSet,
        api::apps::v1::Deployment,
        api::apps::v1::ReplicaSet,
        api::apps::v1::StatefulSet,
        api::authentication::v1::SelfSubjectReview,
        api::authentication::v1::TokenRequest,
        api::authentication::v1::TokenReview,
        api::authorization::v1::LocalSubjectAccessReview,
        api::authorization::v1::SelfSubjectAccessReview,
        api::authorization::v1::SelfSubjectRulesReview,
        api::authorization::v1::SubjectAccessReview,
        api::autoscaling::v1::HorizontalPodAutoscaler,
        api::autoscaling::v1::Scale,
        api::autoscaling::v2::HorizontalPodAutoscaler,
        api::batch::v1::CronJob,
        api::batch::v1::Job,
        api::certificates::v1::CertificateSigningRequest,
        api::coordination::v1::Lease,
        api::core::v1::Binding,
        api::core::v1::ComponentStatus,
        api::core::v1::ConfigMap,
        api::core::v1::Endpoints,
        api::core::v1::Event,
        api::core::v1::LimitRange,
        api::core::v1::Namespace,
        api::core::v1::Node,
        api::core::v1::PersistentVolume,
        api::core::v1::PersistentVolumeClaim,
        api::core::v1::Pod,
        api::core::v1::PodTemplate,
        api::core::v1::ReplicationController,
        api::core::v1::ResourceQuota,
        api::core::v1::Secret,
        api::core::v1::Service,
        api::core::v1::ServiceAccount,
        api::discovery::v1::EndpointSlice,
        api::events::v1::Event,
        api::flowcontrol::v1::FlowSchema,
        api::flowcontrol::v1::PriorityLevelConfiguration,
        api::networking::v1::Ingress,
        api::networking::v1::IngressClass,
        api::networking::v1::IPAddress,
        api::networking::v1::NetworkPolicy,
        api::networking::v1::ServiceCIDR,
        api::node::v1::RuntimeClass,
        api::policy::v1::Eviction,
        api::policy::v1::PodDisruptionBudget,
        api::rbac::v1::ClusterRole,
        api::rbac::v1::ClusterRoleBinding,
        api::rbac::v1::Role,
        api::rbac::v1::RoleBinding,
        api::resource::v1::DeviceClass,
        api::resource::v1::ResourceClaim,
        api::resource::v1::ResourceClaimTemplate,
        api::resource::v1::ResourceSlice,
        api::scheduling::v1::PriorityClass,
        api::storage::v1::CSIDriver,
        api::storage::v1::CSINode,
        api::storage::v1::CSIStorageCapacity,
        api::storage::v1::StorageClass,
        api::storage::v1::VolumeAttachment,
        api::storage::v1::VolumeAttributesClass,
        meta::v1::APIGroupList,
        meta::v1::APIResourceList,
        meta::v1::APIVersions,
        meta::v1::DeleteOptions,
        meta::v1::Patch,
        meta::v1::Status,
        meta::v1::WatchEvent<api::core::v1::Pod>,
        version::Info,
    );
    generator.take_definitions(false).into_iter().collect()
}
