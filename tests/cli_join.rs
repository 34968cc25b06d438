//! Joining by a token, against an API server that serves what a cluster shows to strangers and to tokens.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kinit::config::settings::HostDefaults;
use kinit::host::MemoryHost;
use kinit::images::{Binaries, WouldImport};
use kinit::join::discovery::{Error, discover};
use kinit::join::phases::{JoinContext, TREE};
use kinit::join::{JoinOverrides, JoinSettings, Source};
use kinit::phase::run_tree;
use kinit::report::Silent;
use kinit_pki::kubeconfig::Credential;
use kinit_pki::{Authority, Kubeconfig, Profile, Usage};
use ring::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "abcdef.0123456789abcdef";

/// A cluster's API server, as far as a stranger sees it.
struct Cluster {
    address: SocketAddr,
    hash: String,
    ca: String,
}

impl Cluster {
    async fn start() -> Self {
        let ca = Authority::create("kubernetes", Timestamp::now()).unwrap();
        let profile = Profile {
            common_name: "kube-apiserver".into(),
            ips: vec!["127.0.0.1".parse().unwrap()],
            usages: vec![Usage::Server],
            ..Profile::default()
        };
        let day = std::time::Duration::from_secs(86400);
        let (certificate, key) = ca.issue(&profile, Timestamp::now(), day).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ca_pem = ca.certificate().to_pem();
        let answers = Arc::new(answers(&format!("https://{address}"), &ca_pem));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let answer = answer(&answers, &request);
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    });
                    // A client that goes away early is its own affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, hash: ca.certificate().public_key_hash(), ca: ca_pem }
    }

    fn source(&self, token: &str, hash: &str) -> Source {
        Source::Token {
            endpoint: self.address.to_string(),
            token: token.parse().unwrap(),
            hashes: vec![hash.to_owned()],
        }
    }
}

fn answers(url: &str, ca: &str) -> HashMap<String, Value> {
    let info = Kubeconfig::new("", url, ca, "", &Credential::Anonymous).to_yaml().unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"abcdef"}"#);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
    let mac = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(&info)).as_bytes());
    let signature = format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac));
    let cluster =
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  dnsDomain: example.org\n";
    let kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 33\n\
                   authentication:\n  x509:\n    clientCAFile: /elsewhere\n";
    let system = "/api/v1/namespaces/kube-system/configmaps";
    HashMap::from([
        ("/kube-public/discovery".to_owned(), serde_yaml::from_str(&info).unwrap()),
        (
            "/api/v1/namespaces/kube-public/configmaps/cluster-info".to_owned(),
            json!({"data": {"kubeconfig": info, "jws-kubeconfig-abcdef": signature}}),
        ),
        (format!("{system}/kubeadm-config"), json!({"data": {"ClusterConfiguration": cluster}})),
        (format!("{system}/kubelet-config"), json!({"data": {"kubelet": kubelet}})),
    ])
}

fn answer(answers: &HashMap<String, Value>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let shown = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let allowed = path.contains("/kube-public/") || shown == Some(&format!("Bearer {TOKEN}"));
    let (code, body) = match answers.get(path) {
        _ if !allowed => (StatusCode::UNAUTHORIZED, json!({"message": "Unauthorized"})),
        Some(object) => (StatusCode::OK, object.clone()),
        None => (StatusCode::NOT_FOUND, json!({"message": "not found", "reason": "NotFound"})),
    };
    Response::builder().status(code).body(Full::new(body.to_string().into())).unwrap()
}

