//! Permissions of scoped users: `{{name()}}` and its like.

use super::{Permissions, Token, User};
use crate::subject;

/// A template makes no more subjects than this (nats-server 2.15).
const SUBJECTS_MAX: usize = 4096;
/// What stands where a tag is missing: no subject has it.
const NOTHING: &str = " ";

/// What templates may say of the account.
#[derive(Clone, Copy, Debug)]
pub struct AccountNames<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a [String],
}

/// Fills in the templates of a scope for a user.
///
/// # Errors
/// When a template asks for what there is not, or makes too much.
pub fn expand(
    scope: &Permissions,
    user: &Token<User>,
    account: AccountNames<'_>,
) -> Result<Permissions, String> {
    let filler = Filler { user, account };
    let mut made = scope.clone();
    made.subscribe.allow = filler.list(&scope.subscribe.allow, false)?;
    made.subscribe.deny = filler.list(&scope.subscribe.deny, true)?;
    made.publish.allow = filler.list(&scope.publish.allow, false)?;
    made.publish.deny = filler.list(&scope.publish.deny, true)?;
    // A list of which nothing is left must not allow everything.
    for (before, now) in
        [(&scope.subscribe, &mut made.subscribe), (&scope.publish, &mut made.publish)]
    {
        if !before.allow.is_empty() && now.allow.is_empty() && !now.deny.iter().any(|d| d == ">") {
            now.deny.push(">".into());
        }
    }
    Ok(made)
}

struct Filler<'a> {
    user: &'a Token<User>,
    account: AccountNames<'a>,
}

impl Filler<'_> {
    fn list(&self, list: &[String], strict: bool) -> Result<Vec<String>, String> {
        if list.iter().all(|text| next_template(text).is_none()) {
            return Ok(list.to_vec());
        }
        let mut made = Vec::new();
        for text in list {
            for subject in self.subjects(text, strict)? {
                if subject::is_valid_pattern(subject.as_bytes()) {
                    made.push(subject);
                } else if strict {
                    return Err("generated invalid subject".into());
                }
                if made.len() > SUBJECTS_MAX {
                    return Err(too_many());
                }
            }
        }
        Ok(made)
    }

    /// Every combination of the values of the templates in a text.
    fn subjects(&self, text: &str, strict: bool) -> Result<Vec<String>, String> {
        let mut made = vec![String::new()];
        let mut rest = text;
        while let Some((before, inside, after)) = next_template(rest) {
            let values = self.values(inside.trim(), text, strict)?;
            if made.len().saturating_mul(values.len()) > SUBJECTS_MAX {
                return Err(too_many());
            }
            made = made
                .iter()
                .flat_map(|head| values.iter().map(move |value| format!("{head}{before}{value}")))
                .collect();
            rest = after;
        }
        made.iter_mut().for_each(|subject| subject.push_str(rest));
        Ok(made)
    }

    fn values(&self, op: &str, text: &str, strict: bool) -> Result<Vec<String>, String> {
        let Token { standard, body } = self.user;
        let one = |value: &str| Ok(vec![value.to_owned()]);
        match op.to_lowercase().as_str() {
            "name()" => one(&standard.name),
            "subject()" => one(&standard.subject),
            "account-name()" => one(self.account.name),
            "account-subject()" => one(&body.issuer_account),
            _ => {
                let (tags, name) = if let Some(name) = call(op, "tag(") {
                    (&body.tags[..], name)
                } else if let Some(name) = call(op, "account-tag(") {
                    (self.account.tags, name)
                } else {
                    return Err(format!("template operation in {text:?}: {op:?} is not defined"));
                };
                let prefix = format!("{}:", name.to_lowercase());
                let values: Vec<String> = tags
                    .iter()
                    .filter_map(|tag| tag.strip_prefix(&prefix))
                    .map(str::to_owned)
                    .collect();
                match values.is_empty() {
                    false => Ok(values),
                    true if strict => {
                        Err(format!("generated invalid subject {text:?}: {name:?} is not defined"))
                    }
                    true => one(NOTHING),
                }
            }
        }
    }
}

fn too_many() -> String {
    format!("template expansion exceeds limit: {SUBJECTS_MAX}")
}

/// The inside of `name(...)`.
fn call<'t>(op: &'t str, opening: &str) -> Option<&'t str> {
    let head = op.get(..opening.len())?;
    let inside = op.get(opening.len()..)?.strip_suffix(')')?;
    head.eq_ignore_ascii_case(opening).then_some(inside)
}

/// The first `{{...}}` of a text with what is before and behind it.
fn next_template(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text.get(from..)?.find("{{")?;
        let inside = text.get(open + 2..)?;
        let close = inside.find('}')?;
        if close > 0 && inside.get(close..)?.starts_with("}}") {
            return Some((text.get(..open)?, inside.get(..close)?, inside.get(close + 2..)?));
        }
        from = open + 2;
    }
}
