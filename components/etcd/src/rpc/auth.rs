//! The Auth service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Context, mismatched};
use crate::apply::Reply;
use crate::auth::provider::AuthToken;
use crate::auth::token::make;
use crate::auth::{Asker, password};
use crate::error::Error;
use crate::proto::log::AuthToken as LoggedToken;
use crate::proto::log::command::Op;
use crate::proto::rpc::auth_server::Auth;
use crate::proto::rpc::*;

pub struct Service(pub Arc<Context>);

impl Service {
    async fn change(&self, asker: Asker, op: Op) -> Result<Option<ResponseHeader>, Error> {
        match self.0.propose(asker, op).await? {
            Reply::Auth => Ok(self.0.header()),
            _ => Err(mismatched()),
        }
    }
}

/// Hashing takes tens of milliseconds of computing, so it is kept off the threads that serve requests.
async fn hashed(password: String, cost: u32) -> Result<String, Error> {
    let hash = tokio::task::spawn_blocking(move || password::hash(&password, cost)).await.ok().flatten();
    hash.ok_or_else(|| Error::Storage("no random bytes for a password's salt".to_owned()))
}

/// The methods that change users or roles.
macro_rules! changes {
    ($($name:ident($request:ident) -> $response:ident as $op:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for Service {
            async fn auth_status(
                &self,
                request: Request<AuthStatusRequest>,
            ) -> Result<Response<AuthStatusResponse>, Status> {
                self.0.managed_by(&request)?;
                let (enabled, auth_revision) = {
                    let auth = self.0.machine.auth.read();
                    (auth.enabled(), auth.revision())
                };
                Ok(Response::new(AuthStatusResponse { header: self.0.header(), enabled, auth_revision }))
            }

            async fn authenticate(
                &self,
                request: Request<AuthenticateRequest>,
            ) -> Result<Response<AuthenticateResponse>, Status> {
                authenticate(&self.0, request.into_inner()).await
            }

            async fn user_add(
                &self,
                request: Request<AuthUserAddRequest>,
            ) -> Result<Response<AuthUserAddResponse>, Status> {
                let asker = self.0.asker_of(&request)?;
                self.0.machine.auth.read().may_manage(&asker)?;
                let mut request = request.into_inner();
                let password = std::mem::take(&mut request.password);
                request.hashed_password = match request.options {
                    Some(options) if options.no_password => String::new(),
                    _ => hashed(password, self.0.bcrypt_cost).await?,
                };
                let header = self.change(asker, Op::AuthUserAdd(request)).await?;
                Ok(Response::new(AuthUserAddResponse { header }))
            }

            async fn user_change_password(
                &self,
                request: Request<AuthUserChangePasswordRequest>,
            ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
                let asker = self.0.asker_of(&request)?;
                self.0.machine.auth.read().may_manage(&asker)?;
                let mut request = request.into_inner();
                let password = std::mem::take(&mut request.password);
                request.hashed_password = hashed(password, self.0.bcrypt_cost).await?;
                let header = self.change(asker, Op::AuthUserChangePassword(request)).await?;
                Ok(Response::new(AuthUserChangePasswordResponse { header }))
            }

            async fn user_get(
                &self,
                request: Request<AuthUserGetRequest>,
            ) -> Result<Response<AuthUserGetResponse>, Status> {
                let asker = self.0.asker_of(&request)?;
                let name = request.into_inner().name;
                let roles = {
                    let auth = self.0.machine.auth.read();
                    // Everybody may look at oneself.
                    if asker.user != name {
                        auth.may_manage(&asker)?;
                    }
                    auth.user(&name)?.roles.clone()
                };
                Ok(Response::new(AuthUserGetResponse { header: self.0.header(), roles }))
            }

            async fn user_list(
                &self,
                request: Request<AuthUserListRequest>,
            ) -> Result<Response<AuthUserListResponse>, Status> {
                self.0.managed_by(&request)?;
                let users = self.0.machine.auth.read().users().cloned().collect();
                Ok(Response::new(AuthUserListResponse { header: self.0.header(), users }))
            }

            async fn role_get(
                &self,
                request: Request<AuthRoleGetRequest>,
            ) -> Result<Response<AuthRoleGetResponse>, Status> {
                let asker = self.0.asker_of(&request)?;
                let role = request.into_inner().role;
                let perm = {
                    let auth = self.0.machine.auth.read();
                    if !auth.has_role(&asker, &role) {
                        auth.may_manage(&asker)?;
                    }
                    auth.role(&role)?.key_permission.clone()
                };
                Ok(Response::new(AuthRoleGetResponse { header: self.0.header(), perm }))
            }

            async fn role_list(
                &self,
                request: Request<AuthRoleListRequest>,
            ) -> Result<Response<AuthRoleListResponse>, Status> {
                self.0.managed_by(&request)?;
                let roles = self.0.machine.auth.read().roles().cloned().collect();
                Ok(Response::new(AuthRoleListResponse { header: self.0.header(), roles }))
            }

            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let asker = self.0.asker_of(&request)?;
                let header = self.change(asker, Op::$op(request.into_inner())).await?;
                Ok(Response::new($response { header }))
            })*
        }
    };
}

changes! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse as AuthEnable;
    auth_disable(AuthDisableRequest) -> AuthDisableResponse as AuthDisable;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse as AuthUserDelete;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse as AuthUserGrantRole;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse as AuthUserRevokeRole;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse as AuthRoleAdd;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse as AuthRoleDelete;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse as AuthRoleGrantPermission;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse
        as AuthRoleRevokePermission;
}

async fn authenticate(
    context: &Context,
    request: AuthenticateRequest,
) -> Result<Response<AuthenticateResponse>, Status> {
    let AuthenticateRequest { name, password } = request;
    // The user may have been added by way of another member a moment ago.
    context.catch_up().await?;
    let (stored, revision) = {
        let auth = context.machine.auth.read();
        if !auth.enabled() {
            return Err(Error::AuthNotEnabled.into());
        }
        let user = auth.user(&name).map_err(|_| Error::AuthFailed)?;
        if user.options.is_some_and(|options| options.no_password) {
            return Err(Error::AuthFailed.into());
        }
        (String::from_utf8_lossy(&user.password).into_owned(), auth.revision())
    };
    let matches = tokio::task::spawn_blocking(move || password::matches(&password, &stored)).await;
    // What was compared may have been changed meanwhile; the client tries again.
    let unchanged = context.machine.auth.read().revision() == revision;
    if !matches.is_ok_and(|matches| matches) || !unchanged {
        return Err(Error::AuthFailed.into());
    }
    let token = match &context.auth_token {
        AuthToken::Jwt(jwt) => jwt.token(&Asker { user: name, revision }).ok_or(Error::VerifyOnly)?,
        AuthToken::Simple { .. } => {
            let token = make().ok_or_else(|| Error::Storage("no random bytes for a token".to_owned()))?;
            // Every member must know it, because the client may go on with another one.
            context.proposer.propose(Op::AuthToken(LoggedToken { user: name, token: token.clone() })).await?;
            token
        }
    };
    Ok(Response::new(AuthenticateResponse { header: context.header(), token }))
}
