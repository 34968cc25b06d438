//! The API as JSON over plain HTTP, under etcd's own paths, for clients without gRPC.
//!
//! Each request becomes a gRPC request to the services of this server, so nothing is decided here: [`paths`] says which
//! method a path means, [`translate`] turns JSON into messages and back by the wire's own description. Streams go out as
//! one JSON object a line.

mod paths;
mod translate;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use kinit_serving::{BoxError, full};
use prost_reflect::MethodDescriptor;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use translate::Frames;

/// What headers begin with that are meant for the call itself; besides them it gets the one that says who asks.
const METADATA: &str = "grpc-metadata-";

/// Answers a request under `/v3/`. `most_bytes` bounds its body.
pub async fn respond<B>(routes: Routes, request: Request<B>, most_bytes: usize) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let Some(method) = paths::method(request.uri().path()) else {
        return error(&Status::not_found("Not Found"));
    };
    if request.method() != Method::POST {
        let mut response = error(&Status::unimplemented("Method Not Allowed"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    answer(routes, request, &method, most_bytes).await.unwrap_or_else(|status| error(&status))
}

/// Takes bytes for a request of each kind in turn and does nothing with it.
pub fn understand(body: &[u8]) {
    for path in ["/v3/kv/txn", "/v3/kv/range", "/v3/watch", "/v3/auth/role/grant", "/v3/lease/keepalive"] {
        if let Some(method) = paths::method(path) {
            let _ = translate::request(&method, body);
        }
    }
}

async fn answer<B>(
    mut routes: Routes,
    request: Request<B>,
    method: &MethodDescriptor,
    most_bytes: usize,
) -> Result<Response<Body>, Status>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let body = Limited::new(body, most_bytes).collect().await;
    let body = body.map_err(|error| Status::invalid_argument(error.to_string()))?.to_bytes();
    let messages = translate::request(method, &body).map_err(|error| Status::invalid_argument(error.to_string()))?;

    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut call = Request::new(Body::new(Full::new(messages)));
    *call.uri_mut() = path.parse().map_err(|_| Status::internal("a method's name makes no path"))?;
    *call.method_mut() = Method::POST;
    *call.extensions_mut() = head.extensions;
    call.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    call.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    for (name, value) in &head.headers {
        let metadata = name.as_str().strip_prefix(METADATA).and_then(|name| HeaderName::try_from(name).ok());
        if let Some(name) = metadata.or_else(|| (*name == header::AUTHORIZATION).then(|| name.clone())) {
            call.headers_mut().insert(name, value.clone());
        }
    }
    let Ok(response) = routes.call(call).await;
    if let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    let frames = Frames::new(method.output(), response.into_body());
    if method.is_server_streaming() { Ok(stream_of(frames)) } else { one_of(frames).await }
}

async fn one_of(mut frames: Frames) -> Result<Response<Body>, Status> {
    let message = frames.next().await?.ok_or_else(|| Status::internal("an answer without a message"))?;
    // A status behind the message would be an error after all.
    frames.next().await?;
    Ok(json(StatusCode::OK, message))
}

/// One object a line: `result`, or `error` as the last.
fn stream_of(frames: Frames) -> Response<Body> {
    let lines = stream::unfold(Some(frames), async |frames| {
        let mut frames = frames?;
        match frames.next().await {
            Ok(Some(message)) => Some((format!("{{\"result\":{message}}}\n"), Some(frames))),
            Ok(None) => None,
            Err(status) => Some((format!("{{\"error\":{}}}\n", error_object(&status)), None)),
        }
    });
    let frames = lines.map(|line| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(line))));
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(full(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn error(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(code, error_object(status).to_string())
}

fn error_object(status: &Status) -> serde_json::Value {
    serde_json::json!({ "code": status.code() as i32, "message": status.message(), "details": [] })
}
