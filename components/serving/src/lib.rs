//! What every server of the cluster shares, so that each component's own code starts at the request.
//!
//! Layers, bottom up:
//! - [`tls`]: certificates from files (reloaded when they change) or self-signed, client certificates optional,
//!   required or not asked for.
//! - [`listener`]: the accept loop. It speaks HTTP/1.1 and HTTP/2, bounds the number of connections and the time of a
//!   handshake, puts a [`listener::Peer`] into each request's extensions, and drains on shutdown.
//! - [`health`] and [`metrics`]: `/healthz`, `/livez`, `/readyz` (with a path per check) and `/metrics`, as one small
//!   router that a component asks first and falls through from.
//! - [`zpages`]: `/flagz` and `/statusz`, in the same manner; [`accept`] reads what a client wants an answer to be.
//! - [`join`]: two connections made one, without losing what was said last.
//! - [`host`]: running programs of the host out of an image that holds nothing but this one.
//! - [`process`]: the `main` of every binary: logging, signals, the runtime, the exit code.
//!
//! A component's `main.rs` is `kinit_serving::process::main("etcd", |options, shutdown| …)`; its `Server` binds a
//! [`listener::Listener`] (port 0 works), and hands a hyper service to [`listener::Listener::serve`].
//!
//! There is deliberately no routing here and no knowledge of Kubernetes' API, but for the form of these pages.

pub mod accept;
pub mod draining;
mod gather;
pub mod health;
pub mod host;
pub mod join;
pub mod listener;
pub mod metrics;
pub mod process;
pub mod tls;
pub mod transport;
pub mod trust;
pub mod zpages;

/// A response body that any handler can build: bytes at once, or a stream of them.
pub type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;

/// An error of a body that ends early; it only closes the connection, so its type does not matter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of bytes that are already there.
pub fn full(bytes: impl Into<bytes::Bytes>) -> Body {
    use http_body_util::BodyExt;
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A plain-text response.
pub fn text(status: http::StatusCode, text: impl Into<bytes::Bytes>) -> http::Response<Body> {
    let mut response = http::Response::new(full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
