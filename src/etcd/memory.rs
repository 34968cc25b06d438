//! Members that are only remembered, for tests of what is built on [`Members`].

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Error, Member, Members};

/// A cluster that consists of its list of members.
#[derive(Debug, Default)]
pub struct MemoryMembers {
    all: Mutex<Vec<Member>>,
}

impl MemoryMembers {
    /// A cluster of these.
    pub fn new(all: Vec<Member>) -> Self {
        Self { all: Mutex::new(all) }
    }
}

fn unknown(what: &'static str) -> Error {
    Error::Refused { what, reason: "member not found".into() }
}

#[async_trait]
impl Members for MemoryMembers {
    async fn list(&self) -> Result<Vec<Member>, Error> {
        Ok(self.all.lock().clone())
    }

    async fn add_learner(&self, peer_url: &str) -> Result<Vec<Member>, Error> {
        let mut all = self.all.lock();
        if all.iter().any(|member| member.peer_urls.iter().any(|url| url == peer_url)) {
            return Err(Error::Refused { what: "add the member", reason: "Peer URLs already exists".into() });
        }
        let id = all.iter().map(|member| member.id).max().unwrap_or(0) + 1;
        all.push(Member { id, peer_urls: vec![peer_url.into()], is_learner: true, ..Member::default() });
        Ok(all.clone())
    }

    async fn promote(&self, id: u64) -> Result<(), Error> {
        let mut all = self.all.lock();
        let member = all.iter_mut().find(|member| member.id == id).ok_or_else(|| unknown("promote the member"))?;
        member.is_learner = false;
        Ok(())
    }

    async fn remove(&self, id: u64) -> Result<(), Error> {
        let mut all = self.all.lock();
        let at = all.iter().position(|member| member.id == id).ok_or_else(|| unknown("remove the member"))?;
        all.remove(at);
        Ok(())
    }

    async fn update(&self, id: u64, peer_url: &str) -> Result<(), Error> {
        let mut all = self.all.lock();
        let member = all.iter_mut().find(|member| member.id == id).ok_or_else(|| unknown("update the member"))?;
        member.peer_urls = vec![peer_url.into()];
        Ok(())
    }
}
