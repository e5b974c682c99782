//! What an operator sees: JSON, nginx's `stub_status`, Tengine's `check_status`, metrics.

mod support;

use std::time::Instant;

use proxy::site::Site;
use proxy::status::checks::{Filter, Format};
use proxy::status::{ClientTotals, Process, Status, metrics};
use proxy::upstream::RunState;
use support::site;

const TEXT: &str = "upstream = [\"127.0.0.1:8081 id=TomcatA\", \"127.0.0.1:8082 id=TomcatB weight=2 backup\"]\n[check]\ntype = \"http\"\nport = 9000";

/// The second peer is down by its checks and has served a little.
fn seen(site: &Site) -> Status {
    let peers = &site.upstreams[0].peers;
    let now = Instant::now();
    for _ in 0..58 {
        peers[0].health.check_passed(2, now);
    }
    for _ in 0..7 {
        peers[1].health.check_failed(5);
    }
    peers[1].health.set_run_state(RunState::Draining, now);
    peers[1].counters.begin(0);
    peers[1].counters.status(0, 503);
    peers[1].counters.bytes(0, 10, 20);
    let process = Process {
        uptime_seconds: 5,
        workers: 1,
        generation: 3,
        refused_reloads: 0,
    };
    let client = ClientTotals {
        accepts: 3,
        handled: 3,
        active: 1,
        reading: 0,
        writing: 1,
        waiting: 0,
        requests: 3,
        request_millis: 11,
        sent: 1234,
        statuses: [0, 2, 0, 0, 1],
    };
    Status::new(site, process, client, now)
}

#[test]
fn json_tells_everything_about_peers() {
    let site = site(TEXT);
    let json = serde_json::to_value(seen(&site)).expect("JSON");
    assert_eq!(json["generation"], 3);
    assert_eq!(json["client"]["requests"], 3);
    assert_eq!(json["upstreams"][0]["name"], "dynamic");
    assert_eq!(json["upstreams"][0]["balance"], "round_robin");
    let peers = &json["upstreams"][0]["peers"];
    for (place, key, value) in [
        (0, "node", "TomcatA"),
        (0, "address", "127.0.0.1:8081"),
        (0, "state", "up"),
        (0, "check", "up"),
        (1, "state", "draining"),
        (1, "check", "down"),
    ] {
        assert_eq!(peers[place][key], value, "{peers}");
    }
    for (place, key, value) in [
        (0, "rise", 58),
        (1, "fall", 7),
        (1, "weight", 2),
        (1, "active", 1),
        (1, "requests", 1),
        (1, "sent", 10),
        (1, "received", 20),
    ] {
        assert_eq!(peers[place][key], value, "{key}: {peers}");
    }
    assert_eq!(
        (&peers[0]["usable"], &peers[1]["usable"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn ready_as_long_as_every_upstream_has_a_usable_peer() {
    let site = site(TEXT);
    assert!(seen(&site).is_ready());
    let now = Instant::now();
    site.upstreams[0].peers[0]
        .health
        .set_run_state(RunState::Down, now);
    assert!(!Status::new(&site, Process::default(), ClientTotals::default(), now).is_ready());
}

#[test]
fn stub_status_of_nginx() {
    let status = seen(&site(TEXT));
    assert_eq!(
        status.client.stub_status(),
        "Active connections: 1 \nserver accepts handled requests\n 3 3 3 \nReading: 0 Writing: 1 Waiting: 0 \n"
    );
}

#[test]
fn check_status_of_tengine() {
    let status = seen(&site(TEXT));
    let page = |query: &str| {
        let (format, filter) = Format::of_query(query);
        format.page(&status, filter)
    };
    assert_eq!(
        page("format=csv"),
        "0,dynamic,127.0.0.1:8081,up,58,0,http,9000\n1,dynamic,127.0.0.1:8082,down,0,7,http,9000\n"
    );
    assert_eq!(
        page("status=down&format=csv"),
        "1,dynamic,127.0.0.1:8082,down,0,7,http,9000\n"
    );
    let json: serde_json::Value = serde_json::from_str(&page("format=json")).expect("JSON");
    let expected = serde_json::json!({"servers": {"total": 2, "up": 1, "down": 1, "generation": 3, "server": [
        {"index": 0, "upstream": "dynamic", "name": "127.0.0.1:8081", "status": "up", "rise": 58, "fall": 0, "type": "http", "port": 9000},
        {"index": 1, "upstream": "dynamic", "name": "127.0.0.1:8082", "status": "down", "rise": 0, "fall": 7, "type": "http", "port": 9000},
    ]}});
    assert_eq!(json, expected);
    let up: serde_json::Value = serde_json::from_str(&page("format=json&status=up")).expect("JSON");
    assert_eq!(
        (&up["servers"]["total"], &up["servers"]["down"]),
        (&1.into(), &0.into())
    );
    let html = page("");
    for part in [
        "<h1>Nginx http upstream check status</h1>",
        "<h2>Check upstream server number: 2, generation: 3</h2>",
        "<tr bgcolor=\"#FF0000\"><td>1</td><td>dynamic</td><td>127.0.0.1:8082</td><td>down</td>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    let prometheus = page("format=prometheus&status=down");
    for line in [
        "nginx_upstream_count_total 1",
        "nginx_upstream_count_generation 3",
        "nginx_upstream_server_fall{index=\"1\",upstream=\"dynamic\",name=\"127.0.0.1:8082\",status=\"down\",type=\"http\",port=\"9000\"} 7",
    ] {
        assert!(
            prometheus.lines().any(|l| l == line),
            "{line}\n{prometheus}"
        );
    }
    assert_eq!(
        Format::of_query("format=xml&status=x"),
        (Format::Html, Filter::All)
    );
}

#[test]
fn metrics_are_openmetrics() {
    let text = metrics::text(&seen(&site(TEXT)));
    for line in [
        "# TYPE lnmt_proxy_requests counter",
        "lnmt_proxy_requests_total 3",
        "lnmt_proxy_request_duration_seconds_sum 0.011",
        "lnmt_proxy_responses_total{class=\"5xx\"} 1",
        "lnmt_proxy_connections{state=\"writing\"} 1",
        "lnmt_proxy_peer_usable{upstream=\"dynamic\",peer=\"127.0.0.1:8081\",node=\"TomcatA\"} 1",
        "lnmt_proxy_peer_responses_total{upstream=\"dynamic\",peer=\"127.0.0.1:8082\",node=\"TomcatB\",class=\"5xx\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Every sample belongs to the family announced last, and no family is announced twice.
    let mut family = "";
    let mut families = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(announced) = line.strip_prefix("# TYPE ") {
            family = announced.split(' ').next().expect("a name");
            assert!(!families.contains(&family), "{family}");
            families.push(family);
        } else if !line.starts_with("# HELP ") {
            assert!(line.starts_with(family), "{line} below {family}");
        }
    }
}
