//! get.

use http::{Response, StatusCode};
use kinit_api::status::Status;
use kinit_serving::Body;

use super::{Api, json_response, object_response};
use crate::request::ResourceRequest;
use crate::view;

impl Api {
    pub(super) async fn get(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        if request.parameter("resourceVersion") == "0"
            && let Some(entry) = self.cache.find_in(request.index, &request.namespace, &request.name)
        {
            let entry = self.converter.entry(&request.spec, &entry).await?;
            return Ok(json_response(StatusCode::OK, view::bytes(&request.spec, &entry.json)));
        }
        let (object, revision) = self.stored(request, &request.name).await?;
        Ok(object_response(request, StatusCode::OK, object, revision))
    }
}
