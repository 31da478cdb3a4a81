//! Who a client is: asked of the configuration, of its JWT, of a service.

use std::task::{Context, Poll};

use jiff::Timestamp;

use super::Client;
use crate::auth::{Authenticator, Identity, Judgement};
use crate::close::CloseReason;
use crate::errand::{Awaited, Question};
use crate::protocol::info::Connect;
use crate::trust::{Delegation, Finding, Trust, Visit};
use crate::verifier::Answer;

/// What a client waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// Whether its password is right, and who it is then.
    Password(Answer, Box<Identity>),
    /// Its account.
    Account(Awaited<()>),
    /// The word of a service.
    Service(Awaited<Option<Identity>>),
}

/// What was found out.
pub(super) enum Found {
    Password(bool, Box<Identity>),
    Account,
    Service(Option<Identity>),
}

/// What is done with a client.
pub(super) enum Step {
    In(Box<Identity>),
    /// And why.
    Out(CloseReason),
    Wait(Stage),
}

/// Credentials are not good.
const OUT: Step = Step::Out(CloseReason::AuthenticationFailure);

impl Stage {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        match self {
            Self::Password(answer, identity) => {
                answer.poll(cx).map(|right| Found::Password(right, std::mem::take(identity)))
            }
            Self::Account(tried) => tried.poll(cx).map(|_| Found::Account),
            Self::Service(ruling) => ruling.poll(cx).map(|ruling| Found::Service(ruling.flatten())),
        }
    }
}

impl Client {
    /// What is done with a client that has said who it is.
    pub(super) fn first_step(&self, judge: &Authenticator, connect: &Connect) -> Step {
        if let Some(trust) = &self.node.trust {
            return self.judge_jwt(trust, connect, true);
        }
        match judge.judge(&self.credentials(connect)) {
            Judgement::Admitted(identity) => self.or_ask_service(judge, Some(identity), connect),
            Judgement::Refused => self.or_ask_service(judge, None, connect),
            Judgement::ProxyRequired => self.without_proxy(),
            Judgement::Pending(check, identity) => {
                Step::Wait(Stage::Password(self.node.verifier.ask(check), Box::new(identity)))
            }
        }
    }

    /// What is done after something was found out.
    pub(super) fn next_step(&self, found: Found, judge: &Authenticator, connect: &Connect) -> Step {
        match (found, &self.node.trust) {
            (Found::Password(right, identity), _) => {
                self.or_ask_service(judge, right.then_some(*identity), connect)
            }
            (Found::Account, Some(trust)) => self.judge_jwt(trust, connect, false),
            (Found::Service(Some(identity)), _) => Step::In(Box::new(identity)),
            (Found::Account | Found::Service(None), _) => OUT,
        }
    }

    fn judge_jwt(&self, trust: &Trust, connect: &Connect, may_fetch: bool) -> Step {
        let visit = Visit { host: self.entry.peer.ip(), now: Timestamp::now() };
        let accounts = &self.node.accounts;
        let claims = |key: &str| accounts.find(key.as_bytes())?.claims();
        match trust.judge(&self.credentials(connect), visit, claims) {
            Finding::Admitted(identity) => Step::In(identity),
            Finding::Unknown(account) if may_fetch => {
                Step::Wait(Stage::Account(self.node.errands.fetch(account)))
            }
            Finding::Unknown(account) => {
                tracing::debug!("{} - Account {account} not available", self.entry.label());
                OUT
            }
            Finding::Refused(text) => {
                tracing::debug!("{} - {text}", self.entry.label());
                OUT
            }
            Finding::ProxyRequired => self.without_proxy(),
            Finding::RefusedAloud(text) => {
                self.log_error(&text);
                OUT
            }
            Finding::Delegated(delegation) => {
                Step::Wait(Stage::Service(self.ask_service(*delegation, connect)))
            }
        }
    }

    fn without_proxy(&self) -> Step {
        tracing::debug!("{} - proxy connection required", self.entry.label());
        Step::Out(CloseReason::ProxyRequired)
    }

    /// With a service that decides, what the configuration says counts for its own users only.
    fn or_ask_service(
        &self,
        judge: &Authenticator,
        identity: Option<Identity>,
        connect: &Connect,
    ) -> Step {
        let decided = |identity: Option<Identity>| match identity {
            Some(identity) => Step::In(Box::new(identity)),
            None => OUT,
        };
        let Some(callout) = judge.callout() else { return decided(identity) };
        let is_own = judge
            .named(&self.credentials(connect))
            .is_some_and(|user| callout.auth_users.iter().any(|own| *own == *user));
        if is_own {
            return decided(identity.map(|identity| judge.within_callout(identity)));
        }
        let account = identity.as_ref().and_then(|identity| identity.account.as_deref());
        let is_delegated = account.is_none_or(|account| {
            callout.allowed_accounts.is_empty()
                || callout.allowed_accounts.iter().any(|allowed| allowed == account)
        });
        if !is_delegated {
            return decided(identity);
        }
        let delegation = Delegation { account: callout.account.clone(), ..Delegation::default() };
        Step::Wait(Stage::Service(self.ask_service(delegation, connect)))
    }

    fn ask_service(&self, delegation: Delegation, connect: &Connect) -> Awaited<Option<Identity>> {
        let Delegation { account, jwt, name, tags, user } = delegation;
        let shown = [&connect.nkey, &connect.user, &user].into_iter().find(|name| !name.is_empty());
        let shown = match shown {
            Some(name) => name.clone(),
            None if !connect.auth_token.is_empty() => "[REDACTED]".into(),
            None => String::new(),
        };
        self.node.errands.decide(Question {
            account,
            id: self.entry.id,
            peer: self.entry.peer,
            kind: self.kind(),
            nonce: self.nonce.clone(),
            jwt,
            name_tag: name,
            tags,
            connect: connect.clone(),
            user: shown,
            by_proxy: self.is_by_proxy(),
            tls: self.entry.secured().map(|secured| self.tls_facts(secured)),
        })
    }
}
