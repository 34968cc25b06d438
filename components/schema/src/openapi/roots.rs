//! The paths that are of no resource: what leads to groups and to their versions, and what a server says of itself.

use serde_json::{Value, json};

use super::paths::MEDIA_TYPES;
use super::{Dialect, Wanted, names};

/// One of the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The path without its slashes at both ends, which is what version 3's index calls the path's document.
    pub name: String,
    tag: String,
    description: &'static str,
    id: String,
    /// The package and the name of the type that is answered; without one it is text.
    answer: Option<(&'static str, &'static str)>,
    /// What it is answered in, and whether the document names that as what is taken, too.
    media: &'static [&'static str],
    takes: bool,
}

const JSON: &[&str] = &["application/json"];

/// All paths of a server that has these built-in groups, but for those of groups' versions.
pub fn all(groups: &[&str]) -> Vec<Root> {
    let list = |name: &str, tag: &str, id: &str, answer| Root {
        name: name.into(),
        tag: tag.into(),
        description: "list the versions of the API",
        id: id.into(),
        answer: Some(("meta/v1", answer)),
        media: MEDIA_TYPES,
        takes: true,
    };
    let openid = |name: &str, tag: &str, id: &str, description, media| Root {
        name: name.into(),
        tag: tag.into(),
        description,
        id: format!("getServiceAccountIssuerOpenID{id}"),
        answer: None,
        media,
        takes: false,
    };
    let mut all = vec![
        list("api", "core", "getCoreAPIVersions", "APIVersions"),
        list("apis", "apis", "getAPIVersions", "APIGroupList"),
        Root {
            name: "version".into(),
            tag: "version".into(),
            description: "read the server's version",
            id: "getCodeVersion".into(),
            answer: Some(("version", "Info")),
            media: JSON,
            takes: true,
        },
        openid(
            ".well-known/openid-configuration",
            "WellKnown",
            "Configuration",
            "read what OpenID Connect discovery tells of the issuer of ServiceAccounts' tokens",
            JSON,
        ),
        openid(
            "openid/v1/jwks",
            "openid",
            "Keyset",
            "read the public keys that ServiceAccounts' tokens are verified with",
            &["application/jwk-set+json"],
        ),
    ];
    all.extend(groups.iter().filter(|group| !group.is_empty()).map(|group| Root {
        name: format!("apis/{group}"),
        tag: names::tag_of_group(group),
        description: "read a group and its versions",
        id: format!("get{}APIGroup", names::operation(group, "")),
        answer: Some(("meta/v1", "APIGroup")),
        media: MEDIA_TYPES,
        takes: true,
    }));
    all
}

/// The path that lists what a group and version has.
pub fn of_version(group: &str, version: &str) -> Root {
    Root {
        name: names::base(group, version).trim_start_matches('/').to_owned(),
        tag: names::tag(group, version),
        description: "list the resources of a version",
        id: format!("get{}APIResources", names::operation(group, version)),
        answer: Some(("meta/v1", "APIResourceList")),
        media: MEDIA_TYPES,
        takes: true,
    }
}

impl Root {
    pub(super) fn path(&self) -> String {
        format!("/{}/", self.name)
    }

    pub(super) fn item(&self, dialect: Dialect, wanted: &mut Wanted) -> Value {
        wanted.extend(self.answer);
        let schema = match self.answer {
            Some((package, name)) => json!({"$ref": dialect.reference(&names::definition(package, name))}),
            None => json!({"type": "string"}),
        };
        let mut get = json!({
            "tags": [self.tag],
            "description": self.description,
            "operationId": self.id,
            "responses": {
                "200": super::paths::response("OK", &schema, self.media, dialect),
                "401": {"description": "Unauthorized"},
            },
        });
        if dialect == Dialect::V2 {
            if self.takes {
                get["consumes"] = json!(self.media);
            }
            get["produces"] = json!(self.media);
            get["schemes"] = json!(["https"]);
        }
        json!({ "get": get })
    }
}
