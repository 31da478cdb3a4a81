//! What accounts give to and take from each other, as `/accountz` shows it.

use crate::config::{self, ResponseType};
use crate::monitor::view::{Export, Import};

/// What the system account offers to all.
const OF_SYSTEM: [(&str, ResponseType); 4] = [
    ("$SYS.DEBUG.SUBSCRIBERS", ResponseType::Singleton),
    ("$SYS.REQ.ACCOUNT.*.CONNZ", ResponseType::Stream),
    ("$SYS.REQ.ACCOUNT.*.STATZ", ResponseType::Stream),
    ("$SYS.REQ.USER.*.INFO", ResponseType::Singleton),
];

/// Services, then streams; those of the server itself first.
pub(super) fn exports(account: Option<&config::Account>, is_system: bool) -> Vec<Export> {
    let service = |subject: &str, response_type, accounts: &[String]| Export {
        subject: subject.to_owned(),
        kind: "service".into(),
        response_type: match response_type {
            ResponseType::Singleton => "Singleton",
            ResponseType::Stream => "Streamed",
            ResponseType::Chunked => "Chunked",
        }
        .into(),
        approved_accounts: accounts.to_vec(),
    };
    let own = OF_SYSTEM.iter().filter(|_| is_system);
    let own = own.map(|(subject, response_type)| service(subject, *response_type, &[]));
    let services = account.into_iter().flat_map(|account| &account.service_exports);
    let services =
        services.map(|export| service(&export.subject, export.response_type, &export.accounts));
    let streams = account.into_iter().flat_map(|account| &account.stream_exports);
    let streams = streams.map(|export| Export {
        subject: export.subject.clone(),
        kind: "stream".into(),
        response_type: String::new(),
        approved_accounts: export.accounts.clone(),
    });
    own.chain(services).chain(streams).collect()
}

/// Streams, then services, then what every account has of the system's.
pub(super) fn imports(account: Option<&config::Account>, system: Vec<Import>) -> Vec<Import> {
    let streams = account.iter().flat_map(|account| &account.stream_imports);
    let streams = streams.map(|import| Import {
        subject: import.subject.clone(),
        account: import.account.clone(),
        local_subject: import.local_subject(),
        kind: "stream".into(),
        ..Import::default()
    });
    let services = account.iter().flat_map(|account| &account.service_imports);
    let services =
        services.map(|import| service(&import.account, &import.subject, &import.to, import.share));
    streams.chain(services).chain(system).collect()
}

/// Requests to the server that clients of every account may make.
pub(super) fn of_system(account: &str, system: &str) -> Vec<Import> {
    let about = |what: &str| format!("$SYS.REQ.ACCOUNT.{account}.{what}");
    let own = service(system, &format!("$SYS.REQ.USER.{account}.INFO"), "$SYS.REQ.USER.INFO", true);
    if account == system {
        return vec![own];
    }
    vec![
        service(system, &about("CONNZ"), "$SYS.REQ.ACCOUNT.PING.CONNZ", false),
        service(system, &about("CONNZ"), "$SYS.REQ.SERVER.PING.CONNZ", false),
        service(system, &about("STATZ"), "$SYS.REQ.ACCOUNT.PING.STATZ", false),
        own,
    ]
}

fn service(account: &str, theirs: &str, ours: &str, share: bool) -> Import {
    Import {
        subject: theirs.into(),
        account: account.into(),
        to: ours.into(),
        local_subject: ours.into(),
        kind: "service".into(),
        share,
        ..Import::default()
    }
}
