//! A key service: it keeps the key, and this server the seed that the service has encrypted (KMS v2).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::ciphers::{Cipher, SEED, random};
use super::config::KmsConfig;

/// The service's own messages.
#[expect(clippy::all, rustdoc::all, reason = "generated from the protocol's definitions")]
mod proto {
    tonic::include_proto!("v2");
}

use proto::key_management_service_client::KeyManagementServiceClient;
use proto::{EncryptedDekSourceType, EncryptedObject};

/// How long a service that has failed is believed to still want the seed that it encrypted last.
const WRITES_FOR: Duration = Duration::from_secs(180);
/// How often a service is asked how it is, when it is well and when it is not.
const WELL: Duration = Duration::from_secs(20);
const UNWELL: Duration = Duration::from_secs(3);
/// How long opened seeds are kept, and how many.
const SEEDS_FOR: Duration = Duration::from_secs(24 * 3600);
const SEEDS: usize = 4096;
const MAX_KEY_ID: usize = 1024;
const MAX_SOURCE: usize = 1024;
const MAX_ANNOTATIONS: usize = 32 * 1024;

/// Opened seeds by the digests of their encrypted form, and until when they are kept.
type Seeds = HashMap<[u8; 32], (Arc<Cipher>, Instant)>;

/// A service and what is known of it.
pub struct Kms {
    pub config: KmsConfig,
    channel: Channel,
    state: RwLock<Option<Arc<State>>>,
    seeds: Mutex<Seeds>,
    health: RwLock<Result<(), String>>,
}

/// The seed that values are written with.
struct State {
    cipher: Arc<Cipher>,
    /// What is stored with each value; its data is empty.
    form: EncryptedObject,
    until: Instant,
}

