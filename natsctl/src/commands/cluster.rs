//! Which cluster a verb is about, and what is known of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use rand::seq::IndexedRandom as _;

use super::address::Address;
use crate::cli::{Global, Source};
use crate::clients::{self, Login};
use crate::failure::{Failure, Kind};
use crate::observe::{self, Found};
use crate::provider::hosts::Hosts;
use crate::provider::local::Local;
use crate::provider::multipass::Multipass;
use crate::provider::{Provider, ProviderError};
use crate::state::{ClusterDir, Rest, State};
use crate::topology::{Host, Node, ProviderKind, Topology, file};
use crate::verify::{self, Subject};

/// Where a cluster.yaml is looked for.
const HERE: &str = "cluster.yaml";

/// A cluster that a verb is about.
pub(crate) struct Cluster {
    /// Its folder.
    pub(crate) dir: ClusterDir,
    /// What is remembered; `None` when it was never brought up, or its record is lost.
    pub(crate) state: Option<State>,
    /// What is wanted (`up`, `plan`), or was last wanted (all other verbs).
    pub(crate) topology: Topology,
    /// The file it comes from, absolute.
    pub(crate) file: PathBuf,
    /// Whether `--provider` overrides the file.
    pub(crate) provider_overridden: bool,
    /// Where its machines come from.
    pub(crate) provider: Box<dyn Provider>,
    /// How commands that are shown to a person reach it.
    pub(crate) address: Address,
}

impl Cluster {
    /// The cluster as its file wants it, for `up` and `plan`. A provider given at an earlier
    /// `up` is remembered.
    pub(crate) fn wanted(global: &Global, source: &Source) -> Result<Self, Failure> {
        let file = match &source.file {
            Some(file) => file.clone(),
            None => remembered_file(global)?,
        };
        let first = file::read(&file, source.provider);
        let (mut topology, dir, state) = match first {
            Ok(topology) => {
                let dir = ClusterDir::at(&topology.name)?;
                let state = dir.load()?;
                (topology, dir, state)
            }
            Err(problems) => return Err(Failure::from(problems).hint("nothing was changed")),
        };
        if let Some(name) = global.cluster.as_ref().filter(|name| **name != topology.name) {
            let what = format!("{} is cluster `{}`, not `{name}`", file.display(), topology.name);
            return Err(Failure::new(Kind::Usage, what));
        }
        let mut provider_overridden = source.provider.is_some();
        if let Some(state) = &state
            && source.provider.is_none()
            && state.provider_overridden
        {
            topology = file::read(&file, Some(state.topology.provider))?;
            provider_overridden = true;
        }
        let had = state.as_ref().map(|state| state.topology.provider);
        refuse_other_provider(&topology, had.or_else(|| provider_left_behind(&dir)))?;
        if let Some(state) = &state {
            refuse_moved(&topology, state)?;
        }
        refuse_hash(&topology)?;
        let file = std::path::absolute(&file).unwrap_or(file);
        let provider = open(&topology, &dir, state.as_ref())?;
        let address = Address::wanted(global, source);
        Ok(Self { dir, state, topology, file, provider_overridden, provider, address })
    }

    /// The cluster as it was brought up, for every other verb.
    pub(crate) fn known(global: &Global) -> Result<Self, Failure> {
        match Self::find(global)? {
            Some(cluster) if cluster.state.is_some() => Ok(cluster),
            Some(cluster) if cluster.is_lost() => Err(lost(&cluster.dir)),
            Some(cluster) => {
                let what = format!("cluster `{}` is not up", cluster.topology.name);
                Err(others_hint(Failure::new(Kind::Usage, what).hint("natsctl up")))
            }
            None => Err(Failure::new(Kind::Usage, "there is no cluster here")
                .hint("natsctl init && natsctl up")),
        }
    }

    /// The cluster a verb is about, up or not; `None` when there is none at all.
    pub(crate) fn find(global: &Global) -> Result<Option<Self>, Failure> {
        if let Some(name) = &global.cluster {
            let dir = known_dirs()?.into_iter().find(|dir| dir.name() == name);
            let dir = dir.ok_or_else(|| unknown(name))?;
            return Self::recalled(dir, Address::known(global)).map(Some);
        }
        if Path::new(HERE).is_file() {
            return Self::here().map(Some);
        }
        let mut dirs = known_dirs()?;
        match (dirs.pop(), dirs.is_empty()) {
            (None, _) => Ok(None),
            (Some(only), true) => Self::recalled(only, Address::Bare).map(Some),
            (Some(_), false) => {
                let what = "there are several clusters, and no cluster.yaml in this folder";
                Err(others_hint(Failure::new(Kind::Usage, what)))
            }
        }
    }

