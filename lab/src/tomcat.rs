//! A real Tomcat in an application server's place: where it is installed, how it is started, and the files of one.
//!
//! ```text
//!   RUN/TomcatB/          CATALINA_BASE of this node; the programs stay in CATALINA_HOME
//!     conf/               server.xml with the connector, the route and, in the mode `cluster`, the article's <Cluster>
//!     webapp/             the article's page and the JSON contract as JSPs; /jsp and /test
//!     root/               what stands under /; status.jsp counts sessions, bytes sent and memory
//!     work/               what the JSPs were compiled to: a restart is quicker than the first start
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use appserver::site::Site;
use program::Failure;

/// Where Debian's package has it; the variable `CATALINA_HOME` names another place.
const HOME: &str = "/usr/share/tomcat10";

/// Starting Java and compiling its pages takes some seconds, on a busy machine many.
pub const READY_AT_MOST: Duration = Duration::from_secs(90);

/// The exit code of a Java program that SIGTERM stopped in good order.
pub const STOPPED: i32 = 143;

/// A page that makes no session.
pub const READY_PATH: &str = "/jsp/api/get?name=ready";

/// The page that counts sessions, bytes sent and memory.
pub const STATUS_PATH: &str = "/status.jsp";

/// Each file of an instance, before the node's own words are put in.
const FILES: [(&str, &str); 12] = [
    (
        "conf/server.xml",
        include_str!("../templates/tomcat/conf/server.xml"),
    ),
    (
        "conf/context.xml",
        include_str!("../templates/tomcat/conf/context.xml"),
    ),
    (
        "conf/web.xml",
        include_str!("../templates/tomcat/conf/web.xml"),
    ),
    (
        "conf/catalina.properties",
        include_str!("../templates/tomcat/conf/catalina.properties"),
    ),
    (
        "conf/logging.properties",
        include_str!("../templates/tomcat/conf/logging.properties"),
    ),
    (
        "root/index.html",
        include_str!("../templates/tomcat/root/index.html"),
    ),
    (
        "root/status.jsp",
        include_str!("../templates/tomcat/root/status.jsp"),
    ),
    (
        "webapp/index.jsp",
        include_str!("../templates/tomcat/webapp/index.jsp"),
    ),
    (
        "webapp/set.jsp",
        include_str!("../templates/tomcat/webapp/set.jsp"),
    ),
    (
        "webapp/get.jsp",
        include_str!("../templates/tomcat/webapp/get.jsp"),
    ),
    (
        "webapp/WEB-INF/api.jsp",
        include_str!("../templates/tomcat/webapp/WEB-INF/api.jsp"),
    ),
    (
        "webapp/WEB-INF/web.xml",
        include_str!("../templates/tomcat/webapp/WEB-INF/web.xml"),
    ),
];

/// Folders that must be there and may be empty.
const FOLDERS: [&str; 4] = ["temp", "work", "logs", "none"];

/// Without a cluster: in memory, and not in a file either when it stops.
const STANDARD_MANAGER: &str =
    r#"  <Manager className="org.apache.catalina.session.StandardManager" pathname=""/>"#;

/// Which manager keeps its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// `StandardManager`: in memory, for itself.
    Standard,
    /// `DeltaManager`: on every member.
    Delta,
    /// `BackupManager`: on one other member.
    Backup,
}

/// The tables of a settings file (`cluster.receiver`), each with its attributes and their values as TOML has them.
pub type Tables = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

/// What one Tomcat is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tomcat {
    /// `TomcatB`: the title of its page and `node` in its answers.
    pub name: String,
    /// What its session ids end with.
    pub jvm_route: String,
    /// Where it answers.
    pub listen: SocketAddr,
    /// Who keeps its sessions.
    pub manager: Manager,
    /// What our servers have under `[cluster]`; alone it has none of it.
    pub cluster: Tables,
}

impl Tomcat {
    /// Writes its files below `base`. A file that is there as it shall be is left alone, for its time tells whether it must
    /// be compiled again.
    pub fn write(&self, base: &Path) -> io::Result<()> {
        for folder in FOLDERS {
            std::fs::create_dir_all(base.join(folder))?;
        }
        for (name, template) in FILES {
            let path = base.join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let text = self.filled(template);
            if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            std::fs::write(&path, text)?;
        }
        Ok(())
    }

