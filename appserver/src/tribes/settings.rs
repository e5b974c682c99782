//! The article's `<Cluster>` element, attribute by attribute, under Tomcat's names.

use serde::{Deserialize, Serialize};

use super::options::SendOptions;

/// The attributes of `<Cluster>` and of what stands in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSettings {
    /// What the response waits for.
    pub channel_send_options: SendOptions,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            channel_send_options: SendOptions::USE_ACK.with(SendOptions::SYNC_ACK),
        }
    }
}