    fn here() -> Result<Self, Failure> {
        // Which cluster is meant stands in the file; one that is up can be named instead.
        let topology = file::read(Path::new(HERE), None)
            .map_err(|problems| others_hint(Failure::from(problems)))?;
        let dir = ClusterDir::at(&topology.name)?;
        if dir.load()?.is_some() || provider_left_behind(&dir).is_some() {
            return Self::recalled(dir, Address::Bare);
        }
        let file = std::path::absolute(HERE).unwrap_or_else(|_| HERE.into());
        let provider = open(&topology, &dir, None)?;
        Ok(Self {
            dir,
            state: None,
            topology,
            file,
            provider_overridden: false,
            provider,
            address: Address::Bare,
        })
    }

    fn recalled(dir: ClusterDir, address: Address) -> Result<Self, Failure> {
        let Some(state) = dir.load()? else { return Self::left_behind(dir, address) };
        let topology = state.topology.clone();
        let provider = open(&topology, &dir, Some(&state))?;
        let (file, provider_overridden) = (state.file.clone(), state.provider_overridden);
        Ok(Self { dir, state: Some(state), topology, file, provider_overridden, provider, address })
    }

    /// A cluster whose record is lost, as far as the disk tells of it.
    fn left_behind(dir: ClusterDir, address: Address) -> Result<Self, Failure> {
        let topology = Local::left_behind(&dir).ok_or_else(|| lost(&dir))?;
        let provider = open(&topology, &dir, None)?;
        let (file, provider_overridden) = (HERE.into(), true);
        Ok(Self { dir, state: None, topology, file, provider_overridden, provider, address })
    }

    /// Whether there are nodes and no record of them.
    pub(crate) fn is_lost(&self) -> bool {
        self.state.is_none() && self.dir.has_made_something()
    }

    /// A fresh record of this cluster, what was remembered of its nodes included.
    pub(crate) fn record(&self) -> State {
        State {
            version: 1,
            file: self.file.clone(),
            provider_overridden: self.provider_overridden,
            topology: self.topology.clone(),
            nodes: self.state.as_ref().map(|state| state.nodes.clone()).unwrap_or_default(),
        }
    }

    /// Changes what is remembered, and saves it.
    pub(crate) fn remember(&self, change: impl FnOnce(&mut State)) -> Result<(), Failure> {
        let mut state = self.dir.load()?.unwrap_or_else(|| self.record());
        change(&mut state);
        Ok(self.dir.save(&state)?)
    }

    /// Remembers that we hold nodes down on purpose, or (`None`) no longer do.
    pub(crate) fn rest(&self, nodes: &[String], how: Option<&str>) -> Result<(), Failure> {
        let at = jiff::Timestamp::now().as_second();
        self.remember(|state| {
            for node in nodes {
                let rest = how.map(|how| Rest { how: how.to_owned(), at });
                state.nodes.entry(node.clone()).or_default().rest = rest;
            }
        })
    }

    /// Looks at some nodes; the machines of the others are not touched.
    pub(crate) async fn look_at(&self, nodes: &[String]) -> Result<Vec<Found>, Failure> {
        let machines = self.provider.list().await?;
        let looks = nodes.iter().map(|node| async {
            match machines.iter().find(|machine| machine.node == *node) {
                Some(machine) => {
                    observe::one(self.provider.as_ref(), &self.topology, machine.clone()).await
                }
                None => Found::absent(node),
            }
        });
        Ok(join_all(looks).await)
    }

    /// Where every node's server listens, in file order, without looking at machines.
    pub(crate) async fn addressed(&self) -> Result<Vec<Subject>, Failure> {
        let machines = self.provider.list().await?;
        let subject = |node: &Node| {
            let machine = machines.iter().find(|machine| machine.node == node.name);
            let endpoint =
                machine.and_then(|machine| self.provider.endpoint(machine, &self.topology.server));
            Subject { node: node.name.clone(), endpoint }
        };
        Ok(self.topology.nodes.iter().map(subject).collect())
    }

