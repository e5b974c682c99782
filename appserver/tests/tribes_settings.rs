//! The article's `<Cluster>` element as TOML, flags for the common settings, and what is refused in which words.

use std::ffi::OsString;

use appserver::Config;
use appserver::cli::PROGRAM;
use appserver::tribes::settings::{ClusterSettings, Interceptor, MembershipType, ReceiverAddress};
use program::Failure;

/// Attribute by attribute, with the names of the classes.
const ARTICLE: &str = r#"
className = "org.apache.catalina.ha.tcp.SimpleTcpCluster"
channelSendOptions = "8"
clusterListener = "org.apache.catalina.ha.session.ClusterSessionListener"
[manager]
className = "org.apache.catalina.ha.session.DeltaManager"
expireSessionsOnShutdown = false
notifyListenersOnReplication = true
[membership]
className = "org.apache.catalina.tribes.membership.McastService"
address = "228.0.0.4"
port = 45564
frequency = 500
dropTime = 3000
[receiver]
className = "org.apache.catalina.tribes.transport.nio.NioReceiver"
address = "192.168.23.90"
port = 4000
autoBind = 100
selectorTimeout = 5000
maxThreads = 6
[sender]
className = "org.apache.catalina.tribes.transport.ReplicationTransmitter"
[[interceptors]]
className = "org.apache.catalina.tribes.group.interceptors.TcpFailureDetector"
[[interceptors]]
className = "org.apache.catalina.tribes.group.interceptors.MessageDispatch15Interceptor"
[valve]
className = "org.apache.catalina.ha.tcp.ReplicationValve"
filter = ""
[jvmRouteBinder]
className = "org.apache.catalina.ha.session.JvmRouteBinderValve"
[deployer]
className = "org.apache.catalina.ha.deploy.FarmWarDeployer"
tempDir = "/tmp/war-temp/"
deployDir = "/tmp/war-deploy/"
watchDir = "/tmp/war-listen/"
watchEnabled = false
"#;

fn settings(text: &str) -> Result<ClusterSettings, String> {
    let settings: ClusterSettings = toml::from_str(text).map_err(|e| e.to_string())?;
    settings.check().map_err(|e| e.to_string())?;
    Ok(settings)
}

#[test]
fn the_article_is_understood() {
    let article = settings(ARTICLE).expect("valid");
    let default = ClusterSettings::default();
    assert_eq!(article.channel_send_options.bits(), 8);
    let address = ReceiverAddress::Address([192, 168, 23, 90].into());
    assert_eq!(article.receiver.address, address);
    assert_eq!(article.interceptors, default.interceptors);
    assert_eq!(article.membership.drop_time, default.membership.drop_time);
    let notes = article.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].contains("maxThreads") && notes[1].contains("deployer"),
        "{notes:?}"
    );
    assert_eq!(default.notes(), Vec::<String>::new());
    assert_eq!(default.channel_send_options.bits(), 6);
}

#[test]
fn names_may_be_short() {
    let short = ARTICLE.replace("org.apache.catalina.ha.tcp.", "");
    let short = short.replace("org.apache.catalina.tribes.group.interceptors.", "");
    assert_eq!(settings(&short).map(|s| s.interceptors.len()), Ok(2));
}

#[test]
fn a_key_is_never_shown() {
    let key = "00112233445566778899aabbccddeeff";
    let long =
        format!("[[interceptors]]\nclassName = \"EncryptInterceptor\"\nencryptionKey = \"{key}\"");
    let short = format!("encryptionKey = \"{key}\"");
    for text in [long, short] {
        let settings = settings(&text).expect("valid");
        let encrypt = settings.encryption().expect("a key");
        assert_eq!(encrypt.encryption_key, key);
        assert_eq!(encrypt.encryption_algorithm, "AES/GCM/NoPadding");
        let shown = toml::to_string(&settings).expect("TOML");
        assert!(!shown.contains(key), "{shown}");
    }
    assert_eq!(ClusterSettings::default().encryption(), None);
}

