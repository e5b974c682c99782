//! The order of use: a list through a vector, so that moving an item to its front touches three places and allocates
//! nothing. It knows places (indices), not items.

/// No place: the end of the list.
const NONE: u32 = u32::MAX;

/// A place's neighbours.
#[derive(Debug, Clone, Copy)]
struct Link {
    newer: u32,
    older: u32,
}

/// Places in the order of their last use.
#[derive(Debug)]
pub(super) struct Order {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

impl Order {
    /// No places.
    pub(super) fn new() -> Self {
        Self {
            links: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// Puts a place that is not in the list to its newest end.
    pub(super) fn insert(&mut self, place: u32) {
        let index = place as usize;
        let link = Link {
            newer: NONE,
            older: self.newest,
        };
        if index >= self.links.len() {
            self.links.resize(index + 1, link);
        }
        self.links[index] = link;
        match self.newest {
            NONE => self.oldest = place,
            newest => self.links[newest as usize].newer = place,
        }
        self.newest = place;
    }

    /// Takes a place out of the list.
    pub(super) fn remove(&mut self, place: u32) {
        let Link { newer, older } = self.links[place as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// Moves a place to the newest end.
    pub(super) fn use_now(&mut self, place: u32) {
        if self.newest != place {
            self.remove(place);
            self.insert(place);
        }
    }

    /// The place that was used longest ago.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }
}
