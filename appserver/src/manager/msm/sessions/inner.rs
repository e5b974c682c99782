//! What the manager does with the session in its place: finds it, stores it, gives it another id, gives it up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use super::change::{Ended, rebase, restored};
use crate::manager::msm::attributes;
use crate::manager::msm::in_use::{Live, Locked, Place, lock};
use crate::manager::msm::protocol::{Outcome, World};
use crate::manager::msm::validity::Validity;
use crate::manager::{Found, ManagerError, RequestLine, Source};
use crate::session::{AskedId, Session, Timestamp};

/// The first pause before a session is stored again whose response left; each is twice the one before.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// At most so many sticky sessions are stored again in one turn.
const UNSAVED_MAX: usize = 64;

impl<W: World + 'static> Inner<W> {
    /// Whether sessions stay in this server between requests.
    pub(super) fn keeps(&self) -> bool {
        self.config.settings.sticky
    }

    /// The session in its place, or from the nodes into it.
    pub(super) async fn find(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let request = &self.here(request);
        // Whoever gave a request up may have left a session that the nodes know better.
        let is_shared = |live: &Live| self.keeps() || live.kept.references() > 1;
        if (**place).as_ref().is_some_and(is_shared) {
            return Box::pin(self.share(place, asked, request, now)).await;
        }
        **place = None;
        let held = self.exchange.find(asked, request, self.keeps()).await?;
        let Some(held) = held else {
            return Ok(None);
        };
        let attributes = match attributes::decode(held.attributes()) {
            Ok(attributes) => attributes,
            Err(error) => {
                tracing::warn!(id = %held.id, %error, "a stored session cannot be read");
                return Ok(None);
            }
        };
        let kept = restored(&held, attributes, now);
        let session = Session::holding(kept.clone()).recording();
        **place = Some(Live::new(kept, held));
        Ok(Some(Found {
            session,
            source: Source::Store,
        }))
    }

    /// The session that is here already; `None` if it ended, or was idle too long and is ended now.
    async fn share(
        &self,
        place: &mut Locked,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        now: Timestamp,
    ) -> Result<Option<Found>, ManagerError> {
        let Some(live) = (**place).as_mut() else {
            return Ok(None);
        };
        let is_ended = Session::holding(live.kept.clone()).is_ended();
        // It may have got a new id while this request waited for the place.
        if is_ended || live.held.id.key != asked.key {
            return Ok(None);
        }
        let Some(session) = live.kept.begin(now) else {
            self.expired.fetch_add(1, Ordering::Relaxed);
            if let Some(live) = (**place).take() {
                self.exchange.expire(&live.held).await;
            }
            return Ok(None);
        };
        let keeps = self.keeps();
        match self.exchange.begin(&mut live.held, request, keeps).await {
            Ok(Some(base)) => {
                if rebase(&live.kept, &base, &live.held)? {
                    return Err(self.overtaken(place).await);
                }
            }
            Ok(None) => {}
            Err(ManagerError::Session(_)) => {
                // Another server ended it.
                session.invalidate();
                **place = None;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        if live.kept.rename(live.held.id).is_err() {
            // Another request ended it meanwhile, and waits for the place.
            return Ok(None);
        }
        live.requests += 1;
        Ok(Some(Found {
            session: session.recording(),
            source: Source::Local,
        }))
    }

    /// Others changed what requests here change: none of these can be stored any more, and the next one begins with what the
    /// nodes have.
    pub(super) async fn overtaken(&self, place: &mut Locked) -> ManagerError {
        if let Some(mut live) = place.take() {
            self.exchange.abandon(&mut live.held).await;
        }
        ManagerError::Overtaken
    }

    /// What a request did that ends now.
    pub(super) fn ending(
        &self,
        session: &Session,
        locked: &mut Locked,
        now: Timestamp,
    ) -> Result<Ended, ManagerError> {
        let changes = session.take_changes();
        let mut ended = Ended {
            attributes: None,
            names: changes.attributes,
            last: true,
        };
        let Some(live) = (**locked).as_mut() else {
            return Ok(ended);
        };
        ended.last = live.end_request();
        live.held.validity = Validity {
            interval: session.facts().max_inactive,
            last_accessed: now,
            this_accessed: now,
        };
        // What is new was never stored and must be, with or without attributes.
        if !ended.names.is_empty() || live.held.is_new {
            let settings = &self.config.settings;
            ended.names.retain(|name| settings.stores(name));
            // Many requests set what is there already, which is no change.
            let is_same = session.read(|attributes| {
                let stream = live.held.attributes();
                attributes::is_encoded(attributes, stream, |name| settings.stores(name))
            });
            if live.held.is_new || !is_same {
                ended.attributes = Some(self.encoded(session)?);
            }
        }
        Ok(ended)
    }

    /// Stores a session at the end of a request.
    pub(super) async fn store(
        &self,
        locked: &mut Locked,
        ended: &Ended,
        request: &RequestLine<'_>,
    ) -> Result<(), ManagerError> {
        let Some(live) = (**locked).as_mut() else {
            return Ok(());
        };
        let request = &self.here(request);
        match self
            .exchange
            .end(&mut live.held, ended.change(), request)
            .await
        {
            Ok(Outcome::Failed) => self.unsaved.add(live.held.id),
            Ok(_) => {
                // This request is stored; those that still run cannot be.
                if let Some(base) = live.held.take_base()
                    && rebase(&live.kept, &base, &live.held)?
                {
                    Box::pin(self.overtaken(locked)).await;
                }
            }
            Err(ManagerError::Overtaken) => return Err(Box::pin(self.overtaken(locked)).await),
            Err(ManagerError::Session(error)) => {
                // Another server ended it.
                Session::holding(live.kept.clone()).invalidate();
                **locked = None;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Stores a session whose response has left, until a node has it: the session stays here so long, for the next request. Gives
    /// up when the session cannot be stored at all, was idle for its interval, or the server ends.
    pub(super) async fn store_behind(
        &self,
        session: &Session,
        mut place: Place,
        mut locked: Locked,
        ended: Ended,
        request: &RequestLine<'_>,
    ) {
        let mut pause = RETRY_MIN;
        loop {
            let last = self.closing.is_cancelled();
            let stored = self.store(&mut locked, &ended, request).await;
            let again = matches!(stored, Err(ManagerError::Unavailable | ManagerError::Busy));
            if let Err(error) = &stored
                && (!again || last)
            {
                tracing::error!(id = %session.id(), %error, "a session was not stored behind its response");
            }
            if !again || last {
                return self.ended(session, place, locked, request);
            }
            self.in_use.leave(session.id().key, place, locked, true);
            let paused = tokio::time::sleep(pause);
            self.closing.run_until_cancelled(paused).await;
            pause = (pause * 2).min(RETRY_MAX);
            match self.in_use.find(session).await {
                Some(found) => (place, locked) = found,
                None => return,
            }
        }
    }

    /// A request leaves the place of its session.
    pub(super) fn ended(
        &self,
        session: &Session,
        place: Place,
        locked: Locked,
        request: &RequestLine<'_>,
    ) {
        // What a request made that may not store is known to nobody.
        let is_lost = locked.as_ref().is_some_and(|live| live.held.is_new)
            && self.exchange.is_read_only(&self.here(request));
        let keep = self.keeps() && !is_lost;
        self.in_use.leave(session.id().key, place, locked, keep);
    }

    /// Stores sticky sessions that no node took.
    pub(super) async fn store_unsaved(&self) {
        for id in self.unsaved.take(UNSAVED_MAX) {
            let place = self.in_use.place(id.key);
            let mut locked = lock(&place).await;
            if let Some(live) = locked.as_mut()
                && !live.kept.facts().is_new
            {
                let nothing = Ended {
                    attributes: None,
                    names: Vec::new(),
                    last: false,
                };
                let request = &RequestLine::default();
                if let Err(error) = self.store(&mut locked, &nothing, request).await {
                    tracing::warn!(%id, %error, "a session was not stored");
                }
            }
            self.in_use.leave(id.key, place, locked, true);
        }
    }

    /// The request, which does not know its context.
    pub(super) fn here<'a>(&'a self, request: &RequestLine<'a>) -> RequestLine<'a> {
        RequestLine {
            context: &self.config.context,
            ..*request
        }
    }

    /// Gives a session a new id. Whether others changed what requests here did.
    pub(super) async fn rename(
        &self,
        live: &mut Live,
        place: &Place,
    ) -> Result<bool, ManagerError> {
        let old = live.held.id.key;
        let here = self.encoded(&Session::holding(live.kept.clone()))?;
        self.exchange.change_id(&mut live.held, &here).await?;
        let base = live.held.take_base();
        let both = base.map_or(Ok(false), |base| rebase(&live.kept, &base, &live.held))?;
        let new = live.held.id;
        let rename = || live.kept.rename(new);
        self.in_use.rename(old, new.key, place, rename)?;
        Ok(both)
    }

    /// The attributes of a session as the nodes get them.
    fn encoded(&self, session: &Session) -> Result<Vec<u8>, ManagerError> {
        let settings = &self.config.settings;
        let encoded =
            session.read(|attributes| attributes::encode(attributes, |name| settings.stores(name)));
        encoded.map_err(|error| ManagerError::Form(error.to_string()))
    }

    /// Ends sessions that were idle too long. A copy in sticky mode is this server's to delete; of non-sticky sessions another
    /// server may know better.
    pub(super) async fn sweep(&self, now: Timestamp) {
        let idle = self.in_use.sweep(now, self.keeps());
        if idle.is_empty() {
            return;
        }
        tracing::info!(ended = idle.len(), "idle sessions expired");
        self.expired.fetch_add(idle.len() as u64, Ordering::Relaxed);
        if self.keeps() {
            for live in &idle {
                self.exchange.expire(&live.held).await;
            }
        }
    }
}
