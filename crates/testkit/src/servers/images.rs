//! The images of the servers: where they listen, what they take, and how they greet.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use testcontainers::core::{ContainerPort, IntoContainerPort};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::Kind;

const KAFKA: &str = include_str!("../../../../tests/servers/kafka/server.properties");

/// An image of a server.
#[derive(Clone, Copy)]
pub(super) struct Image {
    name: &'static str,
    tag: &'static str,
    /// Where it listens in its container.
    inside: u16,
    /// What it takes from the environment when this port of this machine is forwarded to it.
    settings: fn(u16) -> Vec<(String, String)>,
    /// The first question of its protocol, which needs no login.
    hello: &'static [u8],
}

/// The image of a server; Flume has none.
pub(super) fn image(kind: Kind) -> Option<Image> {
    let image = match kind {
        Kind::Kafka => Image {
            name: "apache/kafka",
            tag: "4.3.1",
            inside: 9092,
            settings: kafka_settings,
            // ApiVersions.
            hello: b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff",
        },
        Kind::Cql => Image {
            name: "cassandra",
            tag: "5.0.9",
            inside: 9042,
            settings: cassandra_settings,
            // OPTIONS.
            hello: b"\x04\x00\x00\x01\x05\x00\x00\x00\x00",
        },
        Kind::Registry => Image {
            name: "apicurio/apicurio-registry-mem",
            tag: "2.6.13.Final",
            inside: 8080,
            settings: |_| Vec::new(),
            hello: b"GET /apis/ccompat/v7/subjects HTTP/1.0\r\nHost: localhost\r\n\r\n",
        },
        Kind::Flume => return None,
    };
    Some(image)
}

impl Image {
    /// Where it listens in its container.
    pub(super) fn inside(&self) -> ContainerPort {
        self.inside.tcp()
    }

    /// A container that this port of this machine, and of no other, is forwarded to.
    pub(super) fn request(&self, port: u16) -> ContainerRequest<GenericImage> {
        let request = GenericImage::new(self.name, self.tag)
            .with_mapped_port(port, self.inside())
            .with_host_config_modifier(|host| {
                let ports = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
                for binding in ports.flatten().flatten() {
                    binding.host_ip = Some(Ipv4Addr::LOCALHOST.to_string());
                }
            });
        let settings = (self.settings)(port).into_iter();
        settings.fold(request, |request, (name, value)| request.with_env_var(name, value))
    }

    /// Whether it answers on that port of this machine: one that is forwarded accepts before anybody listens.
    pub(super) fn greets(&self, port: u16) -> bool {
        let answer = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(self.hello)?;
            stream.read_exact(&mut [0; 4])
        };
        answer().is_ok()
    }
}

fn cassandra_settings(_: u16) -> Vec<(String, String)> {
    let options = "-Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1";
    [("MAX_HEAP_SIZE", "1G"), ("HEAP_NEWSIZE", "256M"), ("JVM_EXTRA_OPTS", options)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// The properties that its jars are started with, in the words of its image: `node.id` is `KAFKA_NODE_ID`. The
/// port of this machine means nothing inside, so the broker has another listener to talk with itself.
fn kafka_settings(port: u16) -> Vec<(String, String)> {
    let properties = KAFKA.replace("@DATA@", "/tmp/kafka-data").replace("@NEXT@", "9093");
    let own = format!(
        "listeners=PLAINTEXT://:9092,OWN://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},OWN://127.0.0.1:9094
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OWN:PLAINTEXT,CONTROLLER:PLAINTEXT
         inter.broker.listener.name=OWN"
    );
    // What comes later holds.
    let pairs =
        properties.lines().chain(own.lines()).filter_map(|line| line.trim().split_once('='));
    let variable = |name: &str| format!("KAFKA_{}", name.replace('.', "_").to_uppercase());
    pairs.map(|(name, value)| (variable(name), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn kafkas_properties_become_the_variables_of_its_image() {
        let settings: std::collections::BTreeMap<_, _> =
            kafka_settings(20_500).into_iter().collect();
        assert_eq!(settings["KAFKA_NODE_ID"], "1");
        assert_eq!(settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], "false");
        assert_eq!(settings["KAFKA_CONTROLLER_QUORUM_VOTERS"], "1@127.0.0.1:9093");
        let advertised = "PLAINTEXT://127.0.0.1:20500,OWN://127.0.0.1:9094";
        assert_eq!(settings["KAFKA_ADVERTISED_LISTENERS"], advertised);
        assert_eq!(settings["KAFKA_INTER_BROKER_LISTENER_NAME"], "OWN");
        let left =
            settings.iter().find(|(_, value)| value.contains('@') && !value.contains("1@127"));
        assert_eq!(left, None, "no place is left to fill in");
    }

    #[test]
    fn who_does_not_greet_back_is_not_ready() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        // As an engine does that forwards to nobody: it accepts, then hangs up.
        let engine = std::thread::spawn(move || drop(silent.accept()));
        assert!(!image(Kind::Kafka).unwrap().greets(port));
        engine.join().unwrap();
        assert!(!image(Kind::Cql).unwrap().greets(port), "nobody listens any more");
    }
}
