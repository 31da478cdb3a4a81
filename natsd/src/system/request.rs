//! Requests and their answers.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::fault::{in_go_s_words, of_object};
use super::filter::Filter;
use super::inlet::Request;
use super::{Order, System};
use crate::account::Account;
use crate::close::CloseReason;
use crate::monitor::json;
use crate::monitor::options::{
    AccountStatzOptions, ConnzOptions, HealthzOptions, IpQueueszOptions, ProfilezOptions,
    RoutezOptions, SubszOptions,
};
use crate::monitor::view::{ApiError, Empty, ServerId, Statsz, UserInfo};
use crate::monitor::{BadRequest, Monitor};
use crate::protocol::go_json;
use crate::protocol::info::InfoEnd;

/// HTTP statuses.
pub(super) const BAD_REQUEST: u16 = 400;
const INTERNAL_ERROR: u16 = 500;
/// The data of a document that could not be made.
const NO_DATA: &[u8] = b"null";

/// What goes back, and where to.
pub(super) struct Answer {
    pub(super) account: Option<Arc<Account>>,
    pub(super) subject: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// A document as JSON; `None` where the server stays silent.
type Made = Result<Option<Vec<u8>>, ApiError>;

/// Requests about accounts: `account` names one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AboutAccount {
    account: String,
}

/// KICK and LDM.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AboutClient {
    cid: u64,
}

