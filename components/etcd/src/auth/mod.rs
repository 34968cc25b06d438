//! Users, roles and what they may do.
//!
//! [`Auth`] is state like any other: it changes by log entries alone and decides by itself. What proves who somebody is
//! ([`provider`], [`token`], [`jwt`], [`password`]) belongs to this member. Rules, errors, revisions and hashes are etcd's.

pub mod check;
pub mod jwt;
pub mod password;
pub mod provider;
mod ranges;
pub mod token;

use std::collections::BTreeMap;

use prost::Message as _;

use crate::error::Error;
use crate::mvcc::backend::Change;
use crate::proto::auth::{Permission, Role, User};
use crate::proto::log::command::Op;

/// The user that must be there, with the role of the same name, before authentication is enabled.
const ROOT: &str = "root";

/// Who asks, as this member has proved it. Nobody has an empty name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    pub user: String,
    /// The revision of users and roles at that time.
    pub revision: u64,
}

/// The state. See the module.
#[derive(Default)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
}

/// What the backend keeps.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub enabled: bool,
    /// 0 before the first change.
    pub revision: u64,
    pub users: Vec<Vec<u8>>,
    pub roles: Vec<Vec<u8>>,
}

/// See [`Auth::rows`].
pub struct AuthRows {
    pub enabled: bool,
    pub revision: u64,
    pub users: Vec<(Vec<u8>, Vec<u8>)>,
    pub roles: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Auth {
    /// Takes over what was stored.
    pub fn new(stored: Stored) -> Result<Self, prost::DecodeError> {
        let mut auth = Self { enabled: stored.enabled, revision: stored.revision.max(1), ..Self::default() };
        for user in stored.users {
            let user = User::decode(user.as_slice())?;
            auth.users.insert(text(&user.name), user);
        }
        for role in stored.roles {
            let role = Role::decode(role.as_slice())?;
            auth.roles.insert(text(&role.name), role);
        }
        Ok(auth)
    }

    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Counts the changes; tokens and entries of before are told by it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn users(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    pub fn roles(&self) -> impl Iterator<Item = &String> {
        self.roles.keys()
    }

    /// Everything, users and roles as names with their encoded form, in order.
    pub fn rows(&self) -> AuthRows {
        let row = |name: &String, encoded: Vec<u8>| (name.clone().into_bytes(), encoded);
        AuthRows {
            enabled: self.enabled,
            revision: self.revision,
            users: self.users.iter().map(|(name, user)| row(name, user.encode_to_vec())).collect(),
            roles: self.roles.iter().map(|(name, role)| row(name, role.encode_to_vec())).collect(),
        }
    }

    /// A user, with the password's hash.
    pub fn user(&self, name: &str) -> Result<&User, Error> {
        self.users.get(name).ok_or(Error::UserNotFound)
    }

    pub fn role(&self, name: &str) -> Result<&Role, Error> {
        self.roles.get(name).ok_or(Error::RoleNotFound)
    }

    /// Carries an entry out that changes users or roles. Returns what must be stored; `None` for any other entry.
    pub fn apply(&mut self, op: &Op) -> Option<Result<Vec<Change>, Error>> {
        let result = match op {
            // This is no change of users or roles, and does not count as one.
            Op::AuthEnable(_) => return Some(self.enable()),
            Op::AuthDisable(_) => Ok(self.disable()),
            Op::AuthUserAdd(request) => {
                let no_password = request.options.is_some_and(|options| options.no_password);
                self.add_user(&request.name, &request.hashed_password, no_password)
            }
            Op::AuthUserDelete(request) => self.delete_user(&request.name),
            Op::AuthUserChangePassword(request) => {
                let hash = request.hashed_password.clone();
                self.change_user(&request.name, |user| {
                    user.password = hash.into_bytes().into();
                    Ok(())
                })
            }
            Op::AuthUserGrantRole(request) => self.grant_role(&request.user, &request.role),
            Op::AuthUserRevokeRole(request) => self.revoke_role(&request.name, &request.role),
            Op::AuthRoleAdd(request) => self.add_role(&request.name),
            Op::AuthRoleDelete(request) => self.delete_role(&request.role),
            Op::AuthRoleGrantPermission(request) => self.grant_permission(&request.name, request.perm.as_ref()),
            Op::AuthRoleRevokePermission(request) => {
                self.revoke_permission(&request.role, &request.key, &request.range_end)
            }
            _ => return None,
        };
        Some(result.map(|mut changes| {
            if !changes.is_empty() {
                self.revision += 1;
                changes.push(Change::Auth { enabled: self.enabled, revision: self.revision });
            }
            changes
        }))
    }

    fn enable(&mut self) -> Result<Vec<Change>, Error> {
        let root = self.users.get(ROOT).ok_or(Error::RootUserNotExist)?;
        if !root.roles.iter().any(|role| role == ROOT) {
            return Err(Error::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(vec![Change::Auth { enabled: true, revision: self.revision }])
    }

    fn disable(&mut self) -> Vec<Change> {
        if !self.enabled {
            return Vec::new();
        }
        self.enabled = false;
        vec![Change::Auth { enabled: false, revision: self.revision }]
    }

    fn add_user(&mut self, name: &str, hash: &str, no_password: bool) -> Result<Vec<Change>, Error> {
        if name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(Error::UserExists);
        }
        let options = Some(crate::proto::auth::UserAddOptions { no_password });
        let password = if no_password { Vec::new() } else { hash.as_bytes().to_vec() };
        let user = User { name: name.to_owned().into(), password: password.into(), roles: Vec::new(), options };
        let stored = put_user(&user);
        self.users.insert(name.to_owned(), user);
        Ok(vec![stored])
    }

    fn delete_user(&mut self, name: &str) -> Result<Vec<Change>, Error> {
        if self.enabled && name == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        self.users.remove(name).ok_or(Error::UserNotFound)?;
        Ok(vec![Change::User { name: name.to_owned(), user: None }])
    }

    fn change_user(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut User) -> Result<(), Error>,
    ) -> Result<Vec<Change>, Error> {
        let user = self.users.get_mut(name).ok_or(Error::UserNotFound)?;
        change(user)?;
        Ok(vec![put_user(user)])
    }

    fn grant_role(&mut self, name: &str, role: &str) -> Result<Vec<Change>, Error> {
        let user = self.users.get_mut(name).ok_or(Error::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(Error::RoleNotFound);
        }
        if user.roles.iter().any(|held| held == role) {
            return Ok(Vec::new());
        }
        user.roles.push(role.to_owned());
        user.roles.sort();
        Ok(vec![put_user(user)])
    }

    fn revoke_role(&mut self, name: &str, role: &str) -> Result<Vec<Change>, Error> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        self.change_user(name, |user| {
            let before = user.roles.len();
            user.roles.retain(|held| held != role);
            if user.roles.len() < before { Ok(()) } else { Err(Error::RoleNotGranted) }
        })
    }

    fn add_role(&mut self, name: &str) -> Result<Vec<Change>, Error> {
        if name.is_empty() {
            return Err(Error::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Error::RoleExists);
        }
        let role = Role { name: name.to_owned().into(), key_permission: Vec::new() };
        let stored = put_role(&role);
        self.roles.insert(name.to_owned(), role);
        Ok(vec![stored])
    }

    fn delete_role(&mut self, name: &str) -> Result<Vec<Change>, Error> {
        if self.enabled && name == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(Error::RoleNotFound)?;
        let mut changes = vec![Change::Role { name: name.to_owned(), role: None }];
        for user in self.users.values_mut() {
            let before = user.roles.len();
            user.roles.retain(|held| held != name);
            if user.roles.len() < before {
                changes.push(put_user(user));
            }
        }
        Ok(changes)
    }

    fn grant_permission(&mut self, name: &str, given: Option<&Permission>) -> Result<Vec<Change>, Error> {
        let given = given.ok_or(Error::PermissionNotGiven)?;
        if !ranges::is_valid(&given.key, &given.range_end) {
            return Err(Error::InvalidAuthManagement);
        }
        let role = self.roles.get_mut(name).ok_or(Error::RoleNotFound)?;
        let same = |held: &&mut Permission| held.key == given.key && held.range_end == given.range_end;
        match role.key_permission.iter_mut().find(same) {
            Some(held) => held.perm_type = given.perm_type,
            None => {
                role.key_permission.push(given.clone());
                role.key_permission.sort_by(|left, right| left.key.cmp(&right.key));
            }
        }
        Ok(vec![put_role(role)])
    }

    fn revoke_permission(&mut self, name: &str, key: &[u8], range_end: &[u8]) -> Result<Vec<Change>, Error> {
        let role = self.roles.get_mut(name).ok_or(Error::RoleNotFound)?;
        let before = role.key_permission.len();
        role.key_permission.retain(|held| held.key != key || held.range_end != range_end);
        if role.key_permission.len() == before {
            return Err(Error::PermissionNotGranted);
        }
        Ok(vec![put_role(role)])
    }
}

fn put_user(user: &User) -> Change {
    Change::User { name: text(&user.name), user: Some(user.encode_to_vec()) }
}

fn put_role(role: &Role) -> Change {
    Change::Role { name: text(&role.name), role: Some(role.encode_to_vec()) }
}

/// Names come as text over the wire and are only kept as bytes.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
