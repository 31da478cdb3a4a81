//! Harness.

pub mod ctl;
