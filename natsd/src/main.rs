//! natsd
fn main() {}
