//! A value in the form that a session keeps it in, to carry it from one session to another without decoding it.

use super::{
    AttributeError, Attributes, BOOLEAN, BYTES, DOUBLE, FOREIGN, INTEGER, LIST, LONG, NESTING_MAX,
    STRING, element,
};

/// A value's kind and bytes. They are valid: what comes from outside is checked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packed<'a> {
    kind: u8,
    body: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The value of this kind with these bytes; `None` when they are none.
    pub fn parse(kind: u8, body: &'a [u8]) -> Option<Self> {
        is_valid(kind, body, NESTING_MAX).then_some(Self { kind, body })
    }

    /// Which type it is.
    pub fn kind(self) -> u8 {
        self.kind
    }

    /// Its bytes.
    pub fn body(self) -> &'a [u8] {
        self.body
    }

    /// The text, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self.kind {
            STRING => std::str::from_utf8(self.body).ok(),
            _ => None,
        }
    }
}

impl Attributes {
    /// See [`Attributes::get`].
    pub fn get_packed(&self, name: &str) -> Option<Packed<'_>> {
        self.find(name).map(|entry| Packed {
            kind: entry.kind,
            body: entry.value,
        })
    }

    /// See [`Attributes::set`].
    pub fn set_packed(&mut self, name: &str, value: Packed<'_>) -> Result<(), AttributeError> {
        self.put(name, value.kind, value.body)
    }

    /// See [`Attributes::iter`].
    pub fn iter_packed(&self) -> impl Iterator<Item = (&str, Packed<'_>)> {
        self.entries().map(|entry| {
            let name = std::str::from_utf8(entry.name).unwrap_or_default();
            let (kind, body) = (entry.kind, entry.value);
            (name, Packed { kind, body })
        })
    }
}

fn is_valid(kind: u8, body: &[u8], depth: usize) -> bool {
    match kind {
        STRING => std::str::from_utf8(body).is_ok(),
        INTEGER => body.len() == 4,
        LONG | DOUBLE => body.len() == 8,
        BOOLEAN => matches!(body, [0 | 1]),
        BYTES => true,
        FOREIGN => body.split_at_checked(4).is_some_and(|(len, rest)| {
            let len = u32::from_le_bytes(super::fixed(len)) as usize;
            rest.split_at_checked(len)
                .is_some_and(|(class, _)| std::str::from_utf8(class).is_ok())
        }),
        LIST => {
            let Some(depth) = depth.checked_sub(1) else {
                return false;
            };
            let mut rest = body;
            while !rest.is_empty() {
                let Some((kind, body, after)) = element(rest) else {
                    return false;
                };
                if !is_valid(kind, body, depth) {
                    return false;
                }
                rest = after;
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Value};
    use super::Packed;
    use crate::session::Foreign;

    #[test]
    fn values_travel_as_they_are() {
        let mut attributes = Attributes::new();
        let list = Value::List(vec![
            Value::Integer(1),
            Value::List(vec!["é".into()]),
            Value::Foreign(Foreign {
                class: "a.B".into(),
                stream: vec![1, 2],
            }),
        ]);
        for (name, value) in [("list", list), ("text", "x".into()), ("double", 0.5.into())] {
            attributes.set(name, &value).expect("fits");
        }
        let mut copy = Attributes::new();
        for (name, value) in attributes.iter_packed() {
            let value = Packed::parse(value.kind(), value.body()).expect("valid");
            copy.set_packed(name, value).expect("fits");
        }
        assert_eq!(copy, attributes);
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        let deep = |levels: usize| {
            (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
                [&[super::LIST, inner.len() as u8], &*inner].concat()
            })
        };
        assert!(Packed::parse(super::LIST, &deep(15)).is_some());
        for (kind, body) in [
            (super::STRING, vec![0xFF]),
            (super::INTEGER, vec![1; 3]),
            (super::BOOLEAN, vec![2]),
            (super::FOREIGN, vec![9, 0, 0, 0, b'a']),
            (super::LIST, vec![super::LONG, 8, 1]),
            (super::LIST, vec![super::LONG, 0x80, 0x80, 0x80, 0x80, 0x80]),
            (super::LIST, deep(16)),
            (99, Vec::new()),
        ] {
            assert_eq!(Packed::parse(kind, &body), None, "{kind} {body:?}");
        }
    }
}
