//! In one cluster with the real Tomcat, where Debian's package and a Java are installed: each becomes a member of the other's cluster, messages
//! go both ways, stops and kills are noticed on both sides, and so it is with a shared key.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use appserver::tribes::channel::Delivery;
use appserver::tribes::frame::{Parsed, parse};
use appserver::tribes::options::SendOptions;
use appserver::tribes::settings::MembershipSettings;
use rustix::process::{Pid, Signal, kill_process};

#[path = "support/tribes.rs"]
mod tribes;

use tribes::{Node, SYNC, captured, multicast};

/// Debian's package.
const HOME: &str = "/usr/share/tomcat10";

/// A Java virtual machine on busy cores takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Tomcat with one application, which is killed when this goes.
struct Tomcat {
    child: Child,
    folder: tempfile::TempDir,
}

impl Tomcat {
    /// `None`, with a message: there is none on this machine.
    fn start(membership: &MembershipSettings, interceptor: &str) -> Option<Self> {
        let java = Command::new("java").arg("-version").output();
        if !Path::new(HOME).join("bin/bootstrap.jar").exists() || java.is_err() {
            eprintln!("skipped: no Tomcat in {HOME}, or no Java (apt-get install tomcat10)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path();
        let application = base.join("jsp/WEB-INF");
        for name in ["conf", "logs", "temp", "work", "none"] {
            std::fs::create_dir(base.join(name)).expect("a folder");
        }
        std::fs::create_dir_all(&application).expect("a folder");
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("written");
        write(
            application.join("web.xml"),
            "<web-app><distributable/></web-app>",
        );
        write(base.join("conf/web.xml"), "<web-app/>");
        write(
            base.join("conf/catalina.properties"),
            "common.loader=\"${catalina.home}/lib\",\"${catalina.home}/lib/*.jar\"\n\
             tomcat.util.scan.StandardJarScanFilter.jarsToSkip=*.jar\n",
        );
        write(
            base.join("conf/server.xml"),
            &server(base, membership, interceptor),
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
        Some(Self { child, folder })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// Waits until the log has this so many times.
    async fn says(&self, words: &str, times: usize) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while self.log().matches(words).count() < times {
            assert!(
                tokio::time::Instant::now() < end,
                "no `{words}` in\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("an id");
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it runs");
    }
}

impl Drop for Tomcat {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(base: &Path, membership: &MembershipSettings, interceptor: &str) -> String {
    let (group, port) = (membership.address, membership.port);
    let base = base.display();
    let tribes = "org.apache.catalina.tribes";
    format!(
        r#"<Server port="-1"><Service name="Catalina"><Engine name="Catalina" defaultHost="localhost">
<Host name="localhost" appBase="none" autoDeploy="false" deployOnStartup="false">
<Context path="/jsp" docBase="{base}/jsp"/>
<Cluster className="org.apache.catalina.ha.tcp.SimpleTcpCluster" channelSendOptions="6">
<Manager className="org.apache.catalina.ha.session.DeltaManager" stateTransferTimeout="1"/>
<Channel className="{tribes}.group.GroupChannel">
<Membership className="{tribes}.membership.McastService" bind="127.0.0.1" address="{group}" port="{port}" frequency="200" dropTime="1500"/>
<Receiver className="{tribes}.transport.nio.NioReceiver" address="127.0.0.1" port="24000" autoBind="100"/>
<Sender className="{tribes}.transport.ReplicationTransmitter">
<Transport className="{tribes}.transport.nio.PooledParallelSender"/></Sender>
{interceptor}
<Interceptor className="{tribes}.group.interceptors.TcpFailureDetector"/>
<Interceptor className="{tribes}.group.interceptors.MessageDispatchInterceptor"/>
</Channel></Cluster></Host></Engine></Service></Server>"#,
    )
}

/// The Java object in a captured frame.
fn created() -> Vec<u8> {
    match parse(&captured("session-created"), 1 << 20) {
        Ok(Parsed::Message(frame, _)) => frame.message.to_vec(),
        other => panic!("{other:?}"),
    }
}

const ADDED: &str = "Replication member added";
const GONE: &str = "Received member disappeared";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tomcat_and_this_are_members_of_one_cluster() {
    let mut settings = multicast();
    settings.membership.drop_time = 1500;
    let a = Node::start(&settings).await;
    let Some(tomcat) = Tomcat::start(&settings.membership, "") else {
        return;
    };
    a.told
        .within(PATIENCE, "a Tomcat is added", |_| {
            a.channel.members().len() == 1
        })
        .await;
    let member = a.channel.members()[0].clone();
    assert!(!member.is_native());
    tomcat.says(ADDED, 1).await;
    // It asks the oldest member, which is this one, for all sessions.
    a.told
        .within(PATIENCE, "a message", |told| !told.bytes().is_empty())
        .await;
    let question = a.told.bytes().remove(0);
    assert!(question.starts_with(b"\xac\xed\x00\x05"), "{question:02x?}");
    assert!(question.windows(7).any(|word| word == b"GET-ALL"));
    tomcat.says("Server startup in", 1).await;

    let message = created();
    let plain = SendOptions::default();
    for (options, expected) in [
        (SYNC, Delivery::Acked),
        (SendOptions::USE_ACK, Delivery::Acked),
        (plain, Delivery::Written),
        (SendOptions::ASYNC, Delivery::Queued),
    ] {
        let delivery = a.channel.send(member.id, &message, options, PATIENCE).await;
        assert_eq!(delivery, expected, "{options}");
    }
    for _ in 0..100 {
        assert_eq!(a.channel.post(member.id, &message, SYNC), Ok(()));
    }
    let delivery = a.channel.send(member.id, &message, SYNC, PATIENCE).await;
    assert_eq!(delivery, Delivery::Acked);

    // An orderly stop of ours, and one that is killed.
    let b = Node::start(&settings).await;
    tomcat.says(ADDED, 2).await;
    b.channel.stop().await;
    tomcat.says(GONE, 1).await;
    let c = tribes::Process::start(&settings);
    tomcat.says(ADDED, 3).await;
    c.kill();
    tomcat.says(GONE, 2).await;

    // An orderly stop of Tomcat, and one that is killed.
    let id = member.id;
    tomcat.signal(Signal::TERM);
    a.told
        .within(PATIENCE, "Tomcat is removed", |told| {
            told.has("removed", id)
        })
        .await;
    drop(tomcat);
    let tomcat = Tomcat::start(&settings.membership, "").expect("it started before");
    a.told
        .within(PATIENCE, "a Tomcat is added again", |_| {
            a.channel.members().len() == 1
        })
        .await;
    let id = a.channel.members()[0].id;
    tomcat.says("Server startup in", 1).await;
    tomcat.signal(Signal::KILL);
    a.told
        .within(PATIENCE, "Tomcat is removed again", |told| {
            told.has("removed", id)
        })
        .await;
    assert_eq!(a.channel.status().dropped_invalid, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tomcats_shared_key() {
    const KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
    let mut settings = multicast();
    settings.membership.drop_time = 1500;
    settings.encryption_key = KEY.into();
    let a = Node::start(&settings).await;
    let interceptor = format!(
        "<Interceptor className=\"org.apache.catalina.tribes.group.interceptors.EncryptInterceptor\" \
         encryptionAlgorithm=\"AES/GCM/NoPadding\" encryptionKey=\"{KEY}\"/>"
    );
    let Some(tomcat) = Tomcat::start(&settings.membership, &interceptor) else {
        return;
    };
    a.told
        .within(PATIENCE, "a message", |told| !told.bytes().is_empty())
        .await;
    let question = a.told.bytes().remove(0);
    assert!(question.windows(7).any(|word| word == b"GET-ALL"));
    tomcat.says("Server startup in", 1).await;
    let id = a.channel.members()[0].id;
    let delivery = a.channel.send(id, &created(), SYNC, PATIENCE).await;
    assert_eq!(delivery, Delivery::Acked);
    // Tomcat says so also of what it cannot decrypt, but its log tells.
    assert!(!tomcat.log().contains("decrypt"), "{}", tomcat.log());
    let mut other = settings.clone();
    other.encryption_key = KEY.replace('0', "1");
    let b = Node::start(&other).await;
    b.told
        .within(PATIENCE, "both are added", |_| {
            b.channel.members().len() == 2
        })
        .await;
    let delivery = b.channel.send(id, &created(), SYNC, PATIENCE).await;
    assert_eq!(delivery, Delivery::Acked);
    tomcat.says("Failed to decrypt message", 1).await;
}
