//! What a server holds and what it sent: ours say it in their status, a real Tomcat on a page that the lab gave it.

use serde_json::Value;

use super::Stage;
use crate::tomcat;
use crate::topology::{Kind, Node};
use crate::wait;

/// Figures of one server, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Sessions, copies too; those of all servers together count each as often as it is kept.
    pub copies: f64,
    /// Bytes of memory: resident ones of ours, of a Java program those that are in use after a collection.
    pub memory: f64,
    /// Bytes that the other members were sent.
    pub sent: f64,
}

impl Stage {
    /// All application servers together. The error says who does not tell.
    pub async fn figures(&self) -> Result<Figures, String> {
        let mut all = Figures::default();
        for node in self.topology.appservers() {
            let one = of(node).await?;
            all.copies += one.copies;
            all.memory += one.memory;
            all.sent += one.sent;
        }
        Ok(all)
    }
}

async fn of(node: &Node) -> Result<Figures, String> {
    let place = node.place;
    Ok(match node.kind {
        Kind::Tomcat => in_page(&wait::json(place.listen, tomcat::STATUS_PATH).await?),
        _ => in_status(&wait::json(place.admin, "/status").await?),
    })
}

fn in_page(page: &Value) -> Figures {
    Figures {
        copies: number(page, "active"),
        memory: number(page, "heap_bytes"),
        sent: number(page, "sent_bytes"),
    }
}

fn in_status(status: &Value) -> Figures {
    Figures {
        copies: sum(status, "active"),
        memory: number(status, "resident_bytes"),
        sent: sent(status),
    }
}

fn number(fields: &Value, name: &str) -> f64 {
    fields[name].as_f64().unwrap_or_default()
}

/// Bytes that the server's channel sent. Each context tells of the channel, which they share.
fn sent(status: &Value) -> f64 {
    match status {
        Value::Object(fields) => match fields.get("channel") {
            Some(channel) => sum(channel, "sent_bytes"),
            None => fields.values().map(sent).fold(0.0, f64::max),
        },
        Value::Array(items) => items.iter().map(sent).fold(0.0, f64::max),
        _ => 0.0,
    }
}

/// The sum of this field wherever it stands.
fn sum(status: &Value, name: &str) -> f64 {
    match status {
        Value::Object(fields) => {
            number(status, name) + fields.values().map(|value| sum(value, name)).sum::<f64>()
        }
        Value::Array(items) => items.iter().map(|item| sum(item, name)).sum(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Figures, in_page, in_status};

    #[test]
    fn sessions_of_all_contexts_are_counted_and_their_channel_once() {
        let channel =
            json!({"local": {"sent_bytes": 0}, "members": [{"sent_bytes": 3}, {"sent_bytes": 4}]});
        let context = json!({"sessions": {"active": 5, "cluster": {"channel": channel}}});
        let status = json!({"contexts": [context, context], "requests": 9, "resident_bytes": 8});
        let figures = Figures {
            copies: 10.0,
            memory: 8.0,
            sent: 7.0,
        };
        assert_eq!(in_status(&status), figures);
        let page = json!({"active": 10, "heap_bytes": 8, "sent_bytes": 7});
        assert_eq!(in_page(&page), figures);
    }
}
