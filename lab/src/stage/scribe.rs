//! What taps hear: commands go into the history, and of what members of a cluster say the beginning is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::Recorder;
use crate::tap::commands::{Bystander, Command};
use crate::tap::{Ears, Hear};

/// What listens to the link from `server` to `node`.
pub(super) fn ears(recorder: Option<Recorder>, server: &str, node: &str) -> Ears {
    let (server, node) = (server.to_owned(), node.to_owned());
    Arc::new(move || {
        Box::new(Scribe {
            bystander: Bystander::default(),
            recorder: recorder.clone(),
            server: server.clone(),
            node: node.clone(),
        })
    })
}

struct Scribe {
    bystander: Bystander,
    recorder: Option<Recorder>,
    server: String,
    node: String,
}

impl Scribe {
    fn write(&self, heard: Vec<Command>) {
        if let Some(recorder) = &self.recorder {
            for command in heard {
                recorder.wire(&self.server, &self.node, command);
            }
        }
    }
}

impl Hear for Scribe {
    fn asked(&mut self, bytes: &[u8]) {
        self.bystander.to_node(bytes);
    }

    fn answered(&mut self, bytes: &[u8]) {
        let heard = self.bystander.from_node(bytes);
        self.write(heard);
    }

    fn end(&mut self) {
        let heard = self.bystander.end();
        self.write(heard);
    }
}

/// So many bytes of each link are kept.
const KEPT: usize = 1 << 20;

/// From whom, to whom, what.
type Said = BTreeMap<(String, String), Vec<u8>>;

/// What members of a cluster have said.
#[derive(Debug, Clone, Default)]
pub struct Overheard(Arc<Mutex<Said>>);

impl Overheard {
    /// What listens to the link.
    pub(super) fn ears(&self, link: (String, String)) -> Ears {
        let all = self.clone();
        Arc::new(move || {
            Box::new(Eavesdropper {
                all: all.clone(),
                link: link.clone(),
            })
        })
    }

    /// Whether these bytes were said on any link.
    pub fn has(&self, bytes: &[u8]) -> bool {
        let said = |text: &Vec<u8>| text.windows(bytes.len().max(1)).any(|part| part == bytes);
        self.said().values().any(said)
    }

    /// How many bytes were said and kept.
    pub fn len(&self) -> usize {
        self.said().values().map(Vec::len).sum()
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Eavesdropper {
    all: Overheard,
    link: (String, String),
}

impl Hear for Eavesdropper {
    fn asked(&mut self, bytes: &[u8]) {
        let mut said = self.all.said();
        let text = said.entry(self.link.clone()).or_default();
        let room = KEPT.saturating_sub(text.len()).min(bytes.len());
        text.extend_from_slice(&bytes[..room]);
    }

    fn answered(&mut self, _: &[u8]) {}
}
