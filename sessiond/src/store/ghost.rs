//! Who was dropped lately: two bytes an item, so that what is stored again soon after it was dropped for want of use gets
//! a longer trial than what is new.

/// Fingerprints of keys by hash; a newer one takes an older one's place.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    prints: Vec<u16>,
}

impl Ghost {
    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.prints.capacity() * size_of::<u16>()
    }

    /// Remembers as many as there are items.
    pub(super) fn resize(&mut self, items: usize) {
        if items > 2 * self.prints.len() || 4 * items < self.prints.len() {
            self.prints = vec![0; items];
        }
    }

    /// A key of this hash was dropped.
    pub(super) fn remember(&mut self, hash: u32) {
        if let Some(index) = self.index(hash) {
            self.prints[index] = print(hash);
        }
    }

    /// Whether a key of this hash was dropped lately; it is forgotten then.
    pub(super) fn recall(&mut self, hash: u32) -> bool {
        let Some(index) = self.index(hash) else {
            return false;
        };
        let found = self.prints[index] == print(hash);
        if found {
            self.prints[index] = 0;
        }
        found
    }

    /// The upper bits say where, the lower ones who.
    fn index(&self, hash: u32) -> Option<usize> {
        let index = (u64::from(hash) * self.prints.len() as u64) >> 32;
        (!self.prints.is_empty()).then_some(index as usize)
    }
}

fn print(hash: u32) -> u16 {
    (hash as u16).max(1)
}
