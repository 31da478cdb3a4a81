//! Comparing secrets without telling by time where they differ.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// What a comparison says.
#[derive(Debug)]
pub enum Verdict {
    /// Right.
    Same,
    /// Wrong.
    Different,
    /// The stored one is a bcrypt hash, which takes its time.
    Hashed(HashCheck),
}

/// A bcrypt comparison that was not made yet.
pub struct HashCheck {
    hash: Secret,
    given: Secret,
}

impl HashCheck {
    /// Compares; takes some 50 to 100 ms at the usual cost.
    #[must_use]
    pub fn run(&self) -> bool {
        // Cost, salt or alphabet may be nonsense: such a hash fits no password.
        bcrypt::verify(self.given.expose(), self.hash.expose()).unwrap_or(false)
    }
}

impl std::fmt::Debug for HashCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashCheck([REDACTED])")
    }
}

/// Compares a stored secret, plain or hashed, with a given one.
#[must_use]
pub fn verify(stored: &Secret, given: &str) -> Verdict {
    if stored.is_bcrypt() {
        return Verdict::Hashed(HashCheck { hash: stored.clone(), given: Secret::new(given) });
    }
    if same(stored.expose(), given) { Verdict::Same } else { Verdict::Different }
}

/// Compares digests: neither content nor length shows in the time taken.
fn same(stored: &str, given: &str) -> bool {
    Sha256::digest(stored).as_slice().ct_eq(Sha256::digest(given).as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_hashed() {
        assert!(matches!(verify(&"pa".into(), "pa"), Verdict::Same));
        for wrong in ["", "p", "pb", "paa", "pa\0"] {
            assert!(matches!(verify(&"pa".into(), wrong), Verdict::Different), "{wrong:?}");
        }
        let hash = Secret::new(bcrypt::hash("s3cret", 4).unwrap());
        for (given, right) in [("s3cret", true), ("s3cre", false), ("", false)] {
            let Verdict::Hashed(check) = verify(&hash, given) else { panic!("not hashed") };
            assert_eq!(check.run(), right, "{given:?}");
            assert!(!format!("{check:?}").contains("s3cre"));
        }
        let nonsense = Secret::new("$2a$99$zzzz");
        let Verdict::Hashed(check) = verify(&nonsense, "x") else { panic!("not hashed") };
        assert!(!check.run());
    }
}
