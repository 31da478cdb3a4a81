//! Clusters on loopback, formed, used, broken and healed.
//!
//! Every test is written for a list of binaries. By default all nodes are the server under test;
//! the mixes with a stock nats-server are ignored unless asked for, and then need it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::time::Duration;

use async_nats::Event;
use blackbox::cluster::{Cluster, Routes, connect, settle};
use blackbox::exercise::{exercise, next};
use blackbox::server::Binary;
use blackbox::wire::Conversation;
use blackbox::{DEADLINE, eventually};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// `n` for a node of the server under test, `s` for a stock one.
fn binaries(mix: &str) -> Vec<Binary> {
    mix.chars().map(|c| if c == 's' { Binary::stock() } else { Binary::under_test() }).collect()
}

async fn a_mesh_forms_and_works(mix: &str) {
    let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
    cluster.start_all().await;
    exercise(&cluster).await;
}

async fn a_mesh_forms_in_any_order(mix: &str) {
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
        cluster.start_in_order(&order).await;
        cluster.mesh().await;
        cluster.reach().await;
    }
}

/// Everyone lists everyone and all start at the same moment: dials cross, one of each pair of
/// connections must go and one must stay.
async fn dials_that_cross_make_one_mesh(mix: &str) {
    for _ in 0..5 {
        let mut cluster = Cluster::plan(&binaries(mix), Routes::ToAll);
        cluster.start_at_once().await;
        exercise(&cluster).await;
    }
}

async fn any_node_can_be_killed_and_come_back(mix: &str) {
    let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
    cluster.start_all().await;
    cluster.mesh().await;
    for victim in 0..cluster.len() {
        cluster.kill(victim);
        cluster.mesh().await;
        cluster.reach().await;
        cluster.start(victim).await;
        cluster.mesh().await;
        cluster.reach().await;
    }
    exercise(&cluster).await;
}

