//! The `etcd-client` crate, which knows nothing of this server, drives every API of it.

mod common;

use common::{Ours, tls::certificates};
use etcd_client::*;

async fn connect(server: &Ours, options: Option<ConnectOptions>) -> Client {
    Client::connect([server.address.to_string()], options).await.expect("connected")
}

async fn kv(client: &mut Client) -> Result<(), Error> {
    client.put("a", "1", None).await?;
    let put = client.put("a", "2", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(put.prev_key().expect("told").value(), b"1");
    for key in ["b", "c", "d"] {
        client.put(key, key, None).await?;
    }
    let options = GetOptions::new().with_range("d").with_limit(2).with_sort(SortTarget::Key, SortOrder::Descend);
    let found = client.get("a", Some(options)).await?;
    let keys: Vec<&str> = found.kvs().iter().map(|kv| kv.key_str().expect("text")).collect();
    assert_eq!((keys, found.count(), found.more()), (vec!["c", "b"], 3, true));
    let all = GetOptions::new().with_all_keys().with_count_only();
    assert_eq!(client.get("", Some(all)).await?.count(), 4);
    let txn = Txn::new()
        .when([Compare::value("a", CompareOp::Equal, "2"), Compare::version("none", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("a", "3", None), TxnOp::txn(Txn::new().and_then([TxnOp::get("a", None)]))])
        .or_else([TxnOp::get("a", None)]);
    let done = client.txn(txn.clone()).await?;
    assert!(done.succeeded());
    assert!(!client.txn(txn).await?.succeeded());
    let before = done.header().expect("a header").revision() - 1;
    let old = client.get("a", Some(GetOptions::new().with_revision(before))).await?;
    assert_eq!(old.kvs()[0].value(), b"2");
    let gone = client.delete("b", Some(DeleteOptions::new().with_range("e").with_prev_key())).await?;
    assert_eq!((gone.deleted(), gone.prev_kvs().len()), (3, 3));
    client.compact(before + 1, Some(CompactionOptions::new().with_physical())).await?;
    assert!(client.get("a", Some(GetOptions::new().with_revision(before))).await.is_err());
    Ok(())
}

async fn watch(client: &mut Client) -> Result<(), Error> {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let (mut watcher, mut stream) = client.watch("w/", Some(options)).await?;
    client.put("w/1", "x", None).await?;
    client.delete("w/1", None).await?;
    let mut events = Vec::new();
    while events.len() < 2 {
        let response = stream.message().await?.expect("the stream goes on");
        events.extend(response.events().iter().map(|event| (event.event_type(), event.prev_kv().is_some())));
    }
    assert_eq!(events, [(EventType::Put, false), (EventType::Delete, true)]);
    watcher.request_progress().await?;
    assert!(stream.message().await?.expect("told of progress").events().is_empty());
    watcher.cancel().await?;
    assert!(stream.message().await?.expect("told of the end").canceled());
    Ok(())
}

async fn leases(client: &mut Client) -> Result<(), Error> {
    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(77))).await?;
    assert_eq!((granted.id(), granted.ttl()), (77, 60));
    client.put("leased", "x", Some(PutOptions::new().with_lease(77))).await?;
    let (mut keeper, mut stream) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    assert_eq!(stream.message().await?.expect("renewed").ttl(), 60);
    let info = client.lease_time_to_live(77, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    assert_eq!((info.granted_ttl(), info.keys().len()), (60, 1));
    assert!(client.leases().await?.leases().iter().any(|lease| lease.id() == 77));
    client.lease_revoke(77).await?;
    assert!(client.get("leased", None).await?.kvs().is_empty());
    Ok(())
}

async fn turns(client: &mut Client) -> Result<(), Error> {
    let locked = client.lock("the lock", None).await?;
    assert!(locked.key().starts_with(b"the lock/"));
    client.unlock(locked.key()).await?;

    let lease = client.lease_grant(60, None).await?.id();
    let won = client.campaign("the office", "first", lease).await?;
    let leader = won.leader().expect("told").clone();
    let mut seen = client.observe("the office").await?;
    assert_eq!(seen.message().await?.expect("told").kv().expect("a value").value(), b"first");
    client.proclaim("second", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    assert_eq!(client.leader("the office").await?.kv().expect("a value").value(), b"second");
    assert_eq!(seen.message().await?.expect("told").kv().expect("a value").value(), b"second");
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    assert!(client.leader("the office").await.is_err());
    Ok(())
}

async fn cluster(client: &mut Client) -> Result<(), Error> {
    let own = client.member_list().await?.members()[0].clone();
    let added = client.member_add(["http://127.0.0.1:1"], Some(MemberAddOptions::new().with_is_learner())).await?;
    let id = added.member().expect("told").id();
    client.member_update(id, ["http://127.0.0.1:2"]).await?;
    let listed = client.member_list().await?;
    let learner = listed.members().iter().find(|member| member.id() == id).expect("there");
    assert_eq!((learner.peer_urls(), learner.is_learner()), (&["http://127.0.0.1:2".to_owned()][..], true));
    let early = client.member_promote(id).await.expect_err("it has nothing yet").to_string();
    assert!(early.contains("in sync with leader"), "{early}");
    assert_eq!(client.member_remove(id).await?.members().len(), 1);
    client.move_leader(own.id()).await?;
    Ok(())
}

async fn maintenance(client: &mut Client) -> Result<(), Error> {
    let status = client.status().await?;
    assert!(status.leader() != 0 && status.db_size() > 0 && status.version().starts_with("3.6"));
    client.defragment().await?;
    assert_eq!(client.hash().await?.hash(), client.hash_kv(0).await?.hash());
    client.alarm(AlarmAction::Activate, AlarmType::Nospace, None).await?;
    assert!(client.put("a", "x", None).await.is_err());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await?;
    assert!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().is_empty());
    let mut snapshot = client.snapshot().await?;
    let mut bytes = 0;
    while let Some(piece) = snapshot.message().await? {
        bytes += piece.blob().len();
    }
    // The last piece is the checksum.
    assert_eq!(bytes % 4096, 32);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_is_driven() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = connect(&server, None).await;
    kv(&mut client).await.expect("KV");
    watch(&mut client).await.expect("Watch");
    leases(&mut client).await.expect("Lease");
    turns(&mut client).await.expect("Lock and Election");
    cluster(&mut client).await.expect("Cluster");
    maintenance(&mut client).await.expect("Maintenance");
    server.stop().await;
}

async fn users(server: &Ours) -> Result<(), Error> {
    let mut client = connect(server, None).await;
    for (user, password) in [("root", "r"), ("anna", "a"), ("gone", "g")] {
        client.user_add(user, password, None).await?;
    }
    for role in ["root", "readers", "gone"] {
        client.role_add(role).await?;
    }
    client.role_grant_permission("readers", Permission::read("a").with_prefix()).await?;
    client.role_grant_permission("readers", Permission::read_write("mine")).await?;
    client.user_grant_role("root", "root").await?;
    client.user_grant_role("anna", "readers").await?;
    client.user_delete("gone").await?;
    client.role_delete("gone").await?;
    assert_eq!((client.user_list().await?.users().len(), client.role_list().await?.roles().len()), (2, 2));
    client.auth_enable().await?;
    assert!(client.put("mine", "x", None).await.is_err());

    let user = |name: &str, password: &str| Some(ConnectOptions::new().with_user(name, password));
    let mut anna = connect(server, user("anna", "a")).await;
    anna.put("mine", "x", None).await?;
    assert!(anna.put("a", "x", None).await.is_err());
    assert_eq!(anna.user_get("anna").await?.roles(), ["readers"]);
    assert_eq!(anna.role_get("readers").await?.permissions().len(), 2);

    let mut root = connect(server, user("root", "r")).await;
    root.role_revoke_permission("readers", "mine", None).await?;
    root.user_change_password("anna", "b").await?;
    assert!(Client::connect([server.address.to_string()], user("anna", "a")).await.is_err());
    let mut anna = connect(server, user("anna", "b")).await;
    assert!(anna.put("mine", "x", None).await.is_err());
    // What was granted before a token was given is in it; the change above made root's old.
    let mut root = connect(server, user("root", "r")).await;
    root.user_revoke_role("anna", "readers").await?;
    let mut root = connect(server, user("root", "r")).await;
    root.auth_disable().await?;
    client.put("mine", "x", None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_prove_themselves_by_either_kind_of_token() {
    let directory = tempfile::tempdir().expect("a directory");
    // A certificate's key signs as well as any other.
    let key = certificates(directory.path(), "token").key;
    let jwt = format!("--auth-token=jwt,sign-method=ES256,priv-key={},ttl=1m", key.display());
    for (name, flag) in [("simple", "--auth-token-ttl=60"), ("jwt", jwt.as_str())] {
        let server = Ours::start(&directory.path().join(name), &[flag, "--bcrypt-cost=4"]).await;
        users(&server).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        server.stop().await;
    }
}
