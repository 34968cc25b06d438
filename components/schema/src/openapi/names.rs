//! The names that OpenAPI documents give to types, operations and tags.

/// A type's definition, `io.k8s.api.core.v1.Pod`.
pub fn definition(package: &str, name: &str) -> String {
    if package == "version" {
        return format!("io.k8s.apimachinery.pkg.{package}.{name}");
    }
    let (group, version) = package.split_once('/').unwrap_or(("", package));
    let prefix = match group {
        "meta" => "io.k8s.apimachinery.pkg.apis",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis",
        _ => "io.k8s.api",
    };
    format!("{prefix}.{group}.{version}.{name}")
}

/// `/api/v1`, `/apis/apps/v1`.
pub fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn words(group: &str) -> impl Iterator<Item = &str> {
    let group = if group.is_empty() { "core" } else { group };
    group.strip_suffix(".k8s.io").unwrap_or(group).split(['.', '-'])
}

pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// The group and version in an operation's name: `AppsV1`, `RbacAuthorizationV1`.
pub fn operation(group: &str, version: &str) -> String {
    words(group).chain([version]).map(capitalized).collect()
}

/// `apps_v1`, `rbacAuthorization_v1`.
pub fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", tag_of_group(group))
}

/// `apps`, `rbacAuthorization`.
pub fn tag_of_group(group: &str) -> String {
    let mut parts = words(group);
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(capitalized).collect::<String>()
}
