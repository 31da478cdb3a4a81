//! Mappings of an account: messages of its clients go to other subjects than they were
//! published to, by weight and by cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config;
use crate::subject::{self, Transform};

/// The mappings of one account, the first that matches counts.
#[derive(Debug)]
pub struct Mappings {
    list: Vec<Mapping>,
    cluster: ClusterOf,
}

/// The name of this server's cluster, which may change.
pub type ClusterOf = Arc<ArcSwap<String>>;

/// Where messages for a subject go instead.
#[derive(Debug)]
pub struct Mapping {
    /// Subject, wildcards included.
    pub source: Box<[u8]>,
    /// Where they go in any cluster that is not named below.
    pub everywhere: Vec<Destination>,
    /// Where they go in these clusters.
    pub by_cluster: BTreeMap<String, Vec<Destination>>,
}

/// One of several destinations.
#[derive(Debug)]
pub struct Destination {
    /// As configured, with its functions.
    pub subject: Box<str>,
    /// Percent of messages that go here or to an earlier destination.
    pub below: u8,
    transform: Option<Transform>,
}

impl Mappings {
    /// Compiles configured mappings; `None` when there are none.
    #[must_use]
    pub fn new(configured: &[config::Mapping], cluster: &ClusterOf) -> Option<Self> {
        let list: Vec<Mapping> = configured.iter().map(Mapping::new).collect();
        (!list.is_empty()).then(|| Self { list, cluster: Arc::clone(cluster) })
    }

    /// The mappings, as monitoring shows them.
    #[must_use]
    pub fn list(&self) -> &[Mapping] {
        &self.list
    }

    /// Where a message goes instead; `None` when no mapping matches. An empty subject is nowhere:
    /// weights may leave a rest.
    #[must_use]
    pub fn map(&self, subject: &[u8]) -> Option<Vec<u8>> {
        let (index, mapping) =
            self.list.iter().enumerate().find(|(_, held)| held.takes(subject))?;
        // Observed: a subject that is the first mapping's literally is hashed as if it were empty.
        let key = if index == 0 && *mapping.source == *subject { &[][..] } else { subject };
        let destination = mapping.choose(&self.cluster.load());
        let transform = destination.and_then(|held| held.transform.as_ref());
        Some(transform.and_then(|held| held.map(subject, key)).unwrap_or_default())
    }
}

impl Mapping {
    fn new(source: &config::Mapping) -> Self {
        let mut everywhere = Vec::new();
        let mut by_cluster: BTreeMap<String, Vec<Destination>> = BTreeMap::new();
        for destination in &source.destinations {
            let made = Destination::new(&source.source, &destination.subject, destination.weight);
            match &destination.cluster {
                None => everywhere.push(made),
                Some(cluster) => by_cluster.entry(cluster.clone()).or_default().push(made),
            }
        }
        let names_source = source.destinations.iter().any(|held| held.subject == source.source);
        for list in by_cluster.values_mut().chain([&mut everywhere]) {
            complete(list, &source.source, names_source);
        }
        Self { source: source.source.as_bytes().into(), everywhere, by_cluster }
    }

    fn takes(&self, subject: &[u8]) -> bool {
        *self.source == *subject || subject::is_subset(subject, &self.source)
    }

    fn choose(&self, cluster: &str) -> Option<&Destination> {
        let list = self.by_cluster.get(cluster).unwrap_or(&self.everywhere);
        match list.as_slice() {
            [only] if only.below == 100 => Some(only),
            list => {
                let dice = rand::random::<u32>() % 100;
                list.iter().find(|held| dice < u32::from(held.below))
            }
        }
    }
}

impl Destination {
    fn new(source: &str, subject: &str, weight: u8) -> Self {
        let transform = Transform::mapping(source.as_bytes(), subject.as_bytes());
        Self { subject: subject.into(), below: weight, transform }
    }
}

/// What weights leave over stays where it was published, unless the source is named itself: then
/// it is lost, as asked for. Then weights are summed up from the least.
fn complete(list: &mut Vec<Destination>, source: &str, names_source: bool) {
    let total: u8 = list.iter().map(|held| held.below).sum();
    if total != 100 && !names_source {
        list.push(Destination::new(source, &numbered(source), 100 - total));
    }
    list.sort_by_key(|held| held.below);
    let mut sum = 0;
    for held in list {
        sum += held.below;
        held.below = sum;
    }
}

/// `a.*.*` as `a.$1.$2`.
fn numbered(source: &str) -> String {
    let mut stars = 0;
    let tokens = source.split('.').map(|token| match token {
        "*" => {
            stars += 1;
            format!("${stars}")
        }
        token => token.to_owned(),
    });
    tokens.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(source: &str, destinations: &[(&str, u8, Option<&str>)]) -> config::Mapping {
        let destinations = destinations.iter().map(|(subject, weight, cluster)| {
            let cluster = cluster.map(str::to_owned);
            config::MappingDestination { subject: (*subject).into(), weight: *weight, cluster }
        });
        config::Mapping { source: source.into(), destinations: destinations.collect() }
    }

    #[test]
    fn weights_leave_the_rest_where_it_was() {
        let cluster = ClusterOf::default();
        let list = [mapping("a.*", &[("b.$1", 20, None), ("c.$1", 30, None)])];
        let mappings = Mappings::new(&list, &cluster).unwrap();
        let mut seen = BTreeMap::new();
        for _ in 0..10_000 {
            *seen.entry(mappings.map(b"a.x").unwrap()).or_insert(0) += 1;
        }
        let share = |subject: &[u8]| seen.get(subject).copied().unwrap_or(0);
        assert_eq!(seen.len(), 3);
        assert!((1_700..2_300).contains(&share(b"b.x")), "{seen:?}");
        assert!((2_600..3_400).contains(&share(b"c.x")), "{seen:?}");
        assert!((4_600..5_400).contains(&share(b"a.x")), "{seen:?}");
        assert_eq!(mappings.map(b"a.x.y"), None);
    }

    #[test]
    fn a_rest_is_lost_where_the_source_is_named() {
        let list = [mapping("a", &[("a", 0, None)])];
        let mappings = Mappings::new(&list, &ClusterOf::default()).unwrap();
        assert_eq!(mappings.map(b"a"), Some(Vec::new()));
    }

    #[test]
    fn a_cluster_has_destinations_of_its_own() {
        let cluster = ClusterOf::default();
        let list = [mapping("a", &[("b", 100, None), ("c", 100, Some("east"))])];
        let mappings = Mappings::new(&list, &cluster).unwrap();
        assert_eq!(mappings.map(b"a"), Some(b"b".to_vec()));
        cluster.store(Arc::new("east".into()));
        assert_eq!(mappings.map(b"a"), Some(b"c".to_vec()));
    }
}
