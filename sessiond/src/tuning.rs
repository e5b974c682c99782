//! What operators change while the node runs: `cache_memlimit`, `lru`, `lru_crawler`, `slabs automove`, ...
//!
//! Only the memory limit does anything here: there are no lists, classes or crawler to tune. The others are kept because
//! those who set them want to read them again in `stats settings`.

use crate::config::Config;
use crate::protocol::text::admin::Lists;

/// memcached's verbosity ends here.
const VERBOSITY_MAX: u32 = 2;

/// See the module. The defaults are memcached's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tuning {
    /// What the process may take for items and for what serves them, in bytes.
    pub(crate) memory_limit: u64,
    pub(crate) verbosity: u32,
    pub(crate) lists: Lists,
    pub(crate) segmented: bool,
    /// Seconds; `None` where there is no such list.
    pub(crate) temporary_ttl: Option<u32>,
    /// Whether `lru_crawler` may be asked for dumps.
    pub(crate) crawler: bool,
    /// Microseconds.
    pub(crate) crawler_sleep: u32,
    pub(crate) crawler_items: u32,
    pub(crate) automove: u32,
    pub(crate) automove_ratio: f64,
    /// Whether `stats sizes` tells anything.
    pub(crate) sizes: bool,
}

impl Tuning {
    /// How a node with these settings starts.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            memory_limit: config.memory_limit.0.0,
            verbosity: config.verbose.into(),
            lists: Lists {
                hot: 20,
                warm: 40,
                hot_factor: 0.2,
                warm_factor: 2.0,
            },
            segmented: true,
            temporary_ttl: None,
            crawler: true,
            crawler_sleep: 100,
            crawler_items: 0,
            automove: 1,
            automove_ratio: 0.8,
            sizes: false,
        }
    }

    /// `verbosity`: what is too much is the most there is.
    pub(crate) fn set_verbosity(&mut self, level: u32) {
        self.verbosity = level.min(VERBOSITY_MAX);
    }
}
