//! `<Manager>`, `<Valve>` and `<Deployer>`: what the replication of sessions is told. The channel has no use for it.

use serde::{Deserialize, Serialize};

use super::{SettingsError, class, range, wrong};
use crate::tribes::options::SendOptions;

/// The attributes of `<Manager>`: `DeltaManager` and `BackupManager`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ManagerSettings {
    /// `DeltaManager` or `BackupManager`; the mode decides which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Whether a node that stops ends all sessions, those of the others too.
    pub expire_sessions_on_shutdown: bool,
    /// Whether listeners of attributes hear of changes that were made on other nodes.
    pub notify_listeners_on_replication: bool,
    /// Seconds to wait for the sessions at the start; -1: for ever, 0: not at all.
    pub state_transfer_timeout: i64,
    /// All sessions in one message.
    pub send_all_sessions: bool,
    /// If not: so many in each.
    pub send_all_sessions_size: u32,
    /// And so many milliseconds between two.
    pub send_all_sessions_wait_time: u64,
    /// Of the messages that came while the sessions were transferred, those older than the transfer are dropped.
    pub state_timestamp_drop: bool,
    /// A change carries all that was done with an attribute, and not the last only.
    pub record_all_actions: bool,
    /// `BackupManager`: what the response waits for.
    pub map_send_options: SendOptions,
    /// `BackupManager`: the longest wait for an answer, in milliseconds.
    pub rpc_timeout: u64,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            expire_sessions_on_shutdown: false,
            notify_listeners_on_replication: true,
            state_transfer_timeout: 60,
            send_all_sessions: true,
            send_all_sessions_size: 1000,
            send_all_sessions_wait_time: 2000,
            state_timestamp_drop: true,
            record_all_actions: false,
            map_send_options: SendOptions::USE_ACK.with(SendOptions::SYNC_ACK),
            rpc_timeout: 15_000,
        }
    }
}

impl ManagerSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let managers = [
            "org.apache.catalina.ha.session.DeltaManager",
            "org.apache.catalina.ha.session.BackupManager",
        ];
        class("manager", self.class_name.as_deref(), &managers)?;
        let timeout = self.state_transfer_timeout;
        range("manager.stateTransferTimeout", timeout, -1, 86_400)?;
        let size = self.send_all_sessions_size;
        range("manager.sendAllSessionsSize", size, 1, 10_000_000)?;
        let wait = self.send_all_sessions_wait_time;
        range("manager.sendAllSessionsWaitTime", wait, 0, 600_000)?;
        range("manager.rpcTimeout", self.rpc_timeout, 1, 600_000)
    }
}

/// The attributes of `ReplicationValve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ValveSettings {
    /// `ReplicationValve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Requests whose decoded path matches as a whole send nothing; empty: all send.
    pub filter: String,
    /// Whether requests are told if this node is the session's primary.
    pub primary_indicator: bool,
}

impl ValveSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let valve = "org.apache.catalina.ha.tcp.ReplicationValve";
        class("valve", self.class_name.as_deref(), &[valve])?;
        if let Err(error) = regex::Regex::new(&self.filter) {
            return wrong(format!(
                "valve.filter = `{}` is no regular expression: {error}",
                self.filter
            ));
        }
        Ok(())
    }
}

/// The attributes of `JvmRouteBinderValve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct JvmRouteBinderSettings {
    /// `JvmRouteBinderValve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Whether a session that comes from another node gets this node's route.
    pub enabled: bool,
}

impl Default for JvmRouteBinderSettings {
    fn default() -> Self {
        Self {
            class_name: None,
            enabled: true,
        }
    }
}

impl JvmRouteBinderSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let valve = "org.apache.catalina.ha.session.JvmRouteBinderValve";
        class("jvmRouteBinder", self.class_name.as_deref(), &[valve])
    }
}

/// The attributes of `FarmWarDeployer`, which has nothing to do with sessions and nothing to do here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DeployerSettings {
    /// `FarmWarDeployer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Where war files are put together.
    pub temp_dir: String,
    /// Where they are deployed.
    pub deploy_dir: String,
    /// Where new ones are looked for.
    pub watch_dir: String,
    /// Whether they are looked for.
    pub watch_enabled: bool,
}

impl DeployerSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let deployer = "org.apache.catalina.ha.deploy.FarmWarDeployer";
        class("deployer", self.class_name.as_deref(), &[deployer])?;
        if self.watch_enabled && self.watch_dir.is_empty() {
            return wrong("deployer.watchEnabled = true needs deployer.watchDir");
        }
        Ok(())
    }
}
