//! `natsctl plan`: what `up` would do.

use super::{Cluster, Ended};
use crate::apply::{Binaries, findings};
use crate::cli::{self, Global};
use crate::failure::Failure;
use crate::plan::Plan;
use crate::report;

pub(super) async fn run(global: &Global, args: &cli::Plan) -> Ended {
    let cluster = Cluster::wanted(global, &args.source)?;
    let plan = make(&cluster).await?;
    report::print(&plan.to_string());
    Ok(if args.detailed_exitcode && !plan.is_empty() { 2 } else { 0 })
}

/// Looks, and compares.
pub(super) async fn make(cluster: &Cluster) -> Result<Plan, Failure> {
    cluster.provider.preflight().await?;
    let found = cluster.look().await?;
    let binaries = Binaries::new(cluster.topology.server.binary.clone());
    let state = cluster.state.as_ref();
    let provider = cluster.provider.as_ref();
    let findings = findings(&cluster.topology, provider, state, &found, &binaries).await;
    Ok(Plan::new(&cluster.topology, &findings))
}
