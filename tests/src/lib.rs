//! Harness.

pub mod ctl;
pub mod lab;