/// A client is told that a server is gone, and not that it is back for a moment: whoever stops
/// dials nobody any more.
async fn once_a_server_stops_it_is_named_no_more(mix: &str) {
    let last = mix.len() - 1;
    for _ in 0..3 {
        let mut cluster = Cluster::plan(&binaries(mix), Routes::ToAll);
        cluster.start_all().await;
        cluster.mesh().await;
        cluster.pools().await;
        let mut client = Conversation::dial(cluster.node(0).client()).await.unwrap();
        client.send(b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n").await.unwrap();
        while client.line().await.unwrap() != b"PONG\r\n" {}
        let gone = cluster.node(last).client().to_string();
        cluster.stop(last).await;
        cluster.mesh().await;
        client.send(b"PING\r\n").await.unwrap();
        let mut told = Vec::new();
        loop {
            let line = String::from_utf8(client.line().await.unwrap()).unwrap();
            match line.strip_prefix("INFO ") {
                Some(info) => told.push(info.contains(&gone)),
                None if line == "PONG\r\n" => break,
                None => {}
            }
        }
        // The first one follows the first PONG.
        assert_eq!(told, [true, false]);
    }
}

/// Nodes die and come back in an order nobody planned; when all are up there is one whole mesh.
#[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
async fn random_kills_and_restarts_end_in_one_mesh(mix: &str) {
    let seed = rand::rng().random();
    let mut random = SmallRng::seed_from_u64(seed);
    println!("seed {seed}");
    let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
    cluster.start_all().await;
    for _ in 0..20 {
        let node = random.random_range(0..cluster.len());
        if !cluster.running().contains(&node) {
            cluster.start(node).await;
        } else if cluster.running().len() > 1 {
            cluster.kill(node);
        }
    }
    for node in 0..cluster.len() {
        if !cluster.running().contains(&node) {
            cluster.start(node).await;
        }
    }
    exercise(&cluster).await;
}

/// A publisher on one node and a subscriber on another lose nothing, get nothing twice and
/// nothing out of order, while a third node is killed, comes back, and a fourth joins.
async fn a_healthy_pair_loses_nothing_while_others_come_and_go(mix: &str) {
    let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
    let late = cluster.len() - 1;
    for index in 0..late {
        cluster.start(index).await;
    }
    cluster.mesh().await;
    let publisher = connect(&cluster.url(0)).await;
    let subscriber = connect(&cluster.url(1)).await;
    let mut sub = subscriber.subscribe("steady").await.unwrap();
    settle(&publisher, &subscriber).await;
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let publishing = tokio::spawn(async move {
        let mut sent = 0_u64;
        while stopped.try_recv().is_err() {
            publisher.publish("steady", sent.to_string().into()).await.unwrap();
            sent += 1;
            if sent.is_multiple_of(10) {
                publisher.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        publisher.publish("steady", "end".into()).await.unwrap();
        publisher.flush().await.unwrap();
        sent
    });
    let receiving = tokio::spawn(async move {
        let mut expected = 0_u64;
        loop {
            let message = next(&mut sub).await;
            if message.payload == "end" {
                return expected;
            }
            assert_eq!(message.payload, expected.to_string(), "lost, twice or out of order");
            expected += 1;
        }
    });
    cluster.kill(2);
    cluster.mesh().await;
    cluster.start(late).await;
    cluster.mesh().await;
    cluster.start(2).await;
    cluster.mesh().await;
    stop.send(()).await.unwrap();
    let sent = publishing.await.unwrap();
    assert_eq!(timeout(DEADLINE, receiving).await.unwrap().unwrap(), sent);
}

/// A client that was told one URL only finds the other nodes by itself when its own dies.
async fn a_client_moves_to_a_surviving_node(mix: &str) {
    let mut cluster = Cluster::plan(&binaries(mix), Routes::ToSeed);
    cluster.start_all().await;
    cluster.mesh().await;
    let (events, mut heard) = mpsc::channel(64);
    let options = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(10))
        .event_callback(move |event| {
            let events = events.clone();
            async move { drop(events.send(event).await) }
        });
    let subscriber = options.connect(cluster.url(0)).await.unwrap();
    let mut sub = subscriber.subscribe("news").await.unwrap();
    let publisher = connect(&cluster.url(cluster.len() - 1)).await;
    settle(&publisher, &subscriber).await;
    eventually("the client knows every node", async || {
        (subscriber.server_info().connect_urls.len() == cluster.len()).then_some(())
    })
    .await;
    cluster.kill(0);
    let killed = Instant::now();
    let mut cut = false;
    loop {
        match timeout(DEADLINE, heard.recv()).await.expect("the client reconnects").unwrap() {
            Event::Disconnected => cut = true,
            Event::Connected if cut => break,
            _ => {}
        }
    }
    settle(&publisher, &subscriber).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "back after {:?}", killed.elapsed());
    publisher.publish("news", "after".into()).await.unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(next(&mut sub).await.payload, "after");
}

#[tokio::test]
async fn a_mesh_of_two_forms_and_works() {
    a_mesh_forms_and_works("nn").await;
}

#[tokio::test]
async fn a_mesh_of_three_forms_by_gossip_and_works() {
    a_mesh_forms_and_works("nnn").await;
}

#[tokio::test]
async fn a_mesh_of_five_forms_by_gossip_and_works() {
    a_mesh_forms_and_works("nnnnn").await;
}

#[tokio::test]
async fn a_mesh_of_three_forms_in_any_order_the_seed_last_included() {
    a_mesh_forms_in_any_order("nnn").await;
}

#[tokio::test]
async fn a_mesh_of_nodes_that_list_each_other_forms() {
    let mut cluster = Cluster::plan(&binaries("nnn"), Routes::ToAll);
    cluster.start_all().await;
    exercise(&cluster).await;
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_make_one_mesh() {
    dials_that_cross_make_one_mesh("nn").await;
    dials_that_cross_make_one_mesh("nnn").await;
}

#[tokio::test]
async fn any_node_of_three_can_be_killed_and_come_back() {
    any_node_can_be_killed_and_come_back("nnn").await;
}

#[tokio::test]
async fn a_server_that_stops_is_named_no_more() {
    once_a_server_stops_it_is_named_no_more("nnn").await;
}

#[tokio::test]
async fn random_kills_and_restarts_of_four_end_in_one_mesh() {
    random_kills_and_restarts_end_in_one_mesh("nnnn").await;
}

#[tokio::test]
async fn a_healthy_pair_loses_nothing() {
    a_healthy_pair_loses_nothing_while_others_come_and_go("nnnn").await;
}

#[tokio::test]
async fn a_client_moves_to_a_surviving_node_by_what_info_says() {
    a_client_moves_to_a_surviving_node("nnn").await;
}

/// The mixes that need a stock nats-server.
mod mixed {
    use super::*;

    macro_rules! mixes {
        ($($name:ident: $scenario:ident($mix:literal);)*) => {$(
            #[tokio::test]
            #[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
            async fn $name() {
                $scenario($mix).await;
            }
        )*};
    }

    mixes! {
        mesh_ns: a_mesh_forms_and_works("ns");
        mesh_sn: a_mesh_forms_and_works("sn");
        mesh_nns: a_mesh_forms_and_works("nns");
        mesh_nsn: a_mesh_forms_and_works("nsn");
        mesh_snn: a_mesh_forms_and_works("snn");
        mesh_nss: a_mesh_forms_and_works("nss");
        mesh_sns: a_mesh_forms_and_works("sns");
        mesh_ssn: a_mesh_forms_and_works("ssn");
        mesh_nsnsn: a_mesh_forms_and_works("nsnsn");
        mesh_ssnns: a_mesh_forms_and_works("ssnns");
        mesh_of_nine: a_mesh_forms_and_works("nnnnnnnnn");
        mesh_of_nine_mixed: a_mesh_forms_and_works("nsnsnsnsn");
        any_order_nns: a_mesh_forms_in_any_order("nns");
        any_order_nsn: a_mesh_forms_in_any_order("nsn");
        any_order_snn: a_mesh_forms_in_any_order("snn");
        any_order_nss: a_mesh_forms_in_any_order("nss");
        any_order_sns: a_mesh_forms_in_any_order("sns");
        any_order_ssn: a_mesh_forms_in_any_order("ssn");
        dials_cross_ns: dials_that_cross_make_one_mesh("ns");
        dials_cross_nns: dials_that_cross_make_one_mesh("nns");
        dials_cross_nss: dials_that_cross_make_one_mesh("nss");
        dials_cross_nnsss: dials_that_cross_make_one_mesh("nnsss");
        killed_and_back_nns: any_node_can_be_killed_and_come_back("nns");
        killed_and_back_snn: any_node_can_be_killed_and_come_back("snn");
        killed_and_back_sns: any_node_can_be_killed_and_come_back("sns");
        killed_and_back_nsn: any_node_can_be_killed_and_come_back("nsn");
        random_kills_nsns: random_kills_and_restarts_end_in_one_mesh("nsns");
        random_kills_snsns: random_kills_and_restarts_end_in_one_mesh("snsns");
        random_kills_nnsnnsnns: random_kills_and_restarts_end_in_one_mesh("nnsnnsnns");
        healthy_pair_nsns: a_healthy_pair_loses_nothing_while_others_come_and_go("nsns");
        healthy_pair_snsn: a_healthy_pair_loses_nothing_while_others_come_and_go("snsn");
        stopped_nsn: once_a_server_stops_it_is_named_no_more("nsn");
        stopped_nss: once_a_server_stops_it_is_named_no_more("nss");
        stopped_snn: once_a_server_stops_it_is_named_no_more("snn");
        client_moves_nss: a_client_moves_to_a_surviving_node("nss");
        client_moves_snn: a_client_moves_to_a_surviving_node("snn");
    }
}
