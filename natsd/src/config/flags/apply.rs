//! What the flags mean for a configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use super::syntax::{Fault, Kind, Value, walk};
use crate::config::conf::Surroundings;
use crate::config::draft::{Draft, route_url};
use crate::config::file::{Problem, readable};
use crate::config::url::Url;
use crate::config::{CertificatePair, Secret, Tls};

/// The flags as given; absent ones leave the file's word.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) version: bool,
    pub(super) help: bool,
    pub(super) help_tls: bool,
    pub(super) test_config: bool,
    pub(super) config_file: Option<String>,
    pub(super) signal: Option<String>,
    pub(super) strict: Option<bool>,
    /// The first word that is no flag.
    pub(super) word: Option<String>,
    host: Option<String>,
    port: Option<i64>,
    server_name: Option<String>,
    client_advertise: Option<String>,
    http_port: Option<i64>,
    https_port: Option<i64>,
    pid_file: Option<String>,
    ports_file_dir: Option<String>,
    log_file: Option<String>,
    log_time: Option<bool>,
    log_utc: Option<bool>,
    log_size_limit: Option<i64>,
    syslog: Option<bool>,
    remote_syslog: Option<String>,
    debug: Option<bool>,
    trace: Option<bool>,
    trace_verbose: Option<bool>,
    debug_and_trace: Option<bool>,
    debug_and_trace_verbose: Option<bool>,
    max_traced_msg_len: Option<i64>,
    jetstream: Option<bool>,
    store_dir: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    tls: Option<bool>,
    tls_verify: Option<bool>,
    tls_cert: Option<String>,
    tls_key: Option<String>,
    tls_ca_cert: Option<String>,
    routes: Option<String>,
    cluster_listen: Option<String>,
    cluster_name: Option<String>,
    cluster_advertise: Option<String>,
    no_advertise: Option<bool>,
    connect_retries: Option<i64>,
    profile_port: Option<i64>,
}

type Setter = fn(&mut Flags, Value);

/// Every flag under all its names.
const FLAGS: &[(&[&str], Kind, Setter)] = &[
    (&["h", "help"], Kind::Bool, |f, v| f.help = yes(&v)),
    (&["v", "version"], Kind::Bool, |f, v| f.version = yes(&v)),
    (&["help_tls"], Kind::Bool, |f, v| f.help_tls = yes(&v)),
    (&["t"], Kind::Bool, |f, v| f.test_config = yes(&v)),
    (&["strict"], Kind::Bool, |f, v| f.strict = bool(v)),
    (&["c", "config"], Kind::Text, |f, v| f.config_file = text(v).filter(|c| !c.is_empty())),
    (&["sl", "signal"], Kind::Text, |f, v| f.signal = text(v)),
    (&["a", "addr", "net"], Kind::Text, |f, v| f.host = text(v)),
    (&["p", "port"], Kind::Int, |f, v| f.port = int(&v)),
    (&["n", "name", "server_name"], Kind::Text, |f, v| f.server_name = text(v)),
    (&["client_advertise"], Kind::Text, |f, v| f.client_advertise = text(v)),
    (&["m", "http_port"], Kind::Int, |f, v| f.http_port = int(&v)),
    (&["ms", "https_port"], Kind::Int, |f, v| f.https_port = int(&v)),
    (&["P", "pid"], Kind::Text, |f, v| f.pid_file = text(v)),
    (&["ports_file_dir"], Kind::Text, |f, v| f.ports_file_dir = text(v)),
    (&["l", "log"], Kind::Text, |f, v| f.log_file = text(v)),
    (&["T", "logtime"], Kind::Bool, |f, v| f.log_time = bool(v)),
    (&["logtime_utc"], Kind::Bool, |f, v| f.log_utc = bool(v)),
    (&["log_size_limit"], Kind::Int, |f, v| f.log_size_limit = int(&v)),
    (&["s", "syslog"], Kind::Bool, |f, v| f.syslog = bool(v)),
    (&["r", "remote_syslog"], Kind::Text, |f, v| f.remote_syslog = text(v)),
    (&["D", "debug"], Kind::Bool, |f, v| f.debug = bool(v)),
    (&["V", "trace"], Kind::Bool, |f, v| f.trace = bool(v)),
    (&["VV"], Kind::Bool, |f, v| f.trace_verbose = bool(v)),
    (&["DV"], Kind::Bool, |f, v| f.debug_and_trace = bool(v)),
    (&["DVV"], Kind::Bool, |f, v| f.debug_and_trace_verbose = bool(v)),
    (&["max_traced_msg_len"], Kind::Int, |f, v| f.max_traced_msg_len = int(&v)),
    (&["js", "jetstream"], Kind::Bool, |f, v| f.jetstream = bool(v)),
    (&["sd", "store_dir"], Kind::Text, |f, v| f.store_dir = text(v)),
    (&["user"], Kind::Text, |f, v| f.user = text(v)),
    (&["pass"], Kind::Text, |f, v| f.password = text(v).map(Secret::new)),
    (&["auth"], Kind::Text, |f, v| f.token = text(v).map(Secret::new)),
    (&["tls"], Kind::Bool, |f, v| f.tls = bool(v)),
    (&["tlsverify"], Kind::Bool, |f, v| f.tls_verify = bool(v)),
    (&["tlscert"], Kind::Text, |f, v| f.tls_cert = text(v)),
    (&["tlskey"], Kind::Text, |f, v| f.tls_key = text(v)),
    (&["tlscacert"], Kind::Text, |f, v| f.tls_ca_cert = text(v)),
    (&["routes"], Kind::Text, |f, v| f.routes = text(v)),
    (&["cluster", "cluster_listen"], Kind::Text, |f, v| f.cluster_listen = text(v)),
    (&["cluster_name"], Kind::Text, |f, v| f.cluster_name = text(v)),
    (&["cluster_advertise"], Kind::Text, |f, v| f.cluster_advertise = text(v)),
    (&["no_advertise"], Kind::Bool, |f, v| f.no_advertise = bool(v)),
    (&["connect_retries"], Kind::Int, |f, v| f.connect_retries = int(&v)),
    (&["profile"], Kind::Int, |f, v| f.profile_port = int(&v)),
];

