//! Passing a request on to the server of its group, as its user.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_serving::draining::Received;
use kinit_serving::{Body, full};

use super::{Aggregator, is_available, target_of};
use crate::authn::User;
use crate::relay::backend;
use crate::relay::target::{Endpoint, Security};
use crate::server::Refusal;

impl Aggregator {
    /// Passes the request on to the server of `service`.
    pub(crate) async fn relay(
        &self,
        service: &Object,
        user: &User,
        request: Request<Received>,
    ) -> Result<Response<Body>, Refusal> {
        if !is_available(service) {
            return Err(Refusal::Said(Status::out_of_service("service unavailable")));
        }
        let failed = |why: String| Status::out_of_service(format!("error trying to reach service: {why}"));
        let target = target_of(&self.cache, service);
        let upgrade = request.headers().contains_key(header::UPGRADE);
        let address = target.address.clone();
        let (host, port) = address.map_err(|_| Refusal::Said(Status::out_of_service("service unavailable")))?;
        let endpoint = Endpoint { host, port, security: Security::Tls };
        let mut headers = backend::forwarded(request.headers(), &endpoint, upgrade);
        if let Ok(authority) = HeaderValue::from_str(&target.authority) {
            headers.insert(header::HOST, authority);
        }
        name_user(&mut headers, user);
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let method = request.method().clone();
        let mut sender = self.client.open(&target).await.map_err(failed)?;
        if upgrade {
            let asked = backend::request(method, &path, headers, full(""))?;
            let response = sender.send_request(asked).await.map_err(|error| failed(error.to_string()))?;
            let switched = backend::switched(&response);
            return Ok(if switched { backend::join(request, response) } else { backend::answer(response) });
        }
        let body = request.into_body().map_err(Into::into).boxed_unsync();
        let asked = backend::request(method, &path, headers, body)?;
        let response = sender.send_request(asked).await.map_err(|error| failed(error.to_string()))?;
        Ok(backend::answer(response))
    }
}

/// Says who asks, and nothing else of what the client said of that.
fn name_user(headers: &mut HeaderMap, user: &User) {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: String, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user".into(), &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid".into(), &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group".into(), group));
    for (key, values) in &user.extra {
        // Keys are of any letters, headers' names are not.
        let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        values.iter().for_each(|value| add(format!("x-remote-extra-{key}"), value));
    }
}

fn is_claim(name: &str) -> bool {
    name.starts_with("x-remote-") || name.starts_with("impersonate-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_says_themselves_who_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("impersonate-user", HeaderValue::from_static("root"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut user = User::new("ann", &["a", "b"]);
        user.extra.insert("example.org/team".into(), vec!["red".into()]);
        name_user(&mut headers, &user);
        assert_eq!(headers.get_all("x-remote-user").iter().collect::<Vec<_>>(), ["ann"]);
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.org%2fteam"], "red");
        assert!(!headers.contains_key("impersonate-user") && headers.contains_key("accept"));
    }
}
