//! The general figures: the 83 names of memcached 1.6.18, in its order; and those that only sessiond has.

use crate::command::{Executor, VERSION};

use super::Figure;

impl Executor<'_> {
    pub(super) fn general_figures(&self, figure: &mut Figure<'_>) {
        let status = self.figures.status();
        let (items, done) = (&status.items, &status.commands);
        let (user, system) = processor_time();
        let mut number = |name: &str, value: u64| figure(name, &value.to_string());
        number("pid", status.pid.into());
        number("uptime", status.uptime);
        number("time", status.time.into());
        figure("version", VERSION);
        // memcached's event loop is a library with a version; ours is not.
        figure("libevent", "none");
        figure("pointer_size", &usize::BITS.to_string());
        figure("rusage_user", &user);
        figure("rusage_system", &system);
        let mut numbers = |list: &[(&str, u64)]| {
            for (name, value) in list {
                figure(name, &value.to_string());
            }
        };
        numbers(&[
            ("max_connections", status.max_connections),
            ("curr_connections", status.curr_connections),
            ("total_connections", status.total_connections),
            ("rejected_connections", status.rejected_connections),
            ("connection_structures", status.curr_connections),
            ("response_obj_oom", 0),
            ("response_obj_count", 0),
            ("response_obj_bytes", 0),
            // A read buffer for each worker; what clients left in them is counted in bytes.
            ("read_buf_count", status.threads),
            ("read_buf_bytes", status.buffer_bytes),
            ("read_buf_bytes_free", 0),
            ("read_buf_oom", 0),
            ("reserved_fds", status.threads.saturating_mul(2)),
            ("cmd_get", done.cmd_get),
            ("cmd_set", done.cmd_set),
            ("cmd_flush", done.cmd_flush),
            ("cmd_touch", done.cmd_touch),
            ("cmd_meta", done.cmd_meta),
            ("get_hits", done.get_hits),
            ("get_misses", done.get_misses),
            ("get_expired", items.expired_on_access),
            // Flushed items are gone at once, so nobody meets one.
            ("get_flushed", 0),
            ("delete_misses", done.delete_misses),
            ("delete_hits", done.delete_hits),
            ("incr_misses", done.incr_misses),
            ("incr_hits", done.incr_hits),
            ("decr_misses", done.decr_misses),
            ("decr_hits", done.decr_hits),
            ("cas_misses", done.cas_misses),
            ("cas_hits", done.cas_hits),
            ("cas_badval", done.cas_badval),
            ("touch_hits", done.touch_hits),
            ("touch_misses", done.touch_misses),
            ("store_too_large", done.store_too_large),
            ("store_no_memory", done.store_no_memory),
            ("auth_cmds", done.auth_cmds),
            ("auth_errors", done.auth_errors),
        ]);
        if self.figures.config.idle_timeout > 0 {
            numbers(&[("idle_kicks", done.idle_kicks)]);
        }
        let watch = self.figures.watch.counts();
        numbers(&[
            ("bytes_read", done.bytes_read),
            ("bytes_written", done.bytes_written),
            ("limit_maxbytes", status.limit_maxbytes),
            ("accepting_conns", 1),
            ("listen_disabled_num", 0),
            ("time_in_listen_disabled_us", 0),
            ("threads", status.threads),
            ("conn_yields", done.conn_yields),
            ("hash_power_level", power_level(items.hash_bytes)),
            ("hash_bytes", items.hash_bytes),
            ("hash_is_expanding", 0),
            ("slab_reassign_rescues", 0),
            ("slab_reassign_chunk_rescues", 0),
            ("slab_reassign_evictions_nomem", 0),
            ("slab_reassign_inline_reclaim", 0),
            ("slab_reassign_busy_items", 0),
            ("slab_reassign_busy_deletes", 0),
            ("slab_reassign_running", 0),
            ("slabs_moved", 0),
            ("lru_crawler_running", 0),
            ("lru_crawler_starts", 0),
            ("lru_maintainer_juggles", 0),
            ("malloc_fails", 0),
            ("log_worker_dropped", 0),
            ("log_worker_written", watch.written),
            ("log_watcher_skipped", watch.skipped),
            ("log_watcher_sent", watch.sent),
            ("log_watchers", watch.watchers),
            ("unexpected_napi_ids", 0),
            ("round_robin_fallback", 0),
            ("bytes", items.bytes),
            ("curr_items", items.curr_items),
            ("total_items", items.total_items),
            ("slab_global_page_pool", 0),
            ("expired_unfetched", items.expired_unfetched),
            ("evicted_unfetched", items.evicted_unfetched),
            ("evicted_active", items.evicted_active),
            ("evictions", items.evictions),
            ("reclaimed", items.reclaimed),
            ("crawler_reclaimed", items.expired_in_background()),
            ("crawler_items_checked", 0),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", 0),
            ("moves_to_warm", 0),
            ("moves_within_lru", 0),
            ("direct_reclaims", 0),
            ("lru_bumps_dropped", 0),
        ]);
    }

    pub(super) fn own_figures(&self, figure: &mut Figure<'_>) {
        let status = self.figures.status();
        let (items, done) = (&status.items, &status.commands);
        figure("node", &status.node);
        for (name, value) in [
            ("reserved_bytes", status.reserved_bytes),
            ("buffer_bytes", status.buffer_bytes),
            ("store_bytes", items.store_bytes),
            ("segments", items.segments),
            ("segment_size", items.segment_size),
            ("probation_items", items.probation_items),
            ("probation_bytes", items.probation_bytes),
            ("probation_age", items.probation_age),
            ("proven_items", items.proven_items),
            ("proven_bytes", items.proven_bytes),
            ("proven_age", items.proven_age),
            ("large_items", items.large_items),
            ("large_bytes", items.large_bytes),
            ("expired", items.expired),
            ("refused_adds", done.refused_adds),
            ("idle_kicks", done.idle_kicks),
            (
                "detail_prefixes",
                self.figures.prefixes.counted().len() as u64,
            ),
            ("detail_overlooked", self.figures.prefixes.overlooked()),
        ] {
            figure(name, &value.to_string());
        }
    }
}

/// The table in powers of two of the pointers that memcached's is made of.
fn power_level(table_bytes: u64) -> u64 {
    let pointers = table_bytes / size_of::<usize>() as u64;
    pointers.checked_ilog2().unwrap_or(0).into()
}

/// How long the process has run on processors, in user and in system mode: `SECONDS.MICROSECONDS`, as exact as the
/// kernel tells in `/proc` (a tick, 10 ms); zero where there is no `/proc`.
fn processor_time() -> (String, String) {
    let told = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold anything.
    let fields = told.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields
        .split_ascii_whitespace()
        .skip(11)
        .map(|field| field.parse().unwrap_or(0));
    let mut time = || seconds(ticks.next().unwrap_or(0));
    (time(), time())
}

fn seconds(ticks: u64) -> String {
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    let microseconds = ticks % a_second * 1_000_000 / a_second;
    format!("{}.{microseconds:06}", ticks / a_second)
}

#[cfg(test)]
mod tests {
    use super::{power_level, processor_time};

    #[test]
    fn processor_time_grows() {
        let spent = |(user, _): (String, String)| -> f64 { user.parse().expect("a number") };
        let before = spent(processor_time());
        let mut number = 0u64;
        while spent(processor_time()) <= before {
            for step in 0..100_000 {
                number = std::hint::black_box(number.wrapping_add(step));
            }
        }
    }

    #[test]
    fn a_table_of_65536_pointers_is_at_level_16() {
        assert_eq!(power_level(524_288), 16);
        assert_eq!(power_level(0), 0);
    }
}
