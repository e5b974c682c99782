//! Group communication as Tomcat's "Tribes" does it, on its wire: who is a member, and messages between members.
//!
//! ```text
//!   whoever replicates ──► channel.rs ◄── settings.rs                      sockets: channel/
//!                             │
//!     member.rs  a member and its package of bytes (the heartbeat)         pure
//!     options.rs what a sender waits for: Tomcat's numbers                 pure
//!     frame.rs   the TCP frame, its answers, the search for the next one   pure
//!     membership.rs  who is a member: heard, silent, probed, gone          pure, `now` is a parameter
//!     encrypt.rs the shared key of Tomcat's EncryptInterceptor             pure, randomness is a parameter
//! ```
//!
//! Nothing here knows what a session is, and nothing in the pure files knows a socket or a clock.

pub mod channel;
pub mod encrypt;
pub mod frame;
pub mod member;
pub mod membership;
pub mod options;
pub mod settings;
