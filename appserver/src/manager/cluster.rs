//! Sessions in a cluster of application servers.
//!
//! ```text
//!   sessions.rs, sessions/   the Manager: requests ──► core ──► group          hub.rs  messages of all contexts ──► managers
//!     core.rs, core/   what goes to whom and when                            pure
//!       store.rs, store/   the copies, and marks of those that are gone     pure
//!         replica.rs   one copy, which merges with every other              pure
//!         stamp.rs     the logical clock                                    pure
//!       peers.rs   members that may have missed something                   pure
//!     native.rs, native/   what our own members say to each other           pure
//!     message.rs, message/   what Tomcats say, byte for byte                pure
//!   group.rs      the channel, as the managers see it
//! ```

pub mod core;
pub mod group;
pub mod hub;
pub mod message;
pub mod native;
pub mod peers;
pub mod replica;
pub mod sessions;
pub mod stamp;
pub mod store;
