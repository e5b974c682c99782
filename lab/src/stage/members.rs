//! How many other members a server of a cluster knows: ours say it in their status, a real Tomcat in its log.

use super::Stage;
use crate::topology::Kind;
use crate::wait;

/// What a Tomcat writes when a member came, and when one is gone.
const CAME: &str = "Replication member added:";
const WENT: &str = "Received member disappeared:";

impl Stage {
    /// How many other members this server knows. The error says why that is not known.
    pub async fn members(&self, server: &str) -> Result<usize, String> {
        let node = self.topology.node(server);
        let node = node.ok_or_else(|| format!("there is no server {server} on this stage"))?;
        if node.kind == Kind::Tomcat {
            let child = self.child(server).map_err(|e| e.to_string())?;
            let log = std::fs::read(child.log()).map_err(|e| e.to_string())?;
            return Ok(in_log(&String::from_utf8_lossy(&log)));
        }
        let status = wait::json(node.place.admin, "/status").await?;
        in_status(&status).ok_or_else(|| format!("{server} has no members in its status"))
    }
}

fn in_log(log: &str) -> usize {
    let [came, went] = [CAME, WENT].map(|words| log.matches(words).count());
    came.saturating_sub(went)
}

/// Wherever the status tells it.
fn in_status(status: &serde_json::Value) -> Option<usize> {
    match status {
        serde_json::Value::Object(fields) => {
            match fields.get("members").and_then(serde_json::Value::as_array) {
                Some(members) => Some(members.len()),
                None => fields.values().find_map(in_status),
            }
        }
        serde_json::Value::Array(items) => items.iter().find_map(in_status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{in_log, in_status};

    #[test]
    fn members_are_counted_in_a_status_and_in_a_log() {
        let status =
            serde_json::json!({"contexts": [{"sessions": {"cluster": {"members": [1, 2]}}}]});
        assert_eq!(in_status(&status), Some(2));
        assert_eq!(in_status(&serde_json::json!({"contexts": []})), None);
        let came = "INFO SimpleTcpCluster.memberAdded Replication member added:[tcp://…]\n";
        let went =
            "INFO SimpleTcpCluster.memberDisappeared Received member disappeared:[tcp://…]\n";
        assert_eq!(in_log(came), 1);
        assert_eq!(in_log(&[came, came, went].concat()), 1);
        assert_eq!(in_log(&[came, went].concat()), 0);
    }
}
