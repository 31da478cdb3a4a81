//! The official Rust client against one server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::{Client, HeaderMap, RequestErrorKind, Subscriber};
use blackbox::DEADLINE;
use blackbox::cluster::{connect, settle};
use blackbox::server::{Binary, Server, Setup};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

async fn server() -> Server {
    Setup::new(&Binary::under_test()).start().await
}

/// The next message, with a deadline.
async fn next(subscription: &mut Subscriber) -> async_nats::Message {
    timeout(DEADLINE, subscription.next()).await.expect("a message in time").expect("an open sub")
}

/// Fails if anything is waiting; what was published before must have been passed on, which a
/// message that was published later and has arrived proves.
async fn nothing_more(subscription: &mut Subscriber) {
    let more = timeout(Duration::ZERO, subscription.next()).await;
    assert!(more.is_err(), "unexpected {more:?}");
}

#[tokio::test]
async fn a_subscriber_gets_what_a_publisher_sends_in_order() {
    let server = server().await;
    let (publisher, subscriber) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut all = subscriber.subscribe("events.>").await.unwrap();
    settle(&publisher, &subscriber).await;
    for n in 0..1000 {
        publisher.publish(format!("events.{}", n % 7), n.to_string().into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    for n in 0..1000 {
        let message = next(&mut all).await;
        assert_eq!(message.subject.as_str(), format!("events.{}", n % 7));
        assert_eq!(message.payload, n.to_string());
    }
}

#[tokio::test]
async fn a_request_is_answered() {
    let server = server().await;
    let (requester, responder) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut requests = responder.subscribe("echo").await.unwrap();
    settle(&requester, &responder).await;
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply = request.reply.expect("a request has a reply subject");
            responder.publish(reply, request.payload).await.unwrap();
            responder.flush().await.unwrap();
        }
    });
    for n in 0..100 {
        let answer = timeout(DEADLINE, requester.request("echo", n.to_string().into())).await;
        assert_eq!(answer.unwrap().unwrap().payload, n.to_string());
    }
    answering.abort();
}

#[tokio::test]
async fn a_request_nobody_can_answer_fails_at_once() {
    let server = server().await;
    let client = connect(&server.url()).await;
    let error = timeout(DEADLINE, client.request("nobody", "".into())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_queue_group_shares_the_messages() {
    let server = server().await;
    let publisher = connect(&server.url()).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let client = connect(&server.url()).await;
        let jobs = client.queue_subscribe("jobs", "workers".into()).await.unwrap();
        settle(&publisher, &client).await;
        members.push((client, jobs));
    }
    for n in 0..600 {
        publisher.publish("jobs", n.to_string().into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    let mut seen = BTreeSet::new();
    for (client, jobs) in &mut members {
        settle(&publisher, client).await;
        let mut share = 0;
        while let Ok(Some(message)) = timeout(Duration::ZERO, jobs.next()).await {
            assert!(seen.insert(message.payload), "delivered twice");
            share += 1;
        }
        assert!(share > 100, "one member of three got {share} of 600");
    }
    assert_eq!(seen.len(), 600);
}

#[tokio::test]
async fn headers_travel_with_a_message() {
    let server = server().await;
    let client = connect(&server.url()).await;
    let mut sub = client.subscribe("h").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.append("Color", "red");
    headers.append("Color", "blue");
    headers.insert("Trace-Id", "42");
    client.publish_with_headers("h", headers, "body".into()).await.unwrap();
    client.publish("h", "bare".into()).await.unwrap();
    let message = next(&mut sub).await;
    let headers = message.headers.unwrap();
    let colors: Vec<_> = headers.get_all("Color").map(ToString::to_string).collect();
    assert_eq!(colors, ["red", "blue"]);
    assert_eq!(headers.get("Trace-Id").unwrap().as_str(), "42");
    assert_eq!(message.payload, "body");
    let message = next(&mut sub).await;
    assert_eq!(message.headers, None);
}

#[tokio::test]
async fn payloads_up_to_the_limit_arrive_whole() {
    let server = server().await;
    let (publisher, subscriber) = (connect(&server.url()).await, connect(&server.url()).await);
    let max = publisher.server_info().max_payload;
    assert_eq!(max, 1024 * 1024);
    let mut sub = subscriber.subscribe("big").await.unwrap();
    settle(&publisher, &subscriber).await;
    for size in [0, 1, 511, 512, 513, 4095, 4096, 32767, 65536, 1_000_000, max] {
        let body: Bytes = (0..size).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        publisher.publish("big", body.clone()).await.unwrap();
        publisher.flush().await.unwrap();
        let message = next(&mut sub).await;
        assert!(message.payload == body, "{size} bytes arrived as {}", message.payload.len());
    }
}

#[tokio::test]
async fn a_thousand_subscriptions_each_get_their_own() {
    let server = server().await;
    let (publisher, subscriber) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut subs = Vec::new();
    for n in 0..1_000 {
        subs.push(subscriber.subscribe(format!("many.{n}")).await.unwrap());
    }
    settle(&publisher, &subscriber).await;
    for n in 0..1_000 {
        publisher.publish(format!("many.{n}"), n.to_string().into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    for (n, sub) in subs.iter_mut().enumerate() {
        assert_eq!(next(sub).await.payload, n.to_string());
        nothing_more(sub).await;
    }
}

#[tokio::test]
async fn unsubscribing_after_a_number_of_messages() {
    let server = server().await;
    let client = connect(&server.url()).await;
    let mut sub = client.subscribe("few").await.unwrap();
    sub.unsubscribe_after(3).await.unwrap();
    for n in 0..10 {
        client.publish("few", n.to_string().into()).await.unwrap();
    }
    client.flush().await.unwrap();
    for n in 0..3 {
        assert_eq!(next(&mut sub).await.payload, n.to_string());
    }
    assert!(timeout(DEADLINE, sub.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn draining_hands_over_everything_first() {
    let server = server().await;
    let (publisher, subscriber) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut sub = subscriber.subscribe("drain").await.unwrap();
    settle(&publisher, &subscriber).await;
    for n in 0..500 {
        publisher.publish("drain", n.to_string().into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    settle(&publisher, &subscriber).await;
    timeout(DEADLINE, subscriber.drain()).await.unwrap().unwrap();
    for n in 0..500 {
        assert_eq!(next(&mut sub).await.payload, n.to_string());
    }
    assert!(timeout(DEADLINE, sub.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn many_clients_talk_to_each_other_at_once() {
    let server = server().await;
    let mut clients: Vec<(Client, Subscriber)> = Vec::new();
    for n in 0..20 {
        let client = connect(&server.url()).await;
        let inbox = client.subscribe(format!("to.{n}.*")).await.unwrap();
        clients.push((client, inbox));
    }
    for (client, _) in &clients {
        settle(&clients[0].0, client).await;
    }
    let mut talks = Vec::new();
    for (me, (client, mut inbox)) in clients.into_iter().enumerate() {
        talks.push(tokio::spawn(async move {
            for round in 0..50 {
                for other in 0..20 {
                    let subject = format!("to.{other}.{me}");
                    client.publish(subject, round.to_string().into()).await.unwrap();
                }
            }
            client.flush().await.unwrap();
            let mut rounds = [0; 20];
            for _ in 0..20 * 50 {
                let message = next(&mut inbox).await;
                let from: usize = message.subject.rsplit('.').next().unwrap().parse().unwrap();
                assert_eq!(message.payload, rounds[from].to_string(), "out of order");
                rounds[from] += 1;
            }
            assert_eq!(rounds, [50; 20]);
        }));
    }
    for talk in talks {
        talk.await.unwrap();
    }
}