impl System {
    /// The answer to a request, if there is any.
    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        let subject = request.reply.clone();
        let to = |body: Vec<u8>| Some(Answer { account: None, subject: subject.clone(), body });
        let tokens: Vec<&str> = request.subject.split('.').skip(2).collect();
        match *tokens.as_slice() {
            ["USER", "INFO"] => self.user_info(request),
            ["SERVER", "PING"] | ["SERVER", _, "STATSZ"] => self.statsz(request),
            _ if subject.is_empty() => None,
            ["SERVER", _, "IDZ"] => to(self.idz()),
            ["ACCOUNT", "NSUBS"] => to(self.interest_count(request)?),
            ["ACCOUNT", name, "CONNS"] => to(self.account_connections(name)?),
            ["SERVER", _, name @ ("KICK" | "LDM")] => {
                let AboutClient { cid } = self.order_of(name, request)?;
                to(self.enveloped(self.order(name, cid, request), &[])?)
            }
            ["SERVER", _, name] => {
                let make = |payload: &[u8]| server_document(&self.monitor, name, payload);
                to(self.enveloped(self.filtered(request, make), NO_DATA)?)
            }
            ["ACCOUNT", account, name] => {
                let make = |payload: &[u8]| account_document(&self.monitor, account, name, payload);
                to(self.enveloped(self.filtered(request, make), NO_DATA)?)
            }
            _ => None,
        }
    }

    /// Makes a document unless the request is for other servers.
    fn filtered(&self, request: &Request, make: impl FnOnce(&[u8]) -> Made) -> Made {
        let payload = request.payload();
        let name = request.subject.rsplit('.').next().unwrap_or_default();
        of_object(payload, name)?;
        let filter: Result<Filter, ApiError> = parsed(payload);
        filter
            .and_then(|filter| if filter.fits(self) { make(payload) } else { Ok(None) })
            .map_err(|error| in_go_s_words(error, payload, name))
    }

    /// `{"server":..,"data":..}` or `{"server":..,"error":..}`; what a failed request has in
    /// place of its data (observed: `null` for documents, nothing for orders).
    fn enveloped(&self, made: Made, no_data: &[u8]) -> Option<Vec<u8>> {
        let (data, error) = match made {
            Ok(None) => return None,
            Ok(Some(data)) => (data, None),
            // The reference has not come to the data when it cannot read the request.
            Err(error) if error.code == BAD_REQUEST => (Vec::new(), Some(error)),
            Err(error) => (no_data.to_vec(), Some(error)),
        };
        let mut body = b"{\"server\":".to_vec();
        body.extend(json::compact(&self.signature()));
        if !data.is_empty() {
            body.extend_from_slice(b",\"data\":");
            body.extend(data);
        }
        if let Some(error) = error {
            body.extend_from_slice(b",\"error\":");
            body.extend(json::compact(&error));
        }
        body.push(b'}');
        Some(body)
    }

    /// The heartbeat on request; without a reply subject it goes to all.
    fn statsz(&self, request: &Request) -> Option<Answer> {
        let subject = if request.reply.is_empty() {
            self.server_subject("STATSZ").into_bytes()
        } else {
            request.reply.clone()
        };
        let filter = of_object(request.payload(), "STATSZ")
            .and_then(|()| parsed::<Filter>(request.payload()))
            .map_err(|error| in_go_s_words(error, request.payload(), "STATSZ"));
        let body = match filter {
            Ok(filter) if filter.fits(self) => self.stats(),
            Ok(_) => return None,
            Err(error) => self.enveloped(Err(error), &[])?,
        };
        Some(Answer { account: None, subject, body })
    }

    /// The heartbeat.
    pub(super) fn stats(&self) -> Vec<u8> {
        let statsz = self.monitor.statsz();
        json::compact(&Statsz { server: self.signature(), statsz })
    }

    fn idz(&self) -> Vec<u8> {
        let signature = self.signature();
        let ServerId { name, host, id } =
            ServerId { name: signature.name, host: signature.host, id: signature.id };
        json::compact(&ServerId { name, host, id })
    }

    fn user_info(&self, request: &Request) -> Option<Answer> {
        if request.reply.is_empty() {
            return None;
        }
        let client = self.node().registry.client(request.client?)?;
        let about = client.about();
        let grant = about.identity.as_ref().and_then(|identity| identity.grant.as_deref());
        let stays = grant.and_then(|grant| grant.stays).map(|stays| {
            let left = stays.saturating_sub(client.vitals.started_at.elapsed()).as_secs();
            left.saturating_mul(1_000_000_000)
        });
        let account = self.node().accounts.find(request.account.as_ref()?.as_bytes())?;
        let info = UserInfo {
            user: about.user,
            account: account.name.to_string(),
            account_name: account.name_tag(),
            user_name: grant.map(|grant| grant.name.clone()).unwrap_or_default(),
            expires: stays.unwrap_or(0),
            ..UserInfo::default()
        };
        let body = self.enveloped(Ok(Some(json::compact(&info))), &[])?;
        Some(Answer { account: Some(account), subject: request.reply.clone(), body })
    }

    /// The client that KICK and LDM are about; who names none gets no answer (observed).
    fn order_of(&self, name: &str, request: &Request) -> Option<AboutClient> {
        let about = of_object(request.payload(), name).and_then(|()| {
            go_json::parse::<AboutClient>(request.payload()).map_err(|error| bad(&error))
        });
        about
            .inspect_err(|error| {
                // The reference says so of both.
                tracing::error!("Error unmarshalling kick client request: {}", error.description);
            })
            .ok()
    }

    /// KICK and LDM.
    fn order(&self, name: &str, cid: u64, request: &Request) -> Made {
        self.filtered(request, |_payload| {
            let found = self.node().registry.client(cid);
            if name == "KICK" {
                let client = found.ok_or_else(|| failed("no such client or leafnode id"))?;
                client.subscriber.outbound.close(CloseReason::Kicked);
                return Ok(Some(Vec::new()));
            }
            let client = found.ok_or_else(|| failed("no such client id"))?;
            if !client.takes_info() {
                return Err(failed(
                    "client does not support Lame Duck Mode or is not ready to receive the \
                     notification",
                ));
            }
            let mut info = self.node().discovery.info_for(&client);
            info.ldm = true;
            client.subscriber.outbound.append_bytes(&info.to_line(InfoEnd::Spaced));
            client.subscriber.outbound.flush();
            Ok(Some(Vec::new()))
        })
    }

    /// RELOAD: the server itself does it.
    pub(super) async fn reload(&self, request: &Request) {
        let made = match self.filtered(request, |_| Ok(Some(Vec::new()))) {
            Ok(Some(_)) => {
                let (done, outcome) = oneshot::channel();
                let sent = self.orders.send(Order::Reload(done)).await;
                match (sent, outcome.await) {
                    (Ok(()), Ok(Ok(()))) => Ok(Some(Vec::new())),
                    (Ok(()), Ok(Err(text))) => Err(failed(&text)),
                    _ => Err(failed("server is not running")),
                }
            }
            other => other,
        };
        if !request.reply.is_empty()
            && let Some(body) = self.enveloped(made, &[])
        {
            self.publish(&self.account, &request.reply, &[], &body);
        }
    }
}

