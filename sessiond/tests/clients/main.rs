//! Real clients, each playing one suite against sessiond and the same suite against the real memcached, so that the
//! suites cannot drift from what is true.
//!
//! ```text
//!   memcache_crate.rs   the crate, blocking (text, binary) and async (meta)         in this process
//!   libmemcached.rs     memccapable; memccp, memccat, memcstat and the others       Debian: libmemcached-tools
//!   memcached_tool.rs   memcached-tool                                              Debian: memcached
//!   python.rs           pymemcache (text), python-binary-memcached (binary)         PyPI; suites in *.py
//!   java.rs             spymemcached, text and binary                               Debian; suite in Spymemcached.java
//!   transports.rs       some of these over a Unix socket, TLS and UDP
//!      │
//!      ▼
//!   server.rs           who is asked: sessiond or memcached, open or with SASL
//!   program.rs          a client that is a program: is it here, how is it run, what did it say
//! ```
//!
//! A client that is not installed is skipped, which is said; `.ci/run clients` installs them.

#[path = "../support/mod.rs"]
mod support;

/// Two tests of one suite: against ours and against the real one.
macro_rules! against_both {
    ($($name:ident: $suite:path, $start:ident;)+) => {$(
        mod $name {
            #[test]
            fn sessiond() {
                if let Some(server) = crate::server::Server::$start(crate::server::Which::Sessiond) {
                    $suite(&server);
                }
            }

            #[test]
            fn memcached() {
                if let Some(server) = crate::server::Server::$start(crate::server::Which::Memcached) {
                    $suite(&server);
                }
            }
        }
    )+};
}

mod java;
mod libmemcached;
mod memcache_crate;
mod memcached_tool;
mod program;
mod python;
mod server;
mod transports;
