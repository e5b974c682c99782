//! `stats`: the names are memcached's, in its order, and every counter counts what memcached's counts. Where memcached is
//! installed, both are asked.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use sessiond::Config;
use support::{Memcached, Node, connect, exchange, until};

/// The general figures of memcached 1.6.18 without TLS and idle_timeout.
const NAMES: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
    curr_connections total_connections rejected_connections connection_structures response_obj_oom response_obj_count \
    response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set \
    cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses \
    incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large \
    store_no_memory auth_cmds auth_errors bytes_read bytes_written limit_maxbytes accepting_conns listen_disabled_num \
    time_in_listen_disabled_us threads conn_yields hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues \
    slab_reassign_chunk_rescues slab_reassign_evictions_nomem slab_reassign_inline_reclaim slab_reassign_busy_items \
    slab_reassign_busy_deletes slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts \
    lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent \
    log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items total_items slab_global_page_pool \
    expired_unfetched evicted_unfetched evicted_active evictions reclaimed crawler_reclaimed crawler_items_checked \
    lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

/// What is compared after each command. `cmd_meta` is not among them: memcached 1.6.18 counts `me` alone. Nor is what
/// tells who found an expired item: its threads may find it before a client does.
const COUNTERS: [&str; 22] = [
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "get_hits",
    "get_misses",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
    "total_items",
    "evictions",
    "bytes_read",
];

/// Commands, one after the other, on a store that is empty at first.
const COMMANDS: &[&str] = &[
    "get a",
    "set a 0 0 1\r\nx",
    "get a",
    "gets a b c",
    "add a 0 0 1\r\ny",
    "add b 0 0 1\r\ny",
    "replace q 0 0 1\r\nx",
    "replace a 0 0 1\r\n5",
    "append a 0 0 1\r\n1",
    "prepend a 0 0 1\r\n2",
    "append q 0 0 1\r\nx",
    "cas a 0 0 1 99999\r\nz",
    "cas nope 0 0 1 9\r\nz",
    "set n 0 0 1\r\n5",
    "incr n 1",
    "incr n 100",
    "incr zz 1",
    "decr n 1",
    "decr zz 1",
    "incr b 1",
    "decr b 1",
    "touch a 100",
    "touch zz 100",
    "gat 100 a b zz",
    "gats 100 a zz",
    "delete b",
    "delete b",
    "set bad 0 0 1\r\nxxx",
    "set bad 0 0 1 noreply\r\nxxx",
    "set bad 0 0",
    "mg a v",
    "mg zz v",
    "mg a",
    "mg zz q",
    "mg a T30",
    "mg zz T30",
    "mg viv N30 v",
    "mg viv v",
    "mg a u s",
    "ms a 1\r\nx",
    "ms a 1 ME\r\nx",
    "ms a 1 MR\r\nx",
    "ms qq 1 MR\r\nx",
    "ms a 1 MA\r\nx",
    "ms a 1 MP\r\nx",
    "ms qq 1 MA\r\nx",
    "ms a 1 C9999999\r\nx",
    "ms qq 1 C9999\r\nx",
    "ms a 1 C1 I\r\nx",
    "ms a 1\r\nxxx",
    "ms a 1 q\r\nxxx",
    "md a I",
    "md a C9999999",
    "md a",
    "md a",
    "ma n",
    "ma n MD",
    "ma zz",
    "ma zz MD",
    "ma zzz N30",
    "ma n C9999999",
    "ma n T50",
    "me n",
    "me zz",
    "set e 0 -1 1\r\nx",
    "get e",
    "set e 0 -1 1\r\nx",
    "touch e 5",
    "set e 0 -1 1\r\nx",
    "delete e",
    "set e 0 -1 1\r\nx",
    "add e 0 0 1\r\nx",
    "set e 0 -1 1\r\nx",
    "mg e v",
    "gat -1 n",
    "get n",
    "set big 0 0 2000000",
    "flush_all 1000",
    "flush_all",
    "flush_all noreply",
    "get zz",
    "verbosity 0",
    "version",
];

/// The figures of a group, in order.
fn figures(stream: &mut TcpStream, group: &str) -> Vec<(String, String)> {
    let ask = format!("stats {group}\r\n");
    stream.write_all(ask.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream).lines();
    let mut figures = Vec::new();
    loop {
        let line = lines.next().expect("it answers").expect("text");
        if line == "END" {
            return figures;
        }
        let mut words = line.splitn(3, ' ');
        assert_eq!(words.next(), Some("STAT"), "{line}");
        let [name, value] = [(); 2].map(|()| words.next().expect("a word").to_owned());
        figures.push((name, value));
    }
}

