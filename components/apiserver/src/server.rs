//! The HTTP server: from a connection to a handler and back.

mod acting;
mod checks;
mod cors;
mod deadline;
mod facts;
#[cfg(test)]
mod families_tests;
mod figures;
mod paths;
mod peak;
mod refusal;
mod stored;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use kinit_api::status::Status;
use kinit_serving::Body;
use kinit_serving::draining::Received;
use kinit_serving::health::Health;
use kinit_serving::listener::{Listener, Peer};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{ClientAuth, Holder, Tls, TlsOptions};
use kinit_serving::zpages::{Flags, Pages};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::aggregate::Aggregator;
use crate::audit::{Audit, Trail};
use crate::authn::{Authenticator, User};
use crate::authz::Authorizer;
use crate::authz::rbac::Ask;
use crate::cache::{Cache, Figures as Watched};
use crate::compaction;
use crate::convert::Converter;
use crate::fields::{Manager, Warnings};
use crate::flow::classify::{Digest, What};
use crate::flow::inflight::InFlight;
use crate::flow::{Admitted, Flow};
use crate::handlers::{Api, Payload, error_response};
use crate::options::{AuthenticationOptions, AuthorizationMode, Options};
use crate::relay::{self, Relay, messages, websocket};
use crate::request::{ResourceRequest, Verb};
use crate::routes;
use crate::storage::Etcd;
use crate::{aggregate, authn, bootstrap, definitions, identity, negotiate, policy, render, request, services};
use checks::Conditions;
use cors::Cors;
use facts::Facts;
pub(crate) use figures::Running;
use figures::{Figures, Ongoing};
use peak::Executing;
use refusal::Asked;
pub(crate) use refusal::Refusal;
use stored::Stored;

/// The largest body that is read; upstream's limit.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// The longest name that a client may give its request in the audit log.
const MAX_AUDIT_ID: usize = 64;

/// A server that does not listen yet.
pub struct Server {
    options: Options,
    flags: Flags,
    tls: Tls,
    authenticator: Authenticator,
    admission: Admission,
    audit: Option<Arc<Audit>>,
    cors: Cors,
    address: watch::Sender<Option<SocketAddr>>,
}

impl Server {
    /// Reads certificates; errors name the file. `flags` are what the process was started with.
    pub fn new(mut options: Options, flags: Flags) -> anyhow::Result<Self> {
        options.complete();
        let holder = Holder {
            pair: "apiserver",
            host: &options.own_address().unwrap_or(options.bind_address).to_string(),
            names: &["kubernetes.default.svc", "kubernetes.default", "kubernetes"],
            addresses: &[options.kubernetes_service_ip()],
            bind: options.bind_address,
        };
        let identity = options.serving.identity(&options.cert_dir, &holder, jiff::Timestamp::now());
        let identity = identity.context("error creating self-signed certificates")?;
        let authentication = &options.authentication;
        let authorities = [&authentication.client_ca_file, &authentication.requestheader_client_ca_file];
        let authorities: Vec<_> = authorities.into_iter().flatten().cloned().collect();
        let client_auth = if authorities.is_empty() { ClientAuth::None } else { ClientAuth::Asked(authorities) };
        options.foreign.settle()?;
        let mut tls = TlsOptions::http(identity, client_auth);
        options.tls.apply(&mut tls);
        tls.sni.clone_from(&options.serving.tls_sni_cert_key);
        let tls = Tls::new(tls).context("the serving certificate, --tls-cipher-suites and --tls-min-version")?;
        let authenticator = Authenticator::new(&named_users(&options))?;
        let admission = Admission::new(&options.admission)?;
        let audit = Audit::new(&options.audit)?;
        let cors = Cors::new(&options.cors_allowed_origins).map_err(anyhow::Error::msg)?;
        Ok(Self { options, flags, tls, authenticator, admission, audit, cors, address: watch::channel(None).0 })
    }

