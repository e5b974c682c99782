//! `stats items` and `stats slabs`: memcached sorts items into classes by size and into lists by use. Here are no classes,
//! so everything is in one, number 1, whose pages are the segments of the store. Items that nobody used since they were
//! stored are COLD, those that proved to be in use are WARM.

use crate::command::Executor;

use super::Figure;

/// The one class.
pub(crate) const CLASS: u32 = 1;

impl Executor<'_> {
    pub(super) fn item_figures(&self, figure: &mut Figure<'_>) {
        let status = self.figures.status();
        let (items, done) = (&status.items, &status.commands);
        if items.curr_items == 0 {
            return;
        }
        let warm = items.proven_items.min(items.curr_items);
        let has_temporary = self.figures.tuning().temporary_ttl.is_some();
        for (name, value) in [
            ("number", items.curr_items),
            ("number_hot", 0),
            ("number_warm", warm),
            ("number_cold", items.curr_items.saturating_sub(warm)),
            ("number_temp", 0),
            ("age_hot", 0),
            ("age_warm", items.proven_age),
            ("age", items.probation_age),
            ("mem_requested", items.bytes),
            ("evicted", items.evictions),
            ("evicted_nonzero", 0),
            ("evicted_time", 0),
            ("outofmemory", done.store_no_memory),
            ("tailrepairs", 0),
            ("reclaimed", items.reclaimed),
            ("expired_unfetched", items.expired_unfetched),
            ("evicted_unfetched", items.evicted_unfetched),
            ("evicted_active", items.evicted_active),
            ("crawler_reclaimed", items.expired_in_background()),
            ("crawler_items_checked", 0),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", 0),
            ("moves_to_warm", 0),
            ("moves_within_lru", 0),
            ("direct_reclaims", 0),
            ("hits_to_hot", 0),
            ("hits_to_warm", 0),
            ("hits_to_cold", done.get_hits),
            ("hits_to_temp", 0),
        ] {
            if name != "number_temp" || has_temporary {
                figure(&format!("items:{CLASS}:{name}"), &value.to_string());
            }
        }
    }

    pub(super) fn slab_figures(&self, figure: &mut Figure<'_>) {
        let status = self.figures.status();
        let (items, done) = (&status.items, &status.commands);
        let active = items.curr_items > 0;
        // A store that takes each item from the system by itself has one page.
        let pages = items.segments.max(1);
        let page = items.segment_size.max(1);
        if active {
            for (name, value) in [
                ("chunk_size", page),
                ("chunks_per_page", 1),
                ("total_pages", pages),
                ("total_chunks", pages),
                ("used_chunks", pages),
                ("free_chunks", 0),
                ("free_chunks_end", 0),
                ("get_hits", done.get_hits),
                ("cmd_set", done.cmd_set),
                ("delete_hits", done.delete_hits),
                ("incr_hits", done.incr_hits),
                ("decr_hits", done.decr_hits),
                ("cas_hits", done.cas_hits),
                ("cas_badval", done.cas_badval),
                ("touch_hits", done.touch_hits),
            ] {
                figure(&format!("{CLASS}:{name}"), &value.to_string());
            }
        }
        figure("active_slabs", if active { "1" } else { "0" });
        figure("total_malloced", &items.store_bytes.to_string());
    }
}
