//! The layer before all services.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic_types::{ErrorDetails, StatusExt};
use tower::Layer;

use super::certificate::Certificate;
use super::{Caller, Connection, Link, Roles, deadline, methods};
use crate::audit::{Action, Audit};
use crate::config::RoleRules;
use crate::error::DOMAIN;
use crate::{ApiError, Config};

/// What the layer goes by.
#[derive(Debug)]
pub(crate) struct Rules {
    socket: Roles,
    certificates: RoleRules,
    deadline: Duration,
    audit: Arc<Audit>,
}

impl Rules {
    pub(crate) fn new(config: &Config, audit: Arc<Audit>) -> Self {
        let certificates = config.api.tcp.as_ref().map(|tcp| tcp.roles.clone());
        Self {
            socket: Roles::of(&config.api.socket_roles),
            certificates: certificates.unwrap_or_default(),
            deadline: Duration::from_secs(config.limits.deadline_seconds.0),
            audit,
        }
    }

    /// Whoever makes a request, if they may make it.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Caller, Status> {
        let (caller, connection) = self.caller(request)?;
        let path = request.uri().path();
        let Some(needed) = methods::roles(path) else {
            return Err(Status::unimplemented(format!("{path:?} is no method of this API")));
        };
        if caller.has_expired() {
            let message = format!("{} has expired since it connected", caller.name());
            return Err(ApiError::denied("EXPIRED", message, "connect with a new certificate").into());
        }
        if !caller.roles().has_any(needed) {
            let error = missing(&caller, needed, path);
            if connection.first_refusal() {
                // It is refused whether or not that can be written.
                let _ = self.audit.record(&caller, Action::new(&path[1..]).failed(&error));
            }
            return Err(error.into());
        }
        connection.take().map_err(too_many)?;
        Ok(caller)
    }

    fn caller<'a, B>(&self, request: &'a http::Request<B>) -> Result<(Caller, &'a Connection), Status> {
        type Tls = TlsConnectInfo<Link<TcpConnectInfo>>;
        let unknown = |reason: String| {
            let remedy = "connect by the Unix socket, or by TLS with a certificate of api.tcp.client_ca";
            Status::from(ApiError::denied("UNKNOWN_CLIENT", reason, remedy))
        };
        let extensions = request.extensions();
        let (found, link) = if let Some(tls) = extensions.get::<Tls>() {
            let found = tls.get_ref().connection.caller(|| {
                let certificates = tls.peer_certs();
                let own =
                    certificates.as_ref().and_then(|chain| chain.first()).ok_or("has no certificate")?;
                let certificate = Certificate::parse(own)?;
                let roles = certificate.roles(&self.certificates);
                Ok(Caller::certificate(certificate, tls.get_ref().address(), roles))
            });
            (found, &tls.get_ref().connection)
        } else if let Some(link) = extensions.get::<Link<UdsConnectInfo>>() {
            let found = link.connection.caller(|| Ok(Caller::process(link.credentials(), self.socket)));
            (found, &link.connection)
        } else {
            return Err(unknown("it is not known who is calling".to_owned()));
        };
        let caller =
            found.clone().map_err(|reason| unknown(format!("the certificate is of no use: {reason}")))?;
        Ok((caller, link.as_ref()))
    }
}

fn missing(caller: &Caller, needed: Roles, path: &str) -> ApiError {
    let method = path.rsplit('/').next().unwrap_or_default();
    let needed = needed.to_string().replace(", ", " or ");
    let message = format!("{method} needs the role {needed}, and {} has {}", caller.name(), caller.roles());
    ApiError::denied("ROLE_MISSING", message, "see [api.tcp.roles] and api.socket_roles in the configuration")
}

fn too_many(wait: Duration) -> Status {
    let metadata = [("remedy".to_owned(), "wait, or raise limits.requests_per_second".to_owned())];
    let mut details = ErrorDetails::with_error_info("RATE", DOMAIN, metadata);
    details.set_retry_info(Some(wait));
    let message = format!(
        "more requests than limits.requests_per_second allows to a connection: repeat it after {} ms",
        wait.as_micros().div_ceil(1000)
    );
    Status::with_error_details(tonic::Code::ResourceExhausted, message, details)
}

/// Puts the rules before services.
#[derive(Clone, Debug)]
pub(crate) struct Guard(pub(crate) Arc<Rules>);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { rules: Arc::clone(&self.0), inner }
    }
}

/// Services behind the rules.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    rules: Arc<Rules>,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let caller = match self.rules.admit(&request) {
            Ok(caller) => caller,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        let deadline = deadline::after(deadline::asked(request.headers()).unwrap_or(self.rules.deadline));
        request.extensions_mut().insert(caller);
        let answer = self.inner.call(request);
        Box::pin(async move {
            match deadline::within(deadline, answer).await {
                Ok(answer) => answer,
                Err(late) => Ok(Status::from(late).into_http()),
            }
        })
    }
}