#[test]
fn nonsense_is_refused_in_words() {
    let key = "encryptionKey = \"00112233445566778899aabbccddeeff\"";
    let encrypt = format!("[[interceptors]]\nclassName = \"EncryptInterceptor\"\n{key}");
    let detector = "[[interceptors]]\nclassName = \"TcpFailureDetector\"\n";
    for (text, words) in [
        ("channelSendOptions = 7", "raw bytes (1)"),
        ("channelSendOptions = 40", "are not built: use a sum"),
        (
            "channelSendOptions = \"sink\"",
            "`sink` are no send options",
        ),
        ("channelSendOptions = -1", "write a sum of"),
        ("channelStartOptions = 3", "use 15"),
        ("channelSendOption = 8", "unknown field `channelSendOption`"),
        (
            "className = \"MyCluster\"",
            "use org.apache.catalina.ha.tcp.SimpleTcpCluster",
        ),
        (
            "clusterListener = \"Mine\"",
            "clusterListener: className `Mine` is not built",
        ),
        (
            "[manager]\nclassName = \"StandardManager\"",
            "or org.apache.catalina.ha.session.BackupManager",
        ),
        (
            "[manager]\nstateTransferTimeout = -2",
            "manager.stateTransferTimeout = -2: use -1 to",
        ),
        (
            "[membership]\ntype = \"gossip\"",
            "unknown variant `gossip`",
        ),
        (
            "[membership]\naddress = \"10.0.0.1\"",
            "is no IPv4 multicast group",
        ),
        (
            "[membership]\naddress = \"ff02::1\"",
            "is no IPv4 multicast group",
        ),
        (
            "[membership]\nport = 0",
            "membership.port = 0: use 1 to 65535",
        ),
        ("[membership]\nfrequency = 0", "membership.frequency = 0"),
        ("[membership]\nfrequency = 2000", "use at least 4000"),
        (
            "[membership]\nbind = \"eth0\"",
            "write the address of the interface",
        ),
        ("[membership]\nttl = 256", "membership.ttl"),
        (
            "[membership]\ntype = \"static\"",
            "needs membership.members",
        ),
        ("[membership]\ntype = \"dns\"", "needs membership.name"),
        ("[membership]\nmembers = [\"a:b\"]", "`a:b` is no address"),
        ("[membership]\nmembers = [\"a b\"]", "write HOST:PORT"),
        ("[membership]\nname = \"a:0\"", "membership.name: `a:0`"),
        ("[receiver]\naddress = \"eth0\"", "write an address, auto"),
        (
            "[receiver]\naddress = \"228.0.0.4\"",
            "messages come by TCP",
        ),
        ("[receiver]\nmaxThreads = 0", "receiver.maxThreads"),
        (
            "[receiver]\nmaxFrameSize = 100",
            "receiver.maxFrameSize = 100: use 4096",
        ),
        ("[sender]\ntimeout = 0", "sender.timeout = 0"),
        ("[sender]\nkeepAliveCount = 5", "use -1"),
        ("[sender]\nmaxRetryAttempts = 11", "sender.maxRetryAttempts"),
        (
            "[[interceptors]]\nclassName = \"OrderInterceptor\"",
            "unknown variant `OrderInterceptor`",
        ),
        (
            "[[interceptors]]\nclassName = \"TcpFailureDetector\"\nmaxThreads = 1",
            "unknown field `maxThreads`",
        ),
        (&format!("{detector}{detector}"), "stands there twice"),
        (
            &format!("{detector}{encrypt}"),
            "must stand before TcpFailureDetector",
        ),
        (&format!("{key}\n{encrypt}"), "remove either"),
        (
            "[[interceptors]]\nclassName = \"EncryptInterceptor\"",
            "needs an encryptionKey",
        ),
        (
            &format!("{encrypt}\nencryptionAlgorithm = \"AES/ECB/NoPadding\""),
            "use AES/GCM/NoPadding",
        ),
        (
            &encrypt.replace("ff\"", "f\""),
            "32, 48 or 64 hexadecimal digits",
        ),
        (
            "encryptionKey = \"secret\"",
            "cluster: encryptionKey is no key",
        ),
        ("[valve]\nfilter = \"(\"", "is no regular expression"),
        (
            "[jvmRouteBinder]\nclassName = \"Binder\"",
            "jvmRouteBinder: className `Binder`",
        ),
        ("[deployer]\nwatchEnabled = true", "needs deployer.watchDir"),
    ] {
        let error = settings(text).expect_err(text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("0011223344"), "{error}");
    }
}

fn config(arguments: &str) -> Result<Config, Failure> {
    let arguments = ["appserver"]
        .into_iter()
        .chain(arguments.split_whitespace());
    let settings = PROGRAM.settings(arguments.map(OsString::from).collect())?;
    let config: Config = settings.config()?;
    config.check()?;
    Ok(config)
}

#[test]
fn flags_of_the_cluster_are_understood() {
    let config = config(
        "--channel-send-options async --encryption-key 00112233445566778899aabbccddeeff --expire-sessions-on-shutdown \
         --state-transfer-timeout 5 --map-send-options 8 --membership-type auto --membership-address 239.1.2.3 --membership-port 4001 \
         --membership-frequency 100 --membership-drop-time 900 --membership-bind 127.0.0.1 --membership-domain lab \
         --membership-members a:4000,b:4001 --membership-name web:4000 --receiver-address tomcat-auto --receiver-port 4100 \
         --receiver-auto-bind 3 --sender-timeout 500 --replication-filter .*\\.gif --primary-indicator --jvm-route-binder=off",
    )
    .expect("valid");
    let cluster = &config.cluster;
    let mut expected = ClusterSettings {
        channel_send_options: "8".parse().expect("options"),
        encryption_key: "00112233445566778899aabbccddeeff".into(),
        ..ClusterSettings::default()
    };
    expected.manager.expire_sessions_on_shutdown = true;
    expected.manager.state_transfer_timeout = 5;
    expected.manager.map_send_options = "8".parse().expect("options");
    expected.membership.kind = MembershipType::Auto;
    expected.membership.address = [239, 1, 2, 3].into();
    expected.membership.port = 4001;
    expected.membership.frequency = 100;
    expected.membership.drop_time = 900;
    expected.membership.bind = "127.0.0.1".into();
    expected.membership.domain = "lab".into();
    expected.membership.members = vec!["a:4000".into(), "b:4001".into()];
    expected.membership.name = "web:4000".into();
    expected.receiver.address = ReceiverAddress::TomcatAuto;
    expected.receiver.port = 4100;
    expected.receiver.auto_bind = 3;
    expected.sender.timeout = 500;
    expected.valve.filter = ".*\\.gif".into();
    expected.valve.primary_indicator = true;
    expected.jvm_route_binder.enabled = false;
    assert_eq!(*cluster, expected);
    assert!(matches!(
        cluster.interceptors[0],
        Interceptor::TcpFailureDetector(_)
    ));
    let flags = PROGRAM
        .settings
        .iter()
        .filter(|s| s.path.starts_with("cluster."));
    assert_eq!(
        flags.count(),
        21,
        "a flag of the cluster is not in this test"
    );
}

#[test]
fn the_configuration_checks_its_cluster() {
    let error = config("--membership-type dns")
        .expect_err("no name")
        .to_string();
    assert!(
        error.contains("cluster.membership.type = dns needs"),
        "{error}"
    );
}
