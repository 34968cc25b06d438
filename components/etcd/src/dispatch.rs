//! What a request is for: gRPC, the same as JSON, or plain HTTP; on a metrics URL the last alone.

use std::convert::Infallible;
use std::pin::Pin;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
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

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if let Some(refusal) = self.access.refusal(&request, grpc) {
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
                site.respond(&request).await.map(Body::new)
            };
            if let Some(origin) = origin {
                access::allow(&mut response, origin);
            }
            Ok(response)
        })
    }
}
