use proptest::prelude::*;

use super::*;
use crate::protocol::stash::Stash;

const BOUNDS: Bounds = Bounds { control_line_max: 64, payload_max: 1000 };

/// Renders the ops of an input that is complete, as text.
fn ops(mut input: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while !input.is_empty() {
        match parse(input, &BOUNDS, true) {
            Ok(Step::Op(op, used)) => {
                all.push(show(&op));
                input = &input[used..];
            }
            Ok(Step::More(need)) => {
                all.push(format!("more {need:?}"));
                break;
            }
            Err(error) => {
                all.push(format!("error {error}"));
                break;
            }
        }
    }
    all
}

fn show(op: &ClientOp<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match op {
        ClientOp::Publish(message, _) => format!(
            "publish {} reply={} headers={} body={} tail={}",
            text(message.subject),
            text(message.reply),
            text(message.headers()),
            text(message.payload()),
            text(message.tail)
        ),
        ClientOp::Subscribe { subject, queue, sid } => {
            format!("sub {} {} {}", text(subject), text(queue.unwrap_or(b"-")), text(sid))
        }
        ClientOp::Unsubscribe { sid, max } => format!("unsub {} {max:?}", text(sid)),
        ClientOp::Connect(json) => format!("connect {}", text(json)),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_clients_send_has_the_usual_form() {
    for input in ["PUB a 0\r\n\r\n", "PUB a.b _INBOX.1 5\r\nhello\r\nPING\r\n"] {
        assert!(usual::message(input.as_bytes(), b"PUB", false, &BOUNDS).is_some(), "{input}");
    }
    for input in [
        "HPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        "HPUB a.b _INBOX.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ] {
        assert!(usual::message(input.as_bytes(), b"HPUB", false, &BOUNDS).is_some(), "{input}");
    }
}

/// Compares both ways of reading the start of an input, if it has the usual form.
fn same_in_one_go<const N: usize>(
    keyword: &[u8; N],
    input: &str,
    cut: usize,
) -> Result<(), TestCaseError> {
    let input = &input.as_bytes()[..input.len().min(cut)];
    if usual::message(input, keyword, false, &BOUNDS).is_some() {
        let careful = publish_carefully(input, keyword, &BOUNDS);
        prop_assert_eq!(format!("{:?}", publish(input, keyword, &BOUNDS)), format!("{careful:?}"));
    }
    Ok(())
}

#[test]
fn ordinary_ops() {
    let input = b"CONNECT {}\r\nPUB a.b 5\r\nhello\r\nsub\ta.* q  7\r\nUnSub 7 2\nPINGxyz\r\n";
    assert_eq!(
        ops(input),
        [
            "connect {}",
            r"publish a.b reply= headers= body=hello tail=5\r\nhello\r\n",
            "sub a.* q 7",
            "unsub 7 Some(2)",
            "Ping",
        ]
    );
}

/// Text behind PING is ignored however long it is, and so are blanks before the arguments; a
/// line that is cut is bounded as one that is not.
#[test]
fn a_long_line_means_the_same_whole_and_cut() {
    let (text, blanks) = ("x".repeat(200), " ".repeat(200));
    for (line, matters) in
        [(format!("PING{text}\r\n"), 4), (format!("SUB{blanks}a 1\r\n"), "SUB ".len())]
    {
        assert!(matches!(parse(line.as_bytes(), &BOUNDS, true), Ok(Step::Op(..))), "{line}");
        let cut = parse(&line.as_bytes()[..100], &BOUNDS, true);
        assert!(matches!(cut, Ok(Step::More(Need::LineEndAfter(n))) if n == matters), "{cut:?}");
    }
    let line = format!("SUB {text} 1\r\n");
    for part in [&line[..], &line[..100]] {
        let error = parse(part.as_bytes(), &BOUNDS, true).unwrap_err();
        assert_eq!(error, ParseError::ControlLine);
    }
}

/// All lines of up to seven letters after `INFO`, at a bound of four: one that comes byte by byte
/// is what it is in one piece, also where a CR stands inside.
#[test]
fn every_short_line_means_the_same_whole_and_byte_by_byte() {
    let bounds = Bounds { control_line_max: 4, payload_max: 0 };
    for length in 0..=7 {
        for mut code in 0..3_usize.pow(length) {
            let mut line = b"INFO".to_vec();
            for _ in 0..length {
                line.push(b"x\r "[code % 3]);
                code /= 3;
            }
            line.push(b'\n');
            let whole = meaning(&parse(&line, &bounds, true));
            assert_eq!(byte_by_byte(&line, &bounds), whole, "{}", line.escape_ascii());
        }
    }
}

/// What a line means of which every byte comes alone.
fn byte_by_byte(line: &[u8], bounds: &Bounds) -> String {
    let mut stash = Stash::new();
    stash.keep(b"I", Need::LineEnd);
    for byte in line[1..].chunks(1) {
        assert_eq!(stash.fill(byte), b"");
        let held = stash.take();
        match parse(&held, bounds, true) {
            Ok(Step::More(need)) => stash.restore(held, need),
            end => return meaning(&end),
        }
    }
    "unfinished".to_owned()
}

fn meaning(parsed: &Parsed<'_>) -> String {
    match parsed {
        Ok(Step::Op(ClientOp::Info(json), _)) => json.escape_ascii().to_string(),
        Ok(Step::More(_)) => "unfinished".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_tail_is_only_used_in_the_usual_form() {
    for (input, tail) in [
        ("PUB a r 1\r\nx\r\n", r"r 1\r\nx\r\n"),
        ("PUB a  r 1\r\nx\r\n", ""),
        ("PUB a\tr 1\r\nx\r\n", ""),
        ("PUB a r 01\r\nx\r\n", r"r 01\r\nx\r\n"),
        ("PUB a 1\nx\r\n", ""),
        ("PUB a 1 \r\nx\r\n", ""),
        ("HPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\n", r"12 13\r\nNATS/1.0\r\n\r\nx\r\n"),
        ("HPUB a 0 1\r\nx\r\n", ""),
    ] {
        let shown = ops(input.as_bytes());
        assert!(shown[0].ends_with(&format!("tail={tail}")), "{input:?}: {shown:?}");
    }
}

#[test]
fn errors_are_seen_at_the_first_possible_byte() {
    for input in
        ["x", "MSG", "RS+", " PING", "PUBx", "PIX", "PUB a 1\r\nxy", "PUB a 2\r\nok\n", "\r\n"]
    {
        let shown = ops(input.as_bytes());
        assert_eq!(shown.last().unwrap(), "error Unknown Protocol Operation", "{input:?}");
    }
}

#[test]
fn argument_errors_carry_the_reference_text() {
    for (input, expected) in [
        ("PUB a\r\n", "error processPub Parse Error: \"a\""),
        ("PUB a x\r\n", "error processPub Bad or Missing Size: \"a x\""),
        ("HPUB a 3 2\r\n", "error processHeaderPub Header Size larger then TotalSize: \"a 3 2\""),
        ("SUB a\r\n", "error processSub Parse Error: \"a\""),
        ("UNSUB a b c\r\n", "error processUnsub Parse Error: \"a b c\""),
        ("PUB a 1001\r\n", "error maximum payload exceeded: 1001 vs 1000"),
    ] {
        assert_eq!(ops(input.as_bytes()), [expected]);
    }
}

#[test]
fn a_publish_is_one_only_with_a_blank_behind_its_name() {
    for (input, subject) in [
        (&b"PUB a b 2\r\nx"[..], Some(&b"a"[..])),
        (b"hpub\ta 2 2\r\n", Some(b"a")),
        (b"PUB. a b 2\r\nx", None),
        (b"PUB a b c\r\nx", None),
        (b"PUB a.*\rb 1x\n", Some(b"a.*\rb")),
        (b"PUB a b 2", None),
        (b"SUB a 1\r\n", None),
    ] {
        assert_eq!(unfinished_subject(input, &BOUNDS), subject, "{}", input.escape_ascii());
    }
}

#[test]
fn control_lines_are_bounded_even_unfinished() {
    let fits = format!("SUB {} 1\r\n", "a".repeat(62));
    assert_eq!(ops(fits.as_bytes()).len(), 1);
    assert!(ops(fits.as_bytes())[0].starts_with("sub "));
    let long = format!("SUB {} 1\r\n", "a".repeat(63));
    assert_eq!(ops(long.as_bytes()), ["error maximum control line exceeded"]);
    let endless = format!("SUB {}", "a".repeat(65));
    assert_eq!(ops(endless.as_bytes()), ["error maximum control line exceeded"]);
}

fn any_op() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"PING\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        ("[a-z.*>]{1,8}", "[0-9]{1,3}").prop_map(|(s, sid)| format!("SUB {s} {sid}\r\n").into()),
        ("[a-z.]{1,8}", "[ -~]{0,40}").prop_map(|(s, body)| format!(
            "PUB {s} {}\r\n{body}\r\n",
            body.len()
        )
        .into()),
        ("[a-z.]{1,8}", "[ -~]{0,40}").prop_map(|(s, body)| format!(
            "HPUB {s} r.1 12 {}\r\nNATS/1.0\r\n\r\n{body}\r\n",
            12 + body.len()
        )
        .into()),
    ]
}

proptest! {
    /// However the input is cut, a parser that is given more and more of it ends at the same ops,
    /// and never asks for more than the op has.
    #[test]
    fn a_cut_never_changes_the_result(ops_in in prop::collection::vec(any_op(), 1..6)) {
        for op in &ops_in {
            for cut in 1..op.len() {
                match parse(&op[..cut], &BOUNDS, true) {
                    Ok(Step::More(Need::LineEnd)) => {}
                    Ok(Step::More(Need::LineEndAfter(matters))) => {
                        let kept = [&op[..matters], &op[cut..]].concat();
                        prop_assert_eq!(ops(&kept), ops(op));
                    }
                    Ok(Step::More(Need::Bytes(total))) => prop_assert_eq!(total, op.len()),
                    other => prop_assert!(false, "{:?} at {cut} of {}", other, op.escape_ascii()),
                }
            }
        }
        let whole = ops_in.concat();
        prop_assert_eq!(ops(&whole).len(), ops_in.len());
    }

    /// What is read in one go is what the careful way makes of it.
    #[test]
    fn the_usual_form_means_the_same(
        line in "( ?[ -~\\t\\r\\n]?[a-z.]{0,9} ){0,3}[0-9]{0,2} ?[0-9]{1,2}\\r?\\n?",
        body in "[ab]{0,20}",
        end in prop_oneof![4 => Just("\r\n"), 1 => Just("\r"), 1 => Just("")],
        cut in 0_usize..200,
    ) {
        same_in_one_go(b"PUB", &format!("PUB {line}{body}{end}PING\r\n"), cut)?;
        same_in_one_go(b"HPUB", &format!("HPUB {line}{body}{end}PING\r\n"), cut)?;
    }

    /// No input panics.
    #[test]
    fn arbitrary_bytes(input in prop::collection::vec(any::<u8>(), 0..200)) {
        ops(&input);
    }
}