    /// Looks at all nodes.
    pub(crate) async fn look(&self) -> Result<BTreeMap<String, Found>, Failure> {
        Ok(observe::look(self.provider.as_ref(), &self.topology).await?)
    }

    /// What clients must show.
    pub(crate) fn login(&self) -> Login {
        Login::of(&self.topology.server)
    }

    /// Nodes by selector, where `random` means one of those that serve.
    pub(crate) async fn select_serving(&self, words: &[String]) -> Result<Vec<String>, Failure> {
        if !words.iter().any(|word| word == "random") {
            return self.select(words);
        }
        let views = verify::views(&self.addressed().await?).await;
        let serving: Vec<String> =
            views.into_iter().filter(|view| view.peers.is_ok()).map(|view| view.node).collect();
        let Some(one) = serving.choose(&mut rand::rng()) else {
            let failure = Failure::new(Kind::Remote, "no node serves, so none can be chosen");
            return Err(failure.hint("natsctl status"));
        };
        let words: Vec<String> = words
            .iter()
            .map(|word| if word == "random" { one.clone() } else { word.clone() })
            .collect();
        self.select(&words)
    }

    /// Nodes by selector: names, `all`, `seed`, `random`.
    pub(crate) fn select(&self, words: &[String]) -> Result<Vec<String>, Failure> {
        let names: Vec<&str> = self.topology.nodes.iter().map(|node| node.name.as_str()).collect();
        let mut chosen: Vec<&str> = Vec::new();
        for word in words {
            match word.as_str() {
                "all" => chosen.extend(&names),
                "seed" => chosen.extend(self.topology.seed().map(|seed| seed.name.as_str())),
                "random" => chosen.extend(names.choose(&mut rand::rng())),
                name => match names.iter().find(|known| **known == name) {
                    Some(known) => chosen.push(known),
                    None => return Err(no_node(name, &names)),
                },
            }
        }
        let mut seen = Vec::new();
        for name in chosen {
            if !seen.iter().any(|known: &String| known == name) {
                seen.push(name.to_owned());
            }
        }
        Ok(seen)
    }
}

/// Opens the provider of a cluster.
fn open(
    topology: &Topology,
    dir: &ClusterDir,
    state: Option<&State>,
) -> Result<Box<dyn Provider>, ProviderError> {
    match topology.provider {
        ProviderKind::Local => Ok(Box::new(Local::new(topology, dir))),
        ProviderKind::Multipass => Ok(Box::new(Multipass::new(topology, dir)?)),
        ProviderKind::Hosts => {
            let recorded = state.map(State::hosts).unwrap_or_default();
            Ok(Box::new(Hosts::new(topology, dir)?.and_former(recorded)))
        }
    }
}

fn known_dirs() -> Result<Vec<ClusterDir>, Failure> {
    Ok(ClusterDir::all()?)
}

/// The cluster that a bare command in this folder is about.
pub(super) fn name_here() -> Option<String> {
    if Path::new(HERE).is_file() {
        return file::read(Path::new(HERE), None).ok().map(|topology| topology.name);
    }
    only_dir().map(|dir| dir.name().to_owned())
}

/// The file that a bare `up` in this folder reads, absolute.
pub(super) fn file_here() -> Option<PathBuf> {
    if Path::new(HERE).is_file() {
        return std::path::absolute(HERE).ok();
    }
    only_dir()?.load().ok()?.map(|state| state.file)
}

fn only_dir() -> Option<ClusterDir> {
    let mut dirs = known_dirs().ok()?;
    dirs.pop().filter(|_| dirs.is_empty())
}

/// The file for an `up` that names none.
fn remembered_file(global: &Global) -> Result<PathBuf, Failure> {
    if global.cluster.is_none() && Path::new(HERE).is_file() {
        return Ok(HERE.into());
    }
    let dirs = known_dirs()?;
    let dir = match &global.cluster {
        Some(name) => {
            Some(dirs.into_iter().find(|dir| dir.name() == name).ok_or_else(|| unknown(name))?)
        }
        None if dirs.len() > 1 => {
            let what = "there are several clusters, and no cluster.yaml in this folder";
            return Err(others_hint(Failure::new(Kind::Usage, what)));
        }
        None => dirs.into_iter().next(),
    };
    let Some(dir) = dir else { return Ok(HERE.into()) };
    let Some(state) = dir.load()? else { return Err(lost(&dir)) };
    if state.file.exists() {
        return Ok(state.file);
    }
    let (name, file) = (dir.name(), state.file.display());
    let what = format!("cluster {name} was brought up from {file}, which is not there any more");
    Err(Failure::new(Kind::ClusterFile, what)
        .hint(format!("natsctl up FILE   (wherever the file of cluster {name} is now)")))
}

