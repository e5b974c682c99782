//! Placeholder picture, replaced with the first room.

pub mod cli;
