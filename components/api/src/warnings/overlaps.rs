//! Files of a volume that lie on each other.

use serde_json::Value;

/// A path in a volume, without slashes at its end, and what it is of.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    of: String,
}

impl File {
    fn new(path: &str, of: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), of: of.to_owned() }
    }

    fn shown(&self) -> String {
        if self.of.is_empty() { format!("{:?}", self.path) } else { format!("{:?} ({})", self.path, self.of) }
    }

    /// Whether one of the two is the other, or lies in it.
    fn meets(&self, other: &Self) -> bool {
        let within = |inner: &str, outer: &str| format!("{inner}/").starts_with(&format!("{outer}/"));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (within(&self.path, &other.path) || within(&other.path, &self.path))
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items(source: &Value, of: &str) -> Vec<File> {
    let items = source["items"].as_array().into_iter().flatten();
    items.map(|item| File::new(text(item, "path"), of)).collect()
}

/// What one source of a projected volume puts into it.
fn projected(source: &Value) -> Vec<File> {
    let named = |field: &str, what: &str| items(&source[field], &format!("{what} {:?}", text(&source[field], "name")));
    let has_items = |field: &str| source[field]["items"].is_array();
    if has_items("configMap") {
        named("configMap", "ConfigMap")
    } else if has_items("secret") {
        named("secret", "Secret")
    } else if has_items("downwardAPI") {
        items(&source["downwardAPI"], "DownwardAPI")
    } else if source["serviceAccountToken"].is_object() {
        vec![File::new(text(&source["serviceAccountToken"], "path"), "ServiceAccountToken")]
    } else if source["clusterTrustBundle"].is_object() {
        let bundle = &source["clusterTrustBundle"];
        let name = bundle["name"].as_str().unwrap_or_else(|| text(bundle, "signerName"));
        vec![File::new(text(bundle, "path"), &format!("ClusterTrustBundle {name:?}"))]
    } else {
        let kinds = [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ];
        let paths = kinds.iter().map(|(field, of)| File::new(text(&source["podCertificate"], field), of));
        paths.filter(|file| !file.path.is_empty()).collect()
    }
}

/// Files that meet others before them.
fn collisions(name: &str, of: &str, files: Vec<File>, all: &mut Vec<String>) {
    for (at, file) in files.iter().enumerate() {
        for other in files[..at].iter().filter(|other| other.meets(file)) {
            let (file, other) = (file.shown(), other.shown());
            all.push(format!("volume {name:?} ({of}): overlapping paths: {file} with {other}"));
        }
    }
}

/// The volumes of a Pod.
pub fn of(volumes: &[Value], all: &mut Vec<String>) {
    for volume in volumes {
        let name = text(volume, "name");
        let of_map = format!("ConfigMap {:?}", text(&volume["configMap"], "name"));
        collisions(name, &of_map, items(&volume["configMap"], ""), all);
        let of_secret = format!("Secret {:?}", text(&volume["secret"], "secretName"));
        collisions(name, &of_secret, items(&volume["secret"], ""), all);
        collisions(name, "DownwardAPI", items(&volume["downwardAPI"], ""), all);
        let mut files = Vec::new();
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            let is_empty = source.as_object().is_none_or(|source| source.values().all(Value::is_null));
            if is_empty {
                all.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
            files.extend(projected(source));
        }
        collisions(name, "Projected", files, all);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_on_each_other_are_told() {
        let item = |path: &str| json!({"key": "k", "path": path});
        for (volume, wanted) in [
            (json!({"configMap": {"name": "m", "items": [item("a"), item("b"), item("ab")]}}), vec![]),
            (
                json!({"configMap": {"name": "m", "items": [item("a/"), item("a"), item("a/b")]}}),
                vec![
                    r#"volume "v" (ConfigMap "m"): overlapping paths: "a" with "a""#,
                    r#"volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a""#,
                    r#"volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a""#,
                ],
            ),
            (
                json!({"secret": {"secretName": "s", "items": [item("a/b"), item("a")]}}),
                vec![r#"volume "v" (Secret "s"): overlapping paths: "a" with "a/b""#],
            ),
            (
                json!({"projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}}, {},
                    {"configMap": {"name": "m", "items": [item("token/x")]}},
                    {"clusterTrustBundle": {"name": "b", "path": "token"}},
                ]}}),
                vec![
                    r#"volume "v" (Projected) has no sources provided"#,
                    r#"volume "v" (Projected): overlapping paths: "token/x" (ConfigMap "m") with "token" (ServiceAccountToken)"#,
                    r#"volume "v" (Projected): overlapping paths: "token" (ClusterTrustBundle "b") with "token" (ServiceAccountToken)"#,
                    r#"volume "v" (Projected): overlapping paths: "token" (ClusterTrustBundle "b") with "token/x" (ConfigMap "m")"#,
                ],
            ),
        ] {
            let mut volume = volume;
            volume["name"] = "v".into();
            let mut all = Vec::new();
            of(std::slice::from_ref(&volume), &mut all);
            assert_eq!(all, wanted, "{volume}");
        }
    }
}
