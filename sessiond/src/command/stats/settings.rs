//! `stats settings`: what the node was started with and what operators changed since. Settings of memcached's that mean
//! nothing here have memcached's defaults.

use std::path::Path;

use crate::command::Executor;
use crate::config::{Config, Protocol, is_empty};
use crate::protocol::text::admin::Lists;
use crate::watch::BUFFER_MAX;

use super::Figure;

impl Executor<'_> {
    pub(super) fn settings(&self, figure: &mut Figure<'_>) {
        let config = &self.figures.config;
        let tuning = self.figures.tuning().clone();
        let mut tell = |name: &str, value: &dyn std::fmt::Display| figure(name, &value.to_string());
        tell("maxbytes", &tuning.memory_limit);
        tell("maxconns", &config.max_connections);
        tell("tcpport", &self.tcp_port());
        tell("udpport", &config.udp_port.max(0));
        tell("inter", &interfaces(config));
        tell("verbosity", &tuning.verbosity);
        tell("oldest", &0);
        tell("evictions", &on(!config.disable_evictions));
        tell("domain_socket", &path(&config.unix_socket, "NULL"));
        tell("umask", &format_args!("{:o}", config.unix_mask.0));
        tell("shutdown_command", &yes(config.enable_shutdown));
        tell("growth_factor", &"1.25");
        tell("chunk_size", &48);
        tell("num_threads", &config.threads);
        tell("num_threads_per_udp", &config.threads);
        tell("stat_key_prefix", &self.figures.prefixes.delimiter());
        tell("detail_enabled", &yes(self.figures.prefixes.are_counted()));
        tell("reqs_per_event", &config.max_reqs_per_event);
        tell("cas_enabled", &yes(!config.disable_cas));
        tell("tcp_backlog", &config.listen_backlog);
        tell("binding_protocol", &protocol(config.spoken()));
        tell("auth_enabled_sasl", &yes(config.enable_sasl));
        tell("auth_enabled_ascii", &path(&config.auth_file, "no"));
        tell("item_size_max", &config.item_size_max.0);
        tell("maxconns_fast", &yes(true));
        tell("hashpower_init", &0);
        tell("slab_reassign", &yes(true));
        tell("slab_automove", &tuning.automove);
        tell(
            "slab_automove_ratio",
            &format_args!("{:.2}", tuning.automove_ratio),
        );
        tell("slab_automove_window", &30);
        tell("slab_chunk_max", &(config.item_size_max.0 / 2));
        tell("lru_crawler", &yes(tuning.crawler));
        tell("lru_crawler_sleep", &tuning.crawler_sleep);
        tell("lru_crawler_tocrawl", &tuning.crawler_items);
        tell("tail_repair_time", &0);
        tell("flush_enabled", &yes(!config.disable_flush_all));
        tell("dump_enabled", &yes(!config.disable_dumping));
        tell("hash_algorithm", &"foldhash");
        tell("lru_maintainer_thread", &yes(true));
        tell("lru_segmented", &yes(tuning.segmented));
        let Lists {
            hot,
            warm,
            hot_factor,
            warm_factor,
        } = tuning.lists;
        tell("hot_lru_pct", &hot);
        tell("warm_lru_pct", &warm);
        tell("hot_max_factor", &format_args!("{hot_factor:.2}"));
        tell("warm_max_factor", &format_args!("{warm_factor:.2}"));
        tell("temp_lru", &yes(tuning.temporary_ttl.is_some()));
        // memcached's default, which means nothing while there is no such list.
        tell("temporary_ttl", &tuning.temporary_ttl.unwrap_or(61));
        tell("idle_timeout", &config.idle_timeout);
        tell("watcher_logbuf_size", &BUFFER_MAX);
        tell("worker_logbuf_size", &BUFFER_MAX);
        tell("read_buf_mem_limit", &0);
        tell("track_sizes", &yes(tuning.sizes));
        tell("inline_ascii_response", &yes(false));
        for (name, value) in [
            ("ext_item_size", "512"),
            ("ext_item_age", "4294967295"),
            ("ext_low_ttl", "0"),
            ("ext_recache_rate", "2000"),
            ("ext_wbuf_size", "4194304"),
            ("ext_compact_under", "0"),
            ("ext_drop_under", "0"),
            ("ext_max_sleep", "1000000"),
            ("ext_max_frag", "0.80"),
            ("slab_automove_freeratio", "0.010"),
            ("ext_drop_unread", "no"),
        ] {
            tell(name, &value);
        }
        tell("ssl_enabled", &yes(config.enable_ssl));
        tell("ssl_chain_cert", &path(&config.ssl_chain_cert, "(null)"));
        tell("ssl_key", &path(&config.ssl_key, "(null)"));
        tell("ssl_verify_mode", &config.ssl_verify_mode);
        tell("ssl_keyformat", &1);
        tell("ssl_ciphers", &"NULL");
        tell("ssl_ca_cert", &path(&config.ssl_ca_cert, "NULL"));
        tell("ssl_wbuf_size", &16384);
        tell("ssl_session_cache", &yes(false));
        tell("ssl_kernel_tls", &yes(false));
        let version = if config.ssl_min_version >= 3 { 3 } else { 2 };
        tell("ssl_min_version", &format_args!("tlsv1.{version}"));
        tell("num_napi_ids", &"(null)");
        tell("memory_file", &path(&config.memory_file, "(null)"));
    }

    /// The port of the first TCP listener; 0 where there is none.
    fn tcp_port(&self) -> u16 {
        let mut names = self.figures.listeners.iter().map(|listener| &listener.name);
        names
            .find_map(|name| name.starts_with("tcp").then(|| name.rsplit(':').next())?)
            .and_then(|port| port.parse().ok())
            .unwrap_or(0)
    }
}

fn interfaces(config: &Config) -> String {
    let names: Vec<String> = config.listen.0.iter().map(ToString::to_string).collect();
    match &*names {
        [] => "NULL".to_owned(),
        [every] if every == "*" => "NULL".to_owned(),
        names => names.join(","),
    }
}

fn path(path: &Path, none: &str) -> String {
    if is_empty(path) {
        return none.to_owned();
    }
    path.display().to_string()
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Auto => "auto-negotiate",
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    }
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn on(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
