//! The query of a monitoring request: pairs, and their values in the words of the reference.

/// Why a request cannot be answered; the text is nats-server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);

/// The decoded pairs of a query; the first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the question mark. Pairs that cannot be decoded are left out, as Go's
    /// decoder does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Self(
            pairs
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((decoded(name)?, decoded(value)?))
                })
                .collect(),
        )
    }

    /// The value of a name, empty if it has none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value)
    }

    /// A boolean, false if absent.
    ///
    /// # Errors
    /// When it is none that Go knows.
    pub fn bool(&self, name: &str) -> Result<bool, BadRequest> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(BadRequest(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {}: invalid syntax",
                quoted(other)
            ))),
        }
    }

    /// A number, 0 if absent.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub fn int(&self, name: &str) -> Result<i64, BadRequest> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        text.parse::<i64>().map_err(|error| {
            let reason = reason(&error);
            BadRequest(format!(
                "Error decoding int for '{name}': strconv.Atoi: parsing {}: {reason}",
                quoted(text)
            ))
        })
    }

    /// A number that is not negative, 0 if absent.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub fn uint(&self, name: &str) -> Result<u64, BadRequest> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let parsed = match text.strip_prefix('+') {
            Some(_) => "+".parse::<u64>(), // Go takes no sign here
            None => text.parse::<u64>(),
        };
        parsed.map_err(|error| {
            let reason = reason(&error);
            BadRequest(format!(
                "Error decoding uint64 for '{name}': strconv.ParseUint: parsing {}: {reason}",
                quoted(text)
            ))
        })
    }

    /// `subs`: whether to list subscriptions, and whether in detail.
    ///
    /// # Errors
    /// When it is neither a boolean nor `detail`.
    pub fn subscriptions(&self) -> Result<(bool, bool), BadRequest> {
        if self.text("subs").eq_ignore_ascii_case("detail") {
            return Ok((false, true));
        }
        Ok((self.bool("subs")?, false))
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn reason(error: &std::num::ParseIntError) -> &'static str {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match error.kind() {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

/// Undoes `%41` and `+`; `None` if an escape is broken.
fn decoded(text: &str) -> Option<String> {
    unescaped(&text.replace('+', " "))
}

/// Undoes `%41`; `None` if an escape is broken.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                high << 4 | low
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_the_first_counts() {
        let query = Query::parse("a=%24G&b=x+y&a=2&c&d=%zz&e;f=1");
        for (name, value) in [("a", "$G"), ("b", "x y"), ("c", ""), ("d", ""), ("f", "")] {
            assert_eq!(query.text(name), value, "{name}");
        }
    }

    #[test]
    fn values_are_refused_in_go_s_words() {
        let query = Query::parse("b=zz&i=x&u=-1&big=99999999999999999999&subs=Detail");
        let text = |error: BadRequest| error.to_string();
        assert_eq!(
            query.bool("b").map_err(text),
            Err(
                "Error decoding boolean for 'b': strconv.ParseBool: parsing \"zz\": invalid syntax"
                    .into()
            )
        );
        assert_eq!(
            query.int("i").map_err(text),
            Err("Error decoding int for 'i': strconv.Atoi: parsing \"x\": invalid syntax".into())
        );
        assert_eq!(
            query.int("big").map_err(text),
            Err("Error decoding int for 'big': strconv.Atoi: parsing \"99999999999999999999\": value out of range".into())
        );
        assert_eq!(
            query.uint("u").map_err(text),
            Err("Error decoding uint64 for 'u': strconv.ParseUint: parsing \"-1\": invalid syntax"
                .into())
        );
        assert_eq!(query.subscriptions(), Ok((false, true)));
        assert_eq!(query.int("absent"), Ok(0));
    }
}
