//! Which way of asking the nodes is used: chosen once, from the settings, and then the same verbs for all of them.
//!
//! A future has room for the largest of its branches, and is made anew for each request. So those are boxed that the default way
//! does not take.

use super::prefix::KeyPrefix;
use super::protocol::safe::{Change, Owned, Trouble};
use super::protocol::{Ending, Held, NonSticky, Outcome, Safe, Sticky, World};
use super::settings::{Behaviour, MsmSettings, SettingsError};
use crate::manager::{ManagerError, NodeStatus, RequestLine, StoreStatus};
use crate::session::{AskedId, SessionError, SessionId};

/// The exchange with the nodes.
#[derive(Debug)]
pub(super) enum Exchange<W> {
    /// msm's, command for command, for sessions that live in the nodes.
    NonSticky(Box<NonSticky<W>>),
    /// msm's, command for command, for sessions that live in the servers.
    Sticky(Box<Sticky<W>>),
    /// The safe one, for both.
    Safe(Box<Safe<W>>),
}

impl<W: World> Exchange<W> {
    pub(super) fn new(
        settings: MsmSettings,
        prefix: KeyPrefix,
        route: &str,
        world: W,
    ) -> Result<Self, SettingsError> {
        Ok(match (settings.behaviour, settings.sticky) {
            (Behaviour::Safe, _) => Self::Safe(Safe::new(settings, prefix, route, world)?.into()),
            (Behaviour::Msm, true) => {
                Self::Sticky(Sticky::new(settings, prefix, route, world)?.into())
            }
            (Behaviour::Msm, false) => {
                Self::NonSticky(NonSticky::new(settings, prefix, route, world)?.into())
            }
        })
    }

    pub(super) async fn create(&self, interval: i32) -> Held {
        match self {
            Self::NonSticky(exchange) => exchange.create(interval).await,
            Self::Sticky(exchange) => exchange.create(interval).await,
            Self::Safe(exchange) => exchange.create(interval),
        }
    }

    /// The session from the nodes; `sticky`: for this server to keep.
    pub(super) async fn find(
        &self,
        asked: &AskedId<'_>,
        request: &RequestLine<'_>,
        sticky: bool,
    ) -> Result<Option<Held>, ManagerError> {
        Ok(match self {
            Self::NonSticky(exchange) => Box::pin(exchange.find(asked, request)).await,
            Self::Sticky(exchange) => Box::pin(exchange.take_over(asked)).await,
            Self::Safe(exchange) if sticky => Box::pin(exchange.take_over(asked)).await?,
            Self::Safe(exchange) => exchange.find(asked, request).await?,
        })
    }

    /// A request begins of a session that is here already. The attributes that it is based on, if others changed the stored ones.
    pub(super) async fn begin(
        &self,
        held: &mut Held,
        request: &RequestLine<'_>,
        sticky: bool,
    ) -> Result<Option<Vec<u8>>, ManagerError> {
        match self {
            Self::NonSticky(_) => {}
            Self::Sticky(exchange) => exchange.begin(held).await,
            Self::Safe(exchange) if sticky => exchange.begin(held),
            Self::Safe(exchange) => return Ok(exchange.join(held, request).await?),
        }
        Ok(None)
    }

    /// The request is over; whether its session is on a node as it is now.
    pub(super) async fn end(
        &self,
        held: &mut Held,
        change: Change<'_>,
        request: &RequestLine<'_>,
    ) -> Result<Outcome, ManagerError> {
        let ending = Ending {
            attributes: change.attributes,
        };
        Ok(match self {
            Self::NonSticky(exchange) => {
                if let Some(copies) = Box::pin(exchange.end(held, ending, request)).await {
                    Box::pin(exchange.copy(held, copies)).await;
                }
                Outcome::Stored
            }
            Self::Sticky(exchange) => {
                Box::pin(exchange.end(held, ending, request)).await;
                Outcome::Stored
            }
            Self::Safe(exchange) => exchange.end(held, change, request).await?,
        })
    }

