//! Everything that a healthy cluster promises, between every ordered pair of its nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, Message, RequestErrorKind, Subscriber};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::cluster::{Cluster, connect, settle};
use crate::wire::Conversation;
use crate::{DEADLINE, eventually};

/// Waits for the mesh, and asks it for everything that a healthy cluster promises.
///
/// # Panics
/// When a promise is broken.
pub async fn exercise(cluster: &Cluster) {
    cluster.mesh().await;
    let clients = clients(cluster).await;
    every_message_reaches_every_node_once(&clients).await;
    a_queue_group_spans_the_nodes(&clients).await;
    requests_are_answered_across_nodes(&clients).await;
    no_message_for_an_unsubscribed_client(cluster).await;
}

/// The next message of a subscription.
///
/// # Panics
/// When none comes.
pub async fn next(subscription: &mut Subscriber) -> Message {
    timeout(DEADLINE, subscription.next()).await.expect("a message in time").expect("an open sub")
}

/// What is waiting in a subscription now.
async fn waiting(subscription: &mut Subscriber) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Ok(Some(message)) = timeout(Duration::ZERO, subscription.next()).await {
        messages.push(message);
    }
    messages
}

/// One client per running node, every one known to every other.
async fn clients(cluster: &Cluster) -> Vec<Client> {
    let mut clients = Vec::new();
    for index in cluster.running() {
        clients.push(connect(&cluster.url(index)).await);
    }
    clients
}

async fn settle_all(clients: &[Client]) {
    for from in clients {
        for to in clients {
            settle(from, to).await;
        }
    }
}

async fn every_message_reaches_every_node_once(clients: &[Client]) {
    let mut subs = Vec::new();
    for client in clients {
        subs.push(client.subscribe("all.*").await.unwrap());
    }
    settle_all(clients).await;
    for (from, client) in clients.iter().enumerate() {
        for n in 0..100 {
            client.publish(format!("all.{from}"), n.to_string().into()).await.unwrap();
        }
        client.flush().await.unwrap();
    }
    for sub in &mut subs {
        let mut counts = BTreeMap::new();
        for _ in 0..100 * clients.len() {
            let message = next(sub).await;
            let count = counts.entry(message.subject.to_string()).or_insert(0);
            assert_eq!(message.payload, count.to_string(), "out of order or twice");
            *count += 1;
        }
    }
    settle_all(clients).await;
    for sub in &mut subs {
        assert!(waiting(sub).await.is_empty(), "a message was delivered twice");
    }
}

async fn a_queue_group_spans_the_nodes(clients: &[Client]) {
    let mut members = Vec::new();
    for client in clients {
        members.push(client.queue_subscribe("jobs", "workers".into()).await.unwrap());
    }
    settle_all(clients).await;
    let each = 300;
    for (from, client) in clients.iter().enumerate() {
        for n in 0..each {
            client.publish("jobs", format!("{from}-{n}").into()).await.unwrap();
        }
        client.flush().await.unwrap();
    }
    settle_all(clients).await;
    let mut seen = BTreeMap::new();
    for member in &mut members {
        let mut from = vec![0; clients.len()];
        for message in waiting(member).await {
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            let publisher: usize = text.split('-').next().unwrap().parse().unwrap();
            from[publisher] += 1;
            *seen.entry(text).or_insert(0) += 1;
        }
        // Uniform over the cluster: an expected share of each/n from each publisher.
        let fair = each / clients.len();
        for (publisher, share) in from.iter().enumerate() {
            assert!(
                *share > fair / 3,
                "{share} of {each} from node {}, fair {fair}",
                publisher + 1
            );
        }
    }
    assert!(seen.values().all(|count| *count == 1), "a job was done twice");
    assert_eq!(seen.len(), each * clients.len(), "a job was lost");
}

async fn requests_are_answered_across_nodes(clients: &[Client]) {
    for responder in clients {
        let subject = responder.new_inbox();
        let mut requests = responder.subscribe(subject.clone()).await.unwrap();
        settle_all(clients).await;
        let answering = {
            let responder = responder.clone();
            tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    responder.publish(request.reply.unwrap(), request.payload).await.unwrap();
                    responder.flush().await.unwrap();
                }
            })
        };
        for requester in clients {
            // A new requester, whose inbox nobody knows before its first request.
            let url = format!("nats://{}", requester.server_info().host);
            let port = requester.server_info().port;
            let requester = connect(&format!("{url}:{port}")).await;
            for n in 0..10 {
                let answer = requester.request(subject.clone(), n.to_string().into()).await;
                assert_eq!(answer.unwrap().payload, n.to_string());
            }
        }
        answering.abort();
        drop(answering.await);
        eventually("a request without responder is told so", async || {
            // As long as the interest of the gone responder is known, nobody answers at all.
            let request = clients[0].request(subject.clone(), "".into());
            match timeout(Duration::from_millis(50), request).await {
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Some(()),
                _ => None,
            }
        })
        .await;
    }
}

/// On the wire: once the server has seen UNSUB, nothing of that sid comes any more, whichever
/// node the message comes from.
async fn no_message_for_an_unsubscribed_client(cluster: &Cluster) {
    for index in cluster.running() {
        let mut peer = Conversation::dial(cluster.node(index).client()).await.unwrap();
        let greeting = peer.line().await.unwrap();
        assert!(greeting.starts_with(b"INFO "));
        let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
        peer.send(hello).await.unwrap();
        peer.send(b"SUB gone 1\r\nSUB stays 2\r\nUNSUB 1\r\nPING\r\n").await.unwrap();
        assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
        for from in cluster.running() {
            let publisher = connect(&cluster.url(from)).await;
            let own = connect(&cluster.url(index)).await;
            settle(&publisher, &own).await;
            for _ in 0..10 {
                publisher.publish("gone", "x".into()).await.unwrap();
            }
            publisher.publish("stays", "y".into()).await.unwrap();
            publisher.flush().await.unwrap();
            let mut line = peer.line().await.unwrap();
            if line == b"PING\r\n" {
                peer.send(b"PONG\r\n").await.unwrap();
                line = peer.line().await.unwrap();
            }
            assert_eq!(line, b"MSG stays 2 1\r\n");
            assert_eq!(peer.line().await.unwrap(), b"y\r\n");
        }
    }
}
