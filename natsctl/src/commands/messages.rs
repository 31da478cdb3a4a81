//! `natsctl pub` and `sub`: clients small enough to need no manual.

use std::io::{IsTerminal as _, Read as _};
use std::net::SocketAddr;

use async_nats::{HeaderMap, Message};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::{Cluster, Ended, aside};
use crate::cli::{Global, Pub, Sub};
use crate::clients::{Move, Roamer};
use crate::failure::{Failure, Kind};
use crate::report::{self, show_millis};

/// Largest message read from standard input.
const BODY_BYTES_MAX: u64 = 64 << 20;

pub(super) async fn publish(global: &Global, args: &Pub) -> Ended {
    let cluster = Cluster::known(global)?;
    let headers = headers(&args.headers)?;
    let body = body(args).await?;
    let roamer = connect(&cluster, args.node.as_deref(), "natsctl pub").await?;
    let client = &roamer.client;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Remote, format!("cannot publish to {}", args.subject))
            .cause(error.to_string())
    };
    for nth in 0..args.count {
        if nth > 0 && !args.interval.is_zero() {
            tokio::time::sleep(args.interval).await;
        }
        let (subject, body, headers) = (args.subject.clone(), body.clone().into(), headers.clone());
        let sent = match &args.reply {
            Some(reply) => {
                client.publish_with_reply_and_headers(subject, reply.clone(), headers, body).await
            }
            None if headers.is_empty() => client.publish(subject, body).await,
            None => client.publish_with_headers(subject, headers, body).await,
        };
        sent.map_err(|error| failed(&error))?;
    }
    client.flush().await.map_err(|error| failed(&error))?;
    if !global.quiet {
        let times = if args.count == 1 { String::new() } else { format!("{} times ", args.count) };
        let (bytes, name) = (body.len(), roamer.server_name());
        report::say(&format!("published {bytes} bytes {times}to {} on {name}", args.subject));
    }
    Ok(0)
}

fn headers(lines: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(Failure::new(Kind::Usage, format!("`{line}` is no header: `Name: value`")));
        };
        let bad = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Usage, format!("bad header `{line}`")).cause(error.to_string())
        };
        let name: async_nats::HeaderName = name.trim().parse().map_err(|error| bad(&error))?;
        let value: async_nats::HeaderValue = value.trim().parse().map_err(|error| bad(&error))?;
        headers.append(name, value);
    }
    Ok(headers)
}

async fn body(args: &Pub) -> Result<Vec<u8>, Failure> {
    if let Some(body) = &args.body {
        return Ok(body.clone().into_bytes());
    }
    if std::io::stdin().is_terminal() {
        let what = "there is no message: give it as an argument or on standard input";
        return Err(
            Failure::new(Kind::Usage, what).hint(format!("natsctl pub {} 'hello'", args.subject))
        );
    }
    aside(|| {
        let mut body = Vec::new();
        std::io::stdin().lock().take(BODY_BYTES_MAX).read_to_end(&mut body).map(|_bytes| body)
    })
    .await
    .map_err(|error| Failure::of(Kind::Unexpected, &error))
}

pub(super) async fn subscribe(global: &Global, args: &Sub) -> Ended {
    let cluster = Cluster::known(global)?;
    let mut roamer = connect(&cluster, args.node.as_deref(), "natsctl sub").await?;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Remote, format!("cannot subscribe to {}", args.subject))
            .cause(error.to_string())
    };
    let client = roamer.client.clone();
    let subscribed = match &args.queue {
        Some(group) => client.queue_subscribe(args.subject.clone(), group.clone()).await,
        None => client.subscribe(args.subject.clone()).await,
    };
    let mut messages = subscribed.map_err(|error| failed(&error))?;
    client.flush().await.map_err(|error| failed(&error))?;
    let talk = |text: &str| {
        if !global.quiet {
            report::say(text);
        }
    };
    talk(&format!("listening on {} at {}", args.subject, roamer.server_name()));
    let mut left = args.count;
    let mut cut: Option<Instant> = None;
    while left != Some(0) {
        tokio::select! {
            () = report::reader_left() => break,
            message = messages.next() => {
                let Some(message) = message else { break };
                show(&message, args.raw);
                left = left.map(|left| left - 1);
            }
            happened = roamer.next_move() => match happened {
                None => break,
                Some(Move::Cut(at)) => {
                    cut = Some(at);
                    talk("disconnected");
                }
                Some(Move::LameDuck(_)) => talk("the server is about to leave (lame duck mode)"),
                Some(Move::Back(at, name)) => {
                    let took = cut.take().map(|cut| at.saturating_duration_since(cut));
                    let took = took.map(|took| format!(" after {}", show_millis(took)));
                    talk(&format!("reconnected to {name}{}", took.unwrap_or_default()));
                }
            }
        }
    }
    Ok(0)
}

fn show(message: &Message, raw: bool) {
    let payload = String::from_utf8_lossy(&message.payload);
    if raw {
        report::print_line(&payload);
        return;
    }
    let mut text = format!("{}: {payload}\n", message.subject);
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        for value in values {
            text.push_str(&format!("  {name}: {value}\n"));
        }
    }
    if let Some(reply) = &message.reply {
        text.push_str(&format!("  reply to {reply}\n"));
    }
    report::print(&text);
}

/// Connects to the named node, or to the first that answers.
async fn connect(cluster: &Cluster, node: Option<&str>, name: &str) -> Result<Roamer, Failure> {
    let words = vec![node.unwrap_or("all").to_owned()];
    let chosen = cluster.select(&words)?;
    let subjects = cluster.addressed().await?;
    let addresses: Vec<SocketAddr> = subjects
        .iter()
        .filter(|subject| chosen.contains(&subject.node))
        .filter_map(|subject| Some(subject.endpoint?.client()))
        .collect();
    let login = cluster.login();
    let mut failure = match node {
        Some(node) => Failure::new(Kind::Remote, format!("cannot connect to {node}")),
        None => Failure::new(Kind::Remote, "no node lets a client in"),
    };
    for address in addresses {
        match Roamer::connect(address, &login, name).await {
            Ok(roamer) => return Ok(roamer),
            Err(why) => failure = failure.cause(why),
        }
    }
    Err(failure.hint("natsctl status"))
}
