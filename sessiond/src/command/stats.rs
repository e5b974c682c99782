//! `stats` and its groups: figures under memcached's names, in its order. What there is nothing of here is zero, so that
//! exporters find what they look for; what memcached has nothing of is in a group of its own, `stats sessiond`.

mod classes;
mod general;
mod settings;

pub(super) use classes::CLASS;

use crate::protocol::output::Output;
use crate::protocol::{Response, text};

use super::dump::Dump;
use super::{Executor, Progress};

const USAGE: &str = "CLIENT_ERROR usage: stats detail on|off|dump";
const NO_DUMPS: &str = "CLIENT_ERROR stats cachedump not allowed";
const BAD_LINE: &str = "CLIENT_ERROR bad command line";
const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const NO_CLASS: &str = "CLIENT_ERROR Illegal slab id";

/// memcached numbers its classes below this.
const CLASSES_MAX: u64 = 64;

/// Takes a figure: its name and its value.
pub(crate) type Figure<'f> = dyn FnMut(&str, &str) + 'f;

/// What `stats detail` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    On,
    Off,
    Dump,
}

impl Detail {
    /// What this word asks for.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"on" => Some(Self::On),
            b"off" => Some(Self::Off),
            b"dump" => Some(Self::Dump),
            _ => None,
        }
    }
}

impl Executor<'_> {
    /// Answers `stats` with these words behind it.
    pub(super) fn stats<'r>(&self, words: &[u8], out: &mut Output) -> Progress<'r> {
        let mut words = words
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let group = words.next().unwrap_or_default();
        match group {
            b"reset" => {
                self.figures.reset();
                text::encode(&Response::Reset, out);
            }
            b"detail" => self.text_detail(words.next().unwrap_or_default(), out),
            b"cachedump" => match self.cachedump(words.next(), words.next()) {
                Ok(dump) => return Progress::Dump(Box::new(dump)),
                Err(refusal) => text::encode_line(refusal, out),
            },
            b"sizes" if self.figures.tuning().sizes => {
                return Progress::Dump(Box::new(Dump::sizes()));
            }
            _ => {
                let known = self.figure_group(group, &mut |name, value| {
                    text::encode_figure(name, value, out);
                });
                match (known, group) {
                    (false, _) => text::encode(&Response::Unknown, out),
                    // As memcached: these two have no end.
                    (true, b"sizes_enable" | b"sizes_disable") => {}
                    (true, _) => text::encode(&Response::End, out),
                }
            }
        }
        Progress::Done
    }

    /// Shows every figure of a group; false when there is no such group. For the figures that take a walk through the
    /// store (`sizes` when they are kept, `cachedump`), see [`Dump`].
    pub(crate) fn figure_group(&self, group: &[u8], figure: &mut Figure<'_>) -> bool {
        match group {
            b"" => self.general_figures(figure),
            b"settings" => self.settings(figure),
            b"items" => self.item_figures(figure),
            b"slabs" => self.slab_figures(figure),
            b"conns" => self.connections(figure),
            b"sessiond" => self.own_figures(figure),
            b"extstore" => {}
            b"sizes" => figure("sizes_status", enabled(self.figures.tuning().sizes)),
            b"sizes_enable" => self.switch_sizes(true, figure),
            b"sizes_disable" => self.switch_sizes(false, figure),
            _ => return false,
        }
        true
    }

    fn switch_sizes(&self, on: bool, figure: &mut Figure<'_>) {
        self.figures.tuning().sizes = on;
        figure("sizes_status", enabled(on));
    }

    fn text_detail(&self, word: &[u8], out: &mut Output) {
        match Detail::of(word) {
            Some(Detail::Dump) => {
                out.extend_from_slice(&self.detail(Detail::Dump));
                text::encode(&Response::End, out);
            }
            Some(detail) => {
                self.detail(detail);
                text::encode(&Response::Done, out);
            }
            None => text::encode_line(USAGE, out),
        }
    }

    /// Does what `stats detail` asks for; the lines of a dump, without their end.
    pub(crate) fn detail(&self, detail: Detail) -> Vec<u8> {
        let prefixes = &self.figures.prefixes;
        let mut lines = Vec::new();
        match detail {
            Detail::On => prefixes.count(true),
            Detail::Off => prefixes.count(false),
            Detail::Dump => {
                for (prefix, counts) in prefixes.counted() {
                    lines.extend_from_slice(b"PREFIX ");
                    lines.extend_from_slice(&prefix);
                    let line = format!(
                        " get {} hit {} set {} del {}\r\n",
                        counts.gets, counts.hits, counts.sets, counts.deletes
                    );
                    lines.extend_from_slice(line.as_bytes());
                }
            }
        }
        lines
    }

    fn cachedump(&self, class: Option<&[u8]>, limit: Option<&[u8]>) -> Result<Dump, &'static str> {
        if self.figures.config.disable_dumping {
            return Err(NO_DUMPS);
        }
        let (Some(class), Some(limit)) = (class, limit) else {
            return Err(BAD_LINE);
        };
        let number = |word| crate::number::unsigned(word).ok_or(BAD_FORMAT);
        let (class, limit) = (number(class)?, number(limit)?);
        if class >= CLASSES_MAX {
            return Err(NO_CLASS);
        }
        Ok(Dump::keys(class, limit))
    }

    /// A listener has been there since the start; the client that asks is the one whose command is being parsed.
    fn connections(&self, figure: &mut Figure<'_>) {
        let figures = self.figures;
        let now = figures.clock.now();
        for listener in &figures.listeners {
            let mut of = |name: &str, value: &str| {
                figure(&format!("{}:{name}", listener.descriptor), value);
            };
            of("addr", &listener.name);
            of("state", "conn_listening");
            of(
                "secs_since_last_cmd",
                &figures.clock.uptime_seconds().to_string(),
            );
        }
        let mut clients = figures.clients.listed();
        clients.sort_unstable_by_key(|client| client.descriptor);
        for client in clients {
            let mut of = |name: &str, value: &str| {
                figure(&format!("{}:{name}", client.descriptor), value);
            };
            let asks = client.descriptor == self.descriptor;
            of("addr", &client.peer.to_string());
            of("listen_addr", &client.listener);
            of(
                "state",
                if asks {
                    "conn_parse_cmd"
                } else {
                    client.state()
                },
            );
            let silent = if asks {
                0
            } else {
                now.0.saturating_sub(client.last_used().0)
            };
            of("secs_since_last_cmd", &silent.to_string());
        }
    }
}

fn enabled(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}
