//! That what is deployed is this program: its subcommands, its version, its ports, its settings.

use crate::kubernetes::pods;
use crate::{all_files, at, compose, none, root, text, word, words, yaml};
use tocsin::settings::Settings;
use tocsin_domain::Micros;

/// Every command line of ours, with where it stands.
fn commands() -> Vec<(String, Vec<String>)> {
    let ours = compose::services().into_iter();
    let ours = ours.filter(|(name, _)| compose::OURS.contains(&name.as_str()));
    let mut found: Vec<(String, Vec<String>)> = ours
        .map(|(name, service)| (format!("compose: {name}"), words(at(&service, "command"))))
        .collect();
    for pod in pods() {
        found.push((pod.file.clone(), words(at(&pod.containers()[0], "args"))));
    }
    found
}

/// The command line's variants and fields are the subcommands and options that there are.
fn command_fault(line: &[String], cli: &str) -> Option<String> {
    let subcommands = line.iter().take_while(|word| !word.starts_with('-'));
    for subcommand in subcommands {
        let variant = pascal(subcommand);
        let starts = |l: &str| {
            let rest = l.trim_start().strip_prefix(&variant);
            rest.is_some_and(|rest| rest.starts_with(['(', ' ', ',']))
        };
        if !cli.lines().any(starts) {
            return Some(format!("tocsin has no subcommand {subcommand}"));
        }
    }
    let options = line.iter().filter_map(|word| word.strip_prefix("--"));
    let mut missing = options.filter(|o| !cli.contains(&format!(" {}:", o.replace('-', "_"))));
    missing.next().map(|option| format!("tocsin has no option --{option}"))
}