    /// A new id for a session whose attributes, encoded, are these on this server.
    pub(super) async fn change_id(&self, held: &mut Held, here: &[u8]) -> Result<(), ManagerError> {
        match self {
            Self::NonSticky(exchange) => exchange.change_id(held).await,
            Self::Sticky(exchange) => exchange.change_id(held).await,
            Self::Safe(exchange) => exchange.change_id(held, here).await?,
        }
        Ok(())
    }

    /// The application ended the session.
    pub(super) async fn remove(&self, held: &mut Held) -> Result<(), ManagerError> {
        match self {
            Self::NonSticky(exchange) => exchange.remove(held).await,
            Self::Sticky(exchange) => exchange.remove(held).await,
            Self::Safe(exchange) => exchange.remove(held).await?,
        }
        Ok(())
    }

    /// The application ended a session that this server has given up.
    pub(super) async fn remove_lost(
        &self,
        id: &SessionId,
        interval: i32,
    ) -> Result<(), ManagerError> {
        if let Self::Safe(exchange) = self {
            Box::pin(exchange.remove_lost(id, interval)).await?;
        }
        Ok(())
    }

    /// The session was idle for too long.
    pub(super) async fn expire(&self, held: &Held) {
        match self {
            Self::NonSticky(exchange) => exchange.remove(held).await,
            Self::Sticky(exchange) => exchange.remove(held).await,
            Self::Safe(exchange) => exchange.expire_idle(held).await,
        }
    }

    /// Whether the request may read its session and not change it.
    pub(super) fn is_read_only(&self, request: &RequestLine<'_>) -> bool {
        match self {
            Self::NonSticky(_) | Self::Sticky(_) => false,
            Self::Safe(exchange) => exchange.is_read_only(request),
        }
    }

    /// Whether requests that ask for no session prolong the one that they name: msm's do.
    pub(super) fn prolongs_unused(&self) -> bool {
        matches!(self, Self::NonSticky(_))
    }

    pub(super) async fn unused(&self, asked: &AskedId<'_>, request: &RequestLine<'_>) {
        if let Self::NonSticky(exchange) = self {
            exchange.unused(asked, request).await;
        }
    }

    /// What there is to do beside requests.
    pub(super) async fn background(&self) {
        if let Self::Safe(exchange) = self {
            exchange.check().await;
            exchange.repair().await;
        }
    }

    /// The session is of no use to this server any more: others changed what its requests change.
    pub(super) async fn abandon(&self, held: &mut Held) {
        if let Self::Safe(exchange) = self {
            exchange.abandon(held).await;
        }
    }

    /// Renews the lock of a request that runs for long.
    pub(super) async fn renew(&self, id: impl std::fmt::Display, lock: &Owned) {
        if let Self::Safe(exchange) = self
            && !exchange.renew(&id, lock).await
        {
            tracing::warn!("the lock of a session was lost while a request ran");
        }
    }

    /// Figures of the nodes, and of what keeps them alike.
    pub(super) fn status(&self) -> (Vec<NodeStatus>, Option<StoreStatus>) {
        match self {
            Self::NonSticky(exchange) => (exchange.world().nodes(), None),
            Self::Sticky(exchange) => (exchange.world().nodes(), None),
            Self::Safe(exchange) => {
                let mut nodes = exchange.world().nodes();
                for (node, state) in nodes.iter_mut().zip(exchange.states()) {
                    node.down_since = state.down_since().map(|since| since.0);
                }
                (nodes, Some(exchange.status()))
            }
        }
    }
}

impl From<Trouble> for ManagerError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unavailable => Self::Unavailable,
            Trouble::Locked | Trouble::Contended => Self::Busy,
            Trouble::Overtaken => Self::Overtaken,
            Trouble::TooLarge(bytes) => Self::TooLarge { bytes },
            Trouble::Ended => Self::Session(SessionError::Ended),
            Trouble::Form(why) => Self::Form(why),
        }
    }
}
