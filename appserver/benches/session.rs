//! What one request costs inside the process, without sockets: `cargo bench -p appserver`.

use appserver::manager::RequestLine;
use appserver::session::cookie::CookieConfig;
use appserver::session::{AskedId, Key, SessionId, Suffix, Timestamp};
use appserver::{Manager, StandardConfig, StandardManager};
use divan::Bencher;

fn main() {
    divan::main();
}

const REQUEST: RequestLine<'_> = RequestLine {
    method: "GET",
    path: "/jsp/",
    query: None,
    context: "/jsp",
};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// Sessions in the table while one is looked up.
const SESSIONS: usize = 100_000;

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("sessions in memory never wait"),
    }
}

#[divan::bench]
fn new_key() -> Key {
    Key::random()
}

#[divan::bench]
fn set_cookie(bencher: Bencher<'_, '_>) {
    let cookie = CookieConfig::default()
        .cookie("/jsp")
        .expect("the defaults");
    let suffix = Suffix::new(None, Some("WEB1")).expect("a route");
    let id = SessionId {
        key: Key::random(),
        suffix,
    };
    bencher.bench(|| cookie.set(&id, false));
}

#[divan::bench]
fn read_cookie(bencher: Bencher<'_, '_>) {
    let cookie = CookieConfig::default()
        .cookie("/jsp")
        .expect("the defaults");
    let field = format!("a=b; JSESSIONID={}.WEB1; c=d", Key::random());
    bencher.bench(|| {
        let mut asked = false;
        let fields = [divan::black_box(field.as_bytes())];
        cookie
            .ids(fields.into_iter(), &mut asked)
            .next()
            .map(|id| id.key)
    });
}

#[divan::bench]
fn create_and_remove(bencher: Bencher<'_, '_>) {
    let manager = StandardManager::new(StandardConfig::default());
    bencher.bench(|| {
        let session = now(manager.create(NOW)).expect("room");
        now(manager.remove(&session))
    });
}

#[divan::bench]
fn find_set_commit(bencher: Bencher<'_, '_>) {
    let manager = StandardManager::new(StandardConfig::default());
    let make = || now(manager.create(NOW)).expect("room").id();
    let ids: Vec<SessionId> = (0..SESSIONS).map(|_| make()).collect();
    let mut next = ids.iter().cycle();
    bencher
        .with_inputs(|| next.next().expect("a cycle").key)
        .bench_local_values(|key| {
            let asked = AskedId {
                key,
                node: None,
                route: None,
            };
            let found = now(manager.find(&asked, &REQUEST, NOW)).expect("it can");
            let session = found.expect("it is there").session;
            session.set_str("Blog", "MeXP").expect("it fits");
            now(manager.commit(&session, &REQUEST, NOW))
        });
}
