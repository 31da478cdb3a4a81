//! Sizes of memory and disks, as Multipass writes them, and sizes as NATS servers read them.

/// `1G`, `512MiB`, `1.5G`, `1073741824`; units are binary, as Multipass's.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if shift == 0 && !part.is_empty() {
        return None;
    }
    let unit = 1u64 << shift;
    let mut bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if !part.is_empty() {
        let scale = 10u64.checked_pow(u32::try_from(part.len()).ok()?)?;
        bytes = bytes.checked_add(part.parse::<u64>().ok()?.checked_mul(unit)? / scale)?;
    }
    Some(bytes)
}

/// `2MB`, `4k`, `1GiB`, as in a server's config file: a letter alone counts in thousands.
pub(super) fn parse_server_size(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let unit = unit.to_ascii_lowercase();
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = u32::try_from("kmgtpe".find(letter)? + 1).ok()?;
    let step: i64 = match rest {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(step.checked_pow(power)?)
}

/// A size as Multipass writes it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_servers_read_them() {
        assert_eq!(parse_server_size("2MB"), Some(2 << 20));
        assert_eq!(parse_server_size("4k"), Some(4000));
        assert_eq!(parse_server_size("1Gib"), Some(1 << 30));
        assert_eq!(parse_server_size("1Gi"), Some(1 << 30));
        for text in ["2", "MB", "2MBs", "2s", "1.5m", "-1k", "10e", "2é", ""] {
            assert_eq!(parse_server_size(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_multipass_reads_them() {
        assert_eq!(parse_size("1G"), Some(1 << 30));
        assert_eq!(parse_size("1.5GiB"), Some(3 << 29));
        assert_eq!(parse_size("512m"), Some(512 << 20));
        assert_eq!(parse_size("1.5"), None);
        assert_eq!(parse_size("G"), None);
        assert_eq!(parse_size("99999999999G"), None);
        assert_eq!(show_size(1536 << 20), "1536M");
    }
}
