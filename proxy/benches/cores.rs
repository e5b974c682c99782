//! What the proxy does for every request besides moving bytes: checking the head, choosing the peer, making fields ready,
//! writing the log line. `cargo bench -p proxy --bench cores`.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use http::{HeaderMap, HeaderName, HeaderValue};
use proxy::access_log::{Entry, Format};
use proxy::balance::{Attempt, Balancer, Facts, Reason};
use proxy::chunked::Scanner;
use proxy::config::Config;
use proxy::head::{Checked, Limits, check};
use proxy::headers::{ConnectionFields, mark, request, response};
use proxy::site::{Site, Surroundings};

// A choice, a check of a head and a log line must show no allocation.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const LIMITS: Limits = Limits {
    line: 8192,
    head: 32768,
    fields: 100,
};

const SMALL: &str = "GET /jsp/ HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const BROWSER: &str = "GET /jsp/index.jsp?item=42 HTTP/1.1\r\n\
Host: www.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Connection: keep-alive\r\n\
Cookie: theme=dark; JSESSIONID=0123456789ABCDEF0123456789ABCDEF.WEB1; route=TomcatA.aaaaaaaaaaaaaaaaaaaaaa\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Cache-Control: max-age=0\r\n\r\n";

fn sample(which: &str) -> &'static str {
    if which == "small" { SMALL } else { BROWSER }
}

fn site(balance: &str, sticky: &str) -> Site {
    let text = format!(
        "upstream = [\"127.0.0.1:8081 id=TomcatA route=WEB1\", \"127.0.0.1:8082 id=TomcatB route=WEB2\"]\nbalance = \"{balance}\"\n[sticky]\n{sticky}"
    );
    let config: Config = toml::from_str(&text).expect("good settings");
    let surroundings = Surroundings {
        addresses: &HashMap::new(),
        sticky_key: b"0123456789abcdef",
        workers: 1,
        now: Instant::now(),
        previous: None,
    };
    Site::build(&config, &surroundings).expect("a site")
}

/// The fields of a head.
fn fields(head: &str) -> HeaderMap {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        })
        .collect()
}

#[divan::bench(args = ["small", "browser"])]
fn head(bencher: Bencher<'_, '_>, which: &str) {
    let text = sample(which);
    bencher.counter(BytesCount::of_str(text)).bench(|| {
        matches!(
            check(black_box(text.as_bytes()), &LIMITS),
            Checked::Complete(_)
        )
    });
}

#[divan::bench]
fn chunked_16k(bencher: Bencher<'_, '_>) {
    let body = format!("4000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x4000));
    bencher
        .counter(BytesCount::of_str(&body))
        .bench(|| Scanner::default().scan(black_box(body.as_bytes())));
}

#[divan::bench(args = ["round_robin", "ip_hash", "source", "least_conn", "hash", "consistent_hash", "route"])]
fn choose(bencher: Bencher<'_, '_>, balance: &str) {
    let site = site(balance, "");
    choose_from(bencher, &site, &fields(BROWSER));
}

#[divan::bench(args = ["", "hash = \"md5\"", "maxidle = \"1h\""])]
fn choose_sticky(bencher: Bencher<'_, '_>, sticky: &str) {
    let site = site("session_sticky", sticky);
    let mut headers = fields(BROWSER);
    let cookie = first_cookie(&site);
    headers.insert("cookie", HeaderValue::from_str(&cookie).expect("a value"));
    choose_from(bencher, &site, &headers);
}

fn choose_from(bencher: Bencher<'_, '_>, site: &Site, headers: &HeaderMap) {
    let mut balancer = Balancer::new(site.upstreams[0].clone(), 0, None);
    let now = Instant::now();
    bencher.bench_local(move || {
        let facts = Facts {
            client: [192, 168, 23, 1].into(),
            target: "/jsp/index.jsp?item=42",
            host: "www.example.org",
            headers: black_box(headers),
            unix: 1_795_387_751,
        };
        let choice = balancer.choose(&facts, &mut Attempt::default(), now);
        let peer = choice.expect("a peer").peer;
        balancer.succeeded(peer, now);
        peer
    });
}

/// What a first visit sets, among other cookies.
fn first_cookie(site: &Site) -> String {
    use proxy::balance::Method;
    use proxy::binding::Reply;
    let now = Instant::now();
    let none = HeaderMap::new();
    let facts = Facts {
        client: [192, 168, 23, 1].into(),
        target: "/",
        host: "",
        headers: &none,
        unix: 1_795_387_751,
    };
    let mut attempt = Attempt::default();
    Balancer::new(site.upstreams[0].clone(), 0, None)
        .choose(&facts, &mut attempt, now)
        .expect("a peer");
    let Method::Bound(binding) = &site.upstreams[0].method else {
        return String::new();
    };
    let mut headers = HeaderMap::new();
    let reply = Reply {
        secure: false,
        unix: facts.unix,
        now,
    };
    binding.edit_response(&attempt, reply, &mut headers);
    let set = headers["set-cookie"].to_str().expect("text");
    let pair = set.split(';').next().expect("a pair");
    format!("theme=dark; JSESSIONID=0123456789ABCDEF0123456789ABCDEF.WEB1; {pair}")
}

#[divan::bench(args = ["small", "browser"])]
fn request_fields(bencher: Bencher<'_, '_>, which: &str) {
    let text = sample(which);
    let site = site("round_robin", "");
    let connection = connection();
    let host = HeaderValue::from_static("www.example.org");
    bencher
        .with_inputs(|| fields(text))
        .bench_local_refs(|headers| {
            request(
                headers,
                &site.policy,
                &connection,
                Some(&host),
                Some(host.clone()),
            )
        });
}

#[divan::bench]
fn response_fields(bencher: Bencher<'_, '_>) {
    let site = site("round_robin", "");
    let connection = connection();
    let received = fields(
        "\r\nContent-Type: text/html\r\nContent-Length: 120\r\nDate: Sun, 22 Nov 2026 22:49:11 GMT\r\nSet-Cookie: a=b",
    );
    let upstream = &site.upstreams[0].peers[0].x_upstream;
    bencher
        .with_inputs(|| received.clone())
        .bench_local_refs(|headers| {
            response(headers, &site.policy);
            mark(
                headers,
                &site.policy,
                &connection,
                Some((upstream, Reason::Cookie)),
            );
        });
}

fn connection() -> ConnectionFields {
    let peer = "192.168.23.1:40000".parse().expect("an address");
    let local = "127.0.0.1:8080".parse().expect("an address");
    ConnectionFields::new(peer, local, false, false)
}

#[divan::bench(args = [Format::Main, Format::Json])]
fn log_line(bencher: Bencher<'_, '_>, format: Format) {
    let entry = Entry {
        client: Some([192, 168, 23, 1].into()),
        unix_millis: 1_795_387_751_120,
        request: b"GET /jsp/index.jsp?item=42 HTTP/1.1",
        method: b"GET",
        path: b"/jsp/index.jsp",
        status: 200,
        body_bytes: 612,
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        upstream: "TomcatA",
        attempts: 1,
        route: "cookie",
        session_id: b"0123456789ABCDEF0123456789ABCDEF.WEB1",
        ..Entry::default()
    };
    let mut out = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        out.clear();
        format.write(black_box(&entry), &mut out);
        out.len()
    });
}
