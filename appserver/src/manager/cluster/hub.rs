//! Hands what a channel hears to the managers of the contexts: Tomcat's `ClusterSessionListener`.

use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::message::{Event, MessageError, RpcBody, Said, SessionMessage};
use super::native::{Item, Reader, Writer};
use crate::clock::Clock;
use crate::session::Timestamp;
use crate::tribes::channel::{Applied, Channel, Incoming, Listener};
use crate::tribes::member::Member;
use crate::tribes::options::SendOptions;

/// The longest wait until a Tomcat knows that a context is not served here.
const REFUSAL: Duration = Duration::from_secs(5);

/// The manager of one context, as the hub sees it. Nothing here may block.
pub trait Hears: Send + Sync {
    /// The context's name in messages.
    fn context(&self) -> &str;
    /// A message of a native member; whether this member now has what it tells.
    fn native(&self, from: &Member, message: &[u8]) -> bool;
    /// A message of a Tomcat.
    fn tomcat(&self, from: &Member, message: SessionMessage);
    /// A message about the map of Tomcats; whether there is such a map here.
    fn map(&self, from: &Member, said: Said) -> bool;
    /// A member came.
    fn added(&self, member: &Member);
    /// A member left.
    fn removed(&self, member: &Member);
    /// A member lost messages that were sent to it.
    fn lost(&self, member: &Member);
}

/// The managers of all contexts.
#[derive(Default)]
pub struct Hub {
    managers: RwLock<Vec<Box<dyn Hears>>>,
    channel: OnceLock<(Channel, tokio::runtime::Handle)>,
    clock: Clock,
}

impl Hub {
    /// Nobody listens yet: messages are refused until [`Hub::open`], so that their senders know that they were not heard.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// The channel works and all managers listen. Must be called inside a tokio runtime.
    pub fn open(&self, channel: &Channel) {
        // Opened twice is opened.
        let _ = self
            .channel
            .set((channel.clone(), tokio::runtime::Handle::current()));
    }

    /// This manager listens from now on.
    pub fn add(&self, manager: Box<dyn Hears>) {
        let mut managers = self
            .managers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        managers.push(manager);
    }

    fn each(&self, tell: impl Fn(&dyn Hears)) {
        let managers = self.managers.read().unwrap_or_else(PoisonError::into_inner);
        managers.iter().for_each(|manager| tell(&**manager));
    }

    /// Whether the context is served here.
    fn told(&self, context: &str, tell: impl FnOnce(&dyn Hears)) -> bool {
        let managers = self.managers.read().unwrap_or_else(PoisonError::into_inner);
        let manager = managers.iter().find(|m| m.context() == context);
        manager.map(|manager| tell(&**manager)).is_some()
    }

    /// Says that a context is not served here.
    fn refuse(&self, to: &Member, message: Vec<u8>, options: SendOptions) {
        if let Some((channel, runtime)) = self.channel.get() {
            let (channel, to) = (channel.clone(), to.id);
            runtime.spawn(async move { channel.send(to, &message, options, REFUSAL).await });
        }
    }

    fn native(&self, from: &Member, bytes: &[u8]) -> Applied {
        // When it was sent is nothing to the hub.
        let mut reader = match Reader::new(bytes, Timestamp::default()) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(member = %from.id, %error, "a message is dropped");
                return Applied::Failed;
            }
        };
        let mut applied = Applied::Done;
        let is_served = self.told(reader.context, |manager| {
            if !manager.native(from, bytes) {
                applied = Applied::Failed;
            }
        });
        // A context that is not served here lacks nothing.
        if !is_served && reader.item() == Ok(Some(Item::Ask)) {
            let mut answer = Writer::new(reader.context, self.clock.now());
            answer.item(&Item::NoContext);
            let options = SendOptions::USE_ACK.with(SendOptions::BYTE_MESSAGE);
            self.refuse(from, answer.finish(), options);
        }
        applied
    }

    /// About a map: who has it hears it; a question that nobody can answer is refused, or a Tomcat waits for 15 s.
    fn map(&self, from: &Member, said: Result<Said, MessageError>) {
        let said = match said {
            Ok(said) => said,
            Err(error) => return tracing::warn!(member = %from.id, %error, "a message is dropped"),
        };
        let nobody = match &said {
            Said::Rpc(rpc) if matches!(rpc.body, RpcBody::Ask(_)) => {
                Some(rpc.answered(RpcBody::Nobody).encode())
            }
            _ => None,
        };
        let managers = self.managers.read().unwrap_or_else(PoisonError::into_inner);
        let manager = managers.iter().find(|m| said.is_for(m.context()));
        let is_heard = manager.is_some_and(|manager| manager.map(from, said));
        drop(managers);
        if let (false, Some(nobody)) = (is_heard, nobody) {
            self.refuse(from, nobody, SendOptions::USE_ACK);
        }
    }

    fn tomcat(&self, from: &Member, bytes: &[u8]) -> Applied {
        if let Some(said) = Said::decode(bytes) {
            self.map(from, said);
            return Applied::Done;
        }
        match SessionMessage::decode(bytes) {
            Ok(message) => {
                let context = message.context.clone();
                let asks = message.event == Event::GetAllSessions;
                let is_served = self.told(&context, |manager| manager.tomcat(from, message));
                if !is_served && asks {
                    let answer = SessionMessage::no_context_manager(&context).encode();
                    self.refuse(from, answer, SendOptions::USE_ACK);
                }
            }
            Err(error) => tracing::warn!(member = %from.id, %error, "a message is dropped"),
        }
        // As Tomcat: what cannot be applied is acknowledged too.
        Applied::Done
    }
}

impl Listener for Hub {
    fn message(&self, from: &Member, message: Incoming<'_>) -> Applied {
        if self.channel.get().is_none() {
            return Applied::Failed;
        }
        if message.options.is_bytes() {
            self.native(from, message.bytes)
        } else {
            self.tomcat(from, message.bytes)
        }
    }

    fn added(&self, member: &Member) {
        self.each(|manager| manager.added(member));
    }

    fn removed(&self, member: &Member) {
        self.each(|manager| manager.removed(member));
    }

    fn recovered(&self, member: &Member, lost: u64) {
        if lost > 0 {
            self.each(|manager| manager.lost(member));
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}
