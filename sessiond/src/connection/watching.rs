//! A connection whose client watches: it carries lines as they come, and what the client says is not listened to.

use std::io;

use crate::protocol::text;
use crate::protocol::text::admin::Subjects;

use super::receive::Read;
use super::{Connection, Desk, Ended, Next};

/// Told where there are as many watchers as there may be.
const TOO_MANY_WATCHERS: &str = "WATCHER_TOO_MANY log watcher limit reached";

impl Connection {
    /// Whether the client watches from now on, and what it is told.
    pub(super) fn begin_to_watch(&mut self, subjects: Subjects, desk: &mut Desk<'_>) -> bool {
        let watch = &desk.executor.figures.watch;
        self.watcher = desk.bell.and_then(|bell| watch.join(subjects, bell));
        let watches = self.watcher.is_some();
        let line = if watches { "OK" } else { TOO_MANY_WATCHERS };
        text::encode_line(line, &mut desk.output);
        watches
    }

    /// Sends what there is to see. What a watcher says is not listened to.
    pub(super) fn watch(&mut self, desk: &mut Desk<'_>) -> io::Result<Next> {
        let mut unheard = desk.read_buffer();
        let read = self.read(&mut unheard, desk);
        desk.take_back(unheard);
        if read? == Read::End || desk.stopping {
            return Ok(Next::Close(Ended::Client));
        }
        if let Some(watcher) = &self.watcher {
            let lines = desk.executor.figures.watch.take(watcher);
            desk.output.extend_from_slice(&lines);
        }
        if !self.flush(desk)? {
            return Ok(self.park(desk));
        }
        Ok(Next::Read)
    }
}