    /// The address that clients reach, once the server listens.
    pub fn address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.address.subscribe()
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // Until the delay is over all goes on but readiness, so that nobody is led here any more when it ends.
        let (ending, shutdown) = (shutdown, CancellationToken::new());
        let delay = self.options.shutdown_delay_duration;
        let (told, end) = (ending.clone(), shutdown.clone());
        tokio::spawn(async move {
            told.cancelled().await;
            tokio::time::sleep(delay).await;
            end.cancel();
        });
        let etcd = Etcd::new(&self.options)?;
        let (cache, follow) = Cache::new(etcd.clone(), shutdown.clone());
        let authorizer = Authorizer::new(&self.options.authorization, cache.clone())?;
        let options = Arc::new(self.options);
        kinit_api::validate::allow_privileged(options.allow_privileged);
        let api = Api {
            etcd,
            cache: cache.clone(),
            options: options.clone(),
            authenticator: Arc::new(self.authenticator),
            authorizer: authorizer.clone(),
            admission: self.admission,
            converter: Converter::new(cache.clone()),
        };
        let relay = Relay::new(options.kubelet.clone(), api.etcd.clone(), cache.clone())?;
        let listener = Listener::bind(SocketAddr::new(options.bind_address, options.secure_port), Some(self.tls))
            .await
            .context("--bind-address, --secure-port")?;
        let address = listener.address();
        let (written, bootstrapped) = watch::channel(false);
        // What is asked last is noted too.
        let answered_all = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(follow);
        tasks.spawn(authorizer.clone().follow(shutdown.clone()));
        tasks.spawn(authorizer.clone().reload(options.authorization.clone(), shutdown.clone()));
        tasks.spawn(bootstrap::run(api.clone(), address.port(), written, shutdown.clone()));
        tasks.spawn(identity::run(api.clone(), shutdown.clone()));
        tasks.spawn(definitions::run(api.clone(), shutdown.clone()));
        tasks.spawn(policy::typing::run(api.clone(), shutdown.clone()));
        if let Some(encryption) = api.etcd.encryption() {
            tasks.spawn(encryption.clone().run(shutdown.clone()));
        }
        let interval = options.etcd.compaction_interval;
        tasks.spawn(compaction::run(api.etcd.clone(), cache.clone(), interval, shutdown.clone()));
        tasks.spawn(services::repair(api.clone(), shutdown.clone()));
        let aggregator = Aggregator::new(cache.clone(), &options.authentication);
        tasks.spawn(aggregator.clone().follow(api.clone(), shutdown.clone()));
        let (registering, registered) = watch::channel(false);
        tasks.spawn(aggregate::register::run(api.clone(), registering, shutdown.clone()));
        let (asking, answered) = watch::channel(Some("not asked yet".to_owned()));
        tasks.spawn(checks::ask(api.etcd.clone(), asking, shutdown.clone()));
        let metrics = Metrics::default();
        let figures = Figures::default();
        metrics.register(|families| figures.register(families));
        let stored = Stored::new(cache.clone());
        metrics.register(|families| stored.register(families));
        metrics.register(|families| families.register_collector(Box::new(api.etcd.figures().clone())));
        metrics.register(|families| families.register_collector(Box::new(Watched(cache.clone()))));
        metrics.register(|families| api.admission.register(families));
        let seats = options.max_requests_inflight + options.max_mutating_requests_inflight;
        let inflight = InFlight::new(options.max_requests_inflight, options.max_mutating_requests_inflight);
        let facts = Facts { aggregator: aggregator.clone(), failures: listener.failures() };
        metrics.register(|families| families.register_collector(Box::new(facts)));
        let flow = options.enable_priority_and_fairness.then(|| Flow::new(cache.clone(), seats));
        if let Some(flow) = flow.clone() {
            metrics.register(|families| flow.register(families));
            tasks.spawn(flow.follow(api.clone(), shutdown.clone()));
        }