    fn filled(&self, template: &str) -> String {
        let (cluster, manager) = match self.manager {
            Manager::Standard => (String::new(), STANDARD_MANAGER),
            Manager::Delta => (cluster("DeltaManager", &self.cluster), ""),
            Manager::Backup => (cluster("BackupManager", &self.cluster), ""),
        };
        // It looks like one of ours of this name.
        let site = Site::new(&appserver::Config {
            node_id: self.name.clone(),
            ..appserver::Config::default()
        });
        let words = [
            ("@NODE@", self.name.as_str()),
            ("@HEADING@", &site.heading),
            ("@COLOUR@", &site.colour),
            ("@ROUTE@", &self.jvm_route),
            ("@ADDRESS@", &self.listen.ip().to_string()),
            ("@PORT@", &self.listen.port().to_string()),
            ("@CLUSTER@", &cluster),
            ("@MANAGER@", manager),
        ];
        words
            .iter()
            .fold(template.to_owned(), |text, (word, value)| {
                text.replace(word, value)
            })
    }
}

/// The article's element.
const CLUSTER: &str = include_str!("../templates/tomcat/cluster.xml");

/// What the article's element says where no setting does. The response waits until the others have applied the change:
/// the article's 8 loses changes of new sessions.
const CLUSTER_SAYS: [(&str, &str, &str); 8] = [
    ("cluster", "channelSendOptions", "6"),
    ("cluster.manager", "notifyListenersOnReplication", "true"),
    ("cluster.membership", "frequency", "500"),
    ("cluster.membership", "dropTime", "3000"),
    ("cluster.receiver", "autoBind", "0"),
    ("cluster.receiver", "selectorTimeout", "5000"),
    ("cluster.receiver", "maxThreads", "6"),
    ("cluster.valve", "filter", ""),
];

/// `<Cluster>` with this manager and these settings.
fn cluster(manager: &str, settings: &Tables) -> String {
    let mut tables: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (table, attribute, value) in CLUSTER_SAYS {
        tables.entry(table).or_default().insert(attribute, value);
    }
    for (table, attributes) in settings {
        let attributes = attributes.iter().map(|(name, value)| (*name, plain(value)));
        tables.entry(table).or_default().extend(attributes);
    }
    let key = tables.get_mut("cluster").and_then(|own| own.remove(KEY));
    let encrypt = key.map_or_else(String::new, |key| {
        format!(
            "            <Interceptor className=\"{ENCRYPT}\" {KEY}=\"{}\"/>",
            escaped(key)
        )
    });
    let text = CLUSTER
        .replace("@MANAGER@", manager)
        .replace("@ENCRYPT@", &encrypt);
    tables.iter().fold(text, |text, (table, attributes)| {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| format!(" {name}=\"{}\"", escaped(value)));
        text.replace(&format!("@{table}@"), &attributes.collect::<String>())
    })
}

/// The attribute with the key that all members share, and the interceptor that has it here.
const KEY: &str = "encryptionKey";
const ENCRYPT: &str = "org.apache.catalina.tribes.group.interceptors.EncryptInterceptor";

