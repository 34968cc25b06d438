//! Locks and elections: one holder at a time, in the order of asking.

mod common;

use bytes::Bytes;
use common::Ours;
use kinit_etcd::proto::election::election_client::ElectionClient;
use kinit_etcd::proto::election::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use kinit_etcd::proto::lock::lock_client::LockClient;
use kinit_etcd::proto::lock::{LockRequest, UnlockRequest};
use kinit_etcd::proto::rpc::{LeaseGrantRequest, LeaseRevokeRequest, RangeRequest};
use tonic::transport::Channel;

const NAME: Bytes = Bytes::from_static(b"name");

async fn channel(server: &Ours) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).expect("a URL");
    endpoint.connect().await.expect("connected")
}

async fn leases(server: &Ours, count: i64) {
    let mut client = server.client().await;
    for id in 1..=count {
        client.lease.lease_grant(LeaseGrantRequest { ttl: 600, id }).await.expect("granted");
    }
}

/// Waits until that many keys stand in the line.
async fn in_line(server: &Ours, count: i64) {
    let mut client = server.client().await;
    let range = RangeRequest {
        key: Bytes::from_static(b"name/"),
        range_end: Bytes::from_static(b"name0"),
        count_only: true,
        ..RangeRequest::default()
    };
    while client.kv.range(range.clone()).await.expect("readable").into_inner().count != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    leases(&server, 3).await;
    let lock = LockClient::new(channel(&server).await);
    let ask = |lease| {
        let mut lock = lock.clone();
        async move { lock.lock(LockRequest { name: NAME, lease }).await.map(|response| response.into_inner().key) }
    };
    let first = ask(1).await.expect("free");
    assert_eq!(first, "name/1");
    assert_eq!(ask(1).await.expect("held by the same lease"), first);
    let gives_up = tokio::spawn(ask(2));
    in_line(&server, 2).await;
    let waits = tokio::spawn(ask(3));
    in_line(&server, 3).await;
    gives_up.abort();
    in_line(&server, 2).await;
    assert!(!waits.is_finished());
    lock.clone().unlock(UnlockRequest { key: first }).await.expect("unlocked");
    assert_eq!(waits.await.expect("no panic").expect("its turn"), "name/3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_follow_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    leases(&server, 3).await;
    let mut election = ElectionClient::new(channel(&server).await);
    let refused = election.leader(LeaderRequest { name: NAME }).await.expect_err("nobody leads");
    assert_eq!(refused.message(), "election: no leader");
    let candidate = election.clone();
    let campaign = |lease: i64, value: &'static str| {
        let mut election = candidate.clone();
        let request = CampaignRequest { name: NAME, lease, value: Bytes::from_static(value.as_bytes()) };
        async move { election.campaign(request).await.map(|response| response.into_inner().leader) }
    };
    let first = campaign(1, "one").await.expect("elected");
    let mut observed = election.observe(LeaderRequest { name: NAME }).await.expect("a stream").into_inner();
    let mut values = Vec::new();
    let mut next = async || {
        let kv = observed.message().await.expect("no error").expect("goes on").kv.expect("a leader");
        values.push(String::from_utf8(kv.value.to_vec()).expect("text"));
        values.last().cloned().unwrap_or_default()
    };
    assert_eq!(next().await, "one");
    let second = tokio::spawn(campaign(2, "two"));
    in_line(&server, 2).await;
    let third = tokio::spawn(campaign(3, "three"));
    in_line(&server, 3).await;
    let proclaim = ProclaimRequest { leader: first.clone(), value: Bytes::from_static(b"one again") };
    election.proclaim(proclaim.clone()).await.expect("still leads");
    assert_eq!(next().await, "one again");
    election.resign(ResignRequest { leader: first }).await.expect("resigned");
    second.await.expect("no panic").expect("elected");
    assert_eq!(next().await, "two");
    assert_eq!(election.proclaim(proclaim).await.expect_err("leads no more").message(), "election: not leader");
    server.client().await.lease.lease_revoke(LeaseRevokeRequest { id: 2 }).await.expect("revoked");
    third.await.expect("no panic").expect("elected");
    assert_eq!(next().await, "three");
    server.stop().await;
}
