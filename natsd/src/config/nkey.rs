//! Public nkeys: a kind, 32 bytes and a checksum in base 32.

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `A...`
    Account,
    /// `U...`
    User,
    /// `O...`
    Operator,
    /// `X...`
    Curve,
    /// `N...`
    Server,
    /// Any of those, a server's or a cluster's.
    Any,
}

/// Tells whether a text is a public key of a kind.
pub fn is_public(key: &str, kind: Kind) -> bool {
    let Some(bytes) = decoded(key) else { return false };
    let Some((prefix, _)) = bytes.split_first() else { return false };
    let Some((body, sum)) = bytes.split_last_chunk::<2>() else { return false };
    if bytes.len() != 1 + 32 + 2 || crc16(body) != u16::from_le_bytes(*sum) {
        return false;
    }
    let letter = |letter: u8| (letter - b'A') << 3;
    match kind {
        Kind::Account => *prefix == letter(b'A'),
        Kind::User => *prefix == letter(b'U'),
        Kind::Operator => *prefix == letter(b'O'),
        Kind::Curve => *prefix == letter(b'X'),
        Kind::Server => *prefix == letter(b'N'),
        Kind::Any => b"AUOXNC".iter().any(|name| *prefix == letter(*name)),
    }
}

/// Decodes base 32 without padding, at most what a key has.
fn decoded(text: &str) -> Option<Vec<u8>> {
    if text.len() != 56 {
        return None;
    }
    let mut bytes = Vec::with_capacity(35);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made for tests by `nk -gen`; nobody has the seeds.
    const USER: &str = "UA3C5TBZYK5GJQJRWPMU6NFY5JNAEVQB2V2TUZFZDHFJFUYVKTTUOFKZ";
    const ACCOUNT: &str = "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA";

    #[test]
    fn keys_are_known_by_their_letter_and_checksum() {
        assert!(is_public(USER, Kind::User));
        assert!(is_public(ACCOUNT, Kind::Account));
        assert!(is_public(ACCOUNT, Kind::Any));
        assert!(!is_public(USER, Kind::Account));
        assert!(!is_public(&USER.replace('Q', "R"), Kind::User));
        assert!(!is_public(&USER[..55], Kind::User));
        assert!(!is_public("", Kind::Any));
        assert!(!is_public(&"é".repeat(28), Kind::Any));
    }
}