#[tokio::test]
async fn only_the_right_token_and_hash_are_believed() {
    let cluster = Cluster::start().await;
    let found = discover(&cluster.source(TOKEN, &cluster.hash)).await.unwrap();
    assert_eq!(found.server, format!("https://{}", cluster.address));

    let wrong_hash = format!("sha256:{}", "0".repeat(64));
    let error = discover(&cluster.source(TOKEN, &wrong_hash)).await.unwrap_err();
    assert!(matches!(&error, Error::Hash { found, .. } if *found == cluster.hash), "{error}");
    for token in ["abcdef.0000000000000000", "fedcba.0123456789abcdef"] {
        let error = discover(&cluster.source(token, &cluster.hash)).await.unwrap_err();
        assert!(matches!(&error, Error::Token { .. }), "{error}");
        assert!(error.to_string().contains("hint:"));
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Cluster { address: silent, hash: cluster.hash.clone(), ca: cluster.ca.clone() };
    let error = discover(&nobody.source(TOKEN, &nobody.hash)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

struct World {
    context: JoinContext,
    host: Arc<MemoryHost>,
    _binaries: tempfile::TempDir,
}

fn world(cluster: &Cluster, tls_token: Option<&str>) -> World {
    let binaries = tempfile::tempdir().unwrap();
    for name in ["kubelet", "kube-proxy", "cluster-dns", "kinit-network", "pause"] {
        std::fs::write(binaries.path().join(name), name).unwrap();
    }
    let flags = JoinOverrides {
        endpoint: Some(cluster.address.to_string()),
        token: Some(TOKEN.into()),
        hashes: vec![cluster.hash.clone()],
        tls_bootstrap_token: tls_token.map(str::to_owned),
        node_name: Some("worker".into()),
        ..JoinOverrides::default()
    };
    let defaults = HostDefaults { host_name: "w1".into(), address: None, cri_socket: None };
    let host = Arc::new(MemoryHost::empty().unwrap());
    let context = JoinContext {
        settings: JoinSettings::resolve(None, flags, &defaults).unwrap(),
        host: host.clone(),
        images: Arc::new(WouldImport),
        binaries: Binaries::new(Some(binaries.path())),
        reporter: Arc::new(Silent),
        now: Timestamp::now(),
        cluster: OnceCell::new(),
        init: OnceCell::new(),
    };
    World { context, host, _binaries: binaries }
}

#[tokio::test]
async fn a_worker_gets_what_its_kubelet_needs() {
    let cluster = Cluster::start().await;
    let world = world(&cluster, None);
    run_tree(TREE, &world.context, &Silent, &[]).await.unwrap();
    let files: HashMap<String, String> = world
        .host
        .written()
        .into_iter()
        .map(|(path, contents)| (path.display().to_string(), String::from_utf8(contents).unwrap()))
        .collect();
    let config: Value = serde_yaml::from_str(&files["/var/lib/kubelet/config.yaml"]).unwrap();
    assert_eq!(config["maxPods"], 33);
    assert_eq!(config["authentication"]["x509"]["clientCAFile"], "/etc/kubernetes/pki/ca.crt");
    assert!(config["containerRuntimeEndpoint"].as_str().unwrap().starts_with("unix://"));
    let bootstrap = Kubeconfig::parse(&files["/etc/kubernetes/bootstrap-kubelet.conf"], "test").unwrap();
    assert_eq!(bootstrap.current().unwrap().1.unwrap().bearer_token().unwrap().as_deref(), Some(TOKEN));
    assert!(files["/etc/kubernetes/pki/ca.crt"].contains("BEGIN CERTIFICATE"));
    assert!(files["/var/lib/kubelet/kubeadm-flags.env"].contains("--hostname-override=worker"));
    assert!(files["/var/lib/kubelet/instance-config.yaml"].contains("containerRuntimeEndpoint: unix://"));
    assert!(!files.contains_key("/etc/kubernetes/manifests/etcd.yaml"));
}

#[tokio::test]
async fn nothing_is_written_for_a_token_that_the_cluster_does_not_take() {
    let cluster = Cluster::start().await;
    let world = world(&cluster, Some("abcdef.9999999999999999"));
    let error = run_tree(TREE, &world.context, &Silent, &[]).await.unwrap_err();
    let text = kinit::report::describe(&error.into());
    assert!(text.contains("token") && text.contains("hint:"), "{text}");
    assert_eq!(world.host.effects(), []);
}

#[tokio::test]
async fn a_discovery_file_may_be_at_a_url_that_this_host_believes() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("believed.pem");
    let flags = |path: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_kinit"));
        command.args([
            "join",
            "phase",
            "kubelet-start",
            "--dry-run",
            "--node-name",
            "w1",
            "--tls-bootstrap-token",
            TOKEN,
        ]);
        command.arg("--discovery-file").arg(format!("https://{}{path}", cluster.address));
        command.env("SSL_CERT_FILE", &authorities).env("KINIT_BIN_DIR", folder.path());
        command
    };
    std::fs::write(folder.path().join("kubelet"), "kubelet").unwrap();
    let other = Authority::create("other", Timestamp::now()).unwrap();
    for (believed, path, wanted) in [
        (&other.certificate().to_pem(), "/kube-public/discovery", Err("certificate")),
        (&cluster.ca, "/kube-public/nothing", Err("404")),
        (&cluster.ca, "/kube-public/discovery", Ok("certificate-authority-data")),
    ] {
        std::fs::write(&authorities, believed).unwrap();
        let output = flags(path).output().await.unwrap();
        let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match wanted {
            Ok(text) => assert!(output.status.success() && out.contains(text), "{out}{errors}"),
            Err(text) => assert!(!output.status.success() && errors.contains(text), "{path}: {errors}"),
        }
    }
}
