//! Who asks: by a token that the password was given for, or by the client certificate's common name.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use kinit_serving::listener::Peer;
use tonic::Request;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Context;
use crate::auth::Asker;
use crate::auth::provider::AuthToken;
use crate::error::Error;

/// What a request shows of who sent it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    token: Option<String>,
    common_name: Option<String>,
}

impl Context {
    /// What a request shows. Nothing is looked at while users do not matter.
    pub fn credentials(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Credentials {
        if !self.machine.auth.read().enabled() {
            return Credentials::default();
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let token = header("token").or_else(|| header("authorization")).map(str::to_owned);
        let peer = peer.filter(|_| self.client_cert_auth);
        Credentials { token, common_name: peer.and_then(common_name) }
    }

    /// Who that is, as of now. Nobody, too, is an answer; a token that is not known is none.
    pub fn identify(&self, credentials: &Credentials) -> Result<Asker, Error> {
        let (enabled, revision) = {
            let auth = self.machine.auth.read();
            (auth.enabled(), auth.revision())
        };
        if !enabled {
            return Ok(Asker::default());
        }
        let user = match (&credentials.token, &credentials.common_name) {
            (Some(token), _) => match &self.auth_token {
                // It is of the time when it was signed, so that one of before a change is told from one of now.
                AuthToken::Jwt(jwt) => return jwt.user(token).ok_or(Error::InvalidAuthToken),
                AuthToken::Simple { .. } => {
                    self.machine.tokens.lock().user(token, Instant::now()).ok_or(Error::InvalidAuthToken)?
                }
            },
            (None, Some(name)) => name.clone(),
            (None, None) => String::new(),
        };
        Ok(Asker { user, revision })
    }

    /// Who sent a request. Some want no answer of a member that knows no leader.
    pub fn asker(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Asker, Error> {
        if needs_leader(headers) && self.standing.leader() == 0 {
            return Err(Error::NoLeader);
        }
        self.identify(&self.credentials(headers, peer))
    }

    /// The same of a service's request.
    pub fn asker_of<T>(&self, request: &Request<T>) -> Result<Asker, Error> {
        self.asker(request.metadata().as_ref(), peer(request))
    }

    /// Refuses who may not manage the cluster.
    pub fn managed_by<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let asker = self.asker_of(request)?;
        self.machine.auth.read().may_manage(&asker)
    }
}

/// Whether a request is only for a member that knows its leader.
pub fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// Who is on the other side of a service's request.
pub fn peer<T>(request: &Request<T>) -> Option<&Peer> {
    request.extensions().get()
}

/// The common name of the client's own certificate.
fn common_name(peer: &Peer) -> Option<String> {
    let certificates: &Arc<[_]> = &peer.certificates;
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
