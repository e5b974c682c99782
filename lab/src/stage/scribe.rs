//! Writes what the tap of a link hears into the history.

use std::sync::Arc;

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
        let heard = self.bystander.to_node(bytes);
        self.write(heard);
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
