//! Arguments of a control line: splitting at blanks, decimal sizes.

use smallvec::SmallVec;

/// The arguments of one line. Six cover every client op.
pub type Args<'a> = SmallVec<[&'a [u8]; 6]>;

/// Whether a byte separates arguments (as the reference: CR and LF count).
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits what a client publishes: there only spaces and tabs count (as the reference).
#[must_use]
pub fn split_publish(line: &[u8]) -> Args<'_> {
    line.split(|&byte| matches!(byte, b' ' | b'\t')).filter(|arg| !arg.is_empty()).collect()
}

/// Splits at runs of blanks.
#[must_use]
pub fn split(line: &[u8]) -> Args<'_> {
    line.split(|&byte| is_blank(byte)).filter(|arg| !arg.is_empty()).collect()
}

/// Most digits that a size may have.
const SIZE_DIGITS_MAX: usize = 9;

/// Reads a size: 1 to 9 decimal digits, nothing else.
#[must_use]
pub fn size(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > SIZE_DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0, |sum: usize, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + usize::from(byte - b'0'))
    })
}

/// A decimal number, ready to be queued; no heap.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: u8,
}

impl Decimal {
    /// Renders a number.
    #[must_use]
    pub fn new(mut number: usize) -> Self {
        let mut digits = [0; 20];
        let mut start = 20_u8;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + u8::try_from(number % 10).unwrap_or_default();
            start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// The digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(usize::from(self.start)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(b"0"), Some(0));
        assert_eq!(size(b"999999999"), Some(999_999_999));
        for bad in ["", "1234567890", "-1", "+1", "1a", " 1"] {
            assert_eq!(size(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn runs_of_blanks_separate() {
        assert_eq!(split(b" a\t b  c ").as_slice(), [b"a", b"b", b"c"]);
    }
}
