use std::collections::HashMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Files and variables of a test.
#[derive(Default)]
struct Desk {
    files: HashMap<&'static str, &'static str>,
    variables: HashMap<&'static str, &'static str>,
}

impl Surroundings for Desk {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|text| (*text).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::Error::from_raw_os_error(2))
    }
}

fn parse(text: &str) -> Result<Map, String> {
    parse_text(text.as_bytes(), "x.conf", &Desk::default()).map_err(|error| error.text)
}

fn value(text: &str) -> Value {
    parse(text).unwrap().get("k").unwrap().value.clone()
}

fn text_of(value: &str) -> Value {
    Value::Text(value.into())
}

#[test]
fn values_have_the_types_that_people_mean() {
    for (text, expected) in [
        ("k: 1", Value::Int(1)),
        ("k = -1", Value::Int(-1)),
        ("k 1k", Value::Int(1000)),
        ("k 1KB", Value::Int(1024)),
        ("k 2gib", Value::Int(2 << 30)),
        ("k 1.5", Value::Float(1.5)),
        ("k yes", Value::Bool(true)),
        ("k: OFF", Value::Bool(false)),
        ("k: 'on'", text_of("on")),
        ("k: 10s", text_of("10s")),
        ("k: 1.2.3.4:80", text_of("1.2.3.4:80")),
        ("k: 0K1abc", text_of("0K1abc")),
        ("k: \"a\\x41\\n\"", text_of("aA\n")),
        ("k: 'a\\n'", text_of("a\\n")),
        ("k: a\\tb", text_of("a\tb")),
        ("k: (\nline one\nline two\n)\n", text_of("\nline one\nline two\n")),
        ("k: 2016-05-04T18:53:41Z", Value::Time("2016-05-04T18:53:41Z".into())),
        ("{\"k\": 5}", Value::Int(5)),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn places_count_as_nats_server_counts() {
    let map = parse("a: 1\nb: 2\n  c { d: 1 }").unwrap();
    let place = |key: &str| map.get(key).unwrap().place.to_string();
    assert_eq!(place("a"), "x.conf:1:0");
    assert_eq!(place("b"), "x.conf:2:1");
    assert_eq!(place("c"), "x.conf:3:3");
}

#[test]
fn variables_come_from_the_file_before_the_environment() {
    let desk =
        Desk { variables: HashMap::from([("A", "5"), ("B", "[ $A, x ]")]), ..Desk::default() };
    let parse = |text: &str| parse_text(text.as_bytes(), "x.conf", &desk).unwrap();
    assert_eq!(parse("k: $A").get("k").unwrap().value, Value::Int(5));
    let map = parse("A: 6\nk: $A");
    assert_eq!(map.get("k").unwrap().value, Value::Int(6));
    assert!(map.get("A").unwrap().referenced);
    let map = parse("k: $B");
    let Value::List(nodes) = &map.get("k").unwrap().value else { panic!("{map:?}") };
    assert_eq!(nodes[0].value, Value::Int(5));
    assert_eq!(nodes[1].place.to_string(), "x.conf:1:4");
}

#[test]
fn variables_that_refer_to_themselves_are_refused() {
    let desk = Desk { variables: HashMap::from([("A", "$B"), ("B", "$A")]), ..Desk::default() };
    let error = parse_text(b"k: $A", "x.conf", &desk).unwrap_err();
    assert!(error.text.contains("variable reference cycle for 'A'"), "{error}");
}

#[test]
fn includes_that_go_in_circles_are_refused() {
    let files = HashMap::from([("a.conf", "include b.conf\n"), ("b.conf", "include a.conf\n")]);
    let desk = Desk { files, ..Desk::default() };
    let error = parse_file(Path::new("a.conf"), &desk).unwrap_err();
    assert!(error.text.contains("include cycle"), "{error}");
}

#[test]
fn deep_nesting_is_refused() {
    let lists = format!("a {}", "[ ".repeat(10_000));
    for text in [lists, "a { ".repeat(10_000), "{ ".repeat(10_000)] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains("deeper than 256 levels"), "{error}");
    }
    let (open, close) = ("[ ".repeat(10_000), "]".repeat(10_000));
    assert!(parse(&format!("a: {open}{close}")).is_err());
}

#[test]
fn values_that_double_and_double_are_refused() {
    let mut text = String::from("a0: 12345678\n");
    for i in 1..40 {
        text.push_str(&format!("a{i}: [ $a{}, $a{} ]\n", i - 1, i - 1));
    }
    assert!(parse(&text).unwrap_err().contains("configuration takes more than"));
}

#[test]
fn digests_are_nats_server_s() {
    // Observed on nats-server 2.15.1: what `-t` printed for these files.
    let of = |text: &str| digest(&parse(text).unwrap());
    assert_eq!(
        of("port: 70000"),
        "sha256:46ef640b18e752b31deeb5c57c1d3f4678bb83528db9dbaa2db19f33a6cb2b81"
    );
    assert_eq!(of("port: 70000"), of("# again\nport = 70000,"));
}

/// Pieces of configurations, to be put together at random.
fn piece() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = "a|port|cluster|{|}|[|]|(|)|\n|\n| | |:|=|,|;|\"|'|#|//|/|\\|\\x4|$a|$A|1|12k|-5|1.5|\
        1.2.3.4:5|2016-05-04T18:53:41Z|2016-|true|include |x.conf|\t|\r|é|\0|.|foo: bar\n|x = [ 1, 2 ]|m { k: v }"
        .split('|')
        .collect();
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|list| list.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let desk = Desk::default();
        drop(parse_text(&bytes, "x.conf", &desk));
    }

    #[test]
    fn no_text_makes_it_panic(text in piece()) {
        let files = HashMap::from([("x.conf", "a: 1\n")]);
        let desk = Desk { files, variables: HashMap::from([("A", "[ $A ")]) };
        if let Ok(map) = parse_text(text.as_bytes(), "x.conf", &desk) {
            prop_assert!(digest(&map).starts_with("sha256:"));
        }
    }

    #[test]
    fn strings_survive_quoting(text in "[^\"\\\\\0]{0,40}") {
        let map = parse(&format!("k: \"{text}\"")).unwrap();
        prop_assert_eq!(&map.get("k").unwrap().value, &Value::Text(text));
    }

    #[test]
    fn integers_survive(number in any::<i64>()) {
        prop_assert_eq!(value(&format!("k: {number}")), Value::Int(number));
    }
}
