//! What every server says about itself and its routes.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::Subject;
use crate::monitor::{self, Difference};

/// Pause between two looks while waiting.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a server that does not answer is waited for when all others are well.
const SILENCE: Duration = Duration::from_secs(3);

/// One server's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// The node.
    pub node: String,
    /// The peers it has routes to, by name; or why that is not known.
    pub peers: Result<Vec<String>, String>,
    /// The peers it should have and has not.
    pub missing: Vec<String>,
    /// The peers it has and should not have.
    pub strangers: Vec<String>,
    /// What `/healthz` says, when it is not well.
    pub unwell: Option<String>,
}

impl View {
    /// Whether this server sees all its peers and is well.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.peers.is_ok()
            && self.missing.is_empty()
            && self.strangers.is_empty()
            && self.unwell.is_none()
    }

    /// Whether it is whole, if these nodes are not counted.
    #[must_use]
    pub fn whole_without(&self, dead: &[&str]) -> bool {
        let missing = self.missing.iter().any(|name| !dead.contains(&name.as_str()));
        self.peers.is_ok() && !missing && self.strangers.is_empty() && self.unwell.is_none()
    }

    /// To how many of `wanted` peers it has a route.
    pub(super) fn routes(&self, wanted: usize) -> usize {
        match &self.peers {
            Ok(_) => wanted.saturating_sub(self.missing.len()),
            Err(_) => 0,
        }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { node, peers, missing, strangers, unwell } = self;
        if let Err(why) = peers {
            return Some(format!("{node}: {why}"));
        }
        if let Some(why) = unwell {
            return Some(format!("{node} is not healthy: {why}"));
        }
        if !missing.is_empty() {
            return Some(format!("{node} has no route to {}", missing.join(", ")));
        }
        let names = strangers.join(", ");
        (!strangers.is_empty()).then(|| format!("{node} has a route to a stranger: {names}"))
    }
}

/// Asks every node.
pub async fn views(subjects: &[Subject]) -> Vec<View> {
    join_all(subjects.iter().map(|subject| view(subject, subjects))).await
}

/// Asks until every view is whole or time is up; the last views in either case. Routes to `known`
/// nodes are not held against anybody: one that is about to leave, or that cannot be looked at, is
/// no stranger. A node that does not answer at all holds the others for [`SILENCE`] only.
pub async fn wait_for_mesh(
    subjects: &[Subject],
    known: &[String],
    patience: Duration,
) -> Vec<View> {
    let begun = Instant::now();
    loop {
        let mut views = views(subjects).await;
        for view in &mut views {
            view.strangers.retain(|name| !known.contains(name));
        }
        let time_is_up =
            begun.elapsed() > patience || (begun.elapsed() > SILENCE && apart(&views).is_empty());
        if time_is_up || views.iter().all(View::whole) {
            return views;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nodes that do not answer.
#[must_use]
pub fn silent(views: &[View]) -> Vec<&str> {
    views.iter().filter(|view| view.peers.is_err()).map(|view| view.node.as_str()).collect()
}

/// Views that are not whole, those of silent nodes among them; that these are missed by the others is
/// not held against anybody.
#[must_use]
pub fn not_whole(views: &[View]) -> Vec<&View> {
    let silent = silent(views);
    views.iter().filter(|view| !view.whole_without(&silent)).collect()
}

/// Those that answer and are not whole.
#[must_use]
pub fn apart(views: &[View]) -> Vec<&View> {
    not_whole(views).into_iter().filter(|view| view.peers.is_ok()).collect()
}

async fn view(subject: &Subject, all: &[Subject]) -> View {
    let expected: Vec<&str> =
        all.iter().map(|other| other.node.as_str()).filter(|name| *name != subject.node).collect();
    let mut view = View {
        node: subject.node.clone(),
        peers: Err(super::NOWHERE.into()),
        missing: expected.iter().map(|name| (*name).to_owned()).collect(),
        strangers: Vec::new(),
        unwell: None,
    };
    let Some(endpoint) = subject.endpoint else { return view };
    let (routez, healthz) =
        tokio::join!(monitor::routez(endpoint.monitor()), monitor::healthz(endpoint.monitor()));
    let routez = match routez {
        Ok(routez) => routez,
        Err(error) => {
            view.peers = Err(error.to_string());
            return view;
        }
    };
    view.unwell = healthz.err().map(|error| error.to_string());
    let Difference { missing, strangers } = routez.against(&expected);
    (view.missing, view.strangers) = (missing, strangers);
    view.peers = Ok(routez.peers());
    view
}
