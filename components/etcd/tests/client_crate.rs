//! The `etcd-client` crate, which was made for etcd and knows nothing of this server, over every part of the API.

mod common;

use std::time::Duration;

use common::Ours;
use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, ConnectOptions, DeleteOptions, Error,
    EventType, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions, MemberAddOptions, Permission,
    ProclaimOptions, PutOptions, ResignOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType,
    WatchOptions, WatchResponse, WatchStream,
};

async fn started() -> (tempfile::TempDir, Ours, Client) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let client = connect(&server, None).await.expect("reachable");
    (directory, server, client)
}

async fn connect(server: &Ours, options: Option<ConnectOptions>) -> Result<Client, Error> {
    Client::connect([server.address.to_string()], options).await
}

fn code(error: &Error) -> tonic::Code {
    match error {
        Error::GRpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    next.expect("in time").expect("no error").expect("the stream goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys() -> Result<(), Error> {
    let (_directory, server, mut client) = started().await;
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        client.put(key, value, None).await?;
    }
    let before = client.put("a", "4", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(before.prev_key().map(|kv| kv.value()), Some(&b"1"[..]));
    client.put("a", "", Some(PutOptions::new().with_ignore_value())).await?;
    let missing = client.put("none", "", Some(PutOptions::new().with_ignore_value())).await.expect_err("no such key");
    assert_eq!(code(&missing), tonic::Code::InvalidArgument);

    let keys = |response: &etcd_client::GetResponse| -> String {
        response.kvs().iter().map(|kv| kv.key_str().expect("text").to_owned()).collect()
    };
    let all = || GetOptions::new().with_all_keys();
    let table = [
        (all(), "abc", 3, false),
        (all().with_limit(2), "ab", 3, true),
        (all().with_sort(SortTarget::Mod, SortOrder::Descend), "acb", 3, false),
        (all().with_revision(3), "ab", 2, false),
        (all().with_min_mod_revision(4), "ac", 3, false),
        (all().with_max_create_revision(3), "ab", 3, false),
        (all().with_count_only(), "", 3, false),
        (all().with_keys_only().with_serializable(), "abc", 3, false),
        (GetOptions::new().with_from_key(), "bc", 2, false),
        (GetOptions::new().with_range("c"), "b", 1, false),
    ];
    for (row, (options, expected, count, more)) in table.into_iter().enumerate() {
        let found = client.get("b", Some(options)).await?;
        assert_eq!((keys(&found).as_str(), found.count(), found.more()), (expected, count, more), "row {row}");
    }

    let inner = Txn::new().and_then([TxnOp::put("d", "5", None)]);
    let txn = Txn::new()
        .when([Compare::value("a", CompareOp::Equal, "4"), Compare::version("z", CompareOp::Equal, 0)])
        .and_then([TxnOp::get("a", None), TxnOp::txn(inner), TxnOp::delete("c", None)])
        .or_else([TxnOp::put("a", "wrong", None)]);
    let done = client.txn(txn).await?;
    assert!(done.succeeded());
    assert!(matches!(
        done.op_responses().as_slice(),
        [TxnOpResponse::Get(_), TxnOpResponse::Txn(_), TxnOpResponse::Delete(gone)] if gone.deleted() == 1
    ));
    let gone = client.delete("a", Some(DeleteOptions::new().with_range("c").with_prev_key())).await?;
    assert_eq!((gone.deleted(), gone.prev_kvs().len()), (2, 2));

    client.compact(7, Some(CompactionOptions::new().with_physical())).await?;
    let old = client.get("a", Some(GetOptions::new().with_revision(3))).await.expect_err("compacted");
    assert_eq!(code(&old), tonic::Code::OutOfRange);
    server.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches() -> Result<(), Error> {
    let (_directory, server, mut client) = started().await;
    client.put("w/1", "old", None).await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(2).with_prev_key();
    let mut stream = client.watch("w/", Some(options)).await?;
    assert!(next(&mut stream).await.created());
    let first = next(&mut stream).await;
    assert_eq!((first.events()[0].event_type(), first.events()[0].prev_kv().is_some()), (EventType::Put, false));

    client.put("w/1", "new", None).await?;
    let second = next(&mut stream).await;
    assert_eq!(second.events()[0].prev_kv().map(|kv| kv.value()), Some(&b"old"[..]));

    let filtered = WatchOptions::new().with_filters([WatchFilterType::NoPut]).with_watch_id(7).with_fragment();
    stream.watch("w/1", Some(filtered)).await?;
    let created = next(&mut stream).await;
    assert!(created.created() && created.watch_id() == 7);
    client.put("w/1", "newer", None).await?;
    assert_eq!(next(&mut stream).await.watch_id(), first.watch_id());
    client.delete("w/1", None).await?;
    let mut told = [next(&mut stream).await.watch_id(), next(&mut stream).await.watch_id()];
    told.sort_unstable();
    assert_eq!(told, [first.watch_id(), 7]);

    stream.request_progress().await?;
    assert!(next(&mut stream).await.events().is_empty());
    stream.cancel(7).await?;
    assert!(next(&mut stream).await.canceled());

    client.compact(4, None).await?;
    stream.watch("w/1", Some(WatchOptions::new().with_start_revision(2))).await?;
    assert!(next(&mut stream).await.created());
    let compacted = next(&mut stream).await;
    assert!(compacted.canceled() && compacted.compact_revision() == 4);
    server.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_locks_and_elections() -> Result<(), Error> {
    let (_directory, server, mut client) = started().await;
    client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77))).await?;
    assert!(client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77))).await.is_err());
    client.put("leased", "x", Some(PutOptions::new().with_lease(77))).await?;
    let left = client.lease_time_to_live(77, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    assert_eq!((left.granted_ttl(), left.keys()), (600, &[b"leased".to_vec()][..]));
    let (mut keeper, mut kept) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    assert_eq!(kept.message().await?.map(|kept| kept.ttl()), Some(600));
    assert_eq!(client.leases().await?.leases().len(), 1);
    client.lease_revoke(77).await?;
    assert_eq!(client.get("leased", None).await?.count(), 0);
    assert_eq!(client.lease_time_to_live(77, None).await?.ttl(), -1);

    let lease = client.lease_grant(600, None).await?.id();
    let lock = client.lock("mutex", Some(LockOptions::new().with_lease(lease))).await?;
    assert!(lock.key().starts_with(b"mutex/"));
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("mutex", None).await });
    client.unlock(lock.key()).await?;
    let second = waiting.await.expect("no panic")?;
    client.unlock(second.key()).await?;

    let won = client.campaign("office", "me", lease).await?;
    let leader = won.leader().expect("a key").clone();
    assert_eq!(client.leader("office").await?.kv().map(|kv| kv.value()), Some(&b"me"[..]));
    let mut observed = client.observe("office").await?;
    let seen = observed.message().await?.expect("one");
    assert_eq!(seen.kv().map(|kv| kv.value()), Some(&b"me"[..]));
    client.proclaim("still me", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    let seen = observed.message().await?.expect("another");
    assert_eq!(seen.kv().map(|kv| kv.value()), Some(&b"still me"[..]));
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    assert!(client.leader("office").await.is_err());
    drop(observed);
    server.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users() -> Result<(), Error> {
    let (_directory, server, mut client) = started().await;
    client.user_add("root", "secret", None).await?;
    client.user_grant_role("root", "root").await?;
    client.role_add("reader").await?;
    client.role_grant_permission("reader", Permission::read("open/").with_prefix()).await?;
    client.user_add("some", "word", None).await?;
    client.user_grant_role("some", "reader").await?;
    client.put("open/1", "x", None).await?;
    assert_eq!(client.role_get("reader").await?.permissions().len(), 1);
    assert_eq!(client.role_list().await?.roles(), ["reader"]);
    assert_eq!(client.user_list().await?.users(), ["root", "some"]);
    assert_eq!(client.user_get("some").await?.roles(), ["reader"]);
    client.auth_enable().await?;

    let as_user = |name: &str, word: &str| Some(ConnectOptions::new().with_user(name, word));
    assert!(connect(&server, as_user("some", "wrong")).await.is_err());
    let mut some = connect(&server, as_user("some", "word")).await?;
    assert_eq!(some.get("open/1", None).await?.count(), 1);
    let denied = some.put("open/1", "y", None).await.expect_err("it may only read");
    assert_eq!(code(&denied), tonic::Code::PermissionDenied);
    assert!(some.user_list().await.is_err());

    let mut root = connect(&server, as_user("root", "secret")).await?;
    root.user_change_password("some", "other").await?;
    assert!(connect(&server, as_user("some", "word")).await.is_err());
    root.user_revoke_role("some", "reader").await?;
    let revoke = etcd_client::RoleRevokePermissionOptions::new().with_prefix();
    root.role_revoke_permission("reader", "open/", Some(revoke)).await?;
    root.role_delete("reader").await?;
    root.user_delete("some").await?;
    root.auth_disable().await?;
    assert_eq!(client.get("open/1", None).await?.count(), 1);
    server.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_upkeep() -> Result<(), Error> {
    let (_directory, server, mut client) = started().await;
    client.put("a", "1", None).await?;
    let status = client.status().await?;
    assert!(status.leader() != 0 && status.db_size() > 0 && status.errors().is_empty() && !status.is_learner());
    let own = client.member_list().await?.members()[0].id();
    let added = client.member_add(["http://127.0.0.1:1"], Some(MemberAddOptions::new().with_is_learner())).await?;
    let other = added.member().expect("added").id();
    client.member_update(other, ["http://127.0.0.1:2".to_owned()]).await?;
    assert!(client.member_promote(other).await.is_err());
    client.member_remove(other).await?;
    assert_eq!(client.member_list().await?.members().len(), 1);
    client.move_leader(own).await?;

    let hash = client.hash_kv(0).await?;
    assert_eq!((hash.hash() != 0, client.hash().await.is_ok()), (true, true));
    client.defragment().await?;
    assert!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().is_empty());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await?;
    let mut snapshot = client.snapshot().await?;
    let mut bytes = 0;
    while let Some(piece) = snapshot.message().await? {
        bytes += piece.blob().len();
    }
    assert!(bytes > 4096);
    server.stop().await;
    Ok(())
}