        let health = Health::new();
        let conditions =
            Conditions { cache, etcd: answered, defaults: bootstrapped, roles: authorizer.fed(), registered, ending };
        conditions.add(&health, flow.is_some());
        tasks.spawn(api.authenticator.clone().run(shutdown.clone()));
        metrics.register(|families| api.authenticator.register(families));
        metrics.register(|families| authorizer.register(families));
        if let Some(encryption) = api.etcd.encryption() {
            encryption.add_checks(&health);
            metrics.register(|families| encryption.register(families));
        }
        if let Some(audit) = &self.audit {
            tasks.spawn(audit.clone().run(answered_all.clone()));
            metrics.register(|families| audit.register(families));
        }
        self.address.send_replace(Some(address));
        tracing::info!(%address, "serving");
        let front = Front {
            api,
            relay,
            aggregator,
            flow,
            inflight,
            health,
            metrics,
            pages: Arc::new(Pages::new("apiserver", Some(self.flags), paths::begin())),
            audit: self.audit,
            figures,
            stored,
            address: advertised(&options, address),
            security: transport_security(&options.strict_transport_security_directives),
            cors: Arc::new(self.cors),
        };
        listener.serve(front, options.serving.limits(), shutdown).await;
        answered_all.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// How clients are told to reach this server: by the name that is given for it, which may have a port, else by its address.
fn advertised(options: &Options, listening: SocketAddr) -> String {
    match options.external_hostname.as_str() {
        "" => {}
        named if named.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            return named.to_owned();
        }
        named => return format!("{named}:{}", listening.port()),
    }
    SocketAddr::new(options.own_address().unwrap_or(listening.ip()), listening.port()).to_string()
}

/// The header of directives that have been checked.
fn transport_security(directives: &[String]) -> Option<HeaderValue> {
    if directives.is_empty() { None } else { HeaderValue::try_from(directives.join("; ")).ok() }
}

impl Front {
    /// Has some clients connect anew, by chance.
    fn have_leave<B>(&self, request: &Request<B>) {
        let chance = self.api.options.goaway_chance;
        let lots = chance > 0.0 && request.version() == http::Version::HTTP_2 && rand::random::<f64>() < chance;
        if let Some(peer) = request.extensions().get::<Peer>().filter(|_| lots) {
            peer.leave.cancel();
        }
    }
}

