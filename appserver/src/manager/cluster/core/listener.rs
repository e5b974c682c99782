//! Who wants to know that attributes changed: Tomcat's `HttpSessionAttributeListener`.

use std::fmt::Debug;
use std::sync::Arc;

use super::Core;
use crate::manager::cluster::replica::Replica;
use crate::manager::table::Entry;
use crate::session::{Changes, Key, Session, SessionId, Value};

/// Hears of changed attributes. Called between two messages or at the end of a request, which wait for it.
pub trait AttributeListener: Debug + Send + Sync {
    /// An attribute was set to `value`, or removed. A value that was replaced again at once may be left out.
    fn changed(&self, session: &SessionId, name: &str, value: Option<&Value>, origin: Origin);
}

/// Where an attribute was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By a request to this member.
    Here,
    /// On another member. The first that a member hears of a session tells of no attributes, as in Tomcat.
    Replicated,
}

impl Core {
    /// Has this listener told from now on; whether there was none.
    pub fn listen(&self, listener: Arc<dyn AttributeListener>) -> bool {
        self.listener.set(listener).is_ok()
    }

    /// Where the names go of attributes that others changed, if a listener wants to hear of them.
    pub(super) fn wants_names(&self) -> Option<Vec<String>> {
        let wants = self.config.notify_listeners_on_replication && self.listener.get().is_some();
        wants.then(Vec::new)
    }

    /// Others changed these attributes. No lock may be held.
    pub(super) fn tell_listener(&self, key: Key, names: Option<Vec<String>>) {
        let names = names.filter(|names| !names.is_empty());
        if let (Some(names), Some(listener)) = (names, self.listener.get()) {
            let kept = {
                let shard = self.store.table.shard(key);
                shard.get(key).map(Replica::kept).cloned()
            };
            if let Some(kept) = kept {
                tell(
                    listener.as_ref(),
                    &Session::holding(kept),
                    &names,
                    Origin::Replicated,
                );
            }
        }
    }

    /// A request changed these.
    pub(super) fn tell_of_own(&self, session: &Session, changes: &Changes) {
        if let Some(listener) = self.listener.get() {
            tell(
                listener.as_ref(),
                session,
                &changes.attributes,
                Origin::Here,
            );
        }
    }
}

fn tell(listener: &dyn AttributeListener, session: &Session, names: &[String], origin: Origin) {
    let id = session.id();
    for name in names {
        listener.changed(&id, name, session.get(name).as_ref(), origin);
    }
}