/// Refuses a cluster that would not let natsctl in to verify it.
pub(super) fn refuse_hash(topology: &Topology) -> Result<(), Failure> {
    Login::of(&topology.server).usable().map_err(|why| {
        let what = format!("natsctl could not log in to cluster `{}`", topology.name);
        Failure::new(Kind::ClusterFile, what)
            .cause(why)
            .hint(format!("{}=<password> natsctl up", clients::PASSWORD))
            .hint("or give natsctl a user of its own, with a plain password, in `server.config`")
    })
}

fn refuse_other_provider(topology: &Topology, had: Option<ProviderKind>) -> Result<(), Failure> {
    let wanted = topology.provider;
    let Some(had) = had.filter(|had| *had != wanted) else { return Ok(()) };
    let what = format!("cluster `{}` is up with provider {had}, not {wanted}", topology.name);
    Err(Failure::new(Kind::Usage, what)
        .hint(format!("natsctl up --provider {had}    (to go on with it)"))
        .hint(format!("natsctl down --cluster {}    (to begin anew)", topology.name)))
}

/// Refuses a node whose server runs on a machine that the file no longer names: one name would
/// be in the mesh twice.
fn refuse_moved(topology: &Topology, state: &State) -> Result<(), Failure> {
    let named = |host: &Host| {
        let mut hosts = topology.nodes.iter().filter_map(|node| node.host.as_ref());
        hosts.any(|known| known.is_same_machine(host))
    };
    let mut recorded = state.hosts().into_iter();
    let Some((node, host)) =
        recorded.find(|(node, host)| topology.node(node).is_some() && !named(host))
    else {
        return Ok(());
    };
    let what = format!("node `{node}` is on {}, which cluster.yaml does not name", host.address);
    Err(Failure::new(Kind::ClusterFile, what)
        .cause("its server there would stay, with a name that another one has")
        .hint(format!(
            "give the new machine another name than {node}: natsctl up then takes {node} away"
        ))
        .hint(format!("natsctl down --cluster {}    (to begin anew)", topology.name)))
}

/// The provider of nodes that are on disk.
fn provider_left_behind(dir: &ClusterDir) -> Option<ProviderKind> {
    Local::left_behind(dir).map(|topology| topology.provider)
}

/// A cluster that natsctl cannot say much about.
fn lost(dir: &ClusterDir) -> Failure {
    let (name, path) = (dir.name(), dir.path().display());
    let removal = match provider_left_behind(dir) {
        Some(_) => "natsctl down   (removes what is there)",
        // Who made its machines stands in its file alone.
        None => "natsctl down   (in the folder of its cluster.yaml, or after that)",
    };
    Failure::new(Kind::Unexpected, format!("the record of cluster `{name}` is lost"))
        .cause(format!("{path} has no state.json"))
        .hint("natsctl up FILE   (its file: finds what exists by looking)")
        .hint(removal)
}

fn unknown(name: &str) -> Failure {
    others_hint(Failure::new(Kind::Usage, format!("there is no cluster `{name}`")))
}

fn others_hint(failure: Failure) -> Failure {
    let dirs = ClusterDir::all().unwrap_or_default();
    let names: Vec<&str> = dirs.iter().map(ClusterDir::name).collect();
    if names.is_empty() {
        return failure;
    }
    failure.hint(format!("--cluster NAME, one of: {}", names.join(", ")))
}

fn no_node(name: &str, names: &[&str]) -> Failure {
    let nearest = names.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let failure = Failure::new(Kind::Usage, format!("there is no node `{name}`"))
        .hint(format!("nodes: {} (or all, seed, random)", names.join(", ")));
    match nearest {
        Some(known) if strsim::damerau_levenshtein(name, known) <= 2 => {
            failure.hint(format!("did you mean `{known}`?"))
        }
        _ => failure,
    }
}
