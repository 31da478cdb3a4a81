//! What a peer server says: RS+, RS-, RMSG, HMSG, and INFO, CONNECT, PING, PONG.
//!
//! Source: the cluster protocol page of the NATS documentation, and nats-server 2.15.1 as
//! observed. On a connection that is dedicated to one account the account field is left out.

use smallvec::SmallVec;

use super::args::{self, Args, size};
use super::client::ClientOp;
use super::line::{
    After, Bounds, Line, LineStep, Need, ParseError, Step, bare, body, line, with_args,
};
use super::message::{Body, Message};
use super::usual::{self, Usual};

/// Queue groups that one message is directed to.
pub type Queues<'a> = SmallVec<[&'a [u8]; 4]>;

/// One op of a peer server.
#[derive(Debug)]
pub enum RouteOp<'a> {
    /// `CONNECT {json}`.
    Connect(&'a [u8]),
    /// `INFO {json}`.
    Info(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `RS+ [account] subject [queue weight]`.
    Subscribe(RoutedInterest<'a>, u32),
    /// `RS- [account] subject [queue]`.
    Unsubscribe(RoutedInterest<'a>),
    /// `RMSG` or `HMSG`.
    Message {
        /// The account; `None` on a dedicated connection.
        account: Option<&'a [u8]>,
        /// The message. Its `tail` is empty when queue groups are named.
        message: Message<'a>,
        /// The queue groups to serve here.
        queues: Queues<'a>,
        /// The length of the control line.
        line_len: usize,
    },
    /// `-ERR 'text'`.
    Error(&'a [u8]),
    /// `LS+`, `LS-`: accepted and acknowledged.
    OfLeafs,
    /// `+OK`, `A+`, `A-`: accepted and ignored.
    Ignored,
}

/// What RS+ and RS- name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedInterest<'a> {
    /// The account; `None` on a dedicated connection.
    pub account: Option<&'a [u8]>,
    /// Subject.
    pub subject: &'a [u8],
    /// Queue group.
    pub queue: Option<&'a [u8]>,
}

type Parsed<'a> = Result<Step<RouteOp<'a>>, ParseError>;

/// Reads the next op of a peer server. `dedicated` says that the connection carries one
/// account only, so that ops do not name it.
///
/// # Errors
/// As for clients.
pub fn parse<'a>(input: &'a [u8], bounds: &Bounds, dedicated: bool) -> Parsed<'a> {
    let Some(first) = input.first() else { return Ok(Step::More(Need::LineEnd)) };
    let second = input.get(1).map(u8::to_ascii_uppercase);
    match (first.to_ascii_uppercase(), second) {
        (b'R' | b'P' | b'A' | b'L', None) => Ok(Step::More(Need::LineEnd)),
        // Ops of clients: the reference understands them here, too (observed).
        (b'P', Some(b'U')) => published(input, b"PUB", bounds, dedicated),
        (b'H', Some(b'P')) => published(input, b"HPUB", bounds, dedicated),
        (b'S', _) => with_args(input, b"SUB", After::Blank, bounds, |_| Ok(RouteOp::Ignored)),
        (b'U', _) => {
            with_args(input, b"UNSUB", After::Blank, bounds, |line| unsubscribe(line, dedicated))
        }
        (b'R', Some(b'M')) => message(input, b"RMSG", bounds, dedicated),
        (b'R', Some(_)) => interest(input, bounds, dedicated),
        (b'H', _) => message(input, b"HMSG", bounds, dedicated),
        (b'P', Some(b'I')) => bare(input, b"PING", bounds, RouteOp::Ping),
        (b'P', Some(_)) => bare(input, b"PONG", bounds, RouteOp::Pong),
        (b'I', _) => {
            with_args(input, b"INFO", After::Optional, bounds, |line| Ok(RouteOp::Info(line.args)))
        }
        (b'C', _) => with_args(input, b"CONNECT", After::Optional, bounds, |line| {
            Ok(RouteOp::Connect(line.args))
        }),
        (b'+', _) => bare(input, b"+OK", bounds, RouteOp::Ignored),
        (b'-', _) => {
            with_args(input, b"-ERR", After::Blank, bounds, |line| Ok(RouteOp::Error(line.args)))
        }
        (b'A', Some(_)) => plus_or_minus(input, b"A", bounds, dedicated),
        (b'L', Some(b'M')) => leaf_message(input, bounds, dedicated),
        (b'L', Some(_)) => plus_or_minus(input, b"LS", bounds, dedicated),
        _ => Err(ParseError::UnknownOperation),
    }
}

/// What a client would publish. It names no account: there is one on a dedicated connection only.
fn published<'a, const N: usize>(
    input: &'a [u8],
    keyword: &[u8; N],
    bounds: &Bounds,
    dedicated: bool,
) -> Parsed<'a> {
    Ok(match super::client::publish(input, keyword, bounds)? {
        Step::Op(ClientOp::Publish(message, line_len), used) => {
            let (account, queues) = ((!dedicated).then_some(&[][..]), Queues::new());
            Step::Op(RouteOp::Message { account, message, queues, line_len }, used)
        }
        Step::Op(_, used) => Step::Op(RouteOp::Ignored, used),
        Step::More(need) => Step::More(need),
    })
}