#[derive(Clone)]
struct Front {
    api: Api,
    relay: Relay,
    aggregator: Aggregator,
    flow: Option<Flow>,
    inflight: InFlight,
    health: Health,
    metrics: Metrics,
    pages: Arc<Pages>,
    audit: Option<Arc<Audit>>,
    figures: Figures,
    stored: Stored,
    address: String,
    /// What all answers say of transport security.
    security: Option<HeaderValue>,
    cors: Arc<Cors>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        let request = request.map(Received::new);
        Box::pin(async move {
            let mut course = Course::default();
            front.have_leave(&request);
            let origin = front.cors.allowed(request.headers());
            let preflight = origin.is_some() && cors::is_preflight(request.method());
            let id = audit_id(request.headers());
            if let Some(refused) = unreadable(request.uri(), &id) {
                return Ok(refused);
            }
            let noting = front.audit.as_ref().filter(|_| !preflight);
            let mut trail = noting.map(|audit| Trail::new(audit, &id, &request));
            let asked = Asked::of(&request);
            let warning = authn::warning(request.headers());
            let began = Instant::now();
            let (method, uri) = (request.method(), request.uri());
            let wanted = request::parse(&front.api.cache.registry(), method, uri.path(), uri.query());
            let known = wanted.as_ref().ok().and_then(Option::as_ref);
            course.ongoing = front.figures.begin(known, method, uri.path(), request.headers());
            let limit = deadline::of(known, method, uri, front.api.options.request_timeout);
            let answering = async {
                let limit = limit.clone()?;
                if preflight {
                    return Ok(cors::preflight());
                }
                match limit {
                    Some(limit) => {
                        let answer =
                            tokio::time::timeout(limit, front.answer(request, wanted, &mut course, &mut trail)).await;
                        course.late = answer.is_err();
                        answer.unwrap_or_else(|_| Err(deadline::passed().into()))
                    }
                    None => front.answer(request, wanted, &mut course, &mut trail).await,
                }
            };
            let answered = AssertUnwindSafe(answering).catch_unwind().await;
            let mut answer = match answered {
                Ok(answer) => asked.finish(answer.unwrap_or_else(|refusal| refusal.response())),
                Err(panic) => {
                    let why = panic.downcast_ref::<&str>().map_or_else(
                        || panic.downcast_ref::<String>().cloned().unwrap_or_default(),
                        |text| (*text).to_owned(),
                    );
                    if let Some(trail) = trail.take() {
                        trail.panicked(&why).await;
                    }
                    let message = "This request caused apiserver to panic. Look in the logs for details.";
                    Refusal::Said(Status { message: message.to_owned(), ..Status::internal("") }).response()
                }
            };
            let Course { seat, ongoing, reached, dropped, executing, late } = course;
            if let Some(seat) = seat {
                seat.write(answer.headers_mut());
            }
            if let Some(warning) = warning {
                let warnings = Warnings::default();
                warnings.add(warning);
                warnings.write(answer.headers_mut());
            }
            if let Ok(Some(limit)) = limit {
                let cut = ongoing.as_ref().map(Ongoing::cut);
                answer = deadline::bound(answer, began + limit, || {
                    if let Some(cut) = cut {
                        cut();
                    }
                });
            }
            if let Some(ongoing) = ongoing {
                if late {
                    ongoing.terminated(StatusCode::GATEWAY_TIMEOUT);
                }
                if reached {
                    answer = ongoing.answered(answer);
                } else if dropped {
                    ongoing.dropped();
                }
            }
            drop(executing);
            if let Some(origin) = origin.filter(|_| limit.is_ok()) {
                Cors::tell(origin, answer.headers_mut());
            }
            let caching = answer.headers_mut().entry(header::CACHE_CONTROL);
            caching.or_insert(HeaderValue::from_static("no-cache, private"));
            if let Some(security) = front.security.clone() {
                answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, security);
            }
            if let Ok(value) = HeaderValue::try_from(id) {
                answer.headers_mut().insert("audit-id", value);
            }
            Ok(match trail {
                Some(trail) => trail.finish(answer).await,
                None => answer,
            })
        })
    }
}

/// What the flags say of authentication. Where everybody may do everything, nobody is let in without a name.
fn named_users(options: &Options) -> AuthenticationOptions {
    let mut authentication = options.authentication.clone();
    let modes = &options.authorization.modes;
    let opens_all = modes.contains(&AuthorizationMode::AlwaysAllow) || modes.is_empty();
    if opens_all && options.authorization.config.is_none() && authentication.authentication_config.is_none() {
        tracing::warn!(
            "--anonymous-auth is taken for false, as the authorization mode is AlwaysAllow; choose another mode"
        );
        authentication.anonymous_auth = Some(false);
    }
    authentication
}

/// What is answered to a path that cannot be read at all, before anybody is asked who it is.
fn unreadable(uri: &http::Uri, id: &str) -> Option<Response<Body>> {
    let target = target_of(uri);
    let why = request::unreadable(uri.path(), target)?;
    let said = crate::authz::harmless(&format!("Internal Server Error: {target:?}: {why}"));
    let mut answer = Refusal::Said(Status::failed(said)).response();
    if let Ok(value) = HeaderValue::try_from(id) {
        answer.headers_mut().insert("audit-id", value);
    }
    Some(answer)
}

/// A path with its query.
fn target_of(uri: &http::Uri) -> &str {
    uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str())
}

