//! The one file where requests, sessions and managers meet: a middleware that any axum (or other tower) application can
//! put around its routes.
//!
//! ```text
//!   request ──► Attach ──► handler(session: Session)      loads: cookie ids, ;jsessionid=, Manager::find,
//!                                                          else Manager::create
//!   response ◄── Attach ◄── handler's response            Manager::commit (or remove), then Set-Cookie:
//! ```
//!
//! The session is loaded when a handler first asks for it, so a request that needs none costs its manager nothing. It is
//! committed before the response head leaves: whoever has the answer can rely on what it says.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::manager::{Manager, ManagerError, RequestLine, Source};
use crate::request::{PathSession, Secured};
use crate::session::cookie::SessionCookie;
use crate::session::{AskedId, Session, SessionError, SessionId, Timestamp};

/// The response field that tells where the session came from.
pub const SESSION_SOURCE: HeaderName = HeaderName::from_static("x-session-source");

/// The sessions of one context: who keeps them, and the cookie that names them. As a layer it attaches them to requests.
#[derive(Debug)]
pub struct Attach<M>(Arc<Attached<M>>);

#[derive(Debug)]
struct Attached<M> {
    manager: Arc<M>,
    cookie: SessionCookie,
    clock: Clock,
}

impl<M: Manager> Attach<M> {
    /// Attaches the sessions of `manager` under `cookie`.
    pub fn new(manager: Arc<M>, cookie: SessionCookie, clock: Clock) -> Self {
        Self(Arc::new(Attached {
            manager,
            cookie,
            clock,
        }))
    }

    /// One request through `inner`, with sessions.
    pub async fn around<S>(&self, mut inner: S, mut request: Request) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response>,
    {
        let secure = request.extensions().get::<Secured>().is_some();
        let named = match self.0.manager.prolongs_unused() {
            true => Named::of(&request),
            false => None,
        };
        let visit = Arc::new(self.visit(request.method(), request.uri(), named));
        let sessions = Sessions(Arc::clone(&visit) as Arc<dyn OneVisit>);
        request.extensions_mut().insert(sessions);
        let response = inner.call(request).await?;
        Ok(visit.finish(response, secure).await)
    }

    /// One request that is answered from its session at once. The same as [`Attach::around`] with a handler that takes the session,
    /// but without what handlers of every kind need: half a dozen allocations, and a request that is moved from one to the next.
    pub async fn answer(
        &self,
        parts: Parts,
        answer: impl FnOnce(&Session, Parts) -> Response,
    ) -> Response {
        let secure = parts.extensions.get::<Secured>().is_some();
        // It asks for its session, so nobody need be told that it did not.
        let visit = self.visit(&parts.method, &parts.uri, None);
        let response = match visit.session(&parts).await {
            Ok(session) => answer(&session, parts),
            Err(error) => Refused::from(error).into_response(),
        };
        visit.finish(response, secure).await
    }

    fn visit(&self, method: &Method, uri: &Uri, named: Option<Named>) -> Visit<M> {
        Visit {
            attached: Arc::clone(&self.0),
            now: self.0.clock.now(),
            line: M::READS_REQUESTS.then(|| (method.clone(), uri.clone())),
            named,
            state: Mutex::default(),
        }
    }
}

impl<M> Clone for Attach<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M, S> Layer<S> for Attach<M> {
    type Service = AttachService<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttachService {
            attach: self.clone(),
            inner,
        }
    }
}

/// A service whose requests have sessions.
#[derive(Debug)]
pub struct AttachService<M, S> {
    attach: Attach<M>,
    inner: S,
}

impl<M, S: Clone> Clone for AttachService<M, S> {
    fn clone(&self) -> Self {
        Self {
            attach: self.attach.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<M, S> Service<Request> for AttachService<M, S>
where
    M: Manager,
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The service that is ready handles the request; its clone waits for the next.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let attach = self.attach.clone();
        Box::pin(async move { attach.around(inner, request).await })
    }
}

/// The sessions of this request's context, for handlers that need more than the session itself.
#[derive(Clone)]
pub struct Sessions(Arc<dyn OneVisit>);

impl Sessions {
    /// The session that the request named, or that was made in it; `None` when there is none or it was ended.
    pub fn current(&self) -> Option<Session> {
        self.0.state().current()
    }

    /// The current session, or a new one.
    pub async fn current_or_new(&self) -> Result<Session, Refused> {
        match self.current() {
            Some(session) => Ok(session),
            None => Ok(self.0.create().await?),
        }
    }

    /// Whether the request named a session that this node does not know (any more).
    pub fn lost(&self) -> bool {
        let state = self.0.state();
        state.asked && matches!(state.source, None | Some(Source::New))
    }

    /// Whether this node served the session last, before this request; `None` without one. What Tomcat tells a request with
    /// `primaryIndicator`.
    pub fn is_primary(&self) -> Option<bool> {
        let is_here = self.current().is_some();
        let source = self.0.state().source.filter(|_| is_here);
        source.map(|source| source != Source::Replica)
    }

