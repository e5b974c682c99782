//! Who is told of items that are dropped before their time.

use std::fmt;
use std::sync::Arc;

use super::Item;

/// Called with each item that is evicted, while its shard is locked: to be quick, and not to ask the store anything.
#[derive(Clone)]
pub struct OnEviction(Arc<dyn Fn(&Item<'_>) + Send + Sync>);

impl OnEviction {
    /// One that does this.
    pub fn new(tell: impl Fn(&Item<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, item: &Item<'_>) {
        (self.0)(item);
    }
}

impl fmt::Debug for OnEviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEviction")
    }
}
