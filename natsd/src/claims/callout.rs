//! Authorization services: asked about a client, their word checked.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nkeys::{KeyPair, XKey};
use serde_json::{Map, Value, json};

use super::Clerk;
use crate::account::Account;
use crate::auth::{CALLOUT_SUBJECT, Grant, Identity, Permissions, Proof, without_callout_subject};
use crate::config::{AuthCallout, ConnectionType, Secret};
use crate::errand::Question;
use crate::jwt::{self, AuthorizationResponse, Issue, Token, User, in_time};
use crate::node::VERSION;
use crate::post::{self, Inbox};
use crate::trust::{Claims, configured, connection_types, sooner, time_left};

const AUDIENCE: &str = "nats-authorization-request";
const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// What a service must know, and what its word is checked by.
struct Case<'a> {
    question: &'a Question,
    account: Arc<Account>,
    /// What the configuration says of it; `None` in operator mode.
    callout: Option<AuthCallout>,
    /// What the account's JWT says of it.
    claims: Option<Arc<Claims>>,
    /// The user that the service is to make, so that no answer counts twice.
    user: String,
    /// The key to encrypt for.
    xkey: Option<XKey>,
}

impl Clerk {
    /// Asks the service about a client; says whom it takes the client for.
    pub(super) async fn decide(self: &Arc<Self>, question: &Question) -> Option<Identity> {
        let made = self.case(question);
        let ruled = match made {
            Ok(case) => self.put(case).await,
            Err(error) => Err(error),
        };
        match ruled {
            Ok(identity) => identity,
            Err(text) => {
                tracing::warn!("{}", title(&text));
                None
            }
        }
    }

