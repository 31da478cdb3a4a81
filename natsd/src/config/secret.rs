//! Text that must never be seen: passwords, tokens, seeds.

use std::fmt;

/// A password, token or seed. It has no `Display`, and its `Debug` shows nothing of it.
///
/// `==` is for noticing a changed configuration; credentials are compared by `auth`, in constant
/// time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Hands the text out, to compare or to hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether it is a bcrypt hash rather than the text itself (`$2a$10$...`).
    pub fn is_bcrypt(&self) -> bool {
        let mut bytes = self.0.bytes();
        let head: Vec<u8> = bytes.by_ref().take(4).collect();
        matches!(head.as_slice(), [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$'])
            && bytes.next().is_some_and(|b| b.is_ascii_digit())
            && bytes.next().is_some_and(|b| b.is_ascii_digit())
            && bytes.next() == Some(b'$')
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("s3cr3t")), "[REDACTED]");
        assert_eq!(format!("{:?}", Secret::default()), "[REDACTED]");
    }

    #[test]
    fn hashes_are_told_from_passwords() {
        let hash = Secret::new("$2a$10$abcdefghijklmnopqrstuu");
        assert!(hash.is_bcrypt());
        assert!(!Secret::new("$2a$").is_bcrypt());
        assert!(!Secret::new("$2z$10$x").is_bcrypt());
        assert!(!Secret::new("password").is_bcrypt());
    }
}