/// `A+`, `A-`, `LS+`, `LS-`: interest of gateways and leafs, which natsd does not have.
fn plus_or_minus<'a>(input: &'a [u8], stem: &[u8], bounds: &Bounds, dedicated: bool) -> Parsed<'a> {
    let Some(sign) = input.get(stem.len()).map(u8::to_ascii_lowercase) else {
        return match super::line::starts_with(input, stem) {
            Some(false) => Err(ParseError::UnknownOperation),
            _ => Ok(Step::More(Need::LineEnd)),
        };
    };
    // `Au` is another `A-` (observed).
    if sign != b'+' && sign != b'-' && (sign != b'u' || stem.len() > 1) {
        return Err(ParseError::UnknownOperation);
    }
    let keyword: SmallVec<[u8; 4]> = stem.iter().copied().chain([sign]).collect();
    with_args(input, &keyword, After::Blank, bounds, |line| {
        let count = args::split(line.args).len() + usize::from(dedicated);
        let right = match *keyword {
            [_, _, b'+'] => count == 3 || count == 5,
            [_, _, _] => (2..=4).contains(&count),
            _ => return Ok(RouteOp::Ignored),
        };
        right
            .then_some(RouteOp::OfLeafs)
            .ok_or_else(|| bad_arguments("processRemoteSub", line.args))
    })
}

fn interest<'a>(input: &'a [u8], bounds: &Bounds, dedicated: bool) -> Parsed<'a> {
    match input.get(2) {
        Some(b'-') => {
            with_args(input, b"RS-", After::Blank, bounds, |line| unsubscribe(line, dedicated))
        }
        Some(_) => {
            with_args(input, b"RS+", After::Blank, bounds, |line| subscribe(line, dedicated))
        }
        None => bare(input, b"RS", bounds, RouteOp::Ignored),
    }
}

fn subscribe<'a>(line: &Line<'a>, dedicated: bool) -> Result<RouteOp<'a>, ParseError> {
    let all = args::split(line.args);
    let (account, rest) = take_account(&all, dedicated);
    match *rest {
        [subject] => Ok(RouteOp::Subscribe(RoutedInterest { account, subject, queue: None }, 1)),
        [subject, queue, weight] => {
            let weight = size(weight).and_then(|w| u32::try_from(w).ok()).unwrap_or(1).max(1);
            let named = RoutedInterest { account, subject, queue: Some(queue) };
            Ok(RouteOp::Subscribe(named, weight))
        }
        _ => Err(bad_arguments("processRemoteSub", line.args)),
    }
}

fn unsubscribe<'a>(line: &Line<'a>, dedicated: bool) -> Result<RouteOp<'a>, ParseError> {
    let all = args::split(line.args);
    let (account, rest) = take_account(&all, dedicated);
    let named = |subject, queue| RouteOp::Unsubscribe(RoutedInterest { account, subject, queue });
    match *rest {
        [subject] => Ok(named(subject, None)),
        [subject, queue] => Ok(named(subject, Some(queue))),
        _ => Err(bad_arguments("processRemoteUnsub", line.args)),
    }
}

/// Splits the account off, where the connection is not dedicated to one.
fn take_account<'r, 'a>(
    all: &'r [&'a [u8]],
    dedicated: bool,
) -> (Option<&'a [u8]>, &'r [&'a [u8]]) {
    match all.split_first() {
        Some((account, rest)) if !dedicated => (Some(account), rest),
        _ => (None, all),
    }
}

/// Reads `RMSG` and `HMSG` in their three shapes: plain, `+ reply queues..`, `| queues..`.
fn message<'a, const N: usize>(
    input: &'a [u8],
    keyword: &[u8; N],
    bounds: &Bounds,
    dedicated: bool,
) -> Parsed<'a> {
    match usual::message(input, keyword, !dedicated, bounds) {
        Some(Usual { account, message, line_len, total }) => {
            let op = RouteOp::Message { account, message, queues: Queues::new(), line_len };
            Ok(Step::Op(op, total))
        }
        None => message_carefully(input, keyword, bounds, dedicated),
    }
}

