//! How a client is told that it does not get what it asked for: in the encoding that it accepts, or as text where upstream
//! does not know of encodings yet.

use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use kinit_api::status::Status;
use kinit_serving::Body;

use crate::handlers::error_response;
use crate::negotiate::{self, Encoding, Format, JSON};
use crate::render;

/// Why a request is refused, and in what way that is told.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// As an object.
    Told(Status),
    /// As an object that no browser takes for anything else: what authorization refuses names what strangers sent.
    Denied(Status),
    /// As the message alone.
    Said(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Told(status)
    }
}

impl Refusal {
    /// The answer, which [`Asked::finish`] brings into the client's encoding.
    pub fn response(&self) -> Response<Body> {
        let mut response = match self {
            Self::Told(status) | Self::Denied(status) => error_response(status),
            Self::Said(status) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut said = error_response(status);
                let text = kinit_serving::text(code, format!("{}\n", status.message));
                let (parts, body) = text.into_parts();
                said.headers_mut().extend(parts.headers);
                *said.body_mut() = body;
                said
            }
        };
        if !matches!(self, Self::Told(_)) {
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        response
    }
}

/// What a request says of the encoding that its errors are to have.
pub(super) struct Asked {
    headers: HeaderMap,
    uri: Uri,
}

impl Asked {
    pub fn of<B>(request: &http::Request<B>) -> Self {
        let mut headers = HeaderMap::new();
        for name in [header::ACCEPT, header::USER_AGENT] {
            if let Some(value) = request.headers().get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Self { headers, uri: request.uri().clone() }
    }

    /// An error's answer in the encoding that the client accepts, and as JSON for people where there is none; any other answer
    /// as it is.
    pub fn finish(&self, response: Response<Body>) -> Response<Body> {
        let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == JSON);
        let Some(status) = response.extensions().get::<Status>().filter(|_| is_json).cloned() else { return response };
        let format = negotiate::document(&self.headers, self.uri.query(), None);
        let format = format.unwrap_or(Format { pretty: true, ..Format::default() });
        match render::document(format, &status.to_value()) {
            Ok(rendered) if format.encoding != Encoding::Json || format.pretty => {
                let (mut parts, _) = response.into_parts();
                let (own, body) = rendered.into_parts();
                parts.headers.extend(own.headers);
                Response::from_parts(parts, body)
            }
            _ => response,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn refusals_come_as_the_client_accepts_them() {
        let denied = || Refusal::Denied(Status::forbidden("", "", "", "no"));
        let busy = || Refusal::Said(Status::too_many_requests("Too many requests, please try again later."));
        let told = || Refusal::Told(Status::unauthorized());
        let cases = [
            (told(), "", (401, "application/json", false), "{\"apiVersion\":\"v1\""),
            (told(), "application/yaml", (401, "application/yaml", false), "apiVersion: v1\ncode: 401\n"),
            (told(), "application/json;pretty=1", (401, "application/json", false), "{\n  \"apiVersion\""),
            (
                denied(),
                "application/vnd.kubernetes.protobuf",
                (403, "application/vnd.kubernetes.protobuf", true),
                "k8s\0",
            ),
            (denied(), "text/html", (403, "application/json", true), "{\n  \"apiVersion\""),
            (denied(), "application/json;as=Table;v=v1;g=meta.k8s.io,*/*", (403, "application/json", true), "{"),
            (busy(), "application/yaml", (429, "text/plain; charset=utf-8", true), "Too many requests, please"),
        ];
        for (refusal, accept, (code, media, nosniff), begins) in cases {
            let request = http::Request::get("/").header(header::ACCEPT, accept).body(()).unwrap();
            let answer = Asked::of(&request).finish(refusal.response());
            assert_eq!(
                (answer.status().as_u16(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap()),
                (code, media)
            );
            assert_eq!(answer.headers().contains_key(header::X_CONTENT_TYPE_OPTIONS), nosniff, "{accept}");
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(bytes.starts_with(begins.as_bytes()), "{accept}: {bytes:?}");
        }
    }
}