/// A value without TOML's quotes, and as Tomcat calls it.
fn plain(value: &str) -> &str {
    match value.trim_matches(['"', '\'']) {
        // Ours has a better `auto`.
        "tomcat-auto" => "auto",
        plain => plain,
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('"', "&quot;")
}

/// The program and its arguments for the instance below `base`: Java itself, so that the process that is killed is the
/// server and not a script around it.
pub fn command(base: &Path) -> (PathBuf, Vec<OsString>) {
    let home = home();
    let property = |name: &str, value: &Path| {
        let mut argument = OsString::from(format!("-D{name}="));
        argument.push(value);
        argument
    };
    let mut classes = home.join("bin/bootstrap.jar").into_os_string();
    classes.push(":");
    classes.push(home.join("bin/tomcat-juli.jar"));
    let mut arguments: Vec<OsString> = JVM.map(Into::into).into();
    arguments.extend([
        property(
            "java.util.logging.config.file",
            &base.join("conf/logging.properties"),
        ),
        property("java.io.tmpdir", &base.join("temp")),
        property("catalina.home", &home),
        property("catalina.base", base),
        "-cp".into(),
        classes,
        "org.apache.catalina.startup.Bootstrap".into(),
        "start".into(),
    ]);
    ("java".into(), arguments)
}

/// Small, and quick to start: a lab's server lives for seconds.
const JVM: [&str; 9] = [
    "-Xms64m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager",
];

fn home() -> PathBuf {
    let told = std::env::var_os("CATALINA_HOME").filter(|home| !home.is_empty());
    told.map_or_else(|| HOME.into(), PathBuf::from)
}

/// Refuses where no Tomcat or no Java is installed, with what to do about it.
pub fn is_here() -> Result<(), Failure> {
    installed().map(drop).map_err(|missing| Failure::Environment(format!(
        "the real Tomcat shall be on the stage, and {missing}: `apt-get install tomcat10-common default-jre-headless`, set \
         CATALINA_HOME, or choose ours with --app-b appserver or APP_B=appserver (and APP_A likewise)"
    )))
}

/// The folder of the installed Tomcat for which there is a Java too, or what is missing.
pub fn installed() -> Result<PathBuf, String> {
    let home = home();
    if !home.join("bin/bootstrap.jar").is_file() {
        Err(format!("there is no Tomcat in {}", home.display()))
    } else if !in_path("java") {
        Err("there is no `java` in PATH".to_owned())
    } else {
        Ok(home)
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::{Manager, Tables, Tomcat};

    fn tomcat(manager: Manager, cluster: Tables) -> Tomcat {
        Tomcat {
            name: "TomcatB".into(),
            jvm_route: "WEB2".into(),
            listen: ([127, 0, 0, 1], 8082).into(),
            manager,
            cluster,
        }
    }

    fn server_xml(manager: Manager, cluster: Tables) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tomcat = tomcat(manager, cluster);
        tomcat.write(folder.path()).expect("written");
        for (name, _) in super::FILES {
            let text = std::fs::read_to_string(folder.path().join(name)).expect("written");
            let (mut parts, words) = (text.split('@'), ["page", "include"]);
            parts.next();
            let mut unfilled =
                parts.filter(|part| !words.iter().any(|w| part.trim_start().starts_with(w)));
            assert_eq!(unfilled.next(), None, "{name}: {text}");
        }
        std::fs::read_to_string(folder.path().join("conf/server.xml")).expect("written")
    }

    #[test]
    fn the_cluster_element_is_the_articles_with_the_stages_settings() {
        let alone = server_xml(Manager::Standard, Tables::new());
        assert!(
            alone.contains("address=\"127.0.0.1\" port=\"8082\""),
            "{alone}"
        );
        assert!(alone.contains("jvmRoute=\"WEB2\""), "{alone}");
        assert!(!alone.contains("<Cluster"), "{alone}");
        let clear = server_xml(Manager::Backup, Tables::new());
        assert!(clear.contains("session.BackupManager\""), "{clear}");
        assert!(!clear.contains("Encrypt"), "{clear}");
        let mut settings = Tables::new();
        for (table, attribute, value) in [
            ("cluster", "channelSendOptions", "8"),
            ("cluster", "encryptionKey", "\"00ff\""),
            ("cluster.membership", "port", "45999"),
            ("cluster.receiver", "address", "\"tomcat-auto\""),
            ("cluster.valve", "filter", "'.*\\.gif|a&b'"),
            ("cluster.manager", "expireSessionsOnShutdown", "true"),
        ] {
            let table = settings.entry(table).or_default();
            table.insert(attribute, value.to_owned());
        }
        let xml = server_xml(Manager::Delta, settings);
        for part in [
            "SimpleTcpCluster\" channelSendOptions=\"8\">",
            "session.DeltaManager\" expireSessionsOnShutdown=\"true\"",
            "McastService\" dropTime=\"3000\" frequency=\"500\" port=\"45999\"/>",
            "NioReceiver\" address=\"auto\"",
            "EncryptInterceptor\" encryptionKey=\"00ff\"/>",
            "ReplicationValve\" filter=\".*\\.gif|a&amp;b\"/>",
        ] {
            assert!(xml.contains(part), "{part} is in\n{xml}");
        }
    }

    #[test]
    fn a_file_that_has_not_changed_is_not_written_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut tomcat = tomcat(Manager::Standard, Tables::new());
        tomcat.write(folder.path()).expect("written");
        let page = folder.path().join("webapp/index.jsp");
        let old = std::time::SystemTime::UNIX_EPOCH;
        let file = std::fs::File::options().append(true).open(&page);
        file.expect("there").set_modified(old).expect("set");
        let time = || {
            std::fs::metadata(&page)
                .and_then(|page| page.modified())
                .expect("there")
        };
        tomcat.write(folder.path()).expect("written");
        assert_eq!(time(), old);
        tomcat.name = "TomcatC".into();
        tomcat.write(folder.path()).expect("written");
        assert_ne!(time(), old);
    }
}
