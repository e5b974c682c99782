//! Tengine's `check_status`: the peers and what the active checks say, as HTML, CSV, JSON or for Prometheus.

use std::fmt::Write;

use serde_json::json;

use super::{PeerStatus, Status};
use crate::upstream::Check;

/// How the page is written (`?format=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A table.
    #[default]
    Html,
    /// One line per peer, no heading.
    Csv,
    /// One object.
    Json,
    /// Text for Prometheus.
    Prometheus,
}

/// Which peers are on the page (`?status=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those that are up.
    Up,
    /// Those that are down.
    Down,
}

/// One line of the page.
struct Row<'a> {
    index: usize,
    upstream: &'a str,
    peer: &'a PeerStatus,
}

impl Format {
    /// The page that a query (`format=csv&status=down`) asks for; what is unknown in it is passed over.
    pub fn of_query(query: &str) -> (Self, Filter) {
        let mut asked = (Self::default(), Filter::default());
        for pair in query.split('&') {
            match pair {
                "format=html" => asked.0 = Self::Html,
                "format=csv" => asked.0 = Self::Csv,
                "format=json" => asked.0 = Self::Json,
                "format=prometheus" => asked.0 = Self::Prometheus,
                "status=up" => asked.1 = Filter::Up,
                "status=down" => asked.1 = Filter::Down,
                _ => {}
            }
        }
        asked
    }

    /// `Content-Type` of the page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Csv | Self::Prometheus => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    /// The page.
    pub fn page(self, status: &Status, filter: Filter) -> String {
        let all = status.upstreams.iter().flat_map(|upstream| {
            let peers = upstream.peers.iter();
            peers.map(|peer| (upstream.name.as_str(), peer))
        });
        let rows: Vec<Row<'_>> = all
            .enumerate()
            .map(|(index, (upstream, peer))| Row {
                index,
                upstream,
                peer,
            })
            .filter(|row| match filter {
                Filter::All => true,
                Filter::Up => row.is_up(),
                Filter::Down => !row.is_up(),
            })
            .collect();
        let generation = status.process.generation;
        match self {
            Self::Html => html(&rows, generation),
            Self::Csv => rows.iter().map(Row::csv).collect(),
            Self::Json => json(&rows, generation),
            Self::Prometheus => prometheus(&rows, generation),
        }
    }
}

impl Row<'_> {
    fn is_up(&self) -> bool {
        self.peer.check != Check::Down
    }

    fn word(&self) -> &'static str {
        if self.is_up() { "up" } else { "down" }
    }

    fn csv(&self) -> String {
        let (index, upstream, peer) = (self.index, self.upstream, self.peer);
        format!(
            "{index},{upstream},{},{},{},{},{},{}\n",
            peer.name,
            self.word(),
            peer.rise,
            peer.fall,
            peer.check_type,
            peer.check_port
        )
    }

    fn labels(&self) -> String {
        let (index, upstream, peer) = (self.index, self.upstream, self.peer);
        format!(
            "index=\"{index}\",upstream=\"{upstream}\",name=\"{}\",status=\"{}\",type=\"{}\",port=\"{}\"",
            peer.name,
            self.word(),
            peer.check_type,
            peer.check_port
        )
    }
}

fn counts(rows: &[Row<'_>]) -> (usize, usize, usize) {
    let up = rows.iter().filter(|row| row.is_up()).count();
    (rows.len(), up, rows.len() - up)
}

fn html(rows: &[Row<'_>], generation: u64) -> String {
    const TITLE: &str = "Nginx http upstream check status";
    let mut page = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>{TITLE}</title>\n</head>\n<body>\n<h1>{TITLE}</h1>\n<h2>Check upstream server number: {}, generation: {generation}</h2>\n<table border=\"1\">\n<tr><th>Index</th><th>Upstream</th><th>Name</th><th>Status</th><th>Rise counts</th><th>Fall counts</th><th>Check type</th><th>Check port</th></tr>\n",
        rows.len()
    );
    for row in rows {
        let colour = if row.is_up() {
            ""
        } else {
            " bgcolor=\"#FF0000\""
        };
        let cells: String = row
            .csv()
            .trim_end()
            .split(',')
            .map(|cell| format!("<td>{cell}</td>"))
            .collect();
        page += &format!("<tr{colour}>{cells}</tr>\n");
    }
    page + "</table>\n</body>\n</html>\n"
}

fn json(rows: &[Row<'_>], generation: u64) -> String {
    let (total, up, down) = counts(rows);
    let server: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "index": row.index,
                "upstream": row.upstream,
                "name": row.peer.name,
                "status": row.word(),
                "rise": row.peer.rise,
                "fall": row.peer.fall,
                "type": row.peer.check_type,
                "port": row.peer.check_port,
            })
        })
        .collect();
    json!({"servers": {
        "total": total,
        "up": up,
        "down": down,
        "generation": generation,
        "server": server,
    }})
    .to_string()
}

fn prometheus(rows: &[Row<'_>], generation: u64) -> String {
    let (total, up, down) = counts(rows);
    let mut page = String::new();
    for (name, value) in [
        ("nginx_upstream_count_total", total as u64),
        ("nginx_upstream_count_up", up as u64),
        ("nginx_upstream_count_down", down as u64),
        ("nginx_upstream_count_generation", generation),
    ] {
        page += &format!("# TYPE {name} gauge\n{name} {value}\n");
    }
    type Value = fn(&Row<'_>) -> u32;
    let series: [(&str, &str, Value); 3] = [
        ("nginx_upstream_server_rise", "counter", |row| row.peer.rise),
        ("nginx_upstream_server_fall", "counter", |row| row.peer.fall),
        ("nginx_upstream_server_active", "gauge", |row| {
            u32::from(row.is_up())
        }),
    ];
    for (name, kind, value) in series {
        page += &format!("# TYPE {name} {kind}\n");
        for row in rows {
            // Writing into memory does not fail.
            let _infallible = writeln!(page, "{name}{{{}}} {}", row.labels(), value(row));
        }
    }
    page
}