fn pascal(kebab: &str) -> String {
    kebab.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn every_command_is_one_that_the_program_has() {
    let cli = text("services/tocsin/src/cli.rs");
    let faults = commands().into_iter().filter_map(|(place, line)| {
        command_fault(&line, &cli).map(|fault| format!("{place}: {}: {fault}", line.join(" ")))
    });
    none(faults.collect());
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let cli = "    Up(UpArgs),\n    Topics(T),\n    Apply {\n pub config: PathBuf,";
    for (line, fault) in [
        ("up --config x", None),
        ("topics apply", None),
        ("topics drop", Some("tocsin has no subcommand drop")),
        ("down", Some("tocsin has no subcommand down")),
        ("up --confog x", Some("tocsin has no option --confog")),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(command_fault(&words, cli).as_deref(), fault, "{line}");
    }
}

#[test]
fn the_image_is_of_this_version_everywhere() {
    let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap().to_owned();
    let image = format!("tocsin:{version}");
    let mut found = Vec::new();
    for (name, service) in compose::services() {
        if compose::OURS.contains(&name.as_str()) {
            found.push((name, word(at(&service, "image")).to_owned()));
        }
    }
    for pod in pods() {
        found.push((pod.component.clone(), word(at(&pod.containers()[0], "image")).to_owned()));
    }
    for overlay in ["dev", "prod"] {
        let overlay = format!("k8s/overlays/{overlay}/kustomization.yaml");
        let images = yaml(&overlay).remove(0);
        assert_eq!(word(at(&images, "images.0.name")), "tocsin", "{overlay}");
        let tag = format!("tocsin:{}", word(at(&images, "images.0.newTag")));
        found.push((overlay, tag));
    }
    assert_eq!(found.len(), 7 + 7 + 2);
    none(found.into_iter().filter(|(_, i)| *i != image).map(|f| format!("{f:?}")).collect());
    let dockerfile = text("deploy/Dockerfile");
    assert!(dockerfile.contains(&format!("ARG VERSION={version}\n")));
    let toolchain: toml::Table = text("rust-toolchain.toml").parse().unwrap();
    let rust = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-")), "the image's Rust is {rust}");
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={rust}\n")), "and no other");
}

#[test]
fn ports_and_users_match() {
    let dockerfile = text("deploy/Dockerfile");
    assert!(dockerfile.contains("\nEXPOSE 8080 8090 9464\n"));
    assert!(dockerfile.contains("/dev/tcp/127.0.0.1/9464"));
    assert!(dockerfile.contains("\nUSER 10001:10001\n"));
    for (place, line) in commands() {
        let option = |name: &str| {
            let at = line.iter().position(|word| word == name)?;
            line.get(at + 1).cloned()
        };
        let serves = !["topics", "projections"].contains(&line[0].as_str());
        assert_eq!(option("--admin"), serves.then(|| "0.0.0.0:9464".to_owned()), "{place}");
        let pages = (line[0] == "api").then(|| "0.0.0.0:8080".to_owned());
        assert_eq!(option("--listen"), pages, "{place}");
    }
    for pod in pods().into_iter().filter(|pod| pod.is_service()) {
        let ports = at(&pod.containers()[0], "ports").as_sequence().unwrap();
        let ports: Vec<(&str, u64)> = ports
            .iter()
            .map(|p| (word(at(p, "name")), at(p, "containerPort").as_u64().unwrap()))
            .collect();
        let mut wanted = vec![("admin", 9464)];
        match pod.component.as_str() {
            "api" => wanted.insert(0, ("http", 8080)),
            "ingest" => wanted.insert(0, ("push", 8090)),
            _ => {}
        }
        assert_eq!(ports, wanted, "{}", pod.file);
        let annotation = |name: &str| pod.annotations.get(name).map(word);
        assert_eq!(annotation("prometheus.io/port"), Some("9464"), "{}", pod.file);
        assert_eq!(annotation("prometheus.io/path"), Some("/metrics"), "{}", pod.file);
    }
}

#[test]
fn the_configurations_are_read_by_the_program() {
    for path in ["deploy/tocsin.toml", "k8s/base/tocsin.toml"] {
        let settings = Settings::load(&root().join(path), Micros(0));
        assert!(settings.is_ok(), "{path}: {:#}", settings.unwrap_err());
    }
}

#[test]
fn the_compose_file_runs_the_rules_of_the_demo() {
    let deployed: toml::Table = text("deploy/tocsin.toml").parse().unwrap();
    let demo: toml::Table = text("demo/tocsin.toml").parse().unwrap();
    for key in ["detectors", "watches"] {
        assert_eq!(deployed[key], demo[key], "{key}");
    }
    for (here, there) in
        deployed["sources"].as_array().unwrap().iter().zip(demo["sources"].as_array().unwrap())
    {
        let mut here = here.as_table().unwrap().clone();
        let folder = here.remove("folder");
        assert_eq!(folder, Some("/incoming".into()), "where the compose file mounts the data");
        assert_eq!(&here, there.as_table().unwrap());
    }
    assert!(text("docker-compose.yml").contains("./demo:/incoming:ro"));
}

/// Whether a line gives a secret a value, instead of naming where it is.
fn gives_a_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let line = line.split('#').next().unwrap_or_default();
    let Some((key, value)) = line.split_once(['=', ':']) else { return false };
    let key = key.trim_matches(['"', '\'', '-', ' ']);
    let secret = ["password", "token", "secret", "api_key"].iter().any(|s| key.ends_with(s));
    secret && !["", "true", "false"].contains(&value.trim())
}

#[test]
fn no_file_holds_a_secret() {
    let mut problems = Vec::new();
    for file in all_files() {
        let source = text(&file);
        for (number, line) in source.lines().enumerate() {
            let kind = line.trim() == "kind: Secret";
            // `value:` of a variable whose name stands on the line before.
            let before = number.checked_sub(1).and_then(|n| source.lines().nth(n));
            let named = before.and_then(|line| line.trim().strip_prefix("- name: "));
            let variable = named.filter(|_| line.trim().starts_with("value: "));
            let variable = variable.is_some_and(|name| gives_a_secret(&format!("{name}=x")));
            if kind || variable || gives_a_secret(line) {
                problems.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(problems);
    for line in ["password = \"x\"", "GF_SECURITY_ADMIN_PASSWORD: admin", "- TOKEN=x"] {
        assert!(gives_a_secret(line), "{line}");
    }
    for line in ["password_file = \"/run/x\"", "secret:", "key: password", "# a password: x y"] {
        assert!(!gives_a_secret(line), "{line}");
    }
}