/// A document about the server.
fn server_document(monitor: &Monitor, name: &str, payload: &[u8]) -> Made {
    let made = match name {
        "VARZ" => json::compact(&monitor.varz()),
        "CONNZ" => json::compact(&refused(monitor.connz(&parsed::<ConnzOptions>(payload)?))?),
        "SUBSZ" => json::compact(&refused(monitor.subsz(&parsed::<SubszOptions>(payload)?))?),
        "ROUTEZ" => json::compact(&monitor.routez(&parsed::<RoutezOptions>(payload)?)),
        "HEALTHZ" => json::compact(&monitor.healthz(&parsed::<HealthzOptions>(payload)?)),
        "ACCOUNTZ" => {
            let AboutAccount { account } = parsed(payload)?;
            json::compact(&refused(monitor.accountz(&account))?)
        }
        "GATEWAYZ" => json::compact(&monitor.gatewayz()),
        "LEAFZ" => json::compact(&monitor.leafz()),
        "JSZ" => json::compact(&monitor.jsz()),
        "IPQUEUESZ" => json::compact(&monitor.ipqueuesz(&parsed::<IpQueueszOptions>(payload)?)),
        "EXPVARZ" => json::compact(&monitor.expvarz()),
        "RAFTZ" => json::compact(&Empty {}),
        "PROFILEZ" => json::compact(&monitor.profilez(&parsed::<ProfilezOptions>(payload)?)),
        _ => return Ok(None),
    };
    Ok(Some(made))
}

/// A document about one account.
fn account_document(monitor: &Monitor, account: &str, name: &str, payload: &[u8]) -> Made {
    let acc = account.to_owned();
    let made = match name {
        "CONNZ" => {
            let options = ConnzOptions { acc, ..parsed(payload)? };
            json::compact(&refused(monitor.connz(&options))?)
        }
        "SUBSZ" => {
            let options = SubszOptions { account: acc, subscriptions: true, ..parsed(payload)? };
            json::compact(&refused(monitor.subsz(&options))?)
        }
        "INFO" => json::compact(&refused(monitor.account_info(account))?),
        "STATZ" => {
            let mut options: AccountStatzOptions = parsed(payload)?;
            if account != "PING" {
                options.accounts = vec![acc];
            }
            let found = monitor.accstatz(&options);
            if found.account_statz.is_empty() && !options.include_unused {
                return Ok(None);
            }
            json::compact(&found)
        }
        "LEAFZ" => json::compact(&monitor.leafz()),
        "JSZ" => return Err(failed("jetstream not enabled")),
        _ => return Ok(None),
    };
    Ok(Some(made))
}

/// Reads the options of a request; without any the defaults hold.
pub(super) fn parsed<T: Default + DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    if payload.is_empty() {
        return Ok(T::default());
    }
    go_json::parse(payload).map_err(|error| bad(&error))
}

fn bad(error: &serde_json::Error) -> ApiError {
    ApiError { code: BAD_REQUEST, description: error.to_string() }
}

fn refused<T>(made: Result<T, BadRequest>) -> Result<T, ApiError> {
    made.map_err(|BadRequest(text)| failed(&text))
}

/// The reference calls whatever a document could not be made for an internal error.
fn failed(text: &str) -> ApiError {
    ApiError { code: INTERNAL_ERROR, description: text.to_owned() }
}
