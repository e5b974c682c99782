//! What a session attribute can be: the types that a servlet application puts into a session and that every way of
//! keeping sessions can carry. A number keeps its type, since a Java application casts what it reads.

/// How deep lists may nest.
pub const NESTING_MAX: usize = 16;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `java.lang.String`.
    String(String),
    /// `java.lang.Integer`.
    Integer(i32),
    /// `java.lang.Long`.
    Long(i64),
    /// `java.lang.Boolean`.
    Boolean(bool),
    /// `java.lang.Double`.
    Double(f64),
    /// `byte[]`.
    Bytes(Vec<u8>),
    /// `java.util.ArrayList`.
    List(Vec<Value>),
    /// Any other Java object: kept and passed on, but not understood.
    Foreign(Foreign),
}

/// An object of a Java class that only Java servers know. They find it again as they left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The name of its class.
    pub class: String,
    /// An object stream that holds it alone.
    pub stream: Vec<u8>,
}

impl Value {
    /// The type's name in messages for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Long(_) => "a long integer",
            Self::Boolean(_) => "a boolean",
            Self::Double(_) => "a floating-point number",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Foreign(_) => "a Java object",
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an integer or a long.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some((*number).into()),
            Self::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }
}

/// As Java's `String.valueOf` writes it, which is what a JSP shows.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Long(number) => write!(f, "{number}"),
            Self::Boolean(yes) => write!(f, "{yes}"),
            Self::Double(number) => write!(f, "{number:?}"),
            Self::Bytes(bytes) => write!(f, "[{} bytes]", bytes.len()),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Foreign(object) => write!(f, "[{}]", object.class),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Long(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Boolean(yes)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}
