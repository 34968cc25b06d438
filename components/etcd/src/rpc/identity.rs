//! Who asks: by a token that the password was given for, or by the client certificate's common name.

use std::sync::Arc;
use std::time::Instant;

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
    pub fn credentials<T>(&self, request: &Request<T>) -> Credentials {
        if !self.machine.auth.read().enabled() {
            return Credentials::default();
        }
        let header = |name| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let token = header("token").or_else(|| header("authorization")).map(str::to_owned);
        let peer = request.extensions().get::<Peer>().filter(|_| self.client_cert_auth);
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
    pub fn asker<T>(&self, request: &Request<T>) -> Result<Asker, Error> {
        if needs_leader(request) && self.standing.leader() == 0 {
            return Err(Error::NoLeader);
        }
        self.identify(&self.credentials(request))
    }

    /// Refuses who may not manage the cluster.
    pub fn managed_by<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let asker = self.asker(request)?;
        self.machine.auth.read().may_manage(&asker)
    }
}

/// Whether a request is only for a member that knows its leader.
pub fn needs_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get("hasleader").is_some_and(|value| value == "true")
}

/// The common name of the client's own certificate.
fn common_name(peer: &Peer) -> Option<String> {
    let certificates: &Arc<[_]> = &peer.certificates;
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
