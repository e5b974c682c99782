//! What the core wants to be sent goes to the group, and whoever asked waits as `channelSendOptions` says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use crate::manager::cluster::core::{MapSend, Outbox, Stream};
use crate::manager::cluster::group::{Group, NATIVE};
use crate::manager::cluster::peers::UniqueId;
use crate::tribes::options::SendOptions;

/// The longest wait for a member to take one message of a transfer.
const STREAM_LIMIT: Duration = Duration::from_secs(30);
/// Tomcats answer when it is applied.
const APPLIED: SendOptions = SendOptions::USE_ACK.with(SendOptions::SYNC_ACK);

/// Questions and answers, which have no answer but themselves.
pub(super) const READ: SendOptions = SendOptions::USE_ACK;

/// What the caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As the settings say.
    Configured,
    /// Until it was applied.
    Applied,
}

impl<G: Group> Inner<G> {
    /// Sends what the core wants to be sent, and waits.
    pub(super) async fn deliver(self: &Arc<Self>, out: Outbox, wait: Wait) {
        if out.is_empty() {
            return;
        }
        let configured = self.config.send_options;
        let options = match wait {
            Wait::Configured if configured.is_async() => NATIVE.with(SendOptions::ASYNC),
            Wait::Configured if configured.ack_after_applied() => NATIVE,
            Wait::Configured if configured.wants_ack() => {
                SendOptions::BYTE_MESSAGE.with(SendOptions::USE_ACK)
            }
            Wait::Configured => SendOptions::BYTE_MESSAGE,
            Wait::Applied => NATIVE,
        };
        if !out.natives.is_empty() {
            let natives = self.core.natives();
            for message in &out.natives {
                self.send(&natives, message, options).await;
            }
        }
        for (but, message) in &out.others {
            let mut natives = self.core.members(true);
            natives.retain(|id| id != but);
            self.send(&natives, message, options).await;
        }
        for (to, message) in &out.copies {
            self.send(&[*to], message, options).await;
        }
        for owed in &out.owed {
            let (to, limit) = ([owed.to], self.config.limit);
            let failed = self.group.send(&to, &owed.message, NATIVE, limit).await;
            if failed.is_empty() {
                self.core.repaid(owed.key, owed.version);
            }
        }
        for (to, message) in &out.one {
            self.send(&[*to], message, NATIVE).await;
        }
        let tomcats = match out.tomcats.is_empty() {
            true => Vec::new(),
            false => self.core.members(false),
        };
        let mut left = out.tomcats.len();
        for message in &out.tomcats {
            left -= 1;
            // The next one must not overtake it.
            let options = if left > 0 { APPLIED } else { configured };
            let limit = self.config.limit;
            self.group.send(&tomcats, message, options, limit).await;
        }
        for (to, message) in &out.one_tomcat {
            self.send(&[*to], message, APPLIED).await;
        }
        for key in out.publish {
            let _lane = self.lane(key).await;
            let sends = self.core.publish_orphan(key, self.clock.now());
            self.send_in_map(&sends, Wait::Applied).await;
        }
        for key in out.used {
            let _lane = self.lane(key).await;
            if let Some(send) = self.core.use_of(key, self.clock.now()) {
                self.send_in_map(&[send], Wait::Applied).await;
            }
        }
        self.send_in_map(&out.map, wait).await;
        for (to, stream) in out.streams {
            let inner = Arc::clone(self);
            self.runtime
                .spawn(async move { inner.stream(to, stream).await });
        }
    }

    async fn send_in_map(&self, sends: &[MapSend], wait: Wait) {
        for (at, send) in sends.iter().enumerate() {
            let options = match wait {
                _ if send.is_rpc => READ,
                // The next one must not overtake it.
                Wait::Configured if at + 1 == sends.len() => self.config.send_options,
                _ => APPLIED,
            };
            let delivered = self.send(&send.to, &send.message, options).await;
            if let (false, Some(key)) = (delivered, send.backs_up) {
                self.core.backup_failed(key);
            }
        }
    }

    /// Whether all may have got it.
    async fn send(&self, to: &[UniqueId], message: &[u8], options: SendOptions) -> bool {
        let failed = self
            .group
            .send(to, message, options, self.config.limit)
            .await;
        for id in &failed {
            self.core.failed(id, self.clock.now());
        }
        failed.is_empty()
    }

    /// Tells a member of the map of Tomcats where sessions are, each between two changes of it.
    async fn tell_entries(&self, to: UniqueId, mut stream: Stream) {
        while let Some(key) = stream.next_entry() {
            let _lane = self.lane(key).await;
            if let Some(entry) = self.core.entry_of(key, &to)
                && !self.send(&[to], &entry, APPLIED).await
            {
                return;
            }
        }
    }

    /// Sends many sessions, each message when the one before was taken.
    async fn stream(&self, to: UniqueId, mut stream: Stream) {
        if stream.is_entries() {
            return self.tell_entries(to, stream).await;
        }
        let options = if stream.is_for_tomcat() {
            APPLIED
        } else {
            NATIVE
        };
        let (mut complete, is_comparison) = (true, stream.is_comparison());
        while let Some(message) = self.core.pull(&mut stream, self.clock.now()) {
            let failed = self
                .group
                .send(&[to], &message, options, STREAM_LIMIT)
                .await;
            if !failed.is_empty() {
                complete = false;
                break;
            }
        }
        let now = self.clock.now();
        self.core.stream_ended(&to, is_comparison, complete, now);
    }

    /// Sends beside: nobody waits, and nothing blocks.
    pub(super) fn answer(self: &Arc<Self>, to: &UniqueId, out: Outbox) {
        if out.is_empty() {
            return;
        }
        match Arc::clone(&self.answers).try_acquire_owned() {
            Ok(permit) => {
                let inner = Arc::clone(self);
                self.runtime.spawn(async move {
                    inner.deliver(out, Wait::Applied).await;
                    drop(permit);
                });
            }
            Err(_) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                self.core.failed(to, self.clock.now());
                if !out.publish.is_empty() {
                    self.core.not_published();
                }
                for (id, stream) in out.streams {
                    let now = self.clock.now();
                    self.core
                        .stream_ended(&id, stream.is_comparison(), false, now);
                }
            }
        }
    }
}
