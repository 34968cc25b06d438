//! Whom a request is made as.

use http::{Method, Request};
use kinit_api::status::Status;
use kinit_serving::draining::Received;

use super::Front;
use super::refusal::Refusal;
use crate::audit::Trail;
use crate::authn::User;
use crate::authn::impersonation::{self, Needed, Way};
use crate::authz::rbac::Ask;
use crate::{aggregate, request};

/// What a request wants to do, as far as its line says it.
#[derive(Debug, Default)]
struct Asked {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    /// Where it is about no resource.
    path: String,
}

impl Asked {
    /// As authorization is asked, with the verb behind something.
    fn ask<'a>(&'a self, verb: &'a str) -> Ask<'a> {
        if !self.path.is_empty() {
            return Ask::Path { verb, path: &self.path };
        }
        Ask::Resource {
            verb,
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            name: &self.name,
            namespace: &self.namespace,
        }
    }
}

impl Front {
    fn asked(&self, method: &Method, path: &str, query: Option<&str>) -> Result<Asked, Status> {
        let wanted = request::parse(&self.api.cache.registry(), method, path, query);
        // What this server does not have is asked for as well.
        if self.aggregator.takes(path).is_some() || wanted.is_err() {
            let decoded = request::decoded(path)?;
            let asked = aggregate::path::parse(method, &decoded, query);
            if !asked.resource.is_empty() && !path.starts_with("/openapi/") {
                let own = str::to_owned;
                return Ok(Asked {
                    verb: own(asked.verb),
                    group: own(asked.group),
                    resource: own(asked.resource),
                    namespace: own(asked.namespace),
                    name: own(asked.name),
                    subresource: asked.subresource,
                    path: String::new(),
                });
            }
        } else if let Ok(Some(wanted)) = wanted {
            return Ok(Asked {
                verb: wanted.verb.as_str().to_owned(),
                group: wanted.spec.group().to_owned(),
                resource: wanted.spec.resource().to_owned(),
                subresource: wanted.subresource.clone(),
                namespace: wanted.authorized_namespace().to_owned(),
                name: wanted.authorized_name().to_owned(),
                path: String::new(),
            });
        }
        Ok(Asked { verb: method.as_str().to_lowercase(), path: path.to_owned(), ..Asked::default() })
    }

    /// The user that the request is made as: the asking one, or another that they may be.
    pub(super) async fn acting(
        &self,
        user: User,
        request: &Request<Received>,
        trail: &mut Option<Trail>,
    ) -> Result<User, Refusal> {
        let Some(wanted) = impersonation::wanted(request.headers()).map_err(Refusal::Denied)? else { return Ok(user) };
        let asked = self.asked(request.method(), request.uri().path(), request.uri().query())?;
        let mut refusal = None;
        for way in impersonation::ways(&user, &wanted) {
            let allowed = match way {
                Ok(way) => self.allowed(&way, &asked).await.map(|()| way),
                Err(refused) => Err(refused),
            };
            match allowed {
                Ok(way) => {
                    if let Some(trail) = trail {
                        trail.impersonates(&way.user, if way.on.is_empty() { "" } else { &way.verb });
                    }
                    return Ok(way.user);
                }
                // The first refusal is told: it is of the way that was meant for such a user.
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        Err(Refusal::Denied(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed"))))
    }

    async fn allowed(&self, way: &Way, asked: &Asked) -> Result<(), Status> {
        let authorizer = &self.api.authorizer;
        if !way.on.is_empty() {
            let verb = format!("{}{}", way.on, asked.verb);
            authorizer.check(&way.requestor, &asked.ask(&verb), "").await?;
        }
        for needs in &way.needs {
            if let Some(instead) = &needs.instead
                && self.may(way, instead).await.is_ok()
            {
                continue;
            }
            for needed in &needs.all {
                self.may(way, needed).await?;
            }
        }
        Ok(())
    }

    async fn may(&self, way: &Way, needed: &Needed) -> Result<(), Status> {
        let ask = Ask::Resource {
            verb: &way.verb,
            group: needed.group,
            resource: needed.resource,
            subresource: &needed.subresource,
            name: &needed.name,
            namespace: &needed.namespace,
        };
        self.api.authorizer.check(&way.requestor, &ask, "").await
    }
}
