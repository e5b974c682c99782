//! What a bystander hears on a link to a store node: commands in memcached's text protocol, each with its answer. No sockets, no clock.
//!
//! The reading is the relay's of the application server's own tests, [`Recorder`]; here its words become lines of a history.

use std::fmt;

use appserver::testing::tap::{Exchange, Recorder};
use serde::{Deserialize, Serialize};

/// A command with its answer, written as `set KEY(flags,exptime,bytes)=STORED` or `get KEY=hit(flags,bytes)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// `get`, `set`, `add`, …
    pub verb: String,
    /// Its key; empty where it has none.
    pub key: String,
    /// Its numbers: flags, expiry in seconds and size of a stored value, or the expiry of a touch; empty for others.
    pub numbers: String,
    /// `miss`, `hit(flags,bytes)`, `STORED`, `NOT_STORED`, …, or `(no reply)`.
    pub result: String,
}

impl Command {
    /// Whether the answer was one of success: a hit, something stored, deleted or touched.
    pub fn succeeded(&self) -> bool {
        self.result.starts_with("hit")
            || ["STORED", "DELETED", "TOUCHED"].contains(&self.result.as_str())
    }
}

impl From<Exchange> for Command {
    fn from(exchange: Exchange) -> Self {
        Self {
            verb: exchange.verb,
            key: exchange.key,
            numbers: exchange.stored,
            result: exchange.result,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        if !self.key.is_empty() {
            write!(f, " {}", self.key)?;
        }
        if !self.numbers.is_empty() {
            write!(f, "({})", self.numbers)?;
        }
        write!(f, "={}", self.result)
    }
}

/// Listens to one connection.
#[derive(Debug, Default)]
pub struct Bystander(Recorder);

impl Bystander {
    /// Bytes on their way to the node.
    pub fn to_node(&mut self, bytes: &[u8]) {
        self.0.asked(bytes);
    }

    /// Bytes on their way back: the commands that are answered by them.
    pub fn from_node(&mut self, bytes: &[u8]) -> Vec<Command> {
        self.0
            .answered(bytes)
            .into_iter()
            .map(Command::from)
            .collect()
    }

    /// The connection is over: what was asked last was never answered.
    pub fn end(&mut self) -> Vec<Command> {
        self.0.ended().into_iter().map(Command::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Bystander;

    #[test]
    fn commands_are_told_with_their_answers() {
        let mut bystander = Bystander::default();
        bystander.to_node(
            b"get ping-n2\r\nset A-n2 0 3600 5\r\nab\r\nc\r\nadd A-n2 0 5 1\r\n1\r\nget A-n2\r\n",
        );
        let heard = bystander.from_node(b"END\r\nSTORED\r\nNOT_STORED\r\n");
        let lines: Vec<String> = heard.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "get ping-n2=miss",
                "set A-n2(0,3600,5)=STORED",
                "add A-n2(0,5,1)=NOT_STORED"
            ]
        );
        assert_eq!(
            heard.iter().filter(|command| command.succeeded()).count(),
            1
        );
        let left: Vec<String> = bystander.end().iter().map(ToString::to_string).collect();
        assert_eq!(left, ["get A-n2=(no reply)"]);
    }
}
