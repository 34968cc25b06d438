//! What an asker may do.

use super::{Asker, Auth, ROOT, ranges};
use crate::error::Error;
use crate::lease::Lessor;
use crate::proto::auth::permission::Type;
use crate::proto::log::command::Op;
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::{PutRequest, RequestOp, TxnRequest};

impl Auth {
    /// Whether somebody may read a range.
    pub fn may_read(&self, asker: &Asker, key: &[u8], range_end: &[u8]) -> Result<(), Error> {
        self.may(asker, key, range_end, Type::Read)
    }

    /// Whether somebody may write or delete a range.
    pub fn may_write(&self, asker: &Asker, key: &[u8], range_end: &[u8]) -> Result<(), Error> {
        self.may(asker, key, range_end, Type::Write)
    }

    fn may(&self, asker: &Asker, key: &[u8], range_end: &[u8], asked: Type) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if asker.user.is_empty() {
            return Err(Error::UserEmpty);
        }
        if asker.revision < self.revision {
            return Err(Error::AuthOldRevision);
        }
        let user = self.users.get(&asker.user).ok_or(Error::PermissionDenied)?;
        if user.roles.iter().any(|role| role == ROOT) {
            return Ok(());
        }
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        let permissions = roles.flat_map(|role| &role.key_permission);
        if ranges::cover(permissions, key, range_end, asked) { Ok(()) } else { Err(Error::PermissionDenied) }
    }

    /// Whether somebody may change users, roles, members, or the store as a whole.
    pub fn may_manage(&self, asker: &Asker) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if asker.user.is_empty() {
            return Err(Error::UserEmpty);
        }
        let user = self.users.get(&asker.user).ok_or(Error::PermissionDenied)?;
        if user.roles.iter().any(|role| role == ROOT) { Ok(()) } else { Err(Error::PermissionDenied) }
    }

    /// Whether somebody has a role.
    pub fn has_role(&self, asker: &Asker, role: &str) -> bool {
        self.users.get(&asker.user).is_some_and(|user| user.roles.iter().any(|held| held == role))
    }

    /// Whether somebody may do what an entry says.
    pub fn may_apply(&self, asker: &Asker, op: &Op, lessor: &Lessor) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        match op {
            Op::Put(request) => self.may_put(asker, request, lessor),
            Op::DeleteRange(request) => {
                self.may_write(asker, &request.key, &request.range_end)?;
                if request.prev_kv { self.may_read(asker, &request.key, &request.range_end) } else { Ok(()) }
            }
            Op::Txn(request) => self.may_run(asker, request, lessor),
            Op::LeaseRevoke(request) => self.may_revoke(asker, request.id, lessor),
            Op::Compact(_) | Op::LeaseGrant(_) | Op::Alarm(_) => self.may_ask(asker),
            // A member proposes these itself, after it has checked who asked.
            Op::MemberAdd(_)
            | Op::MemberRemove(_)
            | Op::MemberPromote(_)
            | Op::MemberUpdate(_)
            | Op::MemberPublish(_)
            | Op::AuthToken(_)
            | Op::LeaseCheckpoints(_)
            | Op::Downgrade(_) => self.may_manage(asker),
            Op::AuthEnable(_)
            | Op::AuthDisable(_)
            | Op::AuthUserAdd(_)
            | Op::AuthUserDelete(_)
            | Op::AuthUserChangePassword(_)
            | Op::AuthUserGrantRole(_)
            | Op::AuthUserRevokeRole(_)
            | Op::AuthRoleAdd(_)
            | Op::AuthRoleDelete(_)
            | Op::AuthRoleGrantPermission(_)
            | Op::AuthRoleRevokePermission(_) => self.may_manage(asker),
        }
    }

    /// Whether somebody is somebody.
    fn may_ask(&self, asker: &Asker) -> Result<(), Error> {
        if self.enabled && asker.user.is_empty() { Err(Error::UserEmpty) } else { Ok(()) }
    }

    fn may_put(&self, asker: &Asker, request: &PutRequest, lessor: &Lessor) -> Result<(), Error> {
        self.may_write(asker, &request.key, &[])?;
        if request.lease != 0 {
            // Who attaches a key to a lease can revoke it, and the other keys with it.
            self.may_revoke(asker, request.lease, lessor)?;
        }
        if request.prev_kv { self.may_read(asker, &request.key, &[]) } else { Ok(()) }
    }

    fn may_revoke(&self, asker: &Asker, lease: i64, lessor: &Lessor) -> Result<(), Error> {
        lessor.keys(lease).try_for_each(|key| self.may_write(asker, key, &[]))
    }

    /// Whether somebody may run a transaction, all of its branches.
    pub fn may_run(&self, asker: &Asker, request: &TxnRequest, lessor: &Lessor) -> Result<(), Error> {
        for compare in &request.compare {
            self.may_read(asker, &compare.key, &compare.range_end)?;
        }
        request.success.iter().chain(&request.failure).try_for_each(|op| self.may_do(asker, op, lessor))
    }

    fn may_do(&self, asker: &Asker, op: &RequestOp, lessor: &Lessor) -> Result<(), Error> {
        match &op.request {
            Some(Request::RequestRange(request)) => self.may_read(asker, &request.key, &request.range_end),
            Some(Request::RequestPut(request)) => self.may_put(asker, request, lessor),
            Some(Request::RequestDeleteRange(request)) => {
                self.may_write(asker, &request.key, &request.range_end)?;
                if request.prev_kv { self.may_read(asker, &request.key, &request.range_end) } else { Ok(()) }
            }
            Some(Request::RequestTxn(request)) => self.may_run(asker, request, lessor),
            None => Ok(()),
        }
    }
}
