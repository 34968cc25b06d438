//! What a request is for: gRPC, the same as JSON, or plain HTTP; on a metrics URL the last alone.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use kinit_serving::BoxError;
use kinit_serving::listener::Peer;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::gateway;
use crate::rpc::access::{self, Access};
use crate::rpc::http::Site;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    /// gRPC, where it is served.
    pub routes: Option<Routes>,
    /// The same as JSON.
    pub gateway: Option<Routes>,
    pub access: Access,
    pub site: Site,
}

/// Whether a request is a call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

impl Dispatch {
    /// Whether a call is let in and may be answered without the layers that know of compression and the like.
    pub fn lets_in<B>(&self, request: &Request<B>, peer: &Peer) -> bool {
        let plain = request.method() == Method::POST && !request.headers().contains_key("grpc-encoding");
        plain && self.routes.is_some() && self.access.refusal(request, Some(peer), true).is_none()
    }
}

impl<B> hyper::service::Service<Request<B>> for Dispatch
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let grpc = is_grpc(request.headers());
        if let Some(refusal) = self.access.refusal(&request, request.extensions().get(), grpc) {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        if let Some(routes) = self.routes.as_ref().filter(|_| grpc) {
            return Box::pin(routes.clone().call(request.map(Body::new)));
        }
        let origin = self.access.origin(request.headers());
        let (site, gateway) = (self.site.clone(), self.gateway.clone());
        Box::pin(async move {
            let mut response = if request.method() == Method::OPTIONS {
                Response::new(Body::empty())
            } else if let Some(routes) = gateway.filter(|_| request.uri().path().starts_with("/v3/")) {
                // JSON writes bytes in base64 and has names beside them.
                gateway::respond(routes, request, site.context.max_request_bytes * 2).await
            } else {
                site.respond(&request.map(drop)).await.map(Body::new)
            };
            if let Some(origin) = origin {
                access::allow(&mut response, origin);
            }
            Ok(response)
        })
    }
}
