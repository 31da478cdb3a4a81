//! What a server says of a configuration it is shown by `-t`.

/// What `-t` fails on too though the server starts with it, as natsd and nats-server say it.
const WARNINGS: [&str; 5] = [
    "has no effect",
    "is not spoken by natsd",
    "invalid use of field",
    "sampling ignored",
    "should be a number of seconds",
];

/// Why a server would not start with it, from what it printed when `-t` failed; `None` when it
/// only warned.
pub(super) fn refusal(printed: &str) -> Option<String> {
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Some("it said nothing".into());
    }
    let warns = |line: &str| WARNINGS.iter().any(|warning| line.contains(warning));
    let errors: Vec<&str> = lines.into_iter().filter(|line| !warns(line)).take(5).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_alone_are_no_refusal() {
        let warning = "natsd: c:1:0: \"jetstream\" is not supported by natsd yet and has no effect";
        let error = "c:2:1: unknown field \"no_such\"";
        assert_eq!(refusal(&format!("{warning}\n\n")), None);
        assert_eq!(refusal(&format!("{warning}\n{error}\n\n")).as_deref(), Some(error));
        assert_eq!(refusal("").as_deref(), Some("it said nothing"));
    }
}
