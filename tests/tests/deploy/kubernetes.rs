//! The manifests under `k8s/`: restricted, limited, probed, spread, and kept available.

use crate::{at, files, none, text, word, words, yaml};
use serde_norway::Value;

/// A pod of the base, with the file and the kind of what starts it.
pub struct Pod {
    pub file: String,
    pub kind: String,
    pub component: String,
    pub labels: Value,
    pub annotations: Value,
    pub spec: Value,
}

impl Pod {
    /// Whether it runs until it is told to stop.
    pub fn is_service(&self) -> bool {
        self.kind != "Job"
    }

    pub fn containers(&self) -> &[Value] {
        at(&self.spec, "containers").as_sequence().unwrap()
    }

    fn name(&self) -> String {
        format!("{}: {} {}", self.file, self.kind, self.component)
    }
}

/// Every resource of the base, with its file.
pub fn resources() -> Vec<(String, Value)> {
    let manifests = files("k8s/base").into_iter();
    let manifests =
        manifests.filter(|f| f.ends_with(".yaml") && !f.ends_with("kustomization.yaml"));
    manifests.flat_map(|file| yaml(&file).into_iter().map(move |v| (file.clone(), v))).collect()
}

pub fn pods() -> Vec<Pod> {
    let with_pods = |(file, resource): (String, Value)| {
        let template = at(&resource, "spec.template");
        template.is_mapping().then(|| Pod {
            file,
            kind: word(at(&resource, "kind")).to_owned(),
            component: component(at(template, "metadata.labels")),
            labels: at(template, "metadata.labels").clone(),
            annotations: at(template, "metadata.annotations").clone(),
            spec: at(template, "spec").clone(),
        })
    };
    resources().into_iter().filter_map(with_pods).collect()
}

fn component(labels: &Value) -> String {
    word(labels.get("app.kubernetes.io/component").unwrap_or(&Value::Null)).to_owned()
}

fn demand(problems: &mut Vec<String>, who: &str, value: &Value, wanted: &[(&str, Value)]) {
    for (path, wanted) in wanted {
        let found = at(value, path);
        if found != wanted {
            problems.push(format!("{who}: {path} is {found:?}; it must be {wanted:?}"));
        }
    }
}

#[test]
fn there_is_a_pod_for_every_service_and_every_job() {
    let found: Vec<(String, String)> =
        pods().into_iter().map(|pod| (pod.kind, pod.component)).collect();
    let wanted = [
        ("StatefulSet", "api"),
        ("StatefulSet", "detect"),
        ("Deployment", "ingest"),
        ("Job", "topics"),
        ("Job", "migrate"),
        ("StatefulSet", "notify"),
        ("StatefulSet", "project"),
    ];
    assert_eq!(found, wanted.map(|(kind, component)| (kind.to_owned(), component.to_owned())));
}

#[test]
fn every_pod_is_restricted() {
    let yes = || Value::Bool(true);
    let no = || Value::Bool(false);
    let mut problems = Vec::new();
    for pod in pods() {
        let who = pod.name();
        let wanted = [
            ("securityContext.runAsNonRoot", yes()),
            ("securityContext.runAsUser", Value::from(10_001)),
            ("securityContext.seccompProfile.type", Value::from("RuntimeDefault")),
            ("automountServiceAccountToken", no()),
            ("enableServiceLinks", no()),
        ];
        demand(&mut problems, &who, &pod.spec, &wanted);
        let wanted = [
            ("securityContext.allowPrivilegeEscalation", no()),
            ("securityContext.readOnlyRootFilesystem", yes()),
            ("securityContext.capabilities.drop", Value::Sequence(vec!["ALL".into()])),
        ];
        for container in pod.containers() {
            demand(&mut problems, &who, container, &wanted);
        }
        for refused in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            if !at(&pod.spec, refused).is_null() {
                problems.push(format!("{who}: {refused} is not allowed"));
            }
        }
        for volume in at(&pod.spec, "volumes").as_sequence().unwrap() {
            if !at(volume, "hostPath").is_null() {
                problems.push(format!("{who}: a volume of the host is not allowed"));
            }
        }
    }
    none(problems);
}

#[test]
fn every_container_has_its_limits() {
    let mut problems = Vec::new();
    for pod in pods() {
        for container in pod.containers() {
            for amount in ["requests", "limits"] {
                for resource in ["cpu", "memory", "ephemeral-storage"] {
                    let path = format!("resources.{amount}.{resource}");
                    if at(container, &path).is_null() {
                        problems.push(format!("{}: {path} is missing", pod.name()));
                    }
                }
            }
        }
    }
    none(problems);
}

#[test]
fn every_service_is_probed_and_may_stop_softly() {
    let mut problems = Vec::new();
    for pod in pods().into_iter().filter(Pod::is_service) {
        let probe = |name, path: &str| (format!("{name}.httpGet.path"), Value::from(path));
        let port = |name| (format!("{name}.httpGet.port"), Value::from("admin"));
        let wanted = [
            probe("startupProbe", "/livez"),
            probe("livenessProbe", "/livez"),
            probe("readinessProbe", "/readyz"),
            port("startupProbe"),
            port("livenessProbe"),
            port("readinessProbe"),
        ];
        let wanted = wanted.map(|(path, value)| (path.leak() as &str, value));
        demand(&mut problems, &pod.name(), &pod.containers()[0], &wanted);
        let grace = at(&pod.spec, "terminationGracePeriodSeconds").as_u64().unwrap_or(0);
        if grace < 30 {
            problems.push(format!("{}: only {grace} s to stop", pod.name()));
        }
        let spread = at(&pod.spec, "topologySpreadConstraints").as_sequence();
        if spread.is_none_or(|all| all.len() != 2) {
            problems.push(format!("{}: spread it over zones and over hosts", pod.name()));
        }
    }
    none(problems);
}

