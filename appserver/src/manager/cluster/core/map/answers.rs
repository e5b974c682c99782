//! What other members of the map ask.

use crate::manager::cluster::core::outbox::What;
use crate::manager::cluster::core::transfer::whole;
use crate::manager::cluster::core::{Core, Outbox, Stream};
use crate::manager::cluster::message::{MapKind, MapMessage, MapState};
use crate::manager::cluster::peers::UniqueId;
use crate::manager::table::{Entry, SHARDS};
use crate::session::{AskedId, SessionId, Suffix, Timestamp};

impl Core {
    /// The answer; `None` when there is none to this question.
    pub(super) fn answer_to(
        &self,
        from: &UniqueId,
        question: &MapMessage,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Option<MapMessage> {
        let from_here = || MapMessage {
            primary: self.map.me.get().cloned(),
            ..question.clone()
        };
        match question.kind {
            MapKind::Init => Some(from_here()),
            MapKind::Start => {
                self.map_added(from, now, out);
                // Whoever answered it before may not know by which route all sessions go.
                if self.config.suffix != Suffix::NONE {
                    let keys = self.own_keys();
                    out.streams.push((*from, Stream::new(What::Entries(keys))));
                }
                Some(from_here())
            }
            MapKind::Ping => {
                self.map_added(from, now, out);
                let state = match self.is_joined() {
                    true => MapState::Initialized,
                    false => MapState::New,
                };
                Some(from_here().with_state(state))
            }
            MapKind::State => Some(question.clone().with_entries(&self.entries())),
            MapKind::Retrieve => self.retrieved(question),
            _ => None,
        }
    }

    fn retrieved(&self, question: &MapMessage) -> Option<MapMessage> {
        let id = AskedId::parse(question.key.as_deref()?.as_bytes())?;
        let session = {
            let shard = self.store.table.shard(id.key);
            let replica = shard.get(id.key);
            whole(replica.filter(|r| !r.marks.partial && !r.marks.untold)?)
        };
        let (answer, failed) = question.clone().with_session(&session);
        self.count_unwritable(failed.iter().map(|(name, error)| (name, error)));
        Some(answer)
    }

    /// Where all sessions are that this member knows of.
    fn entries(&self) -> Vec<MapMessage> {
        let mut entries = Vec::new();
        for number in 0..SHARDS {
            let shard = self.store.table.number(number);
            for replica in shard.iter().filter(|r| !r.marks.untold) {
                entries.push(self.entry(&replica.kept().id(), replica.place()));
            }
            for (key, place) in &shard.beside.places {
                // What our own members told has no route; its primary tells it.
                let unknown = (self.config.suffix == Suffix::NONE).then_some(Suffix::NONE);
                if let Some(suffix) = shard.beside.suffix(*key).or(unknown) {
                    let id = SessionId { key: *key, suffix };
                    entries.push(self.entry(&id, *place));
                }
            }
        }
        self.count_out(entries.len() as u64);
        entries
    }
}
