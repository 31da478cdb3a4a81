//! What is measured: one message path, and one quantity that grows.

use std::time::Duration;

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// What grows.
    pub(crate) axis: &'static str,
    /// How large it is here.
    pub(crate) value: usize,
    /// Connections that receive, each with its subscriptions (lines of the protocol) and user.
    pub(crate) receivers: Vec<Receiver>,
    /// Connections that publish.
    pub(crate) publishers: Vec<Publisher>,
    /// Between two messages of a publisher; zero: as fast as the receivers are.
    pub(crate) pause: Duration,
    /// Bytes of a message.
    pub(crate) payload: usize,
    /// Receivers of one message.
    pub(crate) fan_out: usize,
    /// Bytes of the frame of one delivery.
    pub(crate) frame: usize,
    /// Configuration of the server.
    pub(crate) config: String,
    /// Talk TLS.
    pub(crate) tls: bool,
    /// Receivers are peers on the route port.
    pub(crate) peers: bool,
}

/// A connection that receives.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// User name, empty for none.
    pub(crate) user: String,
    /// Its SUB or RS+ lines.
    pub(crate) interest: String,
}

/// A connection that publishes.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// User name, empty for none.
    pub(crate) user: String,
    /// The subjects that it publishes to, in turns.
    pub(crate) subjects: Vec<String>,
}

/// All points, in the order of the table.
pub(crate) fn all() -> Vec<Point> {
    let mut points = Vec::new();
    points.extend([1, 10, 100, 1000].map(receivers));
    points.extend([1, 10, 100, 1000].map(connections));
    points.extend([1, 4, 16, 64].map(publishers));
    points.extend([16, 128, 1024, 8 * 1024, 64 * 1024].map(payload));
    points.extend([100, 1000, 10_000, 100_000].map(subscriptions));
    points.extend([1, 10, 50].map(accounts));
    points.extend([1, 10, 100].map(peers));
    points.extend([16, 128, 1024, 8 * 1024].map(tls));
    points
}

/// A point with one receiver and one publisher of `t.000000`.
fn simple(axis: &'static str, value: usize, payload: usize) -> Point {
    Point {
        axis,
        value,
        receivers: vec![receiver("", "SUB t.000000 1\r\n")],
        publishers: vec![publisher("", ["t.000000".to_owned()])],
        pause: Duration::ZERO,
        payload,
        fan_out: 1,
        frame: frame("MSG t.000000 1", payload),
        config: String::new(),
        tls: false,
        peers: false,
    }
}

fn receiver(user: &str, interest: impl Into<String>) -> Receiver {
    Receiver { user: user.to_owned(), interest: interest.into() }
}

pub(crate) fn publisher(user: &str, subjects: impl IntoIterator<Item = String>) -> Publisher {
    Publisher { user: user.to_owned(), subjects: subjects.into_iter().collect() }
}

/// Bytes of a delivery whose line starts like this.
fn frame(line: &str, payload: usize) -> usize {
    line.len() + 1 + payload.to_string().len() + 2 + payload + 2
}

/// One subject, so many receivers, 16 bytes.
fn receivers(count: usize) -> Point {
    let mut point = simple("receivers of a message, 16 B", count, 16);
    point.receivers = vec![receiver("", "SUB t.000000 1\r\n"); count];
    point.fan_out = count;
    point
}

/// So many receivers, each with a subject of its own, served in turns, 16 bytes.
fn connections(count: usize) -> Point {
    let mut point = simple("connections served in turns, 16 B", count, 16);
    let subject = |index: usize| format!("t.{index:06}");
    point.receivers =
        (0..count).map(|index| receiver("", format!("SUB {} 1\r\n", subject(index)))).collect();
    point.publishers = vec![publisher("", (0..count).map(subject))];
    point
}

/// So many publishers, each of 1,000 messages a second, and one receiver of them all.
fn publishers(count: usize) -> Point {
    let mut point = simple("publishers of 1,000 messages/s to one receiver, 128 B", count, 128);
    point.publishers = vec![publisher("", ["t.000000".to_owned()]); count];
    point.pause = Duration::from_millis(1);
    point
}

fn payload(bytes: usize) -> Point {
    simple("bytes of a message", bytes, bytes)
}

/// So many subscriptions, a tenth of them deep wildcards; two receive each message.
fn subscriptions(count: usize) -> Point {
    let mut point = simple("subscriptions (`a.*.c.N.>` and literal)", count, 16);
    let literals =
        (0..count).map(|index| format!("SUB a.b.c.{:06}.{index:06} {index}\r\n", index / 10));
    let wildcards = (0..count / 10).map(|index| format!("SUB a.*.c.{index:06}.> {index}\r\n"));
    point.receivers = vec![
        receiver("", literals.collect::<String>()),
        receiver("", wildcards.collect::<String>()),
    ];
    let subject = |turn: usize| {
        // A walk with a large odd step: neighbours in time are no neighbours in the tables.
        let index = turn.wrapping_mul(7_368_787) % count;
        format!("a.b.c.{:06}.{index:06}", index / 10)
    };
    point.publishers = vec![publisher("", (0..count.max(1000)).map(subject))];
    point.fan_out = 2;
    point.frame = frame("MSG a.b.c.000000.000000 000000", 16);
    point
}

/// So many accounts, each with a publisher and a receiver of the same subject.
fn accounts(count: usize) -> Point {
    let mut point = simple("accounts", count, 128);
    let users: Vec<String> = (0..count).map(|index| format!("u{index:03}")).collect();
    let blocks = users
        .iter()
        .map(|user| format!("  A{user} {{ users: [{{user: \"{user}\", password: \"p\"}}] }}\n"));
    point.config = format!("accounts {{\n{}}}\n", blocks.collect::<String>());
    point.receivers = users.iter().map(|user| receiver(user, "SUB t.000000 1\r\n")).collect();
    point.publishers = users.iter().map(|user| publisher(user, ["t.000000".to_owned()])).collect();
    point
}

/// So many peers; a message goes to one of them, in turns.
fn peers(count: usize) -> Point {
    let mut point = simple("peers, served in turns", count, 128);
    let subject = |index: usize| format!("t.{index:06}");
    point.receivers =
        (0..count).map(|index| receiver("", format!("RS+ $G {}\r\n", subject(index)))).collect();
    point.publishers = vec![publisher("", (0..count).map(subject))];
    point.frame = frame("RMSG $G t.000000", 128);
    point.config = "cluster { name: curves, listen: \"127.0.0.1:-1\" }\n".to_owned();
    point.peers = true;
    point
}

fn tls(bytes: usize) -> Point {
    let mut point = simple("bytes of a message, TLS on both ends", bytes, bytes);
    point.tls = true;
    point
}
