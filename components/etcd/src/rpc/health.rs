//! gRPC's health service.

use std::sync::Arc;

use futures::Stream;
use futures::stream;
use std::pin::Pin;
use tonic::{Request, Response, Status};

use super::Context;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

pub struct Service(pub Arc<Context>);

impl Service {
    fn status(&self) -> HealthCheckResponse {
        let status = if self.0.shutdown.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving };
        HealthCheckResponse { status: status as i32 }
    }
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        // The empty name is the server as a whole; etcd knows no other.
        if !request.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(self.status()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (mut now, shutdown) = (self.status(), self.0.shutdown.clone());
        let known = request.into_inner().service.is_empty();
        if !known {
            now.status = ServingStatus::ServiceUnknown as i32;
        }
        let end = stream::once(async move {
            shutdown.cancelled().await;
            let last = if known { ServingStatus::NotServing } else { ServingStatus::ServiceUnknown };
            Ok(HealthCheckResponse { status: last as i32 })
        });
        Ok(Response::new(Box::pin(futures::StreamExt::chain(stream::iter([Ok(now)]), end))))
    }
}
