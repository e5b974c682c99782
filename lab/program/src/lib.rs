//! What the four programs do alike, so that whoever knows one knows all:
//!
//! ```text
//!   defaults  <  TOML file  <  LNMT_* environment  <  --flags        settings.rs
//!        \___________ one table, each value with its origin ________/
//!   "3s" "500ms" "1m" "64MiB"   nginx's sizes and durations          units.rs
//!   LNMT_LOG, text or JSON, NO_COLOR                                 logging.rs
//!   SIGTERM SIGINT SIGQUIT SIGHUP                                    signals.rs
//!   bind with an error that says which setting to change,
//!   open-file limit raised to what is allowed                        sockets.rs
//!   `<program> healthcheck` for images without a shell               healthcheck.rs
//!   0 fine, 1 failed, 2 usage, 3 environment                         exit.rs
//! ```
//!
//! It lives in `lab/` because the lab is what ties the programs together; it knows nothing of proxying, sessions or
//! stores, and `proxy`, `appserver` and `sessiond` know nothing of one another.

pub mod exit;
pub mod healthcheck;
pub mod logging;
pub mod settings;
pub mod signals;
pub mod sockets;
pub mod units;

pub use exit::Failure;
pub use settings::{Kind, Origin, Program, Setting, Settings};
pub use units::{Duration, Size};
