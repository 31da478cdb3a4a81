//! INFO and CONNECT: the JSON of the handshake.

use serde::{Deserialize, Serialize};

use super::go_json::{encode, entries, nested, parse, read};

/// INFO, in the order in which nats-server emits its keys. One shape for clients and routes;
/// what is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the client protocol page")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has these flags")]
pub struct Info {
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    pub proto: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    pub go: String,
    pub host: String,
    pub port: i32,
    pub headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    pub max_payload: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "is_false")]
    pub cluster_dynamic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ws_connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub api_lvl: u64,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "nested")]
    pub import: Option<SubjectPermission>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "nested")]
    pub export: Option<SubjectPermission>,
    #[serde(skip_serializing_if = "is_false")]
    pub lnoc: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub lnocu: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub ln: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_idx: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_acc_add_reqid: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub gossip_mode: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub xkey: String,
}

/// Subjects that cross a route in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubjectPermission {
    /// Allowed; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// CONNECT of a client. Absent keys have the reference's defaults: verbose, pedantic and echo.
#[derive(Clone, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the client protocol page")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has these flags")]
pub struct Connect {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub tls_required: bool,
    pub auth_token: String,
    pub user: String,
    pub pass: String,
    pub nkey: String,
    pub jwt: String,
    pub sig: String,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub protocol: i64,
    pub account: String,
    pub new_account: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub proxy_sig: String,
    // Of routes and leaf nodes: a client may say them, if they are of the right kind.
    #[serde(deserialize_with = "nested")]
    pub import: Option<SubjectPermission>,
    #[serde(deserialize_with = "nested")]
    pub export: Option<SubjectPermission>,
    pub remote_account: String,
}

impl Default for Connect {
    fn default() -> Self {
        let none = String::new;
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            tls_required: false,
            auth_token: none(),
            user: none(),
            pass: none(),
            nkey: none(),
            jwt: none(),
            sig: none(),
            name: none(),
            lang: none(),
            version: none(),
            protocol: 0,
            account: none(),
            new_account: false,
            headers: false,
            no_responders: false,
            proxy_sig: none(),
            import: None,
            export: None,
            remote_account: none(),
        }
    }
}

impl std::fmt::Debug for Connect {
    /// Shows who connects, never with what secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("lang", &self.lang)
            .field("version", &self.version)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// CONNECT between servers.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the cluster protocol page")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has these flags")]
pub struct RouteConnect {
    pub echo: bool,
    pub verbose: bool,
    pub pedantic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pass: String,
    pub tls_required: bool,
    pub headers: bool,
    pub name: String,
    pub cluster: String,
    #[serde(skip_serializing_if = "is_false")]
    pub cluster_dynamic: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub lnoc: bool,
    #[serde(skip_serializing)]
    pub lnocu: bool,
    #[serde(skip_serializing)]
    pub ln: bool,
    #[serde(skip_serializing)]
    pub lang: String,
    #[serde(skip_serializing)]
    pub gateway: String,
}

impl std::fmt::Debug for RouteConnect {
    /// Shows who connects, never with what secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteConnect")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// How an INFO line ends: the reference puts a space before the line end, except when it
/// passes on the INFO of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoEnd {
    /// `} CRLF`: an INFO of our own.
    Spaced,
    /// `}CRLF`: gossip.
    Plain,
}

impl Info {
    /// Renders the whole line.
    #[must_use]
    pub fn to_line(&self, end: InfoEnd) -> Vec<u8> {
        line("INFO", self, end)
    }

    /// Reads the JSON of an INFO.
    ///
    /// # Errors
    /// When it is not a JSON object of these shapes.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        parse(json)
    }
}

impl Connect {
    /// Reads the JSON of a client's CONNECT.
    ///
    /// # Errors
    /// When it is not a JSON object of these shapes.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        parse(json)
    }

    /// Reads a further CONNECT: what it does not say is as it was said `before` (the JSON of all
    /// earlier ones). Returns the JSON that stands for both, too.
    ///
    /// # Errors
    /// When it is not a JSON object of these shapes.
    pub fn parse_over(before: &[u8], json: &[u8]) -> Result<(Self, Vec<u8>), serde_json::Error> {
        let mut said = entries::<Self>(before)?;
        said.append(&mut entries::<Self>(json)?);
        let both = serde_json::to_vec(&said)?;
        Ok((read(&said)?, both))
    }
}

impl RouteConnect {
    /// Renders the whole line.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        line("CONNECT", self, InfoEnd::Plain)
    }

    /// Reads the JSON of a server's CONNECT, which could be a client's, too.
    ///
    /// # Errors
    /// When it is not a JSON object of these shapes.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        Connect::parse(json)?;
        parse(json)
    }
}

fn line(keyword: &str, value: &impl Serialize, end: InfoEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(keyword.as_bytes());
    out.push(b' ');
    out.extend_from_slice(encode(value).as_bytes());
    out.extend_from_slice(match end {
        InfoEnd::Spaced => b" \r\n",
        InfoEnd::Plain => b"\r\n",
    });
    out
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_defaults_and_key_case() {
        let connect = Connect::parse(br#"{"Verbose":false,"NAME":"x","other":[1],"user":null}"#);
        let connect = connect.unwrap();
        assert!(!connect.verbose && connect.pedantic && connect.echo);
        assert_eq!(connect.name, "x");
        assert!(Connect::parse(b"{").is_err());
        assert!(Connect::parse(br#"{"verbose":"yes"}"#).is_err());
    }

    #[test]
    fn nobody_looks_into_what_is_unknown() {
        let deep = format!("{}1e999{}", "[".repeat(1000), "]".repeat(1000));
        let json = format!(r#"{{"name":"x","future":{deep},"half":"\ud800"}}"#);
        assert_eq!(Connect::parse(json.as_bytes()).unwrap().name, "x");
        assert_eq!(Info::parse(json.as_bytes()).unwrap(), Info::default());
        assert_eq!(RouteConnect::parse(json.as_bytes()).unwrap().name, "x");
        for form in ["01", "1.", "tru", r#""\x""#, "[1,]"] {
            assert!(
                Connect::parse(format!(r#"{{"future":{form}}}"#).as_bytes()).is_err(),
                "{form}"
            );
        }
    }

    #[test]
    fn letters_that_stand_for_others_in_keys() {
        let connect = Connect::parse("{\"verbo\u{17f}e\":false,\"n\u{212a}ey\":\"U\"}".as_bytes());
        let connect = connect.unwrap();
        assert!(!connect.verbose);
        assert_eq!(connect.nkey, "U");
    }

    #[test]
    fn objects_within_are_read_alike() {
        let info = Info::parse(br#"{"Import":{"ALLOW":["a"],"deny":null,"more":1},"export":null}"#);
        let info = info.unwrap();
        let import = SubjectPermission { allow: vec!["a".into()], deny: Vec::new() };
        assert_eq!((info.import, info.export), (Some(import), None));
        for wrong in [r#"{"import":1}"#, r#"{"export":{"deny":"a"}}"#, r#"{"remote_account":1}"#] {
            assert!(Connect::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(RouteConnect::parse(br#"{"protocol":"x"}"#).is_err(), "it could be a client");
    }

    #[test]
    fn info_lines() {
        let info = Info { server_name: "a<b".into(), ..Info::default() };
        let line = String::from_utf8(info.to_line(InfoEnd::Spaced)).unwrap();
        assert!(line.starts_with(r#"INFO {"server_id":"","server_name":"a\u003cb","version":"""#));
        assert!(line.ends_with("} \r\n"));
        assert_eq!(Info::parse(line[5..].trim().as_bytes()).unwrap(), info);
    }
}