    fn case<'a>(&self, question: &'a Question) -> Result<Case<'a>, String> {
        let name = &question.account;
        let account = self.node.accounts.find(name.as_bytes()).ok_or_else(|| {
            format!("no valid account {name:?} for auth callout request: account missing")
        })?;
        let operated = self.node.trust.is_some();
        let callout = self.node.auth().callout().filter(|_| !operated).cloned();
        let claims = account.claims().filter(|_| operated);
        let xkey = match (&callout, &claims) {
            (Some(callout), _) => callout.xkey.clone(),
            (None, Some(claims)) => Some(claims.account.authorization.xkey.clone()),
            (None, None) => None,
        };
        let xkey = xkey
            .filter(|key| !key.is_empty())
            .map(|key| XKey::from_public_key(&key))
            .transpose()
            .map_err(|error| {
                format!("error encrypting auth request claim on account {name:?}: {error}")
            })?;
        let user = KeyPair::new_user().public_key();
        Ok(Case { question, account, callout, claims, user, xkey })
    }

    /// Sends the request and judges the first answer; no answer is nobody.
    async fn put(self: &Arc<Self>, mut case: Case<'_>) -> Result<Option<Identity>, String> {
        let patience = self.node.config().limits.auth_timeout;
        let request = self.request(&case, patience)?;
        let mut inbox = Inbox::open(&case.account);
        let headers = match (&case.xkey, &self.node.keys) {
            (Some(_), Some(keys)) => {
                format!("NATS/1.0\r\n{XKEY_HEADER}: {}\r\n\r\n", keys.curve.public_key())
            }
            _ => String::new(),
        };
        let headers = headers.as_bytes();
        post::publish(&case.account, CALLOUT_SUBJECT, &inbox.subject, headers, &request);
        let Some(answer) = inbox.next(patience).await else {
            tracing::debug!(
                "Authorization callout response not received in time on account {:?}",
                case.account.name
            );
            return Ok(None);
        };
        // Who may answer for the account is what it says by now, not when it was asked.
        if case.callout.is_none() {
            case.claims = case.account.claims();
        }
        let user = self.answered(&case, &answer)?;
        self.identity(&case, user).await.map(Some)
    }

    fn request(&self, case: &Case<'_>, patience: Duration) -> Result<Vec<u8>, String> {
        let fault = |error: nkeys::error::Error| {
            let account = &case.account.name;
            format!("error encoding auth request claim on account {account:?}: {error}")
        };
        let keys = self.node.keys.as_ref().ok_or("this server has no keys")?;
        let now = Timestamp::now().as_second();
        let subject = match &case.callout {
            Some(callout) => callout.issuer.clone(),
            None => case.account.name.to_string(),
        };
        let mut standard = Map::new();
        standard.insert("aud".into(), AUDIENCE.into());
        let expires = now.saturating_add(i64::try_from(patience.as_secs()).unwrap_or(i64::MAX));
        standard.insert("exp".into(), expires.into());
        standard.insert("sub".into(), subject.into());
        let nats = self.facts(case);
        let token = jwt::sign(standard, nats, &keys.sign, now).map_err(fault)?;
        match &case.xkey {
            None => Ok(token.into_bytes()),
            Some(xkey) => keys.curve.seal(token.as_bytes(), xkey).map_err(fault),
        }
    }

    /// What the service is told of server and client; empty texts are left out.
    fn facts(&self, case: &Case<'_>) -> Map<String, Value> {
        let Question { connect, peer, jwt, .. } = case.question;
        let (node, question) = (&self.node, case.question);
        let config = node.config();
        let xkey = match (&case.xkey, &node.keys) {
            (Some(_), Some(keys)) => keys.curve.public_key(),
            _ => String::new(),
        };
        let shown = if jwt.is_empty() { connect.jwt.as_str() } else { jwt.expose() };
        let nonce = if connect.sig.is_empty() { "" } else { &question.nonce };
        let mut facts = json!({
            "server_id": {
                "name": node.identity.name,
                "host": config.client.host,
                "id": node.identity.id,
                "version": VERSION,
                "cluster": config.cluster.as_ref().and_then(|c| c.name.clone()).unwrap_or_default(),
                "tags": config.tags,
                "xkey": xkey,
            },
            "user_nkey": case.user,
            "client_info": {
                "host": peer.ip().to_canonical().to_string(),
                "id": question.id,
                "user": question.user,
                "name": connect.name,
                "tags": question.tags,
                "name_tag": question.name_tag,
                "kind": "Client",
                "type": match question.kind {
                    ConnectionType::Websocket => "websocket",
                    _ => "nats",
                },
                "nonce": nonce,
            },
            "connect_opts": {
                "jwt": shown,
                "nkey": connect.nkey,
                "sig": connect.sig,
                "auth_token": connect.auth_token,
                "user": connect.user,
                "pass": connect.pass,
                "name": connect.name,
                "lang": connect.lang,
                "version": connect.version,
                "protocol": connect.protocol,
            },
            "type": "authorization_request",
        });
        if let (Some(tls), Value::Object(facts)) = (&question.tls, &mut facts) {
            facts.insert(
                "client_tls".into(),
                // One chain alone was verified; without a certificate there is none.
                json!({
                    "version": tls.version,
                    "cipher": tls.cipher,
                    "verified_chains": Some(&tls.chain).filter(|chain| !chain.is_empty()).into_iter().collect::<Vec<_>>(),
                }),
            );
        }
        without_empty(&mut facts);
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    /// The user that the service makes of the client.
    fn answered(&self, case: &Case<'_>, answer: &[u8]) -> Result<Token<User>, String> {
        let account = &case.account.name;
        if answer.is_empty() {
            return Err(format!(
                "auth callout violation: \"no reason supplied\" on account {account:?}"
            ));
        }
        let sealed = case.xkey.as_ref().filter(|_| !answer.starts_with(b"eyJ"));
        let opened = match (sealed, &self.node.keys) {
            (Some(xkey), Some(keys)) => keys.curve.open(answer, xkey).map_err(|error| {
                format!("error decrypting auth callout response on account {account:?}: {error}")
            })?,
            _ => answer.to_vec(),
        };
        let text = String::from_utf8(opened).map_err(|error| error.to_string())?;
        let response = Token::<AuthorizationResponse>::decode(&text).map_err(|e| e.to_string())?;
        if let Some(Issue { text, .. }) = response.validate(super::now()).0.first() {
            return Err(format!("authorization response had validation errors: {text}"));
        }
        let Token { standard, body } = &response;
        if standard.subject != case.user {
            return Err(
                "auth callout violation: auth callout response is not for expected user".into()
            );
        }
        if standard.audience != self.node.identity.id {
            return Err("auth callout violation: auth callout response is not for server".into());
        }
        if sealed.is_none() {
            case.check_signer(&standard.issuer, &body.issuer_account)?;
        }
        if !body.error.is_empty() {
            return Err(format!("auth callout service returned an error: {}", body.error));
        }
        Token::<User>::decode(&body.jwt).map_err(|error| error.to_string())
    }

    /// Whom the service takes the client for.
    async fn identity(
        self: &Arc<Self>,
        case: &Case<'_>,
        mut user: Token<User>,
    ) -> Result<Identity, String> {
        let now = Timestamp::now();
        let account = &case.account.name;
        case.check_proxy(&user)?;
        if let Some(Issue { text, .. }) = user.validate(now.as_second()).0.first() {
            return Err(format!("error validating user JWT: {text}"));
        }
        if user.standard.subject != case.user {
            return Err(format!(
                "expected authorized user of {:?} but got {:?} on account {account:?}",
                case.user, user.standard.subject
            ));
        }
        let issuer = case.issuer(&user)?;
        let place = match &case.callout {
            Some(_) => user.standard.audience.clone(),
            None => issuer,
        };
        let target = self.place(&place).await.map_err(|error| {
            format!(
                "no valid account {place:?} for auth callout response on account {account:?}: \
                 {error}"
            )
        })?;
        let claims = target.claims();
        if let (None, Some(claims)) = (&case.callout, &claims) {
            crate::trust::scope(&mut user, claims)?;
            case.check_proxy(&user)?;
        }
        let Some(stays) = in_time(&user.body.rights, now) else {
            return Err(format!(
                "authorized user on account {account:?} outside of valid connect times"
            ));
        };
        let kinds = connection_types(&user.body.rights.allowed_connection_types);
        if kinds.is_some_and(|kinds| !kinds.contains(&case.question.kind)) {
            return Err(format!(
                "authorized user on account {account:?} not allowed to use connection type"
            ));
        }
        let stays = sooner(stays, time_left(user.standard.expires, now));
        let identity = self.made(&user, &target, claims.as_deref(), stays);
        let at_home = Arc::ptr_eq(&target, &case.account);
        Ok(if at_home { without_callout_subject(identity) } else { identity })
    }

    /// The account in which a client is placed.
    async fn place(self: &Arc<Self>, name: &str) -> Result<Arc<Account>, String> {
        let found = self.node.accounts.find(name.as_bytes());
        if self.node.trust.is_none() {
            return found.ok_or_else(|| "account missing".into());
        }
        let usable = |account: &Arc<Account>| {
            account.claims().is_some_and(|claims| !claims.is_expired(super::now()))
        };
        match found.filter(usable) {
            Some(account) => Ok(account),
            None => self.fetch(name).await,
        }
    }

    fn made(
        &self,
        user: &Token<User>,
        target: &Account,
        claims: Option<&Claims>,
        stays: Option<Duration>,
    ) -> Identity {
        let Token { standard, body } = user;
        let own = configured(&body.rights.permissions);
        let defaults = || match claims {
            Some(claims) => claims.default_permissions.clone(),
            None => {
                let config = self.node.config();
                let source = config.accounts.iter().find(|held| *held.name == *target.name)?;
                source.default_permissions.as_ref().map(|p| Arc::new(Permissions::new(p)))
            }
        };
        let signing_key = (!body.issuer_account.is_empty()).then(|| standard.issuer.clone());
        Identity {
            proof: Proof::Callout,
            user: standard.subject.as_str().into(),
            account: Some(Arc::clone(&target.name)),
            grant: Some(Arc::new(Grant {
                jwt: Secret::default(),
                name: standard.name.clone(),
                tags: Vec::new(),
                issuer_key: signing_key.clone().unwrap_or_else(|| target.name.to_string()),
                signing_key,
                account_jwt: claims.map(|held| Arc::clone(&held.jwt)).unwrap_or_default(),
                issued_at: standard.issued_at,
                bearer: false,
                default_permissions: own.is_none() && claims.is_some(),
                // The reference leaves these limits of such users to the account.
                max_subscriptions: None,
                max_payload: None,
                stays,
            })),
            permissions: match own {
                Some(own) => Some(Arc::new(Permissions::new(&own))),
                None => defaults(),
            },
        }
    }
}

