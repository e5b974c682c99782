//! A key as a node gets it, without an allocation when it is of usual length: each request makes several, and many requests wait
//! for their answers at the same time, each with its own.

use std::fmt;
use std::ops::Deref;

/// Bytes of a `bak:validity:` key with a node and a route of usual length.
const SHORT_MAX: usize = 62;

/// The key of an item.
#[derive(Clone)]
pub struct ItemKey(Text);

#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(String),
}

impl ItemKey {
    /// An empty one.
    pub const fn new() -> Self {
        let bytes = [0; SHORT_MAX];
        Self(Text::Short { len: 0, bytes })
    }

    /// Puts text behind what is there.
    pub fn push_str(&mut self, text: &str) {
        match &mut self.0 {
            Text::Short { len, bytes } => {
                let free = bytes.get_mut(usize::from(*len)..);
                match free.and_then(|free| free.get_mut(..text.len())) {
                    Some(room) => {
                        room.copy_from_slice(text.as_bytes());
                        *len += text.len() as u8;
                    }
                    None => self.0 = Text::Long([self.as_str(), text].concat()),
                }
            }
            Text::Long(long) => long.push_str(text),
        }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Only whole texts were put there.
            Text::Short { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Long(long) => long,
        }
    }

    /// The key as the node gets it.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => &bytes[..usize::from(*len)],
            Text::Long(long) => long.as_bytes(),
        }
    }
}

impl Default for ItemKey {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for ItemKey {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for ItemKey {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&str> for ItemKey {
    fn from(text: &str) -> Self {
        let mut key = Self::new();
        key.push_str(text);
        key
    }
}

impl From<String> for ItemKey {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Write for ItemKey {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl PartialEq for ItemKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ItemKey {}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ItemKey;

    proptest! {
        #[test]
        fn it_is_all_that_was_put_there(parts in prop::collection::vec(".{0,30}", 0..12)) {
            let mut key = ItemKey::new();
            parts.iter().for_each(|part| key.push_str(part));
            let whole = parts.concat();
            prop_assert_eq!(key.as_str(), &whole);
            prop_assert_eq!(key.as_bytes(), whole.as_bytes());
            prop_assert_eq!(&key, &ItemKey::from(whole));
        }
    }
}