impl Front {
    /// Answers a request, of which `wanted` is what its path was read as; its seat is kept in `course` until the answer's body
    /// begins, and `trail` is told what it does.
    async fn answer(
        &self,
        mut request: Request<Received>,
        wanted: Result<Option<ResourceRequest>, Status>,
        course: &mut Course,
        trail: &mut Option<Trail>,
    ) -> Result<Response<Body>, Refusal> {
        let taken = websocket::take_bearer(request.headers_mut());
        let peer = request.extensions().get::<Peer>();
        let path = request.uri().path();
        let user = match taken {
            Ok(()) => self.api.authenticator.user(peer, request.headers(), path, &self.api.cache).await,
            Err(why) => {
                tracing::info!(why, "a token was refused");
                Err(Status::unauthorized())
            }
        };
        if let Some(trail) = trail {
            match &user {
                Ok(user) => trail.user(user).await?,
                Err(_) => trail.unknown().await,
            }
        }
        let user = self.acting(user?, &request, trail).await?;
        let path = request.uri().path();
        if let Some(service) = self.aggregator.takes(path) {
            self.permits(&user, request.method(), request.uri(), course, trail).await?;
            return self.aggregator.relay(&service, &user, request).await;
        }
        if wanted.is_err() {
            // What is not there is told only to those who might have had it.
            self.permits(&user, request.method(), request.uri(), course, trail).await?;
        }
        let Some(mut wanted) = wanted? else {
            let verb = request.method().as_str().to_lowercase();
            self.seat(&user, &verb, What::Path(path), course).await?;
            let ask = Ask::Path { verb: &verb, path };
            let checked = self.api.authorizer.admits(&user, &ask, "").await;
            self.decided(trail, request.uri(), &user, &ask, checked)?;
            course.reached = true;
            return Ok(self.describe(&request).await?);
        };
        wanted.user = Arc::new(user);
        if !relay::takes(&wanted) {
            let (group, resource) = (wanted.spec.group(), wanted.spec.resource());
            let namespace = wanted.authorized_namespace();
            let what = What::Resource { group, resource, subresource: &wanted.subresource, namespace };
            self.seat(&wanted.user, wanted.verb.as_str(), what, course).await?;
        }
        let node = wanted.selected("spec.nodeName");
        let checked = self.api.authorizer.admits(&wanted.user, &wanted.ask(), node).await;
        self.decided(trail, request.uri(), &wanted.user, &wanted.ask(), checked)?;
        if let Some(trail) = trail {
            wanted.annotations = trail.annotations.clone();
        }
        if relay::takes(&wanted) {
            if relay::runs(&wanted) {
                let creation = ResourceRequest { verb: Verb::Create, ..wanted.clone() };
                self.api.authorizer.check_request(&wanted.user, &creation).await.map_err(Refusal::Denied)?;
            }
            if wanted.subresource != "log" {
                self.api.connect(&wanted).await?;
            }
            course.reached = true;
            if let Some(running) = course.ongoing.as_ref().and_then(Ongoing::running) {
                request.extensions_mut().insert(running);
            }
            return Ok(self.relay.answer(&wanted, request).await?);
        }
        routes::negotiable(&wanted, request.headers())?;
        wanted.format = negotiate::accept(&wanted, request.headers())?;
        course.reached = true;
        wanted.manager = Some(Manager::of(&wanted, request.headers()));
        let (parts, body) = request.into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let payload = Payload { content_type: content_type.unwrap_or_default().to_owned(), bytes: read(body).await? };
        if let Some(warning) = wanted.spec.deprecation() {
            wanted.warnings.add(warning);
        }
        if let Some(trail) = trail {
            let named = wanted.subresource.is_empty().then(|| (wanted.spec.api_version(), wanted.spec.kind()));
            trail.body(&payload.content_type, &payload.bytes, named);
        }
        let mut answer = self.api.handle(&wanted, payload).await.unwrap_or_else(|error| error_response(&error));
        wanted.warnings.write(answer.headers_mut());
        let answer = render::finish(&wanted.spec, wanted.format, answer).await?;
        if wanted.verb == Verb::Watch && answer.status().is_success() && websocket::is_wanted(&parts.headers) {
            let running = course.ongoing.as_ref().and_then(Ongoing::running);
            return Ok(messages::events(Request::from_parts(parts, ()), running, answer));
        }
        Ok(answer)
    }

