//! What `[log]` may say, and what is said to what it may not.

use super::*;

fn log(text: &str) -> Result<LogSettings, String> {
    let document = Document::parse(text, "t.toml").map_err(|error| error.to_string())?;
    read(&document).map_err(|error| error.to_string())
}

fn kafka_of(keys: &str) -> Result<KafkaOptions, String> {
    match log(&format!("[log]\nkind = \"kafka\"\n{keys}"))? {
        LogSettings::Kafka(options) => Ok(options),
        LogSettings::Embedded(_) => panic!("kafka was asked for"),
    }
}

#[test]
fn nothing_said_is_the_embedded_log_with_every_commit_on_the_disk() {
    assert!(matches!(log(""), Ok(LogSettings::Embedded(Sync::Full))));
    let normal = "[log]\nkind = \"embedded\"\nsync = \"normal\"\n";
    assert!(matches!(log(normal), Ok(LogSettings::Embedded(Sync::Normal))));
}

#[test]
fn an_address_is_enough_for_kafka() {
    for bootstrap in ["\"a:9092, b:9092\"", "[\"a:9092\", \"b:9092\"]"] {
        let options = kafka_of(&format!("bootstrap = {bootstrap}\n")).unwrap();
        assert_eq!(options.bootstrap, "a:9092,b:9092");
        assert_eq!((options.replication, options.pinned), (-1, false));
        assert_eq!(options.cluster_id, None);
        assert!(options.transaction_timeout < options.session_timeout);
        assert_eq!(options.properties["security.protocol"], "plaintext");
    }
}

#[test]
fn copies_of_what_others_have_are_kept_where_there_are_others() {
    let kafka = "[log]\nkind = \"kafka\"\nbootstrap = \"a:1\"\n";
    for (more, wanted) in [("", false), ("standby = false\n", false), ("standby = true\n", true)] {
        let text = format!("{kafka}{more}");
        assert!(log(&text).is_ok(), "{more}");
        let document = Document::parse(&text, "t.toml").unwrap();
        assert_eq!(standby(&document).unwrap(), wanted, "{more}");
    }
    let error = log("[log]\nstandby = true\n").unwrap_err();
    assert!(error.contains("standby"), "{error}");
}

#[test]
fn everything_said_is_taken_by_its_name_there() {
    let options = kafka_of(
        "bootstrap = \"a:1\"\nsecurity_protocol = \"sasl_ssl\"\nsasl_mechanism = \"scram-sha-512\"\n\
         username = \"u\"\npassword = \"geheim\"\nca_file = \"/ca.pem\"\ncertificate_file = \"/c\"\n\
         key_file = \"/k\"\ncluster_id = \"abc\"\nreplication_factor = 3\ntransaction_timeout = \"5s\"\n\
         session_timeout = \"8s\"\nmembership = \"static\"\nclient_id = \"x\"\n\
         [log.options]\nlinger.ms = 5\n\"compression.type\" = \"zstd\"\nlog.connection.close = false\n",
    )
    .unwrap();
    for (name, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "u"),
        ("sasl.password", "geheim"),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.certificate.location", "/c"),
        ("ssl.key.location", "/k"),
        ("linger.ms", "5"),
        ("compression.type", "zstd"),
        ("log.connection.close", "false"),
    ] {
        assert_eq!(options.properties.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!((options.replication, options.pinned), (3, true));
    assert_eq!(options.cluster_id.as_deref(), Some("abc"));
    assert_eq!(options.session_timeout, Duration::from_secs(8));
    assert!(!format!("{options:?}").contains("geheim"));
}

#[test]
fn without_a_file_of_authorities_those_of_the_machine_are_trusted() {
    assert_eq!(trusted(|_| false), Some("probe"));
    assert_eq!(trusted(|variable| variable == "SSL_CERT_FILE"), None);
    assert_eq!(trusted(|variable| variable == "SSL_CERT_DIR"), None);
    let here = trusted(|variable| std::env::var_os(variable).is_some());
    for (keys, wanted) in [
        ("", None),
        ("security_protocol = \"ssl\"", here),
        ("security_protocol = \"ssl\"\nca_file = \"/ca.pem\"", Some("/ca.pem")),
    ] {
        let options = kafka_of(&format!("bootstrap = \"a:1\"\n{keys}\n")).unwrap();
        let found = options.properties.get("ssl.ca.location").map(String::as_str);
        assert_eq!(found, wanted, "{keys}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_is_allowed() {
    let with = |keys: &str| format!("bootstrap = \"a:1\"\n{keys}");
    for (keys, wanted) in [
        (String::new(), "`bootstrap` is missing"),
        (with("bootstrp = 1"), "unknown key `bootstrp`; did you mean `bootstrap`?"),
        (with("sync = \"full\""), "unknown key `sync`"),
        (with("membership = \"statik\""), "did you mean `static`?"),
        (with("username = \"u\""), "`username` needs `security_protocol`"),
        (with("security_protocol = \"sasl_ssl\""), "`password` is missing"),
        (with("ca_file = \"x\""), "`ca_file` needs `security_protocol`"),
        (with("security_protocol = \"ssl\"\nkey_file = \"x\""), "go together"),
        (with("transaction_timeout = \"20s\""), "less than `session_timeout` (15 s): whoever gets"),
        (with("transaction_timeout = \"15s\""), "takes up to 10 s more"),
        (with("transaction_timeout = \"0s\""), "at least 1 s"),
        (with("replication_factor = 0"), "at least 1"),
        (with("[log.options]\nisolation.level = \"x\""), "`isolation.level` cannot be set: only"),
        (with("[log.options]\n\"acks\" = 1"), "`acks` cannot be set: a record"),
        (with("[log.options]\ngroup.id = \"x\""), "`group.id` cannot be set: groups"),
        (with("[log.options]\nsasl.password = \"x\""), "by the key of [log] instead"),
    ] {
        let error = kafka_of(&keys).unwrap_err();
        assert!(error.contains(wanted), "{wanted:?} is not in {error}");
    }
    let error = log("[log]\nbootstrap = \"a:1\"\n").unwrap_err();
    assert!(error.contains("t.toml:2") && error.contains("allowed: `kind`, `sync`"), "{error}");
    let error = log("[log]\nkind = \"kavka\"\n").unwrap_err();
    assert!(error.contains("did you mean `kafka`?"), "{error}");
}
