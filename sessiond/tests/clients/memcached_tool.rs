//! `memcached-tool`, the operator's script that comes with memcached: every mode of it that only looks.

use std::io::Write;
use std::path::PathBuf;

use super::program::{Said, run};
use super::server::Server;
use super::support::{connect, exchange, skipped};

against_both! {
    tool: super::play, open;
}

/// Where Debian's memcached puts it.
const TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";

fn play(server: &Server) {
    let tool = PathBuf::from(TOOL);
    if !tool.is_file() {
        skipped(&format!("no {TOOL} here (apt-get install memcached)"));
        return;
    }
    let ask = |mode: &[&str]| -> Said {
        let place = server.place();
        run(&tool, &[&[place.as_str()], mode].concat())
    };
    let mut client = connect(server.address());
    for number in 0..200 {
        let set = format!("set session-{number} 5 3600 4 noreply\r\nv{number:03}\r\n");
        client.write_all(set.as_bytes()).expect("it reads");
    }
    exchange(
        &mut client,
        b"get session-199\r\n",
        "VALUE session-199 5 4\r\nv199\r\nEND\r\n",
    );

    let stats = ask(&["stats"]).good();
    for (name, value) in [("curr_items", "200"), ("cmd_set", "200"), ("get_hits", "1")] {
        assert_eq!(figure(&stats, name), value, "{stats}");
    }
    let settings = ask(&["settings"]).good();
    assert_eq!(figure(&settings, "item_size_max"), "1048576", "{settings}");
    assert_eq!(figure(&settings, "maxbytes"), "67108864", "{settings}");

    // A line for each class: number, size of an item, age, pages, items, ...
    let display = ask(&["display"]).good();
    let items = display.lines().skip(1).map(|line| {
        let items = line.split_whitespace().nth(4).map(str::parse::<u64>);
        items.expect("a column").expect("a number")
    });
    assert_eq!(items.sum::<u64>(), 200, "{display}");

    let dump = ask(&["dump"]).good();
    let mut dumped: Vec<&str> = dump
        .lines()
        .filter(|line| line.starts_with("add "))
        .collect();
    dumped.sort_unstable();
    assert_eq!(dumped.len(), 200, "{dump}");
    let words: Vec<&str> = dumped[0].split(' ').collect();
    assert!(
        matches!(words[..], ["add", "session-0", "5", _, "4"]),
        "{dumped:?}"
    );
    assert!(
        dump.contains("\r\nv199\r\n") || dump.contains("\nv199\r\n"),
        "{dump}"
    );

    let keys = ask(&["keys"]).good();
    assert_eq!(keys.matches("session-").count(), 200, "{keys}");
    // Only counted where `-o track_sizes` asks for it, which both say.
    let sizes = ask(&["sizes"]);
    assert!(sizes.well, "{sizes:?}");
}

/// The figure of this name in two columns.
fn figure<'a>(table: &'a str, name: &str) -> &'a str {
    let mut rows = table.lines().map(|line| line.split_whitespace());
    let row = rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.next()));
    row.flatten()
        .unwrap_or_else(|| panic!("no {name} in\n{table}"))
}
