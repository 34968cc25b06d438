//! Descriptions of the built-in types and their fields, taken from the schemas that the k8s-openapi crate carries and, where
//! it has none, from `words.txt`, as one compressed text of records that end with a zero byte: per type `=definition`, its
//! description, and `name: description` for each field.

use std::collections::BTreeMap;
use std::io::Write;

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

macro_rules! kinds {
    ($generator:ident: $($path:path),* $(,)?) => { $($generator.subschema_for::<$path>();)* };
}

/// The text, compressed.
pub fn packed() -> std::io::Result<Vec<u8>> {
    let mut all: BTreeMap<String, Words> =
        definitions().iter().map(|(name, schema)| (name.clone(), of(schema))).collect();
    for (name, words) in more(include_str!("words.txt")) {
        let own = all.entry(name).or_default();
        if !words.own.is_empty() {
            own.own = words.own;
        }
        own.fields.extend(words.fields);
    }
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

/// What the crate does not say.
fn more(text: &str) -> BTreeMap<String, Words> {
    let lines = || text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let texts: BTreeMap<&str, &str> =
        lines().filter(|line| line.starts_with('$')).filter_map(|line| line.split_once(' ')).collect();
    let whole = |text: &str| texts.get(text).copied().unwrap_or(text).replace("\\n", "\n");
    let mut all = BTreeMap::new();
    let mut lines = lines().filter(|line| !line.starts_with('$')).peekable();
    while let Some(name) = lines.next().and_then(|line| line.strip_prefix('=')) {
        let own = lines.next().filter(|text| *text != "-").map(whole).unwrap_or_default();
        let mut words = Words { own, ..Words::default() };
        while let Some((field, text)) =
            lines.next_if(|line| !line.starts_with('=')).and_then(|line| line.split_once(": "))
        {
            words.fields.insert(field.to_owned(), whole(text));
        }
        all.insert(name.to_owned(), words);
    }
    all
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
        meta::v1::APIResourceList,
        meta::v1::DeleteOptions,
        meta::v1::Status,
    );
    generator.take_definitions(false).into_iter().collect()
}
