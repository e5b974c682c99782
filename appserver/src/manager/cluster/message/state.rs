//! Whole sessions: many in one Java stream, the body of ALL SESSION DATA; or one as an object, as `BackupManager` sends it.

use super::{MESSAGE_MAX, MessageError, integer};
use crate::java::{ClassDesc, ClassRef, Heap, JavaError, Limits, Reader, Ref, View, Writer};
use crate::session::Value;

/// What is read of one message at most: as many objects as 400,000 sessions with an attribute each have.
pub(super) const LIMITS: Limits = Limits {
    bytes: MESSAGE_MAX,
    objects: 1 << 22,
    depth: 64,
};

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// End of the previous request.
    pub last_accessed: u64,
    /// Start of the latest request.
    pub this_accessed: u64,
    /// Seconds that it may be idle.
    pub max_inactive: i32,
    /// Whether the client does not know of it yet.
    pub is_new: bool,
    /// Whether it has not ended.
    pub is_valid: bool,
    /// Its id, suffix included.
    pub id: String,
    /// Names and values.
    pub attributes: Vec<(String, Value)>,
}

/// What is written next.
enum Step {
    Object(Option<Ref>),
    /// Primitive data.
    NoPrincipal,
}

/// Writes sessions. Attributes that cannot be written are left out; the ids and names come back with the reason.
pub fn write_state(sessions: &[Whole]) -> (Vec<u8>, Vec<(String, String, JavaError)>) {
    let mut failed = Vec::new();
    let mut heap = Heap::new();
    let mut steps = Vec::with_capacity(16 * sessions.len());
    steps.push(Step::Object(Some(heap.integer(count(sessions.len())))));
    for session in sessions {
        heap = match plan(heap, session, &mut steps, &mut failed) {
            Ok(heap) => heap,
            Err(failed) => return (Vec::new(), vec![failed]),
        };
    }
    let mut writer = Writer::new(&heap);
    write(steps, &mut writer);
    (writer.finish(), failed)
}

/// An attribute that could not be written: the session's id, its name, and why.
type Failed = (String, String, JavaError);

/// Makes the objects of one session, and lists what is to be written.
fn plan(
    mut heap: Heap,
    session: &Whole,
    steps: &mut Vec<Step>,
    failed: &mut Vec<Failed>,
) -> Result<Heap, Failed> {
    let facts = [
        heap.long(session.created as i64),
        heap.long(session.last_accessed as i64),
        heap.integer(session.max_inactive),
        heap.boolean(session.is_new),
        heap.boolean(session.is_valid),
        heap.long(session.this_accessed as i64),
        // The version.
        heap.long(0),
    ];
    steps.extend(facts.map(|object| Step::Object(Some(object))));
    steps.extend([
        Step::NoPrincipal,
        Step::Object(Some(heap.text(&session.id))),
        // Two notes.
        Step::Object(None),
        Step::Object(None),
    ]);
    let attributes = session.attributes.iter().filter(|(name, value)| {
        let is_writable = is_writable(value);
        if let Err(error) = &is_writable {
            failed.push((session.id.clone(), name.clone(), error.clone()));
        }
        is_writable.is_ok()
    });
    let attributes: Vec<_> = attributes.collect();
    steps.push(Step::Object(Some(heap.integer(count(attributes.len())))));
    for (name, value) in attributes {
        steps.push(Step::Object(Some(heap.text(name))));
        let object;
        (heap, object) = match heap.with_attribute(value) {
            Ok(with) => with,
            // It could be written alone a moment ago.
            Err(error) => return Err((session.id.clone(), name.clone(), error)),
        };
        steps.push(Step::Object(object));
    }
    // No listeners.
    steps.push(Step::Object(Some(heap.integer(0))));
    Ok(heap)
}

fn write(steps: Vec<Step>, writer: &mut Writer<'_>) {
    for step in steps {
        match step {
            Step::Object(object) => writer.object(object),
            Step::NoPrincipal => writer.boolean(false),
        }
    }
}

/// Fails when the value is a foreign object whose stream is none: it costs itself, not what it travels with.
pub(super) fn is_writable(value: &Value) -> Result<(), JavaError> {
    match value {
        Value::Foreign(object) => Reader::new(&object.stream, Limits::default())?
            .object()
            .map(drop),
        Value::List(items) => items.iter().try_for_each(is_writable),
        _ => Ok(()),
    }
}

/// A session as an object of its own: `org.apache.catalina.ha.session.DeltaSession`. Attributes that cannot be written are left
/// out; their names come back with the reason.
pub fn write_session(session: &Whole) -> (Vec<u8>, Vec<(String, JavaError)>) {
    let (mut heap, mut steps, mut failed) = (Heap::new(), Vec::new(), Vec::new());
    let class = session_class(&mut heap);
    let named = |(_, name, error)| (name, error);
    let heap = match plan(heap, session, &mut steps, &mut failed) {
        Ok(heap) => heap,
        Err(failed) => return (Vec::new(), vec![named(failed)]),
    };
    let mut writer = Writer::new(&heap);
    writer.enter(class);
    write(steps, &mut writer);
    writer.leave();
    (writer.finish(), failed.into_iter().map(named).collect())
}