fn message_carefully<'a>(
    input: &'a [u8],
    keyword: &[u8],
    bounds: &Bounds,
    dedicated: bool,
) -> Parsed<'a> {
    let line = match line(input, keyword, After::Blank, bounds)? {
        LineStep::Whole(line) => line,
        LineStep::More(need) => return Ok(Step::More(need)),
    };
    let error = || bad_arguments("processRoutedMsgArgs", line.args);
    let all = args::split(line.args);
    let (account, rest) = take_account(&all, dedicated);
    let head = head(rest, keyword == b"HMSG").ok_or_else(error)?;
    let body = match body(input, line.len, head.size)? {
        Body::Whole(body) => body,
        Body::Missing(total) => return Ok(Step::More(Need::Bytes(total))),
    };
    let total = line.len + body.len();
    let message = Message {
        subject: head.subject,
        reply: head.reply,
        header_len: head.header_len,
        body,
        tail: if head.queues.is_empty() { tail(input, &line, &all, &head, total) } else { &[] },
        shared: None,
    };
    let op = RouteOp::Message { account, message, queues: head.queues, line_len: line.len };
    Ok(Step::Op(op, total))
}

/// What follows the subject, when peers wrote it in the form in which it is sent on.
fn tail<'a>(
    input: &'a [u8],
    line: &Line<'a>,
    all: &Args<'a>,
    head: &Head<'a>,
    total: usize,
) -> &'a [u8] {
    let written = all.iter().map(|arg| arg.len() + 1).sum::<usize>().saturating_sub(1);
    let zero = head.header_len == 0 && head.has_header_size;
    if written != line.args.len() || !line.crlf || zero || line.args.contains(&b'\t') {
        return &[];
    }
    let sizes: usize =
        all.iter().rev().take(1 + usize::from(head.has_header_size)).map(|a| a.len() + 1).sum();
    let reply = if head.reply.is_empty() { 0 } else { head.reply.len() + 1 };
    let start = line.len.saturating_sub(sizes + reply + 1);
    input.get(start..total).unwrap_or_default()
}

struct Head<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    queues: Queues<'a>,
    header_len: usize,
    has_header_size: bool,
    size: usize,
}

fn head<'a>(args: &[&'a [u8]], with_headers: bool) -> Option<Head<'a>> {
    let (size_text, args) = args.split_last()?;
    let (header_text, args) = match with_headers {
        true => args.split_last().map(|(text, rest)| (*text, rest))?,
        false => (&b"0"[..], args),
    };
    let (subject, args) = args.split_first()?;
    let (size, header_len) = (size(size_text)?, size(header_text)?);
    let (reply, queues) = match args {
        [] => (&[][..], Queues::new()),
        [reply] => (*reply, Queues::new()),
        [b"+", reply, queues @ ..] => (*reply, queues.iter().copied().collect()),
        [b"|", queues @ ..] => (&[][..], queues.iter().copied().collect()),
        _ => return None,
    };
    (header_len <= size).then_some(Head {
        subject,
        reply,
        queues,
        header_len,
        has_header_size: with_headers,
        size,
    })
}

/// `LMSG`: a message on behalf of a leaf cluster. It is read to its end and ignored, since
/// natsd does not announce that it understands leaf origins.
fn leaf_message<'a>(input: &'a [u8], bounds: &Bounds, dedicated: bool) -> Parsed<'a> {
    let line = match line(input, b"LMSG", After::Blank, bounds)? {
        LineStep::Whole(line) => line,
        LineStep::More(need) => return Ok(Step::More(need)),
    };
    let size = match *args::split(line.args) {
        ref all if all.len() + usize::from(dedicated) < 5 => None,
        [.., header, text] => {
            size(text).filter(|&all| size(header).is_some_and(|some| some <= all))
        }
        _ => None,
    };
    let size = size.ok_or_else(|| bad_arguments("processRoutedOriginClusterMsgArgs", line.args))?;
    match body(input, line.len, size)? {
        Body::Whole(body) => Ok(Step::Op(RouteOp::Ignored, line.len + body.len())),
        Body::Missing(total) => Ok(Step::More(Need::Bytes(total))),
    }
}

