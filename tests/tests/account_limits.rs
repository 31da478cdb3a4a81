//! How many clients an account may have, in all of a cluster.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use blackbox::cluster::{Cluster, Routes};
use blackbox::eventually;
use blackbox::server::Binary;

const TWO_CLIENTS: &str = "accounts {
    A { users: [ { user: a, password: p } ], limits { max_connections: 2 } }
    SYS { users: [ { user: sys, password: p } ] }
}
system_account: SYS
";

/// Connects as a user of the account; `None` when it may have no more clients.
async fn connect(cluster: &Cluster, node: usize) -> Option<Client> {
    let options = ConnectOptions::with_user_and_password("a".into(), "p".into())
        .reconnect_delay_callback(|_| Duration::from_millis(20));
    let client = options.connect(cluster.url(node)).await.ok()?;
    client.flush().await.ok()?;
    Some(client)
}

async fn is_full(cluster: &Cluster, nodes: &[usize]) {
    eventually("no more clients are let in", async || {
        for &node in nodes {
            if connect(cluster, node).await.is_some() {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn lets_in(cluster: &Cluster, node: usize) -> Client {
    eventually("a client is let in", async || connect(cluster, node).await).await
}

async fn counts_in_all_of_a_cluster(binaries: [&Binary; 2]) {
    let mut cluster = Cluster::plan(binaries, Routes::ToSeed).config(TWO_CLIENTS);
    cluster.start_all().await;
    cluster.mesh().await;
    let one = lets_in(&cluster, 0).await;
    let two = lets_in(&cluster, 1).await;
    is_full(&cluster, &[0, 1]).await;

    drop(two);
    let three = lets_in(&cluster, 0).await;
    is_full(&cluster, &[0, 1]).await;

    drop(three);
    let four = lets_in(&cluster, 1).await;
    is_full(&cluster, &[0]).await;
    drop(four);
    cluster.stop(1).await;
    let five = lets_in(&cluster, 0).await;
    is_full(&cluster, &[0]).await;
    drop((one, five));
}

#[tokio::test]
async fn clients_on_other_servers_count() {
    let binary = Binary::under_test();
    counts_in_all_of_a_cluster([&binary, &binary]).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn clients_on_other_servers_count_in_a_mixed_cluster() {
    let (natsd, stock) = (Binary::natsd(), Binary::stock());
    counts_in_all_of_a_cluster([&natsd, &stock]).await;
    counts_in_all_of_a_cluster([&stock, &natsd]).await;
}
