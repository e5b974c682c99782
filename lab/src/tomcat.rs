//! The real Tomcat as an application server of the stage: its command, and the folder that it runs in.
//!
//! The folder (`CATALINA_BASE`) has the article's `<Cluster>` element, the session page, and a JSP that follows the JSON contract, so
//! that the same browsers can play with it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where Debian's package `tomcat10` has it.
const HOME: &str = "/usr/share/tomcat10";

/// Memory of its virtual machine.
const HEAP: [&str; 2] = ["-Xms64m", "-Xmx256m"];

const API: &str = include_str!("tomcat/api.jsp");
const PAGE: &str = include_str!("tomcat/index.jsp");
const APPLICATION: &str = include_str!("tomcat/application.xml");
const WEB: &str = include_str!("tomcat/web.xml");

/// No session file, so that a restart begins empty.
const ALONE: &str =
    r#"<Manager className="org.apache.catalina.session.StandardManager" pathname=""/>"#;

/// One line per event, on standard output.
const LOGGING: &str = "handlers = java.util.logging.ConsoleHandler\n\
    .handlers = java.util.logging.ConsoleHandler\n\
    java.util.logging.ConsoleHandler.level = INFO\n\
    java.util.logging.ConsoleHandler.formatter = org.apache.juli.OneLineFormatter\n\
    .level = INFO\n";

/// Whether it and a Java to run it are installed.
pub fn is_installed() -> bool {
    let in_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    Path::new(HOME).join("bin/bootstrap.jar").is_file() && in_path("java")
}

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

/// One Tomcat.
#[derive(Debug, Clone)]
pub struct Tomcat {
    /// What its name ends with.
    pub letter: String,
    /// Colour of its heading.
    pub colour: &'static str,
    /// `jvmRoute`.
    pub route: String,
    /// Where it listens for HTTP.
    pub listen: SocketAddr,
    /// Where it listens for members.
    pub receiver: SocketAddr,
    /// Which manager.
    pub manager: Manager,
    /// The group of heartbeats.
    pub group: SocketAddr,
    /// The key of the `EncryptInterceptor`, as hexadecimal digits.
    pub key: Option<String>,
    /// `channelSendOptions`.
    pub send_options: u8,
}

impl Tomcat {
    /// Writes everything that it needs into `base`.
    pub fn write(&self, base: &Path) -> io::Result<()> {
        for folder in ["conf", "logs", "temp", "work", "none", "webapp/WEB-INF"] {
            fs::create_dir_all(base.join(folder))?;
        }
        let filled = |text: &str| {
            text.replace("@LETTER@", &self.letter)
                .replace("@COLOUR@", self.colour)
        };
        fs::write(base.join("webapp/api.jsp"), filled(API))?;
        fs::write(base.join("webapp/index.jsp"), filled(PAGE))?;
        fs::write(base.join("webapp/WEB-INF/web.xml"), APPLICATION)?;
        fs::write(base.join("conf/web.xml"), WEB)?;
        fs::write(base.join("conf/context.xml"), "<Context/>\n")?;
        fs::write(base.join("conf/logging.properties"), LOGGING)?;
        // No library is looked through for parts of applications: that takes longer than all the rest of the start.
        fs::write(
            base.join("conf/catalina.properties"),
            "common.loader=\"${catalina.home}/lib\",\"${catalina.home}/lib/*.jar\"\n\
             server.loader=\nshared.loader=\n\
             tomcat.util.scan.StandardJarScanFilter.jarsToSkip=*.jar\n\
             package.access=sun.,org.apache.catalina.,org.apache.coyote.,org.apache.jasper.,org.apache.tomcat.\n\
             package.definition=sun.,java.,org.apache.catalina.,org.apache.coyote.,org.apache.jasper.,org.apache.naming.,org.apache.tomcat.\n",
        )?;
        fs::write(base.join("conf/server.xml"), self.server_xml(base))
    }

