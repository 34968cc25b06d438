//! The road of a write: propose, agree, log, sync, apply, answer.
//!
//! One thread owns consensus and the log. It takes whatever came while it was busy as one batch ([`inbox`]), writes and
//! syncs it once, and applies the entries in order ([`run`]); so the more requests there are, the fewer syncs each costs.
//! A member alone takes the same road: it is its own quorum.

pub mod clock;
pub mod inbox;
pub mod open;
mod run;
pub mod standing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{oneshot, watch};

use self::inbox::{Control, Inbox, Proposal};
pub use self::run::{End, Parts, Run};
use self::standing::Standing;
use crate::apply::Reply;
use crate::auth::Asker;
use crate::error::Error;
use crate::fatal::Fatal;
use crate::metrics::Figures;
use crate::proto::log::command::Op;
use crate::proto::log::{self, Command};
use crate::wal::WalError;

/// A request that is not answered by then is answered as timed out; a write may still happen.
const TIMEOUT: Duration = Duration::from_secs(7);
/// Units of time that are made up for after the thread was busy; more would only disturb the leader.
const MOST_TICKS: u32 = 2;

/// Where requests go in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    inbox: Arc<Inbox>,
    standing: Arc<Standing>,
    figures: Arc<Figures>,
    ids: Arc<AtomicU64>,
    most_bytes: usize,
}

impl Proposer {
    /// `most_bytes` bounds one request.
    pub fn new(inbox: Arc<Inbox>, standing: Arc<Standing>, figures: Arc<Figures>, most_bytes: usize) -> Self {
        Self { inbox, standing, figures, ids: Arc::new(AtomicU64::new(rand::random())), most_bytes }
    }

    /// Proposes a write of this member's own and waits until it is durable and applied.
    pub async fn propose(&self, op: Op) -> Result<Reply, Error> {
        self.propose_for(None, op).await
    }

    /// The same for somebody, who must be allowed to.
    pub async fn propose_for(&self, asker: Option<Asker>, op: Op) -> Result<Reply, Error> {
        let logged = asker.as_ref().map(|asker| log::Asker { user: asker.user.clone(), revision: asker.revision });
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let command = Command { op: Some(op), asker: logged, id };
        let data = Bytes::from(command.encode_to_vec());
        if data.len() > self.most_bytes {
            return Err(Error::RequestTooLarge);
        }
        let Some(op) = command.op else { return Err(Error::Stopped) };
        let (reply, answer) = oneshot::channel();
        let outcome = match self.inbox.propose(Proposal { data, op, asker, id, reply }) {
            Ok(()) => self.wait(answer).await,
            Err(error) => Err(error),
        };
        if outcome.as_ref().is_err_and(Error::is_of_the_cluster) {
            self.figures.failed_proposals.inc();
        }
        outcome
    }

    /// Waits until this member has applied everything that was acknowledged anywhere before.
    pub async fn catch_up(&self) -> Result<(), Error> {
        // A member alone has applied whatever it acknowledged.
        if self.standing.is_alone() || self.standing.has_all_by_lease(clock::now) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.inbox.read(reply)?;
        let outcome = self.wait(answer).await;
        if outcome.is_err() {
            self.figures.failed_reads.inc();
        }
        outcome
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) if self.standing.leader() == 0 => Err(Error::NoLeader),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// How far a member is, and the leader itself; `None` on any other member than the leader.
    pub async fn matched(&self, id: u64) -> Option<(u64, u64)> {
        let (reply, answer) = oneshot::channel();
        self.inbox.control(Control::Matched(id, reply));
        answer.await.ok().flatten()
    }

    /// Asks the leader to give its office to a member.
    pub fn transfer(&self, to: u64) {
        self.inbox.control(Control::Transfer(to));
    }
}

/// The running node.
pub struct Node {
    inbox: Arc<Inbox>,
    thread: std::thread::JoinHandle<()>,
    ended: watch::Receiver<Option<End>>,
}

/// A thread that panics must not leave a member behind that answers nothing.
struct OnPanic(Fatal, Arc<Inbox>);

impl Drop for OnPanic {
    fn drop(&mut self) {
        self.1.close();
        if std::thread::panicking() {
            self.0.raise("the log's thread panicked".to_owned());
        }
    }
}

impl Node {
    /// Starts the thread. `tick` is the unit of time of heartbeats.
    pub fn start(mut run: Run, inbox: Arc<Inbox>, tick: Duration, fatal: Fatal) -> std::io::Result<Self> {
        let (ended, receiver) = watch::channel(None);
        let thread_inbox = inbox.clone();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            let _on_panic = OnPanic(fatal.clone(), thread_inbox.clone());
            match until_the_end(&mut run, &thread_inbox, tick) {
                Ok(end) => drop(ended.send_replace(Some(end))),
                Err(error) => fatal.raise(error.to_string()),
            }
        })?;
        Ok(Self { inbox, thread, ended: receiver })
    }

    /// Waits until the thread ends by itself.
    pub async fn ended(&self) -> End {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            // It failed, which is raised elsewhere.
            _ => std::future::pending().await,
        }
    }

    /// Finishes what was proposed before and ends. Later proposals are answered that the server stopped.
    pub async fn stop(self) {
        self.inbox.stop();
        let _ = tokio::task::spawn_blocking(|| self.thread.join()).await;
    }
}

fn until_the_end(run: &mut Run, inbox: &Inbox, tick: Duration) -> Result<End, WalError> {
    // What is committed already must be applied before an election; a member alone then leads at once.
    let mut end = run.drive()?;
    if run.raft.members().voters.len() == 1 {
        run.raft.campaign();
        end = run.drive()?.or(end);
    }
    let mut next = Instant::now() + tick;
    loop {
        if let Some(end) = end {
            return Ok(end);
        }
        let work = inbox.take(next);
        let mut ticks = 0;
        let now = Instant::now();
        if now >= next {
            ticks = MOST_TICKS.min(1 + ((now - next).as_millis() / tick.as_millis().max(1)) as u32);
            next = now + tick;
        }
        end = run.work(work, ticks)?;
    }
}

#[cfg(test)]
mod tests;