fn yes(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn bool(value: Value) -> Option<bool> {
    if let Value::Bool(bool) = value { Some(bool) } else { None }
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn text(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

impl Flags {
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Fault> {
        let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let find = |name: &str| FLAGS.iter().find(|(names, ..)| names.contains(&name));
        let mut flags = Self::default();
        let rest = walk(
            &words,
            |name| find(name).map(|(_, kind, _)| *kind),
            |name, value| {
                if let Some((_, _, set)) = find(name) {
                    set(&mut flags, value);
                }
            },
        )?;
        flags.word = rest.first().cloned();
        Ok(flags)
    }

    /// Flags of features that natsd lacks.
    pub(super) fn unsupported(&self) -> Vec<Problem> {
        let mut list = Vec::new();
        let mut note = |flag: &str| {
            let text = format!("flag {flag} is not supported by natsd yet and has no effect");
            list.push(Problem { place: None, text });
        };
        if self.jetstream == Some(true) {
            note("-js");
        }
        if self.store_dir.as_ref().is_some_and(|dir| !dir.is_empty()) {
            note("-sd");
        }
        list
    }

    /// Lets the flags override what the file said.
    pub(super) fn apply(&self, draft: &mut Draft, around: &dyn Surroundings) -> Result<(), String> {
        self.apply_addresses(draft)?;
        self.apply_log(draft);
        self.apply_credentials(draft);
        self.apply_cluster(draft)?;
        self.apply_tls(draft, around)
    }

    fn apply_addresses(&self, draft: &mut Draft) -> Result<(), String> {
        assign(&mut draft.host, &self.host);
        assign(&mut draft.client_advertise, &self.client_advertise);
        for (slot, flag, name) in [
            (&mut draft.port, self.port, "port"),
            (&mut draft.http_port, self.http_port, "http_port"),
            (&mut draft.https_port, self.https_port, "https_port"),
            (&mut draft.profile_port, self.profile_port, "profile"),
        ] {
            let Some(port) = flag else { continue };
            if !(-1..=65535).contains(&port) {
                return Err(format!("invalid port {port} for flag -{name}, should be -1 to 65535"));
            }
            *slot = port;
        }
        let config = &mut draft.config;
        if let Some(name) = &self.server_name {
            config.server_name = (!name.is_empty()).then(|| name.clone());
        }
        path(&mut config.pid_file, &self.pid_file);
        path(&mut config.ports_file_dir, &self.ports_file_dir);
        if let Some(strict) = self.strict {
            config.strict = strict;
        }
        Ok(())
    }

    fn apply_log(&self, draft: &mut Draft) {
        let log = &mut draft.config.log;
        assign(&mut log.debug, &self.debug);
        assign(&mut log.trace, &self.trace);
        // As nats-server: the combined flags win over the single ones, wherever they stand.
        assign(&mut log.debug, &self.debug_and_trace);
        assign(&mut log.trace, &self.debug_and_trace);
        assign(&mut log.debug, &self.debug_and_trace_verbose);
        assign(&mut log.trace, &self.debug_and_trace_verbose);
        assign(&mut log.trace_verbose, &self.debug_and_trace_verbose);
        assign(&mut log.trace, &self.trace_verbose);
        assign(&mut log.trace_verbose, &self.trace_verbose);
        assign(&mut log.time, &self.log_time);
        assign(&mut log.utc, &self.log_utc);
        assign(&mut log.syslog, &self.syslog);
        path(&mut log.file, &self.log_file);
        if let Some(address) = &self.remote_syslog {
            log.remote_syslog = (!address.is_empty()).then(|| address.clone());
        }
        if let Some(limit) = self.log_size_limit {
            log.size_limit = u64::try_from(limit).ok().filter(|limit| *limit > 0);
        }
        if let Some(length) = self.max_traced_msg_len {
            log.max_traced_msg_len = usize::try_from(length).ok().filter(|length| *length > 0);
        }
    }

    fn apply_credentials(&self, draft: &mut Draft) {
        let auth = &mut draft.config.auth;
        if let Some(user) = &self.user {
            auth.user = (!user.is_empty()).then(|| user.clone());
        }
        if let Some(password) = &self.password {
            auth.password = (!password.is_empty()).then(|| password.clone());
        }
        if let Some(token) = &self.token {
            auth.token = (!token.is_empty()).then(|| token.clone());
        }
    }

    fn apply_cluster(&self, draft: &mut Draft) -> Result<(), String> {
        let cluster = &mut draft.cluster;
        if let Some(name) = &self.cluster_name {
            cluster.cluster.name = (!name.is_empty()).then(|| name.clone());
        }
        assign(&mut cluster.advertise, &self.cluster_advertise);
        assign(&mut cluster.cluster.no_advertise, &self.no_advertise);
        if let Some(retries) = self.connect_retries {
            cluster.cluster.connect_retries = u32::try_from(retries).unwrap_or(0);
        }
        if let Some(url) = &self.cluster_listen {
            listen_for_routes(draft, url)?;
        }
        let Some(routes) = &self.routes else { return Ok(()) };
        draft.cluster.cluster.routes = Vec::new();
        if routes.is_empty() {
            return Ok(());
        }
        for url in routes.split(',') {
            draft.cluster.cluster.routes.push(route_url(url)?);
        }
        let listens = self.cluster_listen.as_ref().is_some_and(|url| !url.is_empty());
        if !listens && draft.cluster.host.is_empty() && draft.cluster.port == 0 {
            return Err("solicited routes require cluster capabilities, e.g. --cluster".into());
        }
        Ok(())
    }

    /// `--tls` and its companions replace the file's TLS block; `--tls=false` removes it.
    fn apply_tls(&self, draft: &mut Draft, around: &dyn Surroundings) -> Result<(), String> {
        if self.tls == Some(false) {
            draft.config.tls = None;
            return Ok(());
        }
        let others = [&self.tls_cert, &self.tls_key, &self.tls_ca_cert];
        let wanted = self.tls.is_some()
            || self.tls_verify.is_some()
            || others.iter().any(|file| file.is_some());
        if !wanted {
            return Ok(());
        }
        let filled = |file: &Option<String>| file.clone().filter(|file| !file.is_empty());
        let Some(cert) = filled(&self.tls_cert) else {
            return Err("TLS Server certificate must be present and valid".into());
        };
        let Some(key) = filled(&self.tls_key) else {
            return Err("TLS Server private key must be present and valid".into());
        };
        let tls = Tls {
            certificates: vec![CertificatePair { cert_file: cert.into(), key_file: key.into() }],
            ca_file: filled(&self.tls_ca_cert).map(PathBuf::from),
            verify: self.tls_verify == Some(true),
            ..Tls::default()
        };
        readable(&tls, false, around)?;
        draft.config.tls = Some(tls);
        Ok(())
    }
}

/// `--cluster <url>`: replaces address and credentials of the file; empty switches clustering off.
fn listen_for_routes(draft: &mut Draft, url: &str) -> Result<(), String> {
    let cluster = &mut draft.cluster;
    if url.is_empty() {
        cluster.port = 0;
        return Ok(());
    }
    // A port of -1 is no valid URL.
    let (random, plain) = match url.strip_suffix(":-1") {
        Some(before) => (true, format!("{before}:0")),
        None => (false, url.to_owned()),
    };
    let shown = || crate::config::draft::without_password(url);
    let parsed =
        Url::parse(&plain).ok_or_else(|| format!("error parsing cluster url [{}]", shown()))?;
    let Some(port) = parsed.port.as_deref() else {
        let host = parsed.host;
        let place = if host.is_empty() { host } else { format!("address {host}: ") };
        return Err(format!("{place}missing port in address"));
    };
    let port = port
        .parse::<u16>()
        .ok()
        .ok_or_else(|| format!("invalid port in cluster url {}", shown()))?;
    cluster.port = if random { -1 } else { i64::from(port) };
    cluster.host = parsed.host;
    match parsed.user {
        Some((_, None)) => return Err("expected cluster password to be set".into()),
        Some((user, Some(password))) => {
            cluster.user = user;
            cluster.password = Secret::new(password);
        }
        None => {
            cluster.user = String::new();
            cluster.password = Secret::default();
        }
    }
    Ok(())
}

fn assign<T: Clone>(slot: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        *slot = value.clone();
    }
}

fn path(slot: &mut Option<PathBuf>, flag: &Option<String>) {
    if let Some(path) = flag {
        *slot = (!path.is_empty()).then(|| PathBuf::from(path));
    }
}
