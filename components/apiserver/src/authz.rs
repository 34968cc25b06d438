//! Whether the user may: `system:masters` may do all, everybody may see what `system:public-info-viewer` shows.

pub mod bootstrap;
pub mod policy;
pub mod rbac;

use kinit_api::status::{Status, qualified};

use crate::authn::User;
use crate::request::ResourceRequest;

const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// Whether `user` may ask for a path that is no resource; such paths are read only.
pub fn path_allowed(user: &User, path: &str) -> Result<(), Status> {
    let public =
        PUBLIC_PATHS.iter().any(|own| path == *own || path.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')));
    let described = user.in_group("system:authenticated")
        && ["/api", "/apis", "/openapi"].iter().any(|root| path == *root || path.starts_with(&format!("{root}/")));
    if public || described || user.in_group("system:masters") {
        return Ok(());
    }
    Err(Status::forbidden("", "", "", format!("forbidden: User {:?} cannot get path {path:?}", user.name)))
}

/// Whether `user` may do what `request` asks.
pub fn resource_allowed(user: &User, request: &ResourceRequest) -> Result<(), Status> {
    if user.in_group("system:masters") {
        return Ok(());
    }
    let spec = request.spec;
    let what = if request.subresource.is_empty() {
        spec.resource.to_owned()
    } else {
        format!("{}/{}", spec.resource, request.subresource)
    };
    let place = if request.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", request.namespace)
    };
    let name = if request.name.is_empty() { String::new() } else { format!(" {:?}", request.name) };
    let message = format!(
        "{}{name} is forbidden: User {:?} cannot {} resource {what:?} in API group {:?} {place}",
        qualified(spec.group, spec.resource),
        user.name,
        request.verb.as_str(),
        spec.group,
    );
    Err(Status::forbidden(spec.group, spec.resource, &request.name, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_see_health_and_nothing_else() {
        let nobody = User::anonymous();
        assert!(path_allowed(&nobody, "/readyz/etcd").is_ok());
        assert_eq!(path_allowed(&nobody, "/api").unwrap_err().code, 403);
        assert_eq!(path_allowed(&nobody, "/versionx").unwrap_err().code, 403);
        let request = crate::request::parse(&http::Method::GET, "/api/v1/namespaces/x/pods", None).unwrap().unwrap();
        let refused = resource_allowed(&nobody, &request).unwrap_err();
        let text = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"x\"";
        assert_eq!(refused.message, text);
        let master = User { name: "admin".into(), groups: vec!["system:masters".into()] };
        assert!(resource_allowed(&master, &request).is_ok());
    }
}
