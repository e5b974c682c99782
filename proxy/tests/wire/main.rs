//! The proxy from outside: real sockets, bytes in and bytes out, against peers that do what a script says.

mod bodies;
mod files;
mod framing;
mod lifecycle;
mod limits;
mod log;
mod peers;
mod requests;
mod stage;
mod tls;
mod upgrade;
