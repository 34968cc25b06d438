//! Alarms: what is wrong with the cluster, and what is refused while it is.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::mvcc::backend::Change;
use crate::proto::log::command::Op;
use crate::proto::rpc::alarm_request::AlarmAction;
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::{AlarmMember, AlarmRequest, AlarmType, RequestOp};

/// The raised alarms.
pub struct Alarms {
    raised: BTreeSet<(i32, u64)>,
}

impl Alarms {
    /// From what was stored, as member and kind.
    pub fn new(stored: Vec<(u64, i32)>) -> Self {
        Self { raised: stored.into_iter().map(|(member, kind)| (kind, member)).collect() }
    }

    /// The alarms of a kind, or of every kind.
    pub fn list(&self, kind: AlarmType) -> Vec<AlarmMember> {
        self.raised
            .iter()
            .filter(|(raised, _)| kind == AlarmType::None || *raised == kind as i32)
            .map(|(alarm, member_id)| AlarmMember { member_id: *member_id, alarm: *alarm })
            .collect()
    }

    /// Whether any member has raised this alarm.
    pub fn raised(&self, kind: AlarmType) -> bool {
        self.raised.iter().any(|(raised, _)| *raised == kind as i32)
    }

    /// Carries a request out. Returns the alarms it is about and what must be stored.
    pub fn apply(&mut self, request: &AlarmRequest) -> (Vec<AlarmMember>, Vec<Change>) {
        let (member, alarm) = (request.member_id, request.alarm);
        let about = vec![AlarmMember { member_id: member, alarm }];
        match request.action() {
            AlarmAction::Get => (self.list(request.alarm()), Vec::new()),
            AlarmAction::Activate if request.alarm() == AlarmType::None => (Vec::new(), Vec::new()),
            AlarmAction::Activate => {
                let new = self.raised.insert((alarm, member));
                (about, new.then_some(Change::AlarmRaised { member, alarm }).into_iter().collect())
            }
            AlarmAction::Deactivate if self.raised.remove(&(alarm, member)) => {
                (about, vec![Change::AlarmCleared { member, alarm }])
            }
            AlarmAction::Deactivate => (Vec::new(), Vec::new()),
        }
    }

    /// Why an entry is refused while the alarms are as they are.
    pub fn refusal(&self, op: &Op) -> Option<Error> {
        let about_cluster = matches!(
            op,
            Op::Alarm(_)
                | Op::MemberAdd(_)
                | Op::MemberRemove(_)
                | Op::MemberPromote(_)
                | Op::MemberUpdate(_)
                | Op::MemberPublish(_)
                | Op::Downgrade(_)
        );
        if self.raised.is_empty() || about_cluster {
            return None;
        }
        if self.raised(AlarmType::Corrupt) {
            return Some(Error::Corrupt);
        }
        (self.raised(AlarmType::Nospace) && grows(op)).then_some(Error::NoSpace)
    }
}

/// Whether an entry may need more space.
pub fn grows(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::LeaseGrant(_) => true,
        Op::Txn(txn) => puts(&txn.success) || puts(&txn.failure),
        _ => false,
    }
}

fn puts(ops: &[RequestOp]) -> bool {
    ops.iter().any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(txn)) => puts(&txn.success) || puts(&txn.failure),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rpc::{DeleteRangeRequest, PutRequest};

    fn request(action: AlarmAction, alarm: AlarmType) -> AlarmRequest {
        AlarmRequest { action: action as i32, member_id: 7, alarm: alarm as i32 }
    }

    #[test]
    fn an_alarm_refuses_until_it_is_cleared() {
        let mut alarms = Alarms::new(Vec::new());
        let put = Op::Put(PutRequest::default());
        let delete = Op::DeleteRange(DeleteRangeRequest::default());
        assert_eq!(alarms.refusal(&put), None);
        let (about, changes) = alarms.apply(&request(AlarmAction::Activate, AlarmType::Nospace));
        assert_eq!((about.len(), changes.len()), (1, 1));
        assert_eq!(alarms.refusal(&put), Some(Error::NoSpace));
        assert_eq!(alarms.refusal(&delete), None);
        alarms.apply(&request(AlarmAction::Activate, AlarmType::Corrupt));
        assert_eq!(alarms.refusal(&delete), Some(Error::Corrupt));
        alarms.apply(&request(AlarmAction::Deactivate, AlarmType::Corrupt));
        alarms.apply(&request(AlarmAction::Deactivate, AlarmType::Nospace));
        assert_eq!(alarms.refusal(&put), None);
        let (about, changes) = alarms.apply(&request(AlarmAction::Deactivate, AlarmType::Nospace));
        assert_eq!((about.len(), changes.len()), (0, 0));
    }
}
