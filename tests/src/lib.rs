//! Harness.

pub mod lab;
