//! The figures of one moment as metrics: names begin with `lnmt_sessiond_` and end with their unit, labels have few values.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::status::Status;
use crate::watch::Counts;

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) watch: Counts,
}

/// A metric: its name, what it is, and its value.
type Metric = (&'static str, &'static str, u64);

/// A metric with labels: their values, and the value.
type Labelled = ([(&'static str, &'static str); 2], u64);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in self.counters() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        self.encode_items(&mut encoder)?;
        self.encode_commands(&mut encoder)
    }
}

impl Snapshot {
    fn gauges(&self) -> [Metric; 13] {
        let (status, items) = (&self.status, &self.status.items);
        [
            (
                "connections",
                "Clients that are connected.",
                status.curr_connections,
            ),
            (
                "connections_limit",
                "Clients that may be connected.",
                status.max_connections,
            ),
            ("threads", "Worker threads.", status.threads),
            ("watchers", "Clients that watch.", self.watch.watchers),
            ("items", "Items held.", items.curr_items),
            (
                "memory_bytes",
                "What the items cost in memory.",
                items.bytes,
            ),
            (
                "memory_limit_bytes",
                "What the process may take for items and for what serves them.",
                status.limit_maxbytes,
            ),
            (
                "memory_reserved_bytes",
                "What of the limit is not for items now: the process itself and the buffers of its clients.",
                status.reserved_bytes,
            ),
            (
                "memory_store_bytes",
                "Memory taken from the system for items: segments, table, large values.",
                items.store_bytes,
            ),
            (
                "memory_table_bytes",
                "The part of it that the table is.",
                items.hash_bytes,
            ),
            (
                "buffer_bytes",
                "What clients' unfinished requests and unread responses take.",
                status.buffer_bytes,
            ),
            (
                "segments",
                "Pieces of memory that items are kept in.",
                items.segments,
            ),
            ("uptime_seconds", "Time since the start.", status.uptime),
        ]
    }

    fn counters(&self) -> [Metric; 14] {
        let (status, items) = (&self.status, &self.status.items);
        let commands = &status.commands;
        [
            (
                "connections_accepted",
                "Clients since the start.",
                status.total_connections,
            ),
            (
                "connections_refused",
                "Clients that were one too many.",
                status.rejected_connections,
            ),
            (
                "connections_idle",
                "Clients closed because nothing moved for too long.",
                commands.idle_kicks,
            ),
            (
                "connection_yields",
                "Times a client had its share of requests and others were served first.",
                commands.conn_yields,
            ),
            ("items_stored", "Items stored.", items.total_items),
            (
                "items_evicted",
                "Items dropped before their time to make room.",
                items.evictions,
            ),
            (
                "items_evicted_unread",
                "Those of them that nobody had read.",
                items.evicted_unfetched,
            ),
            (
                "items_evicted_in_use",
                "Those of them that were in use.",
                items.evicted_active,
            ),
            ("items_expired", "Items found to be expired.", items.expired),
            (
                "items_expired_unread",
                "Those of them that nobody had read.",
                items.expired_unfetched,
            ),
            (
                "received_bytes",
                "Bytes received from clients.",
                commands.bytes_read,
            ),
            (
                "sent_bytes",
                "Bytes sent to clients.",
                commands.bytes_written,
            ),
            (
                "watch_lines",
                "Lines written for those who watch.",
                self.watch.written,
            ),
            (
                "watch_lines_lost",
                "Lines that a watcher lost because it read too slowly.",
                self.watch.skipped,
            ),
        ]
    }

    /// Items and bytes by what is known of the items: `items_by_state{state}`, `memory_by_state_bytes{state}`.
    fn encode_items(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let items = &self.status.items;
        let states = [
            ("probation", items.probation_items, items.probation_bytes),
            ("proven", items.proven_items, items.proven_bytes),
            ("large", items.large_items, items.large_bytes),
        ];
        let kind = ConstGauge::new(0i64).metric_type();
        let mut family = encoder.encode_descriptor(
            "items_by_state",
            "Items that nobody used since they were stored (probation), that proved to be in use (proven); large ones of both.",
            None,
            kind,
        )?;
        for (state, count, _) in states {
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
                .encode(family.encode_family(&[("state", state)])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "memory_by_state_bytes",
            "What the items of a state cost in memory.",
            None,
            kind,
        )?;
        for (state, _, bytes) in states {
            ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX))
                .encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }

    /// One family for what the commands did: `commands_total{command, outcome}`.
    fn encode_commands(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor(
            "commands",
            "Keys and data blocks that commands were given, by what became of them.",
            None,
            kind,
        )?;
        for (labels, value) in self.outcomes() {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn outcomes(&self) -> impl Iterator<Item = Labelled> {
        let commands = &self.status.commands;
        [
            ("get", "hit", commands.get_hits),
            ("get", "miss", commands.get_misses),
            ("touch", "hit", commands.touch_hits),
            ("touch", "miss", commands.touch_misses),
            ("set", "any", commands.cmd_set),
            ("set", "too_large", commands.store_too_large),
            ("set", "no_memory", commands.store_no_memory),
            ("add", "present", commands.refused_adds),
            ("cas", "hit", commands.cas_hits),
            ("cas", "miss", commands.cas_misses),
            ("cas", "changed", commands.cas_badval),
            ("delete", "hit", commands.delete_hits),
            ("delete", "miss", commands.delete_misses),
            ("incr", "hit", commands.incr_hits),
            ("incr", "miss", commands.incr_misses),
            ("decr", "hit", commands.decr_hits),
            ("decr", "miss", commands.decr_misses),
            ("flush_all", "any", commands.cmd_flush),
            ("meta", "any", commands.cmd_meta),
            ("auth", "any", commands.auth_cmds),
            ("auth", "failed", commands.auth_errors),
        ]
        .into_iter()
        .map(|(command, outcome, value)| ([("command", command), ("outcome", outcome)], value))
    }
}
