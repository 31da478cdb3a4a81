//! Which web pages may connect: the `Origin` of a browser (RFC 6454).

/// Where a page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: String,
}

impl Origin {
    /// Reads `scheme://host[:port]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Err(format!("parse {text:?}: invalid URI for request"));
        };
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = host_and_port(scheme == "https", authority)?;
        Ok(Self { scheme, host, port })
    }

    /// The origin that a request to this `Host` is of itself.
    pub(super) fn own(secure: bool, host: &str) -> Result<Self, String> {
        let (host, port) = host_and_port(secure, host)?;
        Ok(Self { scheme: if secure { "https" } else { "http" }.into(), host, port })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Host in lower case, and port or the default one.
fn host_and_port(secure: bool, text: &str) -> Result<(String, String), String> {
    let default = if secure { "443" } else { "80" };
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let colon = text.get(after_bracket..).and_then(|rest| rest.rfind(':'));
    let Some(colon) = colon.map(|at| at + after_bracket) else {
        return Ok((text.to_lowercase(), default.into()));
    };
    let (host, port) = (text.get(..colon).unwrap_or_default(), text.get(colon + 1..));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err(format!("address {text}: too many colons in address"));
    }
    Ok((bracketed.unwrap_or(host).to_lowercase(), port.unwrap_or_default().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_with_their_default_ports() {
        let same = |a: &str, b: &str| Origin::parse(a).unwrap() == Origin::parse(b).unwrap();
        assert!(same("https://Example.com", "https://example.com:443"));
        assert!(same("http://a", "HTTP://a:80/x?y"));
        assert!(same("http://[::1]:8080", "http://[::1]:8080/"));
        assert!(!same("http://a", "https://a"));
        assert!(!same("http://a:1", "http://a:2"));
        for bad in ["null", "", "a.com", "1://a", "http://a:b:c"] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Origin::own(true, "A:443").unwrap(), Origin::parse("https://a").unwrap());
    }
}
