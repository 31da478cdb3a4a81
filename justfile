# What CI runs, on a Debian machine with Rust, Go, Python and Node (root for the lab).
ci:
    .ci/run

# What a change must pass before it is sent; a few minutes, no root, nothing to install.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace
