//! The body of SESSION DELTA: what one request changed.

use crate::java::{Heap, JavaError, JavaText, Limits, Reader, View, Writer};
use crate::session::Value;

/// `DeltaRequest.TYPE_ATTRIBUTE` and the other types that are understood.
const ATTRIBUTE: i32 = 0;
const IS_NEW: i32 = 2;
const MAX_INTERVAL: i32 = 3;

/// `DeltaRequest.ACTION_SET`, `ACTION_REMOVE`.
const SET: i32 = 0;
const REMOVE: i32 = 1;

const NAME_IS_NEW: &str = "__SET__ISNEW__";
const NAME_MAX_INTERVAL: &str = "__SET__MAXINTERVAL__";

/// At most so many changes are read; more than a session can have attributes.
const ACTIONS_MAX: usize = 1 << 17;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Whether the client does not know of the session yet.
    IsNew(bool),
    /// Seconds that the session may be idle.
    MaxInactive(i32),
    /// An attribute was set.
    Set(String, Value),
    /// An attribute was removed.
    Removed(String),
}

/// The changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// The session; the receiver goes by the id of the message.
    pub session_id: String,
    /// `recordAllActions`: there may be several changes of one attribute.
    pub record_all: bool,
    /// In their order.
    pub actions: Vec<Action>,
}

impl Delta {
    /// Writes the body. Attributes that cannot be written are left out; their names come back with the reason.
    pub fn encode(&self) -> (Vec<u8>, Vec<(String, JavaError)>) {
        let mut failed = Vec::new();
        let mut heap = Heap::new();
        let mut actions = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            let (kind, what, name, object) = match action {
                Action::IsNew(is_new) => (IS_NEW, SET, NAME_IS_NEW, Some(heap.boolean(*is_new))),
                Action::MaxInactive(seconds) => {
                    let object = heap.integer(*seconds);
                    (MAX_INTERVAL, SET, NAME_MAX_INTERVAL, Some(object))
                }
                Action::Removed(name) => (ATTRIBUTE, REMOVE, name.as_str(), None),
                Action::Set(name, value) => {
                    if let Err(error) = super::state::is_writable(value) {
                        failed.push((name.clone(), error));
                        continue;
                    }
                    let object;
                    (heap, object) = match heap.with_attribute(value) {
                        Ok(with) => with,
                        // It could be written alone a moment ago.
                        Err(error) => return (Vec::new(), vec![(name.clone(), error)]),
                    };
                    (ATTRIBUTE, SET, name.as_str(), object)
                }
            };
            actions.push((kind, what, JavaText::new(name), object));
        }
        let mut writer = Writer::new(&heap);
        // Ids and attributes' names are far shorter than what `writeUTF` takes.
        let is_short = writer.utf(&JavaText::new(&self.session_id));
        debug_assert!(is_short, "ids are short");
        writer.boolean(self.record_all);
        writer.i32(i32::try_from(actions.len()).unwrap_or(i32::MAX));
        for (kind, what, name, object) in &actions {
            writer.i32(*kind);
            writer.i32(*what);
            let is_short = writer.utf(name);
            debug_assert!(is_short, "names are short");
            writer.boolean(object.is_some());
            if object.is_some() {
                writer.object(*object);
            }
        }
        (writer.finish(), failed)
    }

    /// Reads a body. What stands before something that cannot be read is there in any case, and the error beside it.
    pub fn decode(bytes: &[u8]) -> (Self, Option<JavaError>) {
        let mut delta = Self::default();
        let error = delta.read(bytes).err();
        (delta, error)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), JavaError> {
        let mut reader = Reader::new(bytes, Limits::default())?;
        self.session_id = reader.utf()?.to_string();
        self.record_all = reader.boolean()?;
        let count = usize::try_from(reader.i32()?).unwrap_or_default();
        if count > ACTIONS_MAX {
            return Err(JavaError::Limit {
                what: "changes of one session",
                limit: ACTIONS_MAX,
            });
        }
        for _ in 0..count {
            let (kind, what) = (reader.i32()?, reader.i32()?);
            let name = reader.utf()?;
            let object = if reader.boolean()? {
                reader.object()?
            } else {
                None
            };
            let heap = reader.heap();
            let view = object.map(|object| heap.view(object));
            match (kind, view) {
                (IS_NEW, Some(View::Boolean(is_new))) => self.actions.push(Action::IsNew(is_new)),
                (MAX_INTERVAL, Some(View::Integer(seconds))) => {
                    self.actions.push(Action::MaxInactive(seconds));
                }
                (ATTRIBUTE, _) => {
                    // Half a surrogate pair is no name here.
                    let Some(name) = name.to_str() else { continue };
                    self.actions.push(match object {
                        Some(object) if what == SET => {
                            Action::Set(name.into_owned(), heap.to_attribute(object)?)
                        }
                        // Setting null removes.
                        _ => Action::Removed(name.into_owned()),
                    });
                }
                // Principal, authentication type, listeners and notes mean something to Java only.
                _ => {}
            }
        }
        Ok(())
    }
}