    /// Gives the current session a new id, unless it was made in this very request: do so at every log in. A session that
    /// was ended meanwhile is refused.
    pub async fn change_id(&self) -> Result<(), Refused> {
        Ok(self.0.change_id().await?)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sessions").field(&self.current()).finish()
    }
}

/// Loads the request's session, makes none.
impl<S: Send + Sync> FromRequestParts<S> for Sessions {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let sessions = parts.extensions.get::<Self>().ok_or(Refused::NotAttached)?;
        sessions.0.load(parts).await?;
        Ok(sessions.clone())
    }
}

/// The request's session, or a new one.
impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let sessions = Sessions::from_request_parts(parts, state).await?;
        sessions.current_or_new().await
    }
}

/// The request's session if it has one.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Refused> {
        let sessions = Sessions::from_request_parts(parts, state).await?;
        Ok(sessions.current())
    }
}

/// Why a handler gets no session. As a response: 503 when there are too many sessions, when the session's store cannot be
/// reached or when others use the session for too long, 507 when it is too large for the store, 409 when the session was ended
/// while the request ran, 500 for our own fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The manager cannot.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The route has no [`Attach`] layer.
    #[error("this route has no sessions: put the Attach layer around it")]
    NotAttached,
}

impl From<SessionError> for Refused {
    fn from(error: SessionError) -> Self {
        Self::Manager(error.into())
    }
}

