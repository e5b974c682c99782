//! The real Tomcat with one page, as a member of a cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::Browser;

/// Debian's package.
const HOME: &str = "/usr/share/tomcat10";

/// A Java virtual machine on busy cores takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Sets, gets (with the class), removes, counts, and ends sessions.
const PAGE: &str = r#"<%@ page session="false" contentType="text/plain" %><%
String act = request.getParameter("do"), name = request.getParameter("name"), value = request.getParameter("value");
jakarta.servlet.http.HttpSession s = request.getSession("set".equals(act));
Object found = null;
if (s != null) {
  if ("set".equals(act)) s.setAttribute(name, value);
  if ("int".equals(act)) s.setAttribute(name, Integer.valueOf(value));
  if ("max".equals(act)) s.setMaxInactiveInterval(Integer.parseInt(value));
  if ("date".equals(act)) s.setAttribute(name, new java.util.Date(Long.parseLong(value)));
  if ("remove".equals(act)) s.removeAttribute(name);
  if ("login".equals(act)) request.changeSessionId();
  if ("logout".equals(act)) s.invalidate(); else if (name != null) found = s.getAttribute(name);
}
%><%= s == null ? "no session" : found == null ? "null" : found.getClass().getSimpleName() + " " + found %>"#;

/// Where it listens, and how it meets the others.
pub(crate) struct Place<'a> {
    pub(crate) http: SocketAddr,
    /// The group's port.
    pub(crate) group: u16,
    /// Milliseconds.
    pub(crate) heartbeat: u32,
    /// Milliseconds.
    pub(crate) drop_time: u32,
    /// `DeltaManager` or `BackupManager`.
    pub(crate) manager: &'a str,
    /// What its session ids end with, and `JvmRouteBinderValve` with it; empty: nothing.
    pub(crate) route: &'a str,
    /// One more `<Interceptor>`, before the others.
    pub(crate) interceptor: &'a str,
}

/// Killed when dropped.
pub(crate) struct Tomcat {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Tomcat {
    /// Starts it, and waits until it serves. `None`, with a message: there is none on this machine.
    pub(crate) fn start(
        place: &Place<'_>,
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Option<Self> {
        let java = Command::new("java").arg("-version").output();
        if !Path::new(HOME).join("bin/bootstrap.jar").exists() || java.is_err() {
            eprintln!("skipped: no Tomcat in {HOME}, or no Java (apt-get install tomcat10)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path();
        for name in ["conf", "logs", "temp", "work", "none", "jsp/WEB-INF"] {
            std::fs::create_dir_all(base.join(name)).expect("a folder");
        }
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("written");
        write(
            base.join("jsp/WEB-INF/web.xml"),
            "<web-app><distributable/></web-app>",
        );
        write(base.join("jsp/page.jsp"), PAGE);
        write(
            base.join("conf/web.xml"),
            "<web-app><servlet><servlet-name>jsp</servlet-name><servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class></servlet>\
             <servlet-mapping><servlet-name>jsp</servlet-name><url-pattern>*.jsp</url-pattern></servlet-mapping></web-app>",
        );
        write(
            base.join("conf/catalina.properties"),
            "common.loader=\"${catalina.home}/lib\",\"${catalina.home}/lib/*.jar\",\"/usr/share/java/eclipse-jdt-core.jar\"\n\
             tomcat.util.scan.StandardJarScanFilter.jarsToSkip=*.jar\n",
        );
        write(base.join("conf/server.xml"), &server(base, place));
        let log = std::fs::File::create(base.join("log")).expect("a log");
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-Djava.net.preferIPv4Stack=true"])
            .arg(format!("-Dcatalina.home={HOME}"))
            .arg(format!("-Dcatalina.base={}", base.display()))
            .arg(format!("-Djava.io.tmpdir={}", base.join("temp").display()))
            .arg("-cp")
            .arg(format!(
                "{HOME}/bin/bootstrap.jar:{HOME}/bin/tomcat-juli.jar"
            ))
            .args(["org.apache.catalina.startup.Bootstrap", "start"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = spawn(&mut java).expect("java starts");
        let tomcat = Self {
            child,
            folder,
            address: place.http,
        };
        tomcat.until("it serves", || tomcat.log().contains("Server startup in"));
        Some(tomcat)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(
                begun.elapsed() < PATIENCE,
                "not yet: {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the page answers to this browser.
    pub(crate) fn page(&self, browser: &mut Browser, query: &str) -> String {
        browser.address = self.address;
        let reply = browser.get(&format!("/jsp/page.jsp?{query}"));
        assert_eq!(reply.status, 200, "{reply:?}\n{}", self.log());
        reply.body.trim().to_owned()
    }
}

impl Drop for Tomcat {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(base: &Path, place: &Place<'_>) -> String {
    let base = base.display();
    let (address, http) = (place.http.ip(), place.http.port());
    let Place {
        group,
        heartbeat,
        drop_time,
        manager,
        route,
        interceptor,
        ..
    } = place;
    let (route, binder) = match *route {
        "" => (String::new(), ""),
        route => (
            format!(" jvmRoute=\"{route}\""),
            "<Valve className=\"org.apache.catalina.ha.session.JvmRouteBinderValve\"/>",
        ),
    };
    let tribes = "org.apache.catalina.tribes";
    format!(
        r#"<Server port="-1"><Service name="Catalina"><Connector address="{address}" port="{http}" protocol="HTTP/1.1"/>
<Engine name="Catalina" defaultHost="localhost"{route} backgroundProcessorDelay="1">
<Host name="localhost" appBase="none" autoDeploy="false" deployOnStartup="false">
<Context path="/jsp" docBase="{base}/jsp"/>
<Cluster className="org.apache.catalina.ha.tcp.SimpleTcpCluster" channelSendOptions="6">
<Manager className="org.apache.catalina.ha.session.{manager}" processExpiresFrequency="1"/>
<Channel className="{tribes}.group.GroupChannel">
<Membership className="{tribes}.membership.McastService" bind="{address}" address="228.0.0.4" port="{group}" frequency="{heartbeat}" dropTime="{drop_time}"/>
<Receiver className="{tribes}.transport.nio.NioReceiver" address="{address}" port="25000" autoBind="100"/>
<Sender className="{tribes}.transport.ReplicationTransmitter">
<Transport className="{tribes}.transport.nio.PooledParallelSender"/></Sender>
{interceptor}<Interceptor className="{tribes}.group.interceptors.TcpFailureDetector"/>
<Interceptor className="{tribes}.group.interceptors.MessageDispatchInterceptor"/>
</Channel>
<Valve className="org.apache.catalina.ha.tcp.ReplicationValve"/>{binder}
<ClusterListener className="org.apache.catalina.ha.session.ClusterSessionListener"/>
</Cluster></Host></Engine></Service></Server>"#,
    )
}
