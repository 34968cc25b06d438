//! The client.

use std::path::{Path, PathBuf};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost_types::FieldMask;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, IntoStreamingRequest, Request, Status};
use tonic_prost::ProstCodec;

use super::messages::{
    CreateImageRequest, CreateLeaseRequest, DeleteImageRequest, DeleteLeaseRequest, Descriptor, GetImageRequest,
    Ignored, ImageRecord, ImageResponse, LayerMount, MountsResponse, SnapshotRequest, UpdateImageRequest,
    ViewSnapshotRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use super::{Blob, Image};

/// The namespace that containerd's CRI plugin keeps its images in.
const NAMESPACE: &str = "k8s.io";
/// The label by which the CRI plugin knows an image for its own.
const MANAGED_LABEL: &str = "io.cri-containerd.image";
/// What the CRI plugin keeps layers by, unless it is told otherwise.
const SNAPSHOTTER: &str = "overlayfs";
/// What bears this label is not collected.
const ROOT_LABEL: &str = "containerd.io/gc.root";
/// A lease that nobody ends is ended by containerd after an hour.
const LEASE_LABEL: &str = "containerd.io/gc.expire";

/// What can go wrong towards containerd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the socket.
    #[error("cannot connect to containerd at {path}: {reason}\nhint: is containerd installed and running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// containerd refused a call.
    #[error("containerd: {what}: {status}")]
    Call {
        /// What was asked for.
        what: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The socket is that of another runtime.
    #[error(
        "the runtime at {path} does not offer containerd's image services\nhint: only containerd can be given images; with another runtime import them yourself and skip the images phase"
    )]
    NotContainerd {
        /// The socket.
        path: PathBuf,
    },
}

/// A connection to containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    path: PathBuf,
    channel: Channel,
}

impl Containerd {
    /// Connects to the socket at `path`.
    pub async fn connect(path: &Path) -> Result<Self, Error> {
        let socket = path.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://containerd.local")
            .connect_with_connector(connector)
            .await
            .map_err(|error| Error::Connect { path: path.to_owned(), reason: with_sources(&error) })?;
        Ok(Self { path: path.to_owned(), channel })
    }

    /// Whether the image `name` is there and has the manifest `digest`.
    pub async fn has(&self, name: &str, digest: &str) -> Result<bool, Error> {
        let request = GetImageRequest { name: name.to_owned() };
        match self.call::<_, ImageResponse>("images.v1.Images/Get", request, None).await {
            Ok(found) => Ok(found.image.and_then(|image| image.target).is_some_and(|target| target.digest == digest)),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(self.failed(format!("looking for image {name}"), status)),
        }
    }

    /// Puts an image in; what is there by digest is not written again.
    pub async fn import(&self, image: &Image) -> Result<(), Error> {
        let lease = format!("kinit-{}", image.config_digest.trim_start_matches("sha256:"));
        self.begin_lease(&lease).await?;
        let result = self.import_under(image, &lease).await;
        let ended = DeleteLeaseRequest { id: lease, sync: false };
        // The lease ends by itself in an hour if this fails.
        let _: Result<Ignored, Status> = self.call("leases.v1.Leases/Delete", ended, None).await;
        result
    }