fn bad_arguments(what: &str, args: &[u8]) -> ParseError {
    ParseError::Arguments(format!("{what} Parse Error: '{}'", args.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { control_line_max: 65536, payload_max: usize::MAX };

    fn one(input: &str, dedicated: bool) -> String {
        match parse(input.as_bytes(), &BOUNDS, dedicated) {
            Ok(Step::Op(RouteOp::Message { account, message, queues, .. }, used)) => {
                assert_eq!(used, input.len());
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                let queues: Vec<String> = queues.iter().map(|queue| text(queue)).collect();
                format!(
                    "{} {} reply={} queues={} headers={} body={} tail={}",
                    text(account.unwrap_or(b"-")),
                    text(message.subject),
                    text(message.reply),
                    queues.join(","),
                    message.header_len,
                    text(message.payload()),
                    text(message.tail)
                )
            }
            Ok(Step::Op(RouteOp::Subscribe(named, weight), _)) => format!("{named:?} {weight}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn messages_in_their_shapes() {
        for (input, expected) in [
            (
                "RMSG $G orders.new 5\r\nhello\r\n",
                r"$G orders.new reply= queues= headers=0 body=hello tail=5\r\nhello\r\n",
            ),
            (
                "RMSG $G a rep.1 2\r\nhi\r\n",
                r"$G a reply=rep.1 queues= headers=0 body=hi tail=rep.1 2\r\nhi\r\n",
            ),
            (
                "RMSG $G jobs | workers 3\r\nabc\r\n",
                "$G jobs reply= queues=workers headers=0 body=abc tail=",
            ),
            (
                "RMSG $G jobs + r.2 w v 3\r\nabc\r\n",
                "$G jobs reply=r.2 queues=w,v headers=0 body=abc tail=",
            ),
            (
                "HMSG $G a rr 12 15\r\nNATS/1.0\r\n\r\nxyz\r\n",
                r"$G a reply=rr queues= headers=12 body=xyz tail=rr 12 15\r\nNATS/1.0\r\n\r\nxyz\r\n",
            ),
        ] {
            assert_eq!(one(input, false), expected, "{input:?}");
        }
        assert_eq!(
            one("RMSG a 1\r\nx\r\n", true),
            r"- a reply= queues= headers=0 body=x tail=1\r\nx\r\n"
        );
    }

    /// Compares both ways of reading the start of an input, if it has the usual form.
    fn same_in_one_go<const N: usize>(
        keyword: &[u8; N],
        input: &str,
        dedicated: bool,
    ) -> Result<(), TestCaseError> {
        let input = input.as_bytes();
        if usual::message(input, keyword, !dedicated, &BOUNDS).is_some() {
            let careful = message_carefully(input, keyword, &BOUNDS, dedicated);
            let usual = message(input, keyword, &BOUNDS, dedicated);
            prop_assert_eq!(format!("{usual:?}"), format!("{careful:?}"));
        }
        Ok(())
    }

    proptest! {
        /// What is read in one go is what the careful way makes of it.
        #[test]
        fn the_usual_form_means_the_same(
            line in "( ?[ -~\\t\\r\\n]?[a-z.+|]{0,9} ){0,4}[0-9]{0,2} ?[0-9]{1,2}\\r?\\n?",
            body in "[ab]{0,20}",
            dedicated in any::<bool>(),
        ) {
            same_in_one_go(b"RMSG", &format!("RMSG {line}{body}\r\n"), dedicated)?;
            same_in_one_go(b"HMSG", &format!("HMSG {line}{body}\r\n"), dedicated)?;
        }
    }

    #[test]
    fn what_peers_send_has_the_usual_form() {
        for (input, dedicated) in [
            ("RMSG $G a 1\r\nx\r\n", false),
            ("RMSG $G a _R_.1 1\r\nx\r\n", false),
            ("RMSG a 1\r\nx\r\n", true),
        ] {
            let usual = usual::message(input.as_bytes(), b"RMSG", !dedicated, &BOUNDS);
            assert!(usual.is_some(), "{input}");
        }
        let input = b"HMSG $G a rr 12 15\r\nNATS/1.0\r\n\r\nxyz\r\n";
        assert!(usual::message(input, b"HMSG", true, &BOUNDS).is_some());
    }

    #[test]
    fn interest_with_and_without_account() {
        assert!(one("RS+ $G a q 3\r\n", false).ends_with(" 3"));
        assert!(one("RS+ a q 3\r\n", true).ends_with(" 3"));
        assert!(one("RS+ $G\r\n", false).contains("processRemoteSub Parse Error: '$G'"));
    }

    #[test]
    fn nothing_of_leafs_and_gateways_disturbs() {
        for input in [
            "A+ acc\r\n",
            "LS+ o $G a\r\n",
            "ls- o $G a\r\n",
            "LMSG o $G a 0 1\r\nx\r\n",
            "+OK\r\n",
        ] {
            let step = parse(input.as_bytes(), &BOUNDS, false);
            assert!(
                matches!(step, Ok(Step::Op(RouteOp::Ignored | RouteOp::OfLeafs, used)) if used == input.len()),
                "{input:?}"
            );
        }
        assert!(parse(b"MSG a 1 1\r\n", &BOUNDS, false).is_err());
    }
}
