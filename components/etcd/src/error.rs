//! What a request can be answered with when it fails: etcd's own codes and texts, which its clients match on.

use tonic::{Code, Status};

/// A request's failure. The display text is the gRPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: member not found")]
    MemberNotFound,
    #[error("etcdserver: given member URLs are invalid")]
    MemberBadUrls,
    #[error("etcdserver: can only promote a learner member")]
    MemberNotLearner,
    #[error("etcdserver: member ID already exist")]
    MemberExists,
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    #[error("etcdserver: not leader")]
    NotLeader,
    #[error("etcdserver: no leader")]
    NoLeader,
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    #[error("etcdserver: rpc not supported for learner")]
    NotForLearners,
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TransferTimedOut,
    #[error("etcdserver: bad leader transferee")]
    BadLeaderTransferee,
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: authentication is not enabled")]
    AuthNotEnabled,
    #[error("etcdserver: root user does not exist")]
    RootUserNotExist,
    #[error("etcdserver: root user does not have root role")]
    RootRoleNotExist,
    #[error("etcdserver: user name already exists")]
    UserExists,
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    #[error("etcdserver: user name not found")]
    UserNotFound,
    #[error("etcdserver: role name already exists")]
    RoleExists,
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthFailed,
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    #[error("etcdserver: invalid auth token")]
    InvalidAuthToken,
    #[error("etcdserver: invalid auth management")]
    InvalidAuthManagement,
    #[error("etcdserver: revision of auth store is old")]
    AuthOldRevision,
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    #[error("etcdserver: cluster ID mismatch")]
    ClusterMismatch,
    #[error("etcdserver: wrong downgrade target version format")]
    DowngradeFormat,
    #[error("etcdserver: invalid downgrade target version")]
    DowngradeTarget,
    #[error("etcdserver: cluster has a downgrade job in progress")]
    DowngradeRunning,
    #[error("etcdserver: no inflight downgrade job")]
    NoDowngrade,
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    #[error("etcdserver: server stopped")]
    Stopped,
    #[error("etcdserver: request timed out")]
    TimedOut,
    /// Something this server does not do yet; the text says what.
    #[error("{0}")]
    Unsupported(String),
    /// The disk or the backend failed; the member stops after it.
    #[error("etcdserver: storage failed: {0}")]
    Storage(String),
}

impl Error {
    /// Whether the cluster could not, rather than would not.
    pub fn is_of_the_cluster(&self) -> bool {
        use Error::{LeaderChanged, NoLeader, Stopped, TimedOut, TooManyRequests, Unhealthy};
        matches!(self, NoLeader | LeaderChanged | TimedOut | Stopped | TooManyRequests | Unhealthy)
    }

    /// The gRPC code that etcd's clients expect with this error.
    pub fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::MemberBadUrls
            | Self::UserEmpty
            | Self::RoleEmpty
            | Self::AuthFailed
            | Self::PermissionNotGiven
            | Self::InvalidAuthManagement
            | Self::AuthOldRevision
            | Self::DowngradeFormat
            | Self::DowngradeTarget
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace | Self::TooManyRequests => Code::ResourceExhausted,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::LeaseExists
            | Self::MemberExists
            | Self::PeerUrlExists
            | Self::NotEnoughStarted
            | Self::LearnerNotReady
            | Self::TooManyLearners
            | Self::NotLeader
            | Self::NotForLearners
            | Self::MemberNotLearner
            | Self::BadLeaderTransferee
            | Self::AuthNotEnabled
            | Self::RootUserNotExist
            | Self::RootRoleNotExist
            | Self::UserExists
            | Self::UserNotFound
            | Self::RoleExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::ClusterMismatch
            | Self::DowngradeRunning
            | Self::NoDowngrade
            | Self::PermissionNotGranted => Code::FailedPrecondition,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::InvalidAuthToken => Code::Unauthenticated,
            Self::Corrupt => Code::DataLoss,
            Self::Stopped
            | Self::TimedOut
            | Self::TransferTimedOut
            | Self::Unhealthy
            | Self::NoLeader
            | Self::LeaderChanged => Code::Unavailable,
            Self::VerifyOnly => Code::Unknown,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Storage(_) => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code(), error.to_string())
    }
}
