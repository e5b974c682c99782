//! The lab: sets the stage, plays the browsers, breaks the nodes, judges what was seen.
//!
//! ```text
//!              topology.rs  which nodes, where, with which settings file (store.rs, app.rs: which of them are the real ones)
//!                  │
//!   browsers       ▼
//!  client.rs ──► stage.rs ── process.rs ── leash ─► proxy, TomcatA, TomcatB, n1, n2
//!      │           │ kill, restart, add             (real processes; none outlives the lab)
//!      │           ├─ tap.rs   between servers and store nodes: heard, cut, healed
//!      ▼           ▼
//!   history.rs   what was asked, who answered, what came back, what happened to the nodes
//!      │
//!      ▼
//!   check.rs     questions to a history: alternated? lost? stale?     (pure: no sockets, no clock)
//!      │
//!      ▼
//!   scenario.rs  one file per experiment: play, then judge ──► report.rs: table, JSON, Markdown
//! ```
//!
//! Commands: [`up`] keeps a stage for people; [`run`] plays scenarios; [`trace`] shows what reaches the store nodes; [`load`] is many users at once; [`doctor`] looks whether this machine is fit for it.

pub mod cli;
pub mod doctor;
pub mod load;
pub mod run;
pub mod trace;
pub mod up;

pub mod app;
pub mod arguments;
pub mod check;
pub mod client;
pub mod heartbeat;
pub mod history;
pub mod mode;
pub mod process;
pub mod report;
pub mod scenario;
pub mod stage;
pub mod store;
pub mod tap;
pub mod tomcat;
pub mod topology;
pub mod wait;