impl Case<'_> {
    /// A user may have to come through a trusted proxy.
    fn check_proxy(&self, user: &Token<User>) -> Result<(), String> {
        let lacks = user.body.rights.proxy_required && !self.question.by_proxy;
        if lacks { Err("proxy connection required".into()) } else { Ok(()) }
    }

    /// Whether an answer that everybody could have written is of the service.
    fn check_signer(&self, issuer: &str, issuer_account: &str) -> Result<(), String> {
        let unknown = || Err("auth callout signing key is unknown".to_owned());
        match (&self.callout, &self.claims) {
            (Some(callout), _) if callout.issuer == issuer => Ok(()),
            (None, Some(claims)) => {
                let own = &*self.account.name;
                if !issuer_account.is_empty() && issuer_account != own {
                    return Err(format!(
                        "auth callout response issuer account {issuer_account:?} is not the \
                         callout account"
                    ));
                }
                if issuer == own || claims.signer(issuer).is_some() { Ok(()) } else { unknown() }
            }
            _ => unknown(),
        }
    }

    /// The account that issued the user.
    fn issuer(&self, user: &Token<User>) -> Result<String, String> {
        let account = &self.account.name;
        let Token { standard, body } = user;
        if let Some(callout) = &self.callout {
            if !body.issuer_account.is_empty() {
                return Err(format!(
                    "error non operator mode account {account:?}: attempted to use issuer_account"
                ));
            }
            if standard.issuer != callout.issuer {
                return Err(format!(
                    "wrong issuer for auth callout response on account {account:?}, expected {:?} \
                     got {:?}",
                    callout.issuer, standard.issuer
                ));
            }
            return Ok(standard.issuer.clone());
        }
        let issuer = match body.issuer_account.as_str() {
            "" => &standard.issuer,
            account => account,
        };
        let allowed = self.claims.as_ref().is_some_and(|claims| {
            let list = &claims.account.authorization.allowed_accounts;
            list.iter().any(|one| one == issuer || one == "*")
        });
        if *issuer != **account && !allowed {
            return Err(format!(
                "account {:?} not permitted as valid account option for auth callout for account \
                 {account:?}",
                standard.issuer
            ));
        }
        Ok(issuer.to_owned())
    }
}

/// The log's sentences begin with a capital.
fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Go leaves out what is empty, names of the server and the protocol apart.
fn without_empty(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(without_empty);
        map.retain(|_, value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
    }
}