#[test]
fn every_service_has_a_budget_of_disruptions() {
    let budgets: Vec<String> = resources()
        .into_iter()
        .filter(|(_, resource)| word(at(resource, "kind")) == "PodDisruptionBudget")
        .map(|(_, resource)| component(at(&resource, "spec.selector.matchLabels")))
        .collect();
    let services = pods().into_iter().filter(Pod::is_service).map(|pod| pod.component);
    assert_eq!(budgets, services.collect::<Vec<_>>());
}

/// Whether a selector selects the pod.
pub fn selects(selector: &Value, pod: &Pod) -> bool {
    let list = |value: &Value| value.as_sequence().cloned().unwrap_or_default();
    let labels = at(selector, "matchLabels").as_mapping().unwrap();
    let has_all = labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let is_among = |expression: &Value| {
        assert_eq!(word(at(expression, "operator")), "In");
        let found = pod.labels.get(word(at(expression, "key")));
        found.is_some_and(|label| list(at(expression, "values")).contains(label))
    };
    has_all && list(at(selector, "matchExpressions")).iter().all(is_among)
}

#[test]
fn every_selector_selects_pods_and_every_port_is_there() {
    let pods = pods();
    let mut problems = Vec::new();
    for (file, resource) in resources() {
        let selector = match word(at(&resource, "kind")) {
            "Service" => {
                let labels = at(&resource, "spec.selector").clone();
                Value::Mapping([("matchLabels".into(), labels)].into_iter().collect())
            }
            "NetworkPolicy" => at(&resource, "spec.podSelector").clone(),
            "Deployment" | "StatefulSet" | "PodDisruptionBudget" => {
                at(&resource, "spec.selector").clone()
            }
            _ => continue,
        };
        let selected: Vec<&Pod> = pods.iter().filter(|pod| selects(&selector, pod)).collect();
        if selected.is_empty() {
            problems.push(format!("{file}: {selector:?} selects no pod"));
        }
        if word(at(&resource, "kind")) != "Service" {
            continue;
        }
        for port in at(&resource, "spec.ports").as_sequence().unwrap() {
            let target = at(port, "targetPort");
            let has = |pod: &&Pod| {
                let ports = at(&pod.containers()[0], "ports").as_sequence().into_iter().flatten();
                ports.into_iter().any(|port| at(port, "name") == target)
            };
            if !selected.iter().all(has) {
                problems.push(format!("{file}: no port is called {target:?}"));
            }
        }
    }
    none(problems);
}

#[test]
fn every_process_has_a_slot_of_its_own() {
    // What a slot has is kept for it: for who never comes back under its number, others would wait in vain.
    let configuration: toml::Table = text("k8s/base/tocsin.toml").parse().unwrap();
    assert_eq!(configuration["log"]["membership"].as_str(), Some("static"));
    for (file, resource) in resources() {
        let container = at(&resource, "spec.template.spec.containers.0");
        match word(at(&resource, "kind")) {
            "StatefulSet" => {
                let environment = at(container, "env").as_sequence().unwrap();
                let slot = environment.iter().find(|v| word(at(v, "name")) == "TOCSIN_SLOT");
                let label = "metadata.labels['apps.kubernetes.io/pod-index']";
                let found = word(at(slot.unwrap(), "valueFrom.fieldRef.fieldPath"));
                assert_eq!(found, label, "{file}");
            }
            // Its pods have no number, so there may never be two.
            "Deployment" => {
                assert_eq!(at(&resource, "spec.replicas").as_u64(), Some(1), "{file}");
                assert_eq!(word(at(&resource, "spec.strategy.type")), "Recreate", "{file}");
                let name = word(at(&resource, "metadata.name"));
                let more = format!("name: {name}\n    count:");
                for overlay in ["dev", "prod"] {
                    let overlay = text(&format!("k8s/overlays/{overlay}/kustomization.yaml"));
                    assert!(!overlay.contains(&more), "{name} cannot be more than one");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_pod_with_snapshots_has_a_volume_for_them() {
    for (file, resource) in resources() {
        let container = at(&resource, "spec.template.spec.containers.0");
        let arguments = words(at(container, "args"));
        let data = arguments.windows(2).any(|two| two == ["--data", "/var/lib/tocsin"]);
        let claim = word(at(&resource, "spec.volumeClaimTemplates.0.metadata.name"));
        let mounts = at(container, "volumeMounts").as_sequence().into_iter().flatten();
        let place: Vec<&str> = mounts
            .into_iter()
            .filter(|mount| word(at(mount, "name")) == claim)
            .map(|mount| word(at(mount, "mountPath")))
            .collect();
        let wanted: &[&str] = if data { &["/var/lib/tocsin"] } else { &[] };
        assert_eq!(place, wanted, "{file}");
    }
    let with_data = pods()
        .into_iter()
        .filter(|pod| words(at(&pod.containers()[0], "args")).contains(&"--data".to_owned()));
    let with_data: Vec<String> = with_data.map(|pod| pod.component).collect();
    assert_eq!(with_data, ["detect", "notify", "project"]);
}