impl Kms {
    /// A service that is not connected yet. The error tells that its socket's path can't be one.
    pub fn new(config: KmsConfig) -> Result<Self, String> {
        let socket = config.socket.clone();
        let connector = service_fn(move |_: http::Uri| {
            let socket = socket.clone();
            async move {
                // A name in the abstract namespace begins with a zero byte.
                let path = socket.strip_prefix('@').map_or(socket.clone(), |name| format!("\0{name}"));
                Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(config.timeout);
        Ok(Self {
            channel: endpoint.connect_with_connector_lazy(connector),
            config,
            state: RwLock::default(),
            seeds: Mutex::default(),
            health: RwLock::new(Err("it has not been asked yet".into())),
        })
    }

    fn client(&self) -> KeyManagementServiceClient<Channel> {
        KeyManagementServiceClient::new(self.channel.clone())
    }

    /// How the service was when it was asked last.
    pub fn health(&self) -> Result<(), String> {
        self.health.read().clone()
    }

    /// Asks the service how it is and makes a new seed if its key is another one; gives the time until the next look.
    pub async fn look(&self) -> Duration {
        let found = self.renew().await;
        let found = found.map_err(|why| format!("kmsv2 Provider {} is not healthy, error: {why}", self.config.name));
        if let Err(why) = &found {
            tracing::warn!(why, "a key service cannot be used");
        }
        let wait = if found.is_ok() { WELL } else { UNWELL };
        *self.health.write() = found;
        wait
    }

    async fn renew(&self) -> Result<(), String> {
        let until = Instant::now() + WRITES_FOR;
        let status = self.client().status(proto::StatusRequest {}).await;
        let status = status.map_err(|error| format!("failed to perform status: {}", error.message()))?.into_inner();
        if status.healthz != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            return Err(format!("expected KMSv2 API version v2, got {}", status.version));
        }
        check_key_id(&status.key_id)?;
        let current = self.state.read().clone();
        if let Some(current) = current.filter(|current| current.form.key_id == status.key_id) {
            let (cipher, form) = (current.cipher.clone(), current.form.clone());
            *self.state.write() = Some(Arc::new(State { cipher, form, until }));
            return Ok(());
        }
        let seed = random::<SEED>();
        let uid = uuid::Uuid::new_v4().to_string();
        let request = proto::EncryptRequest { plaintext: seed.to_vec().into(), uid };
        let answer = self.client().encrypt(request).await;
        let answer = answer.map_err(|error| format!("failed to encrypt DEK: {}", error.message()))?.into_inner();
        if answer.key_id != status.key_id {
            return Err("failed to rotate DEK: the key of the answer is not the key of the status".into());
        }
        let form = EncryptedObject {
            encrypted_data: bytes::Bytes::new(),
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed.into(),
        };
        check(&form)?;
        let cipher = Arc::new(Cipher::Seed(seed.to_vec()));
        self.keep(digest(&form), cipher.clone());
        *self.state.write() = Some(Arc::new(State { cipher, form, until }));
        tracing::info!(name = self.config.name, "a key service has a new key");
        Ok(())
    }

    /// A value as it is stored, without the prefix that tells the service.
    pub async fn seal(&self, value: &[u8], path: &[u8]) -> Result<Vec<u8>, String> {
        if self.state.read().is_none() {
            self.look().await;
        }
        let state = self.state.read().clone();
        let state = state.ok_or_else(|| self.health().err().unwrap_or_default())?;
        if state.until < Instant::now() {
            return Err("the encrypted seed expired while its key service could not be reached".into());
        }
        let data = state.cipher.seal(value, path)?;
        Ok(EncryptedObject { encrypted_data: data.into(), ..state.form.clone() }.encode_to_vec())
    }

    /// The value out of what is stored, and whether it would now be written with another key.
    pub async fn open(&self, stored: &[u8], path: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let form = EncryptedObject::decode(stored).map_err(|error| error.to_string())?;
        if form.encrypted_data.is_empty() {
            return Err("encrypted data is empty".into());
        }
        check(&form)?;
        let digest = digest(&form);
        let known = self.seeds.lock().get(&digest).filter(|(_, until)| *until > Instant::now()).cloned();
        let cipher = match known {
            Some((cipher, _)) => cipher,
            None => {
                let cipher = Arc::new(self.opened_seed(&form).await?);
                self.keep(digest, cipher.clone());
                cipher
            }
        };
        let value = cipher.open(&form.encrypted_data, path)?;
        let state = self.state.read();
        let fresh = state.as_ref().is_none_or(|state| {
            state.form.key_id == form.key_id && state.form.encrypted_dek_source_type == form.encrypted_dek_source_type
        });
        Ok((value, !fresh))
    }

    async fn opened_seed(&self, form: &EncryptedObject) -> Result<Cipher, String> {
        let request = proto::DecryptRequest {
            ciphertext: form.encrypted_dek_source.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: form.key_id.clone(),
            annotations: form.annotations.clone(),
        };
        let answer = self.client().decrypt(request).await;
        let key = answer.map_err(|error| format!("failed to decrypt DEK, error: {}", error.message()))?.into_inner();
        let key = key.plaintext.to_vec();
        match form.encrypted_dek_source_type() {
            EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed if key.len() >= SEED => Ok(Cipher::Seed(key)),
            EncryptedDekSourceType::AesGcmKey if matches!(key.len(), 16 | 24 | 32) => Ok(Cipher::Gcm(key)),
            _ => Err(format!("invalid seed length {} used for key generation", key.len())),
        }
    }

    fn keep(&self, digest: [u8; 32], cipher: Arc<Cipher>) {
        let mut seeds = self.seeds.lock();
        let now = Instant::now();
        if seeds.len() >= SEEDS {
            seeds.retain(|_, (_, until)| *until > now);
        }
        if seeds.len() >= SEEDS {
            seeds.clear();
        }
        seeds.insert(digest, (cipher, now + SEEDS_FOR));
    }
}

/// What tells one encrypted seed from all others.
fn digest(form: &EncryptedObject) -> [u8; 32] {
    let annotations: BTreeMap<_, _> = form.annotations.iter().collect();
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_be_bytes());
        hash.update(bytes);
    };
    add(&form.encrypted_dek_source_type.to_be_bytes());
    add(&form.encrypted_dek_source);
    add(form.key_id.as_bytes());
    for (key, value) in annotations {
        add(key.as_bytes());
        add(value);
    }
    hash.finalize().into()
}