    /// Takes an image name away; what nobody else refers to is collected by containerd.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let request = DeleteImageRequest { name: name.to_owned(), sync: false };
        match self.call::<_, Ignored>("images.v1.Images/Delete", request, None).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.failed(format!("removing image {name}"), status)),
        }
    }

    /// The mounts that show layers by the name of their chain; the view is kept under `key` until it is released.
    pub async fn view(&self, key: &str, chain: &str) -> Result<Vec<LayerMount>, Error> {
        let now = prost_types::Timestamp::from(std::time::SystemTime::now()).to_string();
        let request = ViewSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.into(),
            parent: chain.into(),
            labels: [(ROOT_LABEL.to_owned(), now)].into(),
        };
        let viewed = match self.call::<_, MountsResponse>("snapshots.v1.Snapshots/View", request, None).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let request = SnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() };
                self.call::<_, MountsResponse>("snapshots.v1.Snapshots/Mounts", request, None).await
            }
            other => other,
        };
        viewed.map(|answer| answer.mounts).map_err(|status| self.failed(format!("viewing layers {chain}"), status))
    }

    /// Gives a view back.
    pub async fn release(&self, key: &str) -> Result<(), Error> {
        let request = SnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() };
        match self.call::<_, Ignored>("snapshots.v1.Snapshots/Remove", request, None).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.failed(format!("giving back the view {key}"), status)),
        }
    }

    async fn import_under(&self, image: &Image, lease: &str) -> Result<(), Error> {
        for blob in &image.blobs {
            self.write(blob, &image.name, lease).await?;
        }
        let Some(manifest) = image.blobs.last() else { return Ok(()) };
        let target = Descriptor {
            media_type: image.media_type.clone(),
            digest: manifest.digest.clone(),
            size: manifest.size() as i64,
            ..Descriptor::default()
        };
        // CRI knows an image by the digest of its configuration as well as by name.
        for name in [&image.config_digest, &image.name] {
            self.name(name, target.clone(), lease).await?;
        }
        Ok(())
    }

    async fn begin_lease(&self, id: &str) -> Result<(), Error> {
        let end = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        let expires = prost_types::Timestamp::from(end).to_string();
        let request = CreateLeaseRequest { id: id.to_owned(), labels: [(LEASE_LABEL.to_owned(), expires)].into() };
        match self.call::<_, Ignored>("leases.v1.Leases/Create", request, None).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status) => Err(self.failed("making a lease".into(), status)),
        }
    }

    async fn name(&self, name: &str, target: Descriptor, lease: &str) -> Result<(), Error> {
        let image = ImageRecord {
            name: name.to_owned(),
            labels: [(MANAGED_LABEL.to_owned(), "managed".to_owned())].into(),
            target: Some(target),
            ..ImageRecord::default()
        };
        let create = CreateImageRequest { image: Some(image.clone()) };
        let result = match self.call::<_, ImageResponse>("images.v1.Images/Create", create, Some(lease)).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let mask = FieldMask { paths: vec!["target".into(), "labels".into()] };
                let update = UpdateImageRequest { image: Some(image), update_mask: Some(mask) };
                self.call::<_, ImageResponse>("images.v1.Images/Update", update, Some(lease)).await
            }
            other => other,
        };
        result.map(|_| ()).map_err(|status| self.failed(format!("naming image {name}"), status))
    }

    async fn write(&self, blob: &Blob, what: &str, lease: &str) -> Result<(), Error> {
        let fail = |status| self.failed(format!("writing {} of image {what}", blob.digest), status);
        let total = blob.size() as i64;
        let reference = format!("kinit-{}", blob.digest);
        let mut offset = 0;
        let mut requests: Vec<WriteContentRequest> = Vec::with_capacity(blob.pieces.len() + 1);
        for piece in &blob.pieces {
            requests.push(WriteContentRequest {
                action: WriteAction::Write.into(),
                reference: reference.clone(),
                total,
                expected: blob.digest.clone(),
                offset,
                data: piece.clone(),
                ..WriteContentRequest::default()
            });
            offset += piece.len() as i64;
        }
        requests.push(WriteContentRequest {
            action: WriteAction::Commit.into(),
            reference,
            total,
            expected: blob.digest.clone(),
            offset,
            labels: blob.labels.iter().cloned().collect(),
            ..WriteContentRequest::default()
        });
        let mut request = Request::new(tokio_stream::iter(requests)).into_streaming_request();
        self.mark(request.metadata_mut(), Some(lease));
        let mut grpc = self.grpc().await.map_err(fail)?;
        let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Write");
        let codec = ProstCodec::<WriteContentRequest, WriteContentResponse>::default();
        let written = async {
            let mut responses = grpc.streaming(request, path, codec).await?.into_inner();
            while responses.message().await?.is_some() {}
            Ok::<(), Status>(())
        };
        match written.await {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            other => other.map_err(fail),
        }
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(with_sources(&error)))?;
        Ok(grpc)
    }

    async fn call<Q, A>(&self, method: &'static str, message: Q, lease: Option<&str>) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(format!("/containerd.services.{method}"))
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut request = Request::new(message);
        self.mark(request.metadata_mut(), lease);
        let mut grpc = self.grpc().await?;
        Ok(grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }

    fn mark(&self, metadata: &mut tonic::metadata::MetadataMap, lease: Option<&str>) {
        metadata.insert("containerd-namespace", AsciiMetadataValue::from_static(NAMESPACE));
        if let Some(value) = lease.and_then(|lease| AsciiMetadataValue::try_from(lease).ok()) {
            metadata.insert("containerd-lease", value);
        }
    }

    fn failed(&self, what: String, status: Status) -> Error {
        if status.code() == Code::Unimplemented {
            return Error::NotContainerd { path: self.path.clone() };
        }
        Error::Call { what, status: Box::new(status) }
    }
}

/// An error with what caused it, on one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
