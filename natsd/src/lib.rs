//! natsd