fn names(stream: &mut TcpStream, group: &str) -> Vec<String> {
    let figures = figures(stream, group);
    figures.into_iter().map(|(name, _)| name).collect()
}

fn value(stream: &mut TcpStream, group: &str, name: &str) -> String {
    let figures = figures(stream, group);
    let mut values = figures.into_iter().filter(|(other, _)| other == name);
    values.next().expect(name).1
}

/// Both, or ours alone where memcached is not installed.
fn servers() -> (Node, Option<Memcached>, Vec<SocketAddr>) {
    let node = Node::start(Config::default());
    let memcached = Memcached::start();
    let mut addresses = vec![node.address];
    addresses.extend(memcached.as_ref().map(|memcached| memcached.address));
    (node, memcached, addresses)
}

#[test]
fn the_general_names_are_memcached_s_in_its_order() {
    let (_node, _memcached, addresses) = servers();
    for address in addresses {
        let names = names(&mut connect(address), "");
        let expected: Vec<&str> = NAMES.split_whitespace().collect();
        assert_eq!(names, expected, "{address}");
    }
}

#[test]
fn the_names_of_the_groups_are_memcached_s() {
    let (_node, _memcached, addresses) = servers();
    let mut told = Vec::new();
    for address in addresses {
        let mut client = connect(address);
        exchange(&mut client, b"set abc 0 0 3\r\nxyz\r\n", "STORED\r\n");
        told.push(["settings", "items", "slabs"].map(|group| names(&mut client, group)));
    }
    for pair in told.windows(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

#[test]
fn every_counter_counts_what_memcached_s_counts() {
    let node = Node::start(Config::default());
    let Some(memcached) = Memcached::start() else {
        return;
    };
    let mut clients = [memcached.address, node.address].map(connect);
    let mut before = [counters(&mut clients[0]), counters(&mut clients[1])];
    for command in COMMANDS {
        let changes = [0, 1].map(|index| {
            let client = &mut clients[index];
            play(client, command);
            let after = counters(client);
            let counts = before[index].iter().zip(&after).zip(COUNTERS);
            let changed = counts.filter(|((before, after), _)| before != after);
            let changes: Vec<(&str, u64)> = changed
                .map(|((before, after), name)| (name, after - before))
                .collect();
            before[index] = after;
            changes
        });
        assert_eq!(changes[1], changes[0], "{command}: ours and memcached's");
    }
}

/// Plays a command; whatever it is answered, the answer ends with that of another.
fn play(client: &mut TcpStream, command: &str) {
    let mut bytes = command.as_bytes().to_vec();
    bytes.extend_from_slice(b"\r\n");
    if command.ends_with(" 2000000") {
        bytes.extend_from_slice(&vec![b'x'; 2_000_000]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"mn\r\n");
    client.write_all(&bytes).expect("it reads");
    let mut lines = BufReader::new(client).lines();
    while lines.next().expect("it answers").expect("text") != "MN" {}
}

fn counters(client: &mut TcpStream) -> Vec<u64> {
    let figures = figures(client, "");
    let value = |name: &&str| {
        let mut found = figures.iter().filter(|(other, _)| other == name);
        found.next().expect("a figure").1.parse().expect("a number")
    };
    COUNTERS.iter().map(value).collect()
}

#[test]
fn conns_tells_who_is_connected() {
    let (_node, _memcached, addresses) = servers();
    for address in addresses {
        let mut client = connect(address);
        let _other = connect(address);
        let own = format!("tcp:{}", client.local_addr().expect("bound"));
        let listener = format!("tcp:{address}");
        let figures = figures(&mut client, "conns");
        let of = |descriptor: &str, name: &str| {
            let name = format!("{descriptor}:{name}");
            let mut found = figures.iter().filter(|(other, _)| *other == name);
            found.next().map(|(_, value)| value.as_str())
        };
        let descriptor = |address: &str| {
            let mut found = figures
                .iter()
                .filter(|(name, value)| name.ends_with(":addr") && value == address);
            let (name, _) = found.next().expect("it is listed");
            name.split_once(':').expect("two parts").0
        };
        let (own, listening) = (descriptor(&own), descriptor(&listener));
        assert_eq!(of(own, "state"), Some("conn_parse_cmd"));
        assert_eq!(of(own, "listen_addr"), Some(listener.as_str()));
        assert_eq!(of(own, "secs_since_last_cmd"), Some("0"));
        assert_eq!(of(listening, "state"), Some("conn_listening"));
        assert_eq!(of(listening, "listen_addr"), None);
    }
}

#[test]
fn what_operators_change_is_told_again() {
    let (_node, _memcached, addresses) = servers();
    for address in addresses {
        let mut client = connect(address);
        for (command, name, told) in [
            ("cache_memlimit 100", "maxbytes", "104857600"),
            ("verbosity 1", "verbosity", "1"),
            ("verbosity 7", "verbosity", "2"),
            ("verbosity 0", "verbosity", "0"),
            ("lru mode flat", "lru_segmented", "no"),
            ("lru temp_ttl 90", "temporary_ttl", "90"),
            ("lru temp_ttl -1", "temp_lru", "no"),
            ("lru tune 10 30 0.5 1.5", "hot_lru_pct", "10"),
            ("lru tune 10 30 0.5 1.5", "warm_max_factor", "1.50"),
            ("lru_crawler sleep 7", "lru_crawler_sleep", "7"),
            ("lru_crawler tocrawl 9", "lru_crawler_tocrawl", "9"),
            ("lru_crawler disable", "lru_crawler", "no"),
            ("slabs automove 2", "slab_automove", "2"),
            ("slabs automove ratio 0.25", "slab_automove_ratio", "0.25"),
            ("stats detail on", "detail_enabled", "yes"),
        ] {
            exchange(&mut client, format!("{command}\r\n").as_bytes(), "OK\r\n");
            // memcached's crawler says so itself, when its thread has come to its end.
            until(command, || {
                (value(&mut client, "settings", name) == told).then_some(())
            });
        }
        assert_eq!(value(&mut client, "", "limit_maxbytes"), "104857600");
    }
}

#[test]
fn an_expired_item_that_is_asked_for_counts_as_expired_and_as_missed() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    let request = b"set a 0 -1 1\r\nx\r\nget a\r\n";
    exchange(&mut client, request, "STORED\r\nEND\r\n");
    for name in ["get_expired", "get_misses", "expired_unfetched"] {
        assert_eq!(value(&mut client, "", name), "1", "{name}");
    }
}

#[test]
fn a_lower_memory_limit_makes_items_go() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    let value_ = "v".repeat(10_000);
    for number in 0..3000 {
        let set = format!("set {number} 0 0 10000 noreply\r\n{value_}\r\n");
        client.write_all(set.as_bytes()).expect("it reads");
    }
    assert_eq!(value(&mut client, "", "evictions"), "0");
    exchange(&mut client, b"cache_memlimit 16\r\n", "OK\r\n");
    until("the items fit", || {
        let bytes: u64 = value(&mut client, "", "bytes").parse().expect("a number");
        // What is too much goes at stores, too.
        exchange(&mut client, b"set another 0 0 1\r\nx\r\n", "STORED\r\n");
        (bytes <= 16 << 20).then_some(())
    });
    assert_ne!(value(&mut client, "", "evictions"), "0");
}

#[test]
fn a_group_of_its_own_tells_what_memcached_does_not_know() {
    let node = Node::start(Config::default());
    let mut client = connect(node.address);
    exchange(
        &mut client,
        b"set a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\nadd a 0 0 1\r\ny\r\n",
        "STORED\r\nNOT_STORED\r\nNOT_STORED\r\n",
    );
    assert_eq!(value(&mut client, "sessiond", "refused_adds"), "2");
    let segments: u64 = value(&mut client, "sessiond", "segments")
        .parse()
        .expect("a number");
    assert!(segments > 0);
}

#[test]
fn a_client_stops_the_node_where_that_is_allowed() {
    let node = Node::start(Config {
        enable_shutdown: true,
        ..Config::default()
    });
    let mut client = connect(node.address);
    client.write_all(b"shutdown\r\n").expect("it reads");
    let mut line = String::new();
    let read = BufReader::new(&mut client).read_line(&mut line);
    assert_eq!(read.unwrap_or(0), 0, "{line}");
    until("nobody listens", || {
        TcpStream::connect(node.address).is_err().then_some(())
    });
    node.stop().expect("a good end");
}
