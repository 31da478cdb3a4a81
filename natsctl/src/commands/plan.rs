//! `natsctl plan`: what `up` would do.

use std::collections::BTreeMap;

use super::{Cluster, Ended};
use crate::apply::{Aim, Binaries};
use crate::cli::{self, Global};
use crate::failure::Failure;
use crate::observe::Found;
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
    Ok(compare(cluster, &found, &binaries).await)
}

/// What is wanted against what was found.
pub(super) async fn compare(
    cluster: &Cluster,
    found: &BTreeMap<String, Found>,
    binaries: &Binaries,
) -> Plan {
    let (topology, provider) = (&cluster.topology, cluster.provider.as_ref());
    let aim = Aim { topology, provider, state: cluster.state.as_ref(), binaries };
    Plan::new(topology, &aim.findings(found).await)
}
