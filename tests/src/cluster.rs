//! Several servers as one cluster, of any mix of binaries, started in any order.
