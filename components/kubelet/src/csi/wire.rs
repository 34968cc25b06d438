//! Calls to a driver. Each has a connection of its own: they are seldom, and a driver may start anew at any time.

use std::path::Path;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::messages::{Capabilities, Nothing, RpcType};

/// A driver that needs longer is asked again.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks for `method`, such as `csi.v1.Node/NodeGetInfo`, at a socket.
pub async fn call<Q, A>(socket: &Path, method: &str, message: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let asked = async {
        let endpoint = Endpoint::from_static("http://driver.local");
        let unreachable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = endpoint.connect_with_connector(connector).await.map_err(unreachable)?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(unreachable)?;
        let path = PathAndQuery::try_from(format!("/{method}")).map_err(|error| Status::internal(error.to_string()))?;
        let answer = grpc.unary(Request::new(message), path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    };
    let late = |_| Err(Status::deadline_exceeded(format!("{method} took longer than {} s", LIMIT.as_secs())));
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(late)
}

/// What the node's part of a driver can do.
pub async fn capabilities(socket: &Path) -> Result<Vec<RpcType>, Status> {
    let answer: Capabilities = call(socket, "csi.v1.Node/NodeGetCapabilities", Nothing {}).await?;
    Ok(answer.all.into_iter().filter_map(|one| one.rpc).map(|rpc| rpc.kind()).collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::{Buf, BufMut, Bytes, BytesMut};
    use http::{HeaderMap, HeaderValue, Response};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Incoming;
    use hyper_util::rt::TokioExecutor;
    use prost::Message;
    use tokio::net::UnixListener;

    use super::super::messages::{Capability, Rpc, UnpublishVolume};
    use super::*;

    /// What a driver answers to a method with a message: a message, or the number of an error.
    fn driver(method: &str, message: Bytes) -> Result<Vec<u8>, u16> {
        match method {
            "/csi.v1.Node/NodeGetCapabilities" => {
                let one = |kind: RpcType| Capability { rpc: Some(Rpc { kind: kind.into() }) };
                Ok(Capabilities { all: vec![one(RpcType::StageUnstageVolume), one(RpcType::VolumeMountGroup)] }
                    .encode_to_vec())
            }
            "/csi.v1.Node/NodeUnpublishVolume" => match UnpublishVolume::decode(message) {
                Ok(asked) if asked.volume_id == "v" && asked.target_path == "/t" => Ok(Vec::new()),
                _ => Err(5),
            },
            _ => Err(12),
        }
    }

    async fn answer(
        request: http::Request<Incoming>,
    ) -> Response<StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>>>> {
        let method = request.uri().path().to_owned();
        let mut body = request.into_body().collect().await.unwrap().to_bytes();
        body.advance(5);
        let answered = driver(&method, body);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(*answered.as_ref().err().unwrap_or(&0)));
        let message = answered.ok().map(|message| {
            let mut out = BytesMut::new();
            out.put_u8(0);
            out.put_u32(message.len() as u32);
            out.put_slice(&message);
            Frame::data(out.freeze())
        });
        let frames = message.into_iter().chain([Frame::trailers(trailers)]).map(Ok);
        let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }

    #[tokio::test]
    async fn a_driver_is_asked_at_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("csi.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service =
                    hyper::service::service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        assert_eq!(capabilities(&socket).await.unwrap(), [RpcType::StageUnstageVolume, RpcType::VolumeMountGroup]);
        let ask = |id: &str| UnpublishVolume { volume_id: id.into(), target_path: "/t".into() };
        let unpublish = "csi.v1.Node/NodeUnpublishVolume";
        assert!(call::<_, Nothing>(&socket, unpublish, ask("v")).await.is_ok());
        let refused = call::<_, Nothing>(&socket, unpublish, ask("w")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound);
        let nobody = call::<_, Nothing>(&folder.path().join("none"), unpublish, ask("v")).await.unwrap_err();
        assert_eq!(nobody.code(), tonic::Code::Unavailable);
    }
}
