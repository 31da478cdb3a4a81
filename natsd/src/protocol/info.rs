//! INFO and CONNECT: the JSON of the handshake.
//!
//! Keys are matched in any case and unknown ones are ignored, as Go's decoder does; `<`, `>`
//! and `&` are escaped on the way out, as Go's encoder does.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

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
    out.extend_from_slice(to_go_json(value).as_bytes());
    out.extend_from_slice(match end {
        InfoEnd::Spaced => b" \r\n",
        InfoEnd::Plain => b"\r\n",
    });
    out
}

/// Compact JSON as Go's encoder writes it. Outside strings JSON has none of the three bytes.
#[must_use]
pub fn to_go_json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    if json.contains(['<', '>', '&']) {
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        json
    }
}

/// The entries of an object, as they are written.
type Object = BTreeMap<String, Box<RawValue>>;

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    read(&entries::<T>(json)?)
}

fn read<T: DeserializeOwned>(object: &Object) -> Result<T, serde_json::Error> {
    serde_json::from_str(&serde_json::to_string(object)?)
}

/// The entries of an object as Go's decoder takes them: keys in any case, null says nothing, what
/// is no character is replaced, and of several with one key the last one counts, though the others
/// must be of the right kind, too. Nobody looks into the others.
fn entries<T: DeserializeOwned>(json: &[u8]) -> Result<Object, serde_json::Error> {
    let Entries(written) = serde_json::from_str(&whole_characters(&utf8(json)))?;
    let mut entries = Object::new();
    for (key, value) in written.into_iter().filter(|(_, value)| value.get() != "null") {
        let key = in_lower_case(&key);
        if let Some(earlier) = entries.insert(key.clone(), value) {
            read::<T>(&Object::from([(key, earlier)]))?;
        }
    }
    Ok(entries)
}

/// As the names of fields are written; two letters that are not ASCII stand for one that is, too.
fn in_lower_case(key: &str) -> String {
    let lower = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(lower).collect()
}

/// Each byte that belongs to no character is replaced.
fn utf8(json: &[u8]) -> String {
    let mut text = String::with_capacity(json.len());
    for chunk in json.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Each escape that is half a character is replaced.
fn whole_characters(json: &str) -> String {
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        whole.push_str(before);
        let is_half = surrogate(escape).is_some();
        let len = match (surrogate(escape), escape.get(ESCAPE_LEN..).and_then(surrogate)) {
            (Some(..0xdc00), Some(0xdc00..)) => 2 * ESCAPE_LEN,
            (Some(_), _) => ESCAPE_LEN,
            (None, _) => escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end),
        };
        let (escape, behind) = escape.split_at(len);
        whole.push_str(if is_half && len == ESCAPE_LEN { "\\ufffd" } else { escape });
        rest = behind;
    }
    whole + rest
}

/// Bytes of `\ud83d`.
const ESCAPE_LEN: usize = 6;

/// The half character that a text begins with.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..ESCAPE_LEN - 2)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// Reads an object within an object by the same rules.
fn nested<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Box::<RawValue>::deserialize(deserializer)?;
    parse(value.get().as_bytes()).map(Some).map_err(D::Error::custom)
}

/// An object in the order in which it is written; null is an empty one.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
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
    fn what_is_no_character_is_replaced() {
        for (written, name) in [
            (&br"\ud83d\ude00 \u00e9 \\ud800"[..], "\u{1f600} é \\ud800"),
            (br"\ud800", "\u{fffd}"),
            (br"\uD800\uD83D\uDE00\ude00x", "\u{fffd}\u{1f600}\u{fffd}x"),
            (b"\xe2\x82x\xff", "\u{fffd}\u{fffd}x\u{fffd}"),
        ] {
            let json = [br#"{"name":""#, written, br#""}"#].concat();
            assert_eq!(Connect::parse(&json).unwrap().name, name);
        }
        assert!(Connect::parse(br#"{"name":"\ud80"}"#).is_err());
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
