//! `natsctl passwd`: a bcrypt hash of a password, for `password` in a server's configuration.

use std::io::Read as _;

use bcrypt::Version;
use console::Term;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Ended, aside};
use crate::cli::Passwd;
use crate::failure::{Failure, Kind};
use crate::report;

/// bcrypt looks at no more of a password.
const LENGTH_MAX: usize = 72;
/// Of a password made here: 22 letters and digits hold 130 bits.
const LENGTH_MADE: usize = 22;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) async fn run(args: &Passwd) -> Ended {
    let password = if args.generate { generate() } else { ask().await? };
    let hash = hash(&password, args.cost)?;
    if args.generate {
        report::say(&format!("password: {password}"));
    }
    report::print_line(&hash);
    Ok(0)
}

/// In the form of `$2a$`, which a server's configuration takes without quotes.
fn hash(password: &str, cost: u32) -> Result<String, Failure> {
    let cannot = |why: &str| Failure::new(Kind::Usage, "cannot hash this password").cause(why);
    if password.is_empty() {
        return Err(cannot("it is empty").hint("natsctl passwd --generate"));
    }
    if password.len() > LENGTH_MAX {
        let why = format!("it has {} bytes, and bcrypt ignores all beyond 72", password.len());
        return Err(cannot(&why).hint("take a shorter one, or: natsctl passwd --generate"));
    }
    let parts = bcrypt::hash_with_result(password, cost);
    let parts = parts.map_err(|error| Failure::of(Kind::Unexpected, &error))?;
    Ok(parts.format_for_version(Version::TwoA))
}

fn generate() -> String {
    use rand::seq::IndexedRandom as _;
    let mut random = rand::rng();
    let letter = |_| LETTERS.choose(&mut random).map_or('0', |letter| char::from(*letter));
    (0..LENGTH_MADE).map(letter).collect()
}

/// Asks twice at a terminal; takes the first line of anything else.
async fn ask() -> Result<String, Failure> {
    let unread = |error: std::io::Error| {
        Failure::new(Kind::Usage, "cannot read the password").cause(error.to_string())
    };
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let text = aside(|| {
            let mut text = String::new();
            std::io::stdin().lock().take(64 * 1024).read_to_string(&mut text).map(|_bytes| text)
        });
        return Ok(text.await.map_err(unread)?.lines().next().unwrap_or_default().to_owned());
    }
    let _echo = Echo::kept();
    let password = secret("password: ").await.map_err(unread)?;
    if secret("again: ").await.map_err(unread)? == password {
        return Ok(password);
    }
    Err(Failure::new(Kind::Usage, "the two passwords differ").hint("natsctl passwd"))
}

async fn secret(prompt: &'static str) -> std::io::Result<String> {
    aside(move || {
        let term = Term::stderr();
        term.write_str(prompt)?;
        term.read_secure_line()
    })
    .await
}

/// The terminal as it was before a password was asked for, which it is again afterwards, also after
/// ctrl-c: whoever reads it then is left behind with the echo off.
struct Echo(Option<Termios>);

impl Echo {
    fn kept() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no echo.
            let _gone = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_servers_take_and_fits_its_password() {
        let made = generate();
        assert_eq!(made.len(), LENGTH_MADE);
        assert_ne!(made, generate());
        let hash = hash(&made, 4).unwrap();
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        assert!(bcrypt::verify(&made, &hash).unwrap());
        assert!(!bcrypt::verify("other", &hash).unwrap());
    }

    #[test]
    fn what_bcrypt_would_cut_is_refused() {
        assert!(hash(&"x".repeat(72), 4).is_ok());
        let error = hash(&"x".repeat(73), 4).unwrap_err().render(report::stderr_paint());
        assert!(error.contains("73 bytes"), "{error}");
        assert!(hash("", 4).is_err());
    }
}