impl Refused {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Manager(
                ManagerError::TooMany { .. }
                | ManagerError::Unavailable
                | ManagerError::NoHolder
                | ManagerError::Busy
                | ManagerError::Overtaken,
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Manager(ManagerError::TooLarge { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Manager(ManagerError::Session(SessionError::Ended)) => StatusCode::CONFLICT,
            Self::Manager(ManagerError::Session(SessionError::Attribute(_))) => {
                StatusCode::BAD_REQUEST
            }
            Self::Manager(ManagerError::Form(_)) | Self::NotAttached => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// One request's way through the middleware.
struct Visit<M> {
    attached: Arc<Attached<M>>,
    /// When the request came.
    now: Timestamp,
    /// The request line, for managers that look at it.
    line: Option<(Method, Uri)>,
    /// Where the request may name a session, for managers that want to know although it asks for none.
    named: Option<Named>,
    state: Mutex<VisitState>,
}

/// The cookie fields and the path parameter of a request.
struct Named {
    cookies: Vec<HeaderValue>,
    path: Option<PathSession>,
}

impl Named {
    fn of(request: &Request) -> Option<Self> {
        let cookies = request.headers().get_all(header::COOKIE).iter().cloned();
        let named = Self {
            cookies: cookies.collect(),
            path: request.extensions().get().cloned(),
        };
        (!named.cookies.is_empty() || named.path.is_some()).then_some(named)
    }
}

#[derive(Default)]
struct VisitState {
    /// The request's ids were looked up.
    loaded: bool,
    /// The request carried the session cookie or parameter, whatever stood in it.
    asked: bool,
    session: Option<Session>,
    source: Option<Source>,
    /// The session's id when it was looked up; `None` once this request gave it another.
    seen: Option<Seen>,
}

/// An id that a session had.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: SessionId,
    /// Whether the client named just this.
    is_named: bool,
}

impl VisitState {
    fn current(&self) -> Option<Session> {
        self.session.clone().filter(|s| !s.is_ended())
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Visit`] without its manager's type, so that handlers are free of it.
trait OneVisit: Send + Sync {
    fn load<'a>(&'a self, parts: &'a Parts) -> BoxFuture<'a, Result<(), ManagerError>>;
    fn create(&self) -> BoxFuture<'_, Result<Session, ManagerError>>;
    fn change_id(&self) -> BoxFuture<'_, Result<(), ManagerError>>;
    fn state(&self) -> MutexGuard<'_, VisitState>;
}

impl<M: Manager> OneVisit for Visit<M> {
    fn load<'a>(&'a self, parts: &'a Parts) -> BoxFuture<'a, Result<(), ManagerError>> {
        Box::pin(self.look_up_once(parts))
    }

    fn create(&self) -> BoxFuture<'_, Result<Session, ManagerError>> {
        Box::pin(self.make())
    }

    fn change_id(&self) -> BoxFuture<'_, Result<(), ManagerError>> {
        Box::pin(async {
            let session = {
                let state = self.state();
                if state.source == Some(Source::New) || self.is_read_only() {
                    return Ok(());
                }
                state.session.clone()
            };
            let session = session.ok_or(SessionError::Ended)?;
            self.attached.manager.change_id(&session, self.now).await?;
            self.state().seen = None;
            Ok(())
        })
    }

    fn state(&self) -> MutexGuard<'_, VisitState> {
        Visit::state(self)
    }
}

impl<M> Visit<M> {
    fn state(&self) -> MutexGuard<'_, VisitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> RequestLine<'_> {
        let line = self.line.as_ref();
        line.map_or_else(RequestLine::default, |(method, uri)| RequestLine {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query(),
            // The manager knows its own.
            context: "",
        })
    }
}

impl<M: Manager> Visit<M> {
    /// The request's session, or a new one.
    async fn session(&self, parts: &Parts) -> Result<Session, ManagerError> {
        self.look_up_once(parts).await?;
        let current = self.state().current();
        match current {
            Some(session) => Ok(session),
            None => self.make().await,
        }
    }

    async fn look_up_once(&self, parts: &Parts) -> Result<(), ManagerError> {
        if std::mem::replace(&mut self.state().loaded, true) {
            return Ok(());
        }
        let looked_up = self.look_up(parts).await;
        if looked_up.is_err() {
            // Nobody knows whether there is a session, so the next who asks must not get a new one.
            self.state().loaded = false;
        }
        looked_up
    }

    async fn make(&self) -> Result<Session, ManagerError> {
        // A session that the application ended in this request is over before the next begins.
        let ended = self.state().session.take();
        if let Some(ended) = ended {
            self.attached.manager.remove(&ended).await?;
        }
        let session = self.attached.manager.create(self.now).await?;
        let mut state = self.state();
        state.session = Some(session.clone());
        state.source = Some(Source::New);
        state.seen = None;
        Ok(session)
    }

    /// Looks up the ids that the request names, the cookies' first.
    async fn look_up(&self, parts: &Parts) -> Result<(), ManagerError> {
        let attached = &self.attached;
        let fields = parts.headers.get_all(header::COOKIE);
        let mut asked = false;
        let mut found = None;
        let cookies = fields.iter().map(HeaderValue::as_bytes);
        for id in attached.cookie.ids(cookies, &mut asked) {
            let session = attached.manager.find(&id, &self.line(), self.now).await?;
            found = session.map(|session| (session, id));
            if found.is_some() {
                break;
            }
        }
        if found.is_none()
            && let Some(PathSession(text)) = parts.extensions.get()
        {
            asked = true;
            if let Some(id) = AskedId::parse(text.as_bytes()) {
                let session = attached.manager.find(&id, &self.line(), self.now).await?;
                found = session.map(|session| (session, id));
            }
        }
        let mut state = self.state();
        state.asked = asked;
        if let Some((found, id)) = found {
            let here = found.session.id();
            let is_named = here.is(&id);
            state.seen = Some(Seen { id: here, is_named });
            state.source = Some(found.source);
            state.session = Some(found.session);
        }
        Ok(())
    }

    /// Whether the request may keep nothing, and so hand out no id.
    fn is_read_only(&self) -> bool {
        M::READS_REQUESTS && self.attached.manager.is_read_only(&self.line())
    }

    /// Tells the manager of the session that the request named, for it asked for none.
    async fn unused(&self, named: &Named) {
        let mut asked = false;
        let cookies = named.cookies.iter().map(HeaderValue::as_bytes);
        let cookie = self.attached.cookie.ids(cookies, &mut asked).next();
        let path = named.path.as_ref();
        let path = || path.and_then(|PathSession(text)| AskedId::parse(text.as_bytes()));
        if let Some(id) = cookie.or_else(path) {
            self.attached.manager.unused(&id, &self.line()).await;
        }
    }

    /// Commits the session, and only then lets the response go.
    async fn finish(&self, mut response: Response, secure: bool) -> Response {
        let (session, source, seen, loaded) = {
            let mut state = self.state();
            let session = state.session.take();
            (session, state.source, state.seen, state.loaded)
        };
        if let (Some(named), false) = (&self.named, loaded) {
            self.unused(named).await;
        }
        let (Some(session), Some(source)) = (session, source) else {
            return response;
        };
        let attached = &self.attached;
        let outcome = if session.is_ended() {
            attached.manager.remove(&session).await
        } else {
            attached
                .manager
                .commit(&session, &self.line(), attached.clock.now())
                .await
        };
        if let Err(error) = outcome {
            match error {
                // Another request ended it: nothing went wrong.
                ManagerError::Session(_) => tracing::debug!(%error, "the session was not kept"),
                _ => tracing::error!(%error, "the session was not kept"),
            }
            let mut refused = Refused::from(error).into_response();
            // The session has its new id although what else the request did is not kept.
            if source != Source::New {
                self.tell_id(&mut refused, &session, seen, secure);
            }
            return refused;
        }
        let headers = response.headers_mut();
        let source = match source {
            Source::New => HeaderValue::from_static("new"),
            Source::Local => HeaderValue::from_static("local"),
            Source::Store => HeaderValue::from_static("store"),
            Source::Replica => HeaderValue::from_static("replica"),
        };
        headers.insert(SESSION_SOURCE, source);
        self.tell_id(&mut response, &session, seen, secure);
        response
    }

    /// Gives the client the session's id, unless it knows it. Another member may have given it another route meanwhile. A new key that
    /// it got meanwhile is for whoever logged in, and not for others who knew the one before.
    fn tell_id(
        &self,
        response: &mut Response,
        session: &Session,
        seen: Option<Seen>,
        secure: bool,
    ) {
        let id = session.id();
        let is_told = seen.is_none_or(|seen| {
            seen.id.key == id.key && !(seen.is_named && seen.id.suffix == id.suffix)
        });
        if !is_told || session.is_ended() || self.is_read_only() {
            return;
        }
        let cookie = self.attached.cookie.set(&id, secure);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
