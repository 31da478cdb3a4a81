//! The hosts provider against machines that exist already.