fn check_key_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("keyID is empty".into()),
        size if size > MAX_KEY_ID => Err(format!("keyID is {size} bytes, which exceeds the max size of {MAX_KEY_ID}")),
        _ => Ok(()),
    }
}

/// What upstream asks of all but the data.
fn check(form: &EncryptedObject) -> Result<(), String> {
    check_key_id(&form.key_id)?;
    let size = form.encrypted_dek_source.len();
    if size == 0 || size > MAX_SOURCE {
        return Err(format!("encrypted DEK source is {size} bytes, which is not between 1 and {MAX_SOURCE}"));
    }
    let annotations: usize = form.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if annotations > MAX_ANNOTATIONS {
        return Err(format!(
            "total size of annotations is {annotations}, which exceeds the max size of {MAX_ANNOTATIONS}"
        ));
    }
    EncryptedDekSourceType::try_from(form.encrypted_dek_source_type)
        .map(|_| ())
        .map_err(|_| format!("unknown encryptedDEKSourceType: {}", form.encrypted_dek_source_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::key_management_service_server::{KeyManagementService, KeyManagementServiceServer};
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::{Request, Response, Status};

    /// A service that "encrypts" by turning bytes around, under the key that it is told.
    struct Service(Arc<Mutex<String>>);

    #[tonic::async_trait]
    impl KeyManagementService for Service {
        async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
            let key_id = self.0.lock().clone();
            Ok(Response::new(proto::StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id }))
        }

        async fn decrypt(
            &self,
            request: Request<proto::DecryptRequest>,
        ) -> Result<Response<proto::DecryptResponse>, Status> {
            let plaintext: Vec<u8> = request.into_inner().ciphertext.iter().rev().copied().collect();
            Ok(Response::new(proto::DecryptResponse { plaintext: plaintext.into() }))
        }

        async fn encrypt(
            &self,
            request: Request<proto::EncryptRequest>,
        ) -> Result<Response<proto::EncryptResponse>, Status> {
            let ciphertext: Vec<u8> = request.into_inner().plaintext.iter().rev().copied().collect();
            let annotations = [("kms.example.org/a".to_owned(), "1".into())].into();
            let key_id = self.0.lock().clone();
            Ok(Response::new(proto::EncryptResponse { ciphertext: ciphertext.into(), key_id, annotations }))
        }
    }

    #[tokio::test]
    async fn a_seed_is_asked_for_once_and_again_when_the_key_changes() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("kms.sock");
        let config =
            || KmsConfig { name: "test".into(), socket: socket.display().to_string(), timeout: Duration::from_secs(5) };
        let kms = Kms::new(config()).unwrap();
        assert!(kms.seal(b"value", b"k").await.is_err(), "nobody serves");
        let key = Arc::new(Mutex::new("first".to_owned()));
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(KeyManagementServiceServer::new(Service(key.clone())))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(server);
        kms.look().await;
        assert_eq!(kms.health(), Ok(()));
        let sealed = kms.seal(b"value", b"k").await.unwrap();
        assert_eq!(kms.open(&sealed, b"k").await.unwrap(), (b"value".to_vec(), false));
        assert!(kms.open(&sealed, b"other").await.is_err());
        let form = EncryptedObject::decode(sealed.as_slice()).unwrap();
        assert_eq!((form.key_id.as_str(), form.annotations.len()), ("first", 1));
        // Another server knows nothing of the seed yet, and asks for it.
        let other = Kms::new(config()).unwrap();
        assert_eq!(other.open(&sealed, b"k").await.unwrap().0, b"value");
        *key.lock() = "second".into();
        kms.look().await;
        assert_eq!(kms.open(&sealed, b"k").await.unwrap(), (b"value".to_vec(), true), "of the old key");
        server.abort();
    }
}
