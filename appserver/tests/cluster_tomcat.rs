//! One cluster of the real Tomcat and this, where Debian's package and a Java are installed: browsers go back and forth between them.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appserver::tribes::settings::ReceiverAddress;
use appserver::{Clock, Config, Mode};
use support::{Browser, Node};

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
  if ("date".equals(act)) s.setAttribute(name, new java.util.Date(Long.parseLong(value)));
  if ("remove".equals(act)) s.removeAttribute(name);
  if ("login".equals(act)) request.changeSessionId();
  if ("logout".equals(act)) s.invalidate(); else if (name != null) found = s.getAttribute(name);
}
%><%= s == null ? "no session" : found == null ? "null" : found.getClass().getSimpleName() + " " + found %>"#;

struct Tomcat {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Tomcat {
    /// `None`, with a message: there is none on this machine.
    fn start(group: u16) -> Option<Self> {
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
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let address = free.expect("a free port");
        write(
            base.join("conf/server.xml"),
            &server(base, address.port(), group),
        );
        let log = std::fs::File::create(base.join("log")).expect("a log");
        let child = Command::new("java")
            .args(["-Xmx128m", "-Djava.net.preferIPv4Stack=true"])
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
            .stderr(log)
            .spawn()
            .expect("java starts");
        let tomcat = Self {
            child,
            folder,
            address,
        };
        tomcat.until("it serves", || tomcat.log().contains("Server startup in"));
        Some(tomcat)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
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
    fn page(&self, browser: &mut Browser, query: &str) -> String {
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

fn server(base: &Path, http: u16, group: u16) -> String {
    let base = base.display();
    let tribes = "org.apache.catalina.tribes";
    format!(
        r#"<Server port="-1"><Service name="Catalina"><Connector address="127.0.0.1" port="{http}" protocol="HTTP/1.1"/>
<Engine name="Catalina" defaultHost="localhost">
<Host name="localhost" appBase="none" autoDeploy="false" deployOnStartup="false">
<Context path="/jsp" docBase="{base}/jsp"/>
<Cluster className="org.apache.catalina.ha.tcp.SimpleTcpCluster" channelSendOptions="6">
<Manager className="org.apache.catalina.ha.session.DeltaManager"/>
<Channel className="{tribes}.group.GroupChannel">
<Membership className="{tribes}.membership.McastService" bind="127.0.0.1" address="228.0.0.4" port="{group}" frequency="200" dropTime="1500"/>
<Receiver className="{tribes}.transport.nio.NioReceiver" address="127.0.0.1" port="25000" autoBind="100"/>
<Sender className="{tribes}.transport.ReplicationTransmitter">
<Transport className="{tribes}.transport.nio.PooledParallelSender"/></Sender>
<Interceptor className="{tribes}.group.interceptors.TcpFailureDetector"/>
<Interceptor className="{tribes}.group.interceptors.MessageDispatchInterceptor"/>
</Channel>
<Valve className="org.apache.catalina.ha.tcp.ReplicationValve"/>
<ClusterListener className="org.apache.catalina.ha.session.ClusterSessionListener"/>
</Cluster></Host></Engine></Service></Server>"#,
    )
}

fn ours(group: u16) -> Node {
    Node::at(Clock::system(), |config: &mut Config| {
        config.mode = Mode::Cluster;
        config.contexts = vec!["/jsp".into()];
        let cluster = &mut config.cluster;
        cluster.membership.bind = "127.0.0.1".into();
        cluster.membership.port = group;
        cluster.membership.frequency = 200;
        cluster.membership.drop_time = 1500;
        cluster.receiver.address = ReceiverAddress::Address([127, 0, 0, 1].into());
        cluster.receiver.port = 0;
    })
}

fn members(node: &Node) -> usize {
    let status = node.status();
    let all = &status["contexts"][0]["sessions"]["cluster"]["members"];
    all.as_array().map_or(0, Vec::len)
}

/// The same browser at our node.
fn at(browser: &mut Browser, node: &Node, path: &str) -> serde_json::Value {
    browser.address = node.address;
    let reply = browser.get(&format!("/jsp/api/{path}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn browsers_go_back_and_forth() {
    let group = 57_000 + (std::process::id() % 1000) as u16;
    let node = ours(group);
    let mut early = node.browser();
    at(&mut early, &node, "set?name=early&value=bird");
    let Some(tomcat) = Tomcat::start(group) else {
        return;
    };
    tomcat.until("members", || members(&node) == 1);
    assert_eq!(
        node.status()["contexts"][0]["sessions"]["cluster"]["rules"],
        "tomcat"
    );
    // The state transfer.
    assert_eq!(tomcat.page(&mut early, "do=get&name=early"), "String bird");

    // Made here, then changed there, and the other way round.
    let mut browser = node.browser();
    at(&mut browser, &node, "set?name=word&value=here");
    assert_eq!(at(&mut browser, &node, "count")["value"], 1);
    assert_eq!(tomcat.page(&mut browser, "do=get&name=word"), "String here");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=count"), "Long 1");
    tomcat.page(&mut browser, "do=set&name=word&value=there");
    tomcat.page(&mut browser, "do=int&name=number&value=42");
    tomcat.page(&mut browser, "do=date&name=date&value=0");
    assert_eq!(at(&mut browser, &node, "get?name=word")["value"], "there");
    assert_eq!(at(&mut browser, &node, "get?name=number")["value"], 42);
    tomcat.page(&mut browser, "do=remove&name=word");
    assert!(at(&mut browser, &node, "get?name=word")["value"].is_null());
    for step in 2..=20 {
        assert_eq!(at(&mut browser, &node, "count")["value"], step);
        assert_eq!(
            tomcat.page(&mut browser, "do=get&name=count"),
            format!("Long {step}")
        );
    }

    let mut other = node.browser();
    assert_eq!(tomcat.page(&mut other, "do=set&name=k&value=v"), "String v");
    assert_eq!(at(&mut other, &node, "get?name=k")["value"], "v");

    // New ids on either side.
    let mut planted = browser.clone();
    at(&mut browser, &node, "login?user=somebody");
    assert_ne!(browser.cookie, planted.cookie);
    assert_eq!(
        tomcat.page(&mut browser, "do=get&name=user"),
        "String somebody"
    );
    assert_eq!(tomcat.page(&mut planted, "do=get&name=user"), "no session");
    tomcat.page(&mut browser, "do=login");
    assert_eq!(
        at(&mut browser, &node, "get?name=user")["value"],
        "somebody"
    );

    // A second one of ours starts late, and Tomcat dies: what it served last is here.
    let second = ours(group);
    assert_eq!(at(&mut browser, &second, "get?name=number")["value"], 42);
    tomcat.page(&mut browser, "do=set&name=last&value=word");
    drop(tomcat);
    for node in [&node, &second] {
        assert_eq!(at(&mut browser, node, "get?name=last")["value"], "word");
    }

    // A new Tomcat gets all of it from us, with what only Java understands.
    let tomcat = Tomcat::start(group).expect("it started before");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=last"), "String word");
    assert!(
        tomcat
            .page(&mut browser, "do=get&name=date")
            .starts_with("Date ")
    );
    at(&mut browser, &second, "logout");
    assert_eq!(tomcat.page(&mut browser, "do=get&name=last"), "no session");
    tomcat.page(&mut other, "do=logout");
    for node in [&node, &second] {
        assert!(at(&mut other, node, "get?name=k")["value"].is_null());
    }
}
