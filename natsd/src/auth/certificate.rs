//! Names in a client's certificate, and the user they stand for.

/// The names of a verified certificate, in the order in which users are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// E-mail addresses of the subject alternative names.
    pub emails: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// The subject as attribute and value pairs, most significant last as people write it
    /// (`CN=x,O=y`).
    pub subject: Vec<(String, String)>,
}

impl PeerNames {
    /// Alternative names, in the order in which nats-server tries them.
    pub fn alternatives(&self) -> impl Iterator<Item = &str> {
        self.emails.iter().chain(&self.dns).chain(&self.uris).map(String::as_str)
    }

    /// The subject in one line (RFC 2253).
    #[must_use]
    pub fn subject_line(&self) -> String {
        let parts: Vec<String> = self.subject.iter().map(|(k, v)| format!("{k}={v}")).collect();
        parts.join(",")
    }

    /// Whether a configured user name is this subject, attributes in any order.
    #[must_use]
    pub fn is_subject(&self, name: &str) -> bool {
        let Some(mut wanted) = parse(name) else { return false };
        let mut held: Vec<(String, String)> =
            self.subject.iter().map(|(k, v)| (k.to_ascii_uppercase(), v.clone())).collect();
        wanted.sort();
        held.sort();
        !held.is_empty() && wanted == held
    }
}

/// Reads `CN=x, O=y`; `None` when it is no such thing.
fn parse(name: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut part = String::new();
    let mut escaped = false;
    let mut finish = |part: &mut String| {
        let (key, value) = part.split_once('=')?;
        pairs.push((key.trim().to_ascii_uppercase(), value.trim().to_owned()));
        part.clear();
        Some(())
    };
    for letter in name.chars() {
        match letter {
            _ if escaped => {
                part.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            ',' | '+' | ';' => finish(&mut part)?,
            _ => part.push(letter),
        }
    }
    finish(&mut part)?;
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_match_in_any_order_and_only_whole() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let names = PeerNames {
            subject: vec![pair("CN", "a, b"), pair("O", "Acme")],
            ..PeerNames::default()
        };
        assert!(names.is_subject("CN=a\\, b,O=Acme"));
        assert!(names.is_subject("o=Acme, cn=a\\, b"));
        for other in
            ["CN=a\\, b", "O=Acme", "Acme", "", "CN=a\\, b,O=Acme,OU=x", "CN=A\\, b,O=Acme"]
        {
            assert!(!names.is_subject(other), "{other}");
        }
        assert!(!PeerNames::default().is_subject(""));
    }
}