/// Reads the same.
pub fn read_session(bytes: &[u8]) -> Result<Whole, MessageError> {
    let mut reader = Reader::new(bytes, Limits::default())?;
    reader.enter(SESSION)?;
    let session = Fields(&mut reader).session()?;
    reader.leave()?;
    Ok(session)
}

const SESSION: &str = "org.apache.catalina.ha.session.DeltaSession";

/// It writes its objects itself; of the class that it descends from the stream has no more than the description.
fn session_class(heap: &mut Heap) -> ClassRef {
    const FIELDS: [(u8, &str, &str); 8] = [
        (b'J', "creationTime", ""),
        (b'Z', "isNew", ""),
        (b'Z', "isValid", ""),
        (b'J', "lastAccessedTime", ""),
        (b'I', "maxInactiveInterval", ""),
        (b'J', "thisAccessedTime", ""),
        (b'L', "attributes", "Ljava/util/concurrent/ConcurrentMap;"),
        (b'L', "id", "Ljava/lang/String;"),
    ];
    let standard = "org.apache.catalina.session.StandardSession";
    let parent = heap.intern(ClassDesc::new(standard, 1, 2, &FIELDS, None));
    let desc = ClassDesc::new(SESSION, 0x041D_33B9_B82E_A975, 12, &[], Some(parent));
    heap.intern(desc)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Reads sessions one by one, so that what stands before something unreadable is not lost.
#[derive(Debug)]
pub struct WholeReader<'a> {
    reader: Reader<'a>,
    left: i32,
}

impl<'a> WholeReader<'a> {
    /// Begins to read a body.
    pub fn new(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body, LIMITS)?;
        let count = reader.object()?;
        let left = integer(reader.heap(), count)
            .ok_or_else(|| MessageError::Unknown("the number of sessions is missing".into()))?;
        Ok(Self { reader, left })
    }

    /// How many sessions are still to come.
    pub fn left(&self) -> i32 {
        self.left
    }

    /// The next session.
    pub fn session(&mut self) -> Result<Option<Whole>, MessageError> {
        if self.left <= 0 {
            return Ok(None);
        }
        self.left -= 1;
        Fields(&mut self.reader).session().map(Some)
    }
}

/// Reads what a session consists of.
struct Fields<'r, 'a>(&'r mut Reader<'a>);

impl Fields<'_, '_> {
    fn session(&mut self) -> Result<Whole, MessageError> {
        let created = self.long()?;
        let last_accessed = self.long()?;
        let max_inactive = self.integer()?;
        let (is_new, is_valid) = (self.boolean()?, self.boolean()?);
        let this_accessed = self.long()?;
        self.long()?;
        if self.0.boolean()? {
            self.0.object()?;
        }
        let id = self.text()?;
        // Two notes; older versions leave them out, and the number of attributes comes at once.
        let mut next = self.0.object()?;
        if integer(self.0.heap(), next).is_none() {
            self.0.object()?;
            next = self.0.object()?;
        }
        let count =
            integer(self.0.heap(), next).ok_or_else(|| wrong("the number of attributes"))?;
        let mut attributes = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            if let Some(value) = self.0.object()? {
                attributes.push((name, self.0.heap().to_attribute(value)?));
            }
        }
        for _ in 0..self.integer()? {
            self.0.object()?;
        }
        Ok(Whole {
            created,
            last_accessed,
            this_accessed,
            max_inactive,
            is_new,
            is_valid,
            id,
            attributes,
        })
    }

    fn object(&mut self, wanted: &'static str) -> Result<Ref, MessageError> {
        self.0.object()?.ok_or_else(|| wrong(wanted))
    }

    fn long(&mut self) -> Result<u64, MessageError> {
        let object = self.object("a time")?;
        match self.0.heap().view(object) {
            View::Long(number) => Ok(u64::try_from(number).unwrap_or_default()),
            _ => Err(wrong("a time")),
        }
    }

    fn integer(&mut self) -> Result<i32, MessageError> {
        let object = self.0.object()?;
        integer(self.0.heap(), object).ok_or_else(|| wrong("a number"))
    }

    fn boolean(&mut self) -> Result<bool, MessageError> {
        let object = self.object("a boolean")?;
        match self.0.heap().view(object) {
            View::Boolean(yes) => Ok(yes),
            _ => Err(wrong("a boolean")),
        }
    }

    fn text(&mut self) -> Result<String, MessageError> {
        let object = self.object("a text")?;
        match self.0.heap().view(object) {
            View::Text(text) => Ok(text.to_string()),
            _ => Err(wrong("a text")),
        }
    }
}

fn wrong(wanted: &str) -> MessageError {
    MessageError::Unknown(format!("{wanted} is missing in a session"))
}