    fn server_xml(&self, base: &Path) -> String {
        let docs = base.join("webapp");
        let context = |path: &str| {
            let manager = if self.manager == Manager::Standard {
                ALONE
            } else {
                ""
            };
            format!(
                "<Context path=\"{path}\" docBase=\"{}\">{manager}</Context>",
                docs.display()
            )
        };
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1">
  <Service name="Catalina">
    <Connector port="{port}" address="{address}" protocol="HTTP/1.1" maxKeepAliveRequests="-1"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="{route}">
      <Host name="localhost" appBase="none" autoDeploy="false" deployOnStartup="false">
        {jsp}
        {test}
        {cluster}
      </Host>
    </Engine>
  </Service>
</Server>
"#,
            port = self.listen.port(),
            address = self.listen.ip(),
            route = self.route,
            jsp = context("/jsp"),
            test = context("/test"),
            cluster = self.cluster_xml(),
        )
    }

    /// The article's element, with everything on this machine.
    fn cluster_xml(&self) -> String {
        let manager = match self.manager {
            Manager::Standard => return String::new(),
            Manager::Delta => r#"DeltaManager" expireSessionsOnShutdown="false"#,
            Manager::Backup => r#"BackupManager"#,
        };
        let encrypt = self.key.as_ref().map_or_else(String::new, |key| {
            format!(
                r#"<Interceptor className="org.apache.catalina.tribes.group.interceptors.EncryptInterceptor" encryptionKey="{key}"/>"#
            )
        });
        format!(
            r#"<Cluster className="org.apache.catalina.ha.tcp.SimpleTcpCluster" channelSendOptions="{options}">
          <Manager className="org.apache.catalina.ha.session.{manager}" notifyListenersOnReplication="true"/>
          <Channel className="org.apache.catalina.tribes.group.GroupChannel">
            <Membership className="org.apache.catalina.tribes.membership.McastService" bind="127.0.0.1"
                        address="{group}" port="{group_port}" frequency="500" dropTime="3000"/>
            <Receiver className="org.apache.catalina.tribes.transport.nio.NioReceiver" address="{address}" port="{port}"
                      autoBind="0" selectorTimeout="5000" maxThreads="6"/>
            <Sender className="org.apache.catalina.tribes.transport.ReplicationTransmitter">
              <Transport className="org.apache.catalina.tribes.transport.nio.PooledParallelSender"/>
            </Sender>
            {encrypt}
            <Interceptor className="org.apache.catalina.tribes.group.interceptors.TcpFailureDetector"/>
            <Interceptor className="org.apache.catalina.tribes.group.interceptors.MessageDispatchInterceptor"/>
          </Channel>
          <Valve className="org.apache.catalina.ha.tcp.ReplicationValve" filter=""/>
          <Valve className="org.apache.catalina.ha.session.JvmRouteBinderValve"/>
          <ClusterListener className="org.apache.catalina.ha.session.ClusterSessionListener"/>
        </Cluster>"#,
            options = self.send_options,
            group = self.group.ip(),
            group_port = self.group.port(),
            address = self.receiver.ip(),
            port = self.receiver.port(),
        )
    }
}

/// The program and its arguments, for a Tomcat whose folder is `base`.
pub fn command(base: &Path) -> (PathBuf, Vec<OsString>) {
    let option = |name: &str, path: PathBuf| {
        let mut option = OsString::from(name);
        option.push(path);
        option
    };
    let home = Path::new(HOME);
    let mut arguments: Vec<OsString> = HEAP.map(OsString::from).into();
    arguments.extend(
        [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djava.net.preferIPv4Stack=true",
            "-Djava.awt.headless=true",
            "-Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager",
        ]
        .map(OsString::from),
    );
    arguments.push(option(
        "-Djava.util.logging.config.file=",
        base.join("conf/logging.properties"),
    ));
    arguments.push(option("-Djava.io.tmpdir=", base.join("temp")));
    arguments.push(option("-Dcatalina.home=", home.to_owned()));
    arguments.push(option("-Dcatalina.base=", base.to_owned()));
    let mut classes = home.join("bin/bootstrap.jar").into_os_string();
    classes.push(":");
    classes.push(home.join("bin/tomcat-juli.jar"));
    arguments.extend(["-cp".into(), classes]);
    arguments.extend(["org.apache.catalina.startup.Bootstrap", "start"].map(OsString::from));
    (PathBuf::from("java"), arguments)
}

#[cfg(test)]
mod tests {
    use super::{Manager, Tomcat};

    fn tomcat(manager: Manager, key: Option<&str>) -> Tomcat {
        Tomcat {
            letter: "B".into(),
            colour: "#0000FF",
            route: "WEB2".into(),
            listen: "127.0.0.1:8082".parse().expect("an address"),
            receiver: "127.0.0.1:4001".parse().expect("an address"),
            manager,
            group: "228.0.0.4:45564".parse().expect("an address"),
            key: key.map(str::to_owned),
            send_options: 6,
        }
    }

    #[test]
    fn its_folder_has_the_cluster_and_the_pages() {
        let base = tempfile::tempdir().expect("a folder");
        tomcat(Manager::Delta, Some("00ff"))
            .write(base.path())
            .expect("written");
        let read = |name: &str| std::fs::read_to_string(base.path().join(name)).expect(name);
        let server = read("conf/server.xml");
        for part in [
            "jvmRoute=\"WEB2\"",
            "channelSendOptions=\"6\"",
            "DeltaManager\" expireSessionsOnShutdown=\"false\"",
            "address=\"228.0.0.4\" port=\"45564\"",
            "encryptionKey=\"00ff\"",
        ] {
            assert!(server.contains(part), "{part} is in {server}");
        }
        assert!(read("webapp/api.jsp").contains("TomcatB"));
        assert!(read("webapp/index.jsp").contains("#0000FF"));
    }

    #[test]
    fn alone_it_has_no_cluster_and_without_a_key_nothing_is_encrypted() {
        let base = std::path::Path::new("/b");
        assert!(
            !tomcat(Manager::Standard, Some("00ff"))
                .server_xml(base)
                .contains("<Cluster")
        );
        let clear = tomcat(Manager::Backup, None).server_xml(base);
        assert!(
            clear.contains("BackupManager") && !clear.contains("EncryptInterceptor"),
            "{clear}"
        );
    }
}
