//! Who may reach what: exactly the ports that the configuration of the cluster has somebody connect to.

use crate::kubernetes::{Pod, pods, resources, selects};
use crate::{at, text, word, words};
use serde_norway::Value;
use std::collections::BTreeSet;
use tocsin::settings::{LogSettings, Settings, StoreSettings};
use tocsin_domain::Micros;
use tocsin_store::cql::Dialect;

/// Where ScyllaDB has one port for each shard; the driver uses it whenever a node names it.
const BY_SHARD: u16 = 19_042;
/// The ports of public upstreams, whose addresses only a source knows.
const WEB: [u16; 2] = [443, 80];
/// What no upstream is ever asked at, whatever an answer leads to.
const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// The rules by which a pod may connect to others, those for names left out.
fn ways_out(pod: &Pod) -> Vec<Value> {
    let of = |resource: &Value| {
        let is_policy = word(at(resource, "kind")) == "NetworkPolicy";
        let outward = words(at(resource, "spec.policyTypes")).contains(&"Egress".to_owned());
        is_policy && outward && selects(at(resource, "spec.podSelector"), pod)
    };
    let policies = resources().into_iter().map(|(_, resource)| resource).filter(of);
    let rules =
        policies.flat_map(|policy| at(&policy, "spec.egress").as_sequence().unwrap().clone());
    rules.filter(|rule| ports(rule) != BTreeSet::from([53])).collect()
}

/// A rule without ports would let everything out.
fn ports(rule: &Value) -> BTreeSet<u16> {
    let ports = at(rule, "ports").as_sequence().unwrap();
    ports.iter().map(|port| at(port, "port").as_u64().unwrap() as u16).collect()
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// What a component connects to.
fn needed(settings: &Settings, component: &str) -> BTreeSet<u16> {
    let LogSettings::Kafka(log) = &settings.log else { panic!("a cluster has Kafka") };
    let StoreSettings::Cql(store) = &settings.store else { panic!("a cluster has a database") };
    let mut needed: BTreeSet<u16> = log.bootstrap.split(',').map(port).collect();
    match component {
        "project" | "api" | "migrate" => {
            needed.extend(store.contact_points.iter().map(|address| port(address)));
            needed.extend((store.dialect == Dialect::Scylla).then_some(BY_SHARD));
        }
        // For either way to encrypt.
        "notify" => needed.extend([465, 587]),
        "ingest" => needed.extend(WEB),
        _ => {}
    }
    needed
}

#[test]
fn every_pod_may_reach_what_it_uses_and_nothing_else() {
    let path = crate::root().join("k8s/base/tocsin.toml");
    let settings = Settings::load(&path, Micros(0)).unwrap();
    assert_eq!(settings.registry, None, "it needs the rule that network.yaml has in a comment");
    for pod in pods() {
        let allowed: BTreeSet<u16> = ways_out(&pod).iter().flat_map(ports).collect();
        assert_eq!(allowed, needed(&settings, &pod.component), "{}", pod.component);
    }
}

#[test]
fn upstreams_are_asked_where_the_public_is_and_nowhere_else() {
    let ingest = pods().into_iter().find(|pod| pod.component == "ingest").unwrap();
    let rules = ways_out(&ingest);
    let rule = rules.iter().find(|rule| ports(rule) == BTreeSet::from(WEB)).unwrap();
    let blocks = at(rule, "to").as_sequence().unwrap().iter();
    let except: Vec<String> = blocks.flat_map(|block| words(at(block, "ipBlock.except"))).collect();
    for network in PRIVATE {
        assert!(except.iter().any(|one| one == network), "{network} can be reached");
    }
}

#[test]
fn the_place_for_a_registry_is_a_policy_that_selects_whoever_asks_it() {
    let source = text("k8s/base/network.yaml");
    let begin = source.find("# apiVersion").unwrap();
    let lines = source[begin..].lines().take_while(|line| *line != "# ---");
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap()).collect();
    let policy: Value = serde_norway::from_str(&lines.join("\n")).unwrap();
    assert_eq!(word(at(&policy, "kind")), "NetworkPolicy");
    let selector = at(&policy, "spec.podSelector");
    let selected = pods().into_iter().filter(|pod| selects(selector, pod));
    let selected: BTreeSet<String> = selected.map(|pod| pod.component).collect();
    let services = pods().into_iter().filter(Pod::is_service).map(|pod| pod.component);
    assert_eq!(selected, services.collect());
}
