//! `natsctl version`: what runs here, what would be deployed, what is deployed.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Cluster, Ended};
use crate::cli::{Global, Output, Version};
use crate::deploy::binary;
use crate::monitor;
use crate::report;

/// How long another program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(global: &Global, args: &Version) -> Ended {
    let own = env!("CARGO_PKG_VERSION");
    let bundled = binary::bundled(std::env::consts::ARCH);
    let (bundled_says, multipass, servers) =
        tokio::join!(says(bundled.as_deref().ok(), "--version"), multipass(), servers(global));
    let bundled_path = bundled.as_ref().ok().map(|path| path.display().to_string());
    if args.output != Output::Text {
        let servers: Vec<Value> = servers
            .iter()
            .map(|(node, version)| json!({"node": node, "version": version}))
            .collect();
        let all = json!({
            "natsctl": own,
            "natsd": bundled_says,
            "natsd_path": bundled_path,
            "servers": servers,
            "multipass": multipass,
        });
        report::print_line(&all.to_string());
        return Ok(0);
    }
    report::print_line(&format!("natsctl    {own}"));
    let bundled_path = bundled_path.map(|path| format!(" ({path})")).unwrap_or_default();
    let bundled_says = bundled_says.unwrap_or_else(|| "not bundled".into());
    report::print_line(&format!("natsd      {bundled_says}{bundled_path}"));
    report::print_line(&format!("multipass  {}", multipass.unwrap_or_else(|| "not found".into())));
    for (node, version) in servers {
        let version = version.unwrap_or_else(|| "does not answer".into());
        report::print_line(&format!("{node:<10} {version}"));
    }
    Ok(0)
}

/// First line of what a program says.
async fn says(program: Option<&Path>, argument: &str) -> Option<String> {
    let output = tokio::process::Command::new(program?)
        .arg(argument)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

async fn multipass() -> Option<String> {
    let output = tokio::process::Command::new("multipass")
        .args(["version", "--format", "json"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.ok()?.ok()?;
    let said: Value = serde_json::from_slice(&output.stdout).ok()?;
    let client = said.get("multipass")?.as_str()?;
    // The daemon's version is absent when the daemon did not answer.
    Some(match said.get("multipassd").and_then(Value::as_str) {
        Some(_) => client.to_owned(),
        None => format!("{client} (its daemon does not answer)"),
    })
}

/// Version of every server of the cluster, if there is one.
async fn servers(global: &Global) -> Vec<(String, Option<String>)> {
    let Ok(cluster) = Cluster::known(global) else { return Vec::new() };
    let Ok(subjects) = cluster.addressed().await else { return Vec::new() };
    join_all(subjects.into_iter().map(|subject| async move {
        let version = match subject.endpoint {
            Some(endpoint) => monitor::varz(endpoint.monitor()).await.ok().map(|varz| varz.version),
            None => None,
        };
        (subject.node, version)
    }))
    .await
}
