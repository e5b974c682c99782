//! stat: the figures of the text protocol's `stats`, a packet each.

use crate::command::dump::Dump;
use crate::command::stats::Detail;
use crate::protocol::binary::{Response, Status};

use super::{Asked, Executor, Progress};

/// The name of the only figure of `detail dump`.
const DETAILED: &str = "detailed";

impl Executor<'_> {
    /// Tells the figures of a group. Words behind the names of three groups are passed over, as in memcached.
    pub(super) fn binary_stat<'r>(&self, asked: &mut Asked<'_>, group: &[u8]) -> Progress<'r> {
        if group.starts_with(b"reset") {
            self.figures.reset();
        } else if let Some(word) = group.strip_prefix(b"detail") {
            match detail(word) {
                Some(Detail::Dump) => {
                    let mut lines = self.detail(Detail::Dump);
                    lines.extend_from_slice(b"END\r\n");
                    asked.reply(&Response::Figure(DETAILED, &lines));
                }
                Some(detail) => drop(self.detail(detail)),
                None => {
                    asked.failed(Status::NotFound);
                    return Progress::Done;
                }
            }
        } else if group == b"sizes" && self.figures.tuning().sizes {
            return Progress::Dump(Box::new(Dump::sizes_in_packets(*asked.header)));
        } else {
            let group = match group.starts_with(b"settings") {
                true => b"settings",
                false => group,
            };
            let known = !matches!(group, b"conns" | b"extstore")
                && self.figure_group(group, &mut |name, value| {
                    asked.reply(&Response::Figure(name, value.as_bytes()));
                });
            if !known {
                asked.failed(Status::NotFound);
                return Progress::Done;
            }
            if matches!(group, b"sizes_enable" | b"sizes_disable") {
                // As memcached: these two have no end.
                return Progress::Done;
            }
        }
        asked.reply(&Response::Figure("", b""));
        Progress::Done
    }
}

/// What follows the name of the group.
fn detail(word: &[u8]) -> Option<Detail> {
    let known = [
        (b" dump".as_slice(), Detail::Dump),
        (b" on", Detail::On),
        (b" off", Detail::Off),
    ];
    let found = known.into_iter().find(|(name, _)| word.starts_with(name));
    found.map(|(_, detail)| detail)
}