    /// Whether somebody may make a request of which only the path is known, and a seat for it.
    async fn permits(
        &self,
        user: &User,
        method: &http::Method,
        uri: &http::Uri,
        course: &mut Course,
        trail: &Option<Trail>,
    ) -> Result<(), Refusal> {
        let path = uri.path();
        let decoded = request::decoded(path)?;
        let asked = aggregate::path::parse(method, &decoded, uri.query());
        if asked.resource.is_empty() || path.starts_with("/openapi/") {
            let verb = method.as_str().to_lowercase();
            self.seat(user, &verb, What::Path(path), course).await?;
            let ask = Ask::Path { verb: &verb, path };
            let checked = self.api.authorizer.admits(user, &ask, "").await;
            return self.decided(trail, uri, user, &ask, checked);
        }
        let aggregate::path::Asked { verb, group, resource, namespace, name, .. } = asked;
        let what = What::Resource { group, resource, subresource: &asked.subresource, namespace };
        self.seat(user, verb, what, course).await?;
        let ask = Ask::Resource { verb, group, resource, subresource: &asked.subresource, name, namespace };
        let checked = self.api.authorizer.admits(user, &ask, "").await;
        self.decided(trail, uri, user, &ask, checked)
    }

    /// Tells the trail what authorization decided.
    fn decided<T>(
        &self,
        trail: &Option<Trail>,
        uri: &http::Uri,
        user: &User,
        ask: &Ask<'_>,
        checked: Result<T, Status>,
    ) -> Result<T, Refusal> {
        if let Some(trail) = trail.as_ref().filter(|trail| trail.is_on()) {
            let allowed = checked.is_ok();
            let reason = if allowed { self.api.authorizer.reason(user, ask) } else { String::new() };
            trail.decided(allowed, &reason);
        }
        checked.map_err(|status| match status.code {
            403 => Refusal::Denied(status),
            _ => {
                let target = crate::authz::harmless(target_of(uri));
                Refusal::Said(Status::failed(format!("Internal Server Error: {target:?}: {}", status.message)))
            }
        })
    }

    /// A seat for a request, if seats are given out.
    async fn seat(&self, user: &User, verb: &str, what: What<'_>, course: &mut Course) -> Result<(), Refusal> {
        let digest = Digest { user, verb, what };
        let arrived = Instant::now();
        let found = match &self.flow {
            Some(flow) => flow.admit(&digest, &mut course.seat).await,
            None => self.inflight.admit(&digest).map(|seat| course.seat = seat),
        };
        if let Some(ongoing) = &course.ongoing {
            ongoing.waited(arrived.elapsed());
        }
        course.dropped = found.is_err();
        let subresource = if let What::Resource { subresource, .. } = digest.what { subresource } else { "" };
        course.executing = self.figures.executes(verb, subresource).filter(|_| found.is_ok());
        found.map_err(Refusal::Said)
    }
}

/// How far a request has come.
#[derive(Default)]
struct Course {
    seat: Option<Admitted>,
    /// Nothing for what is not counted.
    ongoing: Option<Ongoing>,
    /// Whether it has come to what answers it; upstream counts none that was refused before.
    reached: bool,
    /// Whether there was no seat for it.
    dropped: bool,
    /// Whether it took too long.
    late: bool,
    executing: Option<Executing>,
}

/// The name of a request in the audit log: the client's, or a new one.
fn audit_id(headers: &HeaderMap) -> String {
    let given = headers.get("audit-id").and_then(|value| value.to_str().ok());
    let given = given.filter(|given| (1..=MAX_AUDIT_ID).contains(&given.len()));
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

async fn read(body: Received) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Status::too_large(MAX_BODY)),
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}
