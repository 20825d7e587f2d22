//! The port on which events are pushed: the one that the configuration says, wherever it is let through.

use crate::kubernetes::{pods, resources};
use crate::{at, compose, text, word, words};
use serde_norway::Value;

/// The port on which the configuration has `ingest` listen to everybody.
fn listens(path: &str) -> u64 {
    let document = tocsin_service::Document::parse(&text(path), path).unwrap();
    let settings = tocsin_ingest::push::section(&document).unwrap();
    let listen = settings.limits.listen.unwrap();
    assert!(listen.ip().is_unspecified(), "{path}: nobody outside the container reaches {listen}");
    u64::from(listen.port())
}

#[test]
fn pushes_come_through_to_the_port_that_is_listened_on() {
    let port = listens("deploy/tocsin.toml");
    let services = compose::services();
    let (_, ingest) = services.iter().find(|(name, _)| name == "ingest").unwrap();
    assert_eq!(words(at(ingest, "ports")), [format!("127.0.0.1:{port}:{port}")]);

    let port = listens("k8s/base/tocsin.toml");
    let of = |kind: &str, name: &str| {
        let is_it = |resource: &Value| {
            word(at(resource, "kind")) == kind && word(at(resource, "metadata.name")) == name
        };
        resources().into_iter().map(|(_, resource)| resource).find(is_it).unwrap()
    };
    let pod = pods().into_iter().find(|pod| pod.component == "ingest").unwrap();
    let ports = at(&pod.containers()[0], "ports").as_sequence().unwrap();
    let own = ports.iter().find(|port| at(port, "name") == "push").unwrap();
    assert_eq!(at(own, "containerPort").as_u64(), Some(port));
    let service = of("Service", "tocsin-ingest");
    assert_eq!(at(&service, "spec.ports.0.port").as_u64(), Some(port));
    assert_eq!(word(at(&service, "spec.ports.0.targetPort")), "push");
    // Who is not ready takes no pushes, and who takes them is ready.
    assert!(at(&service, "spec").get("publishNotReadyAddresses").is_none());
    let policy = of("NetworkPolicy", "tocsin-push");
    assert_eq!(at(&policy, "spec.ingress.0.ports.0.port").as_u64(), Some(port));
    let component = at(&policy, "spec.podSelector.matchLabels").get("app.kubernetes.io/component");
    assert_eq!(component.map(word), Some("ingest"));
}
