//! `lab doctor`: is this machine fit for the experiments, and what is the cure where it is not?
//!
//! [`probe`] looks (sockets, files, other programs); everything here judges what was found and is pure. A finding that
//! only narrows what can be shown is a warning; one that keeps the stage from standing is a failure.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use program::{Failure, Kind, Program, Setting};
use serde::Serialize;

use crate::cli::say;

pub mod probe;

/// The arguments of `lab doctor`.
pub const PROGRAM: Program = Program {
    name: "lab doctor",
    about: "Checks this machine for the experiments and prints the cure of what is wrong",
    after_help: "Exit codes: 0 fit (perhaps with warnings), 1 something must be mended first.",
    version: "",
    settings: &[Setting::new(
        "json",
        Kind::Boolean,
        "BOOL",
        "Print the findings as JSON",
    )],
};

/// The version of the JSON that `--json` prints.
pub const SCHEMA: &str = "lnmt-lab/doctor/1";

/// Files the stage needs at once: two sockets a visitor for a few thousand visitors, and the nodes' own.
const OPEN_FILES_NEEDED: u64 = 4096;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As needed.
    Ok,
    /// Something cannot be shown, or only in part.
    Warn,
    /// The stage cannot stand.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How serious it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when nothing is to be done.
    pub cure: String,
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(subject, Grade::Ok, found, "")
    }

    fn new(
        subject: impl Into<String>,
        grade: Grade,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            grade,
            found: found.into(),
            cure: cure.into(),
        }
    }
}

/// Everything that the probes found, before it is judged.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Each address of the stage, whose it is, the setting that moves it, and why it cannot be bound.
    pub addresses: Vec<Address>,
    /// The most files this process may have open.
    pub open_files: u64,
    /// The address a listener saw when a client bound itself to [`probe::CLIENT_ADDRESS`].
    pub seen_client: Result<IpAddr, String>,
    /// For each interface address that was tried: whether a datagram to the group came back.
    pub multicast: Vec<(Ipv4Addr, Result<(), String>)>,
    /// This machine's name.
    pub host_name: String,
    /// The address that the name stands for, which a Tomcat with `address="auto"` announces to its cluster.
    pub announced: Result<IpAddr, String>,
    /// The real Tomcat's folder and what its Java says of its version.
    pub tomcat: Result<String, String>,
    /// What the real memcached says of its version.
    pub memcached: Result<String, String>,
    /// What `docker version` says of the engine.
    pub engine: Result<String, String>,
    /// What `docker compose version` says.
    pub compose_plugin: Result<String, String>,
    /// What `docker-compose --version` says.
    pub compose_standalone: Result<String, String>,
}

/// One address that the stage wants.
#[derive(Debug, Clone)]
pub struct Address {
    /// The node that listens there.
    pub node: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The setting of `lab up` that moves it.
    pub setting: &'static str,
    /// Whether it can be bound.
    pub free: Result<(), String>,
}

/// Judges the evidence; one finding for each thing that was looked at.
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    let mut findings: Vec<Finding> = evidence.addresses.iter().map(port).collect();
    findings.push(open_files(evidence.open_files));
    findings.push(client_address(&evidence.seen_client));
    findings.extend(evidence.multicast.iter().map(multicast));
    findings.push(announced(&evidence.host_name, &evidence.announced));
    findings.push(tomcat(&evidence.tomcat));
    findings.push(memcached(&evidence.memcached));
    findings.extend(docker(evidence));
    findings
}

fn port(wanted: &Address) -> Finding {
    let subject = format!("port of {}", wanted.node);
    match &wanted.free {
        Ok(()) => Finding::ok(subject, format!("{} is free", wanted.address)),
        Err(why) => Finding::new(
            subject,
            Grade::Fail,
            format!("{} cannot be bound: {why}", wanted.address),
            format!(
                "stop what listens there (`ss -ltnp` names it), or move the node with `lab up --{}`",
                wanted.setting.replace('_', "-")
            ),
        ),
    }
}

fn open_files(limit: u64) -> Finding {
    let subject = "open files";
    if limit >= OPEN_FILES_NEEDED {
        return Finding::ok(subject, format!("{limit} at once"));
    }
    Finding::new(
        subject,
        Grade::Warn,
        format!("{limit} at once"),
        format!(
            "raise the hard limit (`ulimit -Hn {OPEN_FILES_NEEDED}`), or give `lab load` fewer users"
        ),
    )
}

fn client_address(seen: &Result<IpAddr, String>) -> Finding {
    let subject = "client addresses";
    let cure = "without own addresses every browser of the lab looks alike to ip_hash; \
                on Linux the whole of 127.0.0.0/8 is usable, elsewhere add the addresses to the loopback interface";
    match seen {
        Ok(address) if *address == IpAddr::V4(probe::CLIENT_ADDRESS) => Finding::ok(
            subject,
            format!("a browser may come from any 127.x.y.z (tried {address})"),
        ),
        Ok(other) => Finding::new(
            subject,
            Grade::Warn,
            format!(
                "a browser that bound itself to {} was seen as {other}",
                probe::CLIENT_ADDRESS
            ),
            cure,
        ),
        Err(why) => Finding::new(
            subject,
            Grade::Warn,
            format!("cannot connect from {}: {why}", probe::CLIENT_ADDRESS),
            cure,
        ),
    }
}

fn multicast((interface, came_back): &(Ipv4Addr, Result<(), String>)) -> Finding {
    let subject = format!("multicast on {interface}");
    match came_back {
        Ok(()) => Finding::ok(
            subject,
            format!("a datagram to {} came back", probe::MULTICAST_GROUP),
        ),
        Err(why) => Finding::new(
            subject,
            Grade::Warn,
            format!("no datagram to {} came back: {why}", probe::MULTICAST_GROUP),
            "replication can find its members by a list or by DNS instead; \
             for multicast allow UDP port 45564 in the firewall and use an ordinary bridge, not an internal or overlay network",
        ),
    }
}

fn announced(name: &str, address: &Result<IpAddr, String>) -> Finding {
    let subject = "receiver's address";
    let cure = "only members on several machines need it: give the name its address in /etc/hosts, or name the address in \
                <Receiver address=\"...\">; our servers' `auto` takes the address that others reach";
    match address {
        Ok(address) if address.is_loopback() => Finding::new(
            subject,
            Grade::Warn,
            format!(
                "the host name `{name}` is {address}: a Tomcat with address=\"auto\" announces that, \
                 and members on other machines reach themselves there and replicate nothing"
            ),
            cure,
        ),
        Ok(address) => Finding::ok(
            subject,
            format!(
                "the host name `{name}` is {address}, which a Tomcat with address=\"auto\" announces"
            ),
        ),
        Err(why) => Finding::new(
            subject,
            Grade::Warn,
            format!(
                "the host name `{name}` has no address, and a Tomcat with address=\"auto\" does not start: {why}"
            ),
            cure,
        ),
    }
}

fn tomcat(found: &Result<String, String>) -> Finding {
    match found {
        Ok(found) => Finding::ok("Tomcat", found),
        Err(why) => Finding::new(
            "Tomcat",
            Grade::Warn,
            why,
            "only `--app-a tomcat` and `--app-b tomcat` need it: `apt-get install tomcat10-common default-jre-headless`, \
             or set CATALINA_HOME",
        ),
    }
}

fn memcached(version: &Result<String, String>) -> Finding {
    match version {
        Ok(version) => Finding::ok("memcached", version),
        Err(why) => Finding::new(
            "memcached",
            Grade::Warn,
            why,
            "only `--store memcached` needs it: `apt-get install memcached`",
        ),
    }
}

fn docker(evidence: &Evidence) -> Vec<Finding> {
    let engine = match &evidence.engine {
        Ok(version) => Finding::ok("Docker engine", format!("version {version} answers")),
        Err(why) => Finding::new(
            "Docker engine",
            Grade::Warn,
            why,
            "only `docker compose up` needs it (`lab up` does not): install Docker and start its daemon",
        ),
    };
    let compose = match (&evidence.compose_plugin, &evidence.compose_standalone) {
        (Ok(version), _) => Finding::ok("Compose", format!("`docker compose` {version}")),
        (Err(_), Ok(version)) if version.starts_with('1') => Finding::new(
            "Compose",
            Grade::Warn,
            format!("docker-compose {version}"),
            "it cannot recreate containers on a newer engine (KeyError: 'ContainerConfig'): \
             run `docker-compose down` before you switch MODE, or install the plugin `docker compose`",
        ),
        (Err(_), Ok(version)) => Finding::ok("Compose", format!("docker-compose {version}")),
        (Err(why), Err(_)) => Finding::new(
            "Compose",
            Grade::Warn,
            why,
            "only `docker compose up` needs it: install the Compose plugin",
        ),
    };
    let mut findings = vec![engine, compose];
    if evidence.engine.is_ok() {
        findings.push(Finding::new(
            "client addresses in Docker",
            Grade::Warn,
            "published ports show every browser as the bridge's gateway, and all containers share three octets",
            "for ip_hash in containers send an X-Forwarded-For from a trusted network, or use `lab up`",
        ));
    }
    findings
}

/// Runs `lab doctor`: prints the findings to stdout.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    /// The arguments as values.
    #[derive(serde::Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Arguments {
        json: bool,
    }
    let arguments: Arguments = PROGRAM.settings(arguments)?.config()?;
    let findings = judge(&probe::look());
    if arguments.json {
        say(&(json(&findings) + "\n"));
    } else {
        say(&table(&findings));
    }
    let worst = findings.iter().map(|f| f.grade).max();
    Ok(if worst == Some(Grade::Fail) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The findings as one JSON object with its schema's name.
pub fn json(findings: &[Finding]) -> String {
    serde_json::json!({ "schema": SCHEMA, "findings": findings }).to_string()
}

/// The findings as aligned lines, each cure below its finding.
pub fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        text += &format!("{grade}  {:width$}  {}\n", finding.subject, finding.found);
        if !finding.cure.is_empty() {
            text += &format!("{:indent$}cure: {}\n", "", finding.cure, indent = width + 8);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Address, Evidence, Finding, Grade, json, judge, probe, table};

    fn healthy() -> Evidence {
        Evidence {
            addresses: vec![Address {
                node: "proxy",
                address: ([127, 0, 0, 1], 8080).into(),
                setting: "listen",
                free: Ok(()),
            }],
            open_files: 1 << 20,
            seen_client: Ok(probe::CLIENT_ADDRESS.into()),
            multicast: vec![([127, 0, 0, 1].into(), Ok(()))],
            host_name: "here".into(),
            announced: Ok([10, 0, 0, 1].into()),
            tomcat: Ok("Tomcat in /opt/tomcat".into()),
            memcached: Err("not installed".into()),
            engine: Err("docker is not installed".into()),
            compose_plugin: Err("docker is not installed".into()),
            compose_standalone: Err("not installed".into()),
        }
    }

    fn find(evidence: &Evidence, subject: &str) -> Finding {
        let findings = judge(evidence);
        let found = findings.iter().find(|f| f.subject == subject);
        found
            .unwrap_or_else(|| panic!("{subject} is not in {findings:?}"))
            .clone()
    }

    #[test]
    fn a_taken_port_is_the_only_thing_that_fails() {
        let mut evidence = healthy();
        assert!(judge(&evidence).iter().all(|f| f.grade != Grade::Fail));
        evidence.addresses[0].free = Err("Address already in use".into());
        let port = find(&evidence, "port of proxy");
        assert_eq!(port.grade, Grade::Fail);
        assert!(port.found.contains("127.0.0.1:8080") && port.cure.contains("lab up --listen"));
    }

    #[test]
    fn every_finding_that_is_not_ok_has_a_cure() {
        let evidence = Evidence {
            open_files: 256,
            seen_client: Err("cannot assign".into()),
            multicast: vec![([10, 0, 0, 1].into(), Err("timed out".into()))],
            announced: Err("unknown".into()),
            tomcat: Err("there is none".into()),
            engine: Ok("28.2.2".into()),
            ..healthy()
        };
        for finding in judge(&evidence) {
            assert_eq!(
                finding.grade == Grade::Ok,
                finding.cure.is_empty(),
                "{finding:?}"
            );
        }
        let moved = Evidence {
            seen_client: Ok([127, 0, 0, 1].into()),
            ..healthy()
        };
        assert_eq!(find(&moved, "client addresses").grade, Grade::Warn);
    }

    #[test]
    fn a_host_name_on_loopback_is_the_articles_pitfall() {
        let mut evidence = healthy();
        assert_eq!(find(&evidence, "receiver's address").grade, Grade::Ok);
        evidence.announced = Ok([127, 0, 1, 1].into());
        let pitfall = find(&evidence, "receiver's address");
        assert_eq!(pitfall.grade, Grade::Warn);
        assert!(pitfall.found.contains("`here` is 127.0.1.1"), "{pitfall:?}");
        assert!(pitfall.cure.contains("/etc/hosts"), "{pitfall:?}");
    }

    #[test]
    fn old_compose_is_told_of_its_trouble() {
        let mut evidence = Evidence {
            engine: Ok("28.2.2".into()),
            compose_standalone: Ok("1.29.2".into()),
            ..healthy()
        };
        assert!(find(&evidence, "Compose").cure.contains("down"));
        evidence.compose_plugin = Ok("2.30.0".into());
        assert_eq!(find(&evidence, "Compose").grade, Grade::Ok);
    }

    #[test]
    fn both_forms_tell_everything() {
        let findings = judge(&healthy());
        let text = table(&findings);
        let value: serde_json::Value = serde_json::from_str(&json(&findings)).expect("JSON");
        assert_eq!(value["schema"], super::SCHEMA);
        for (i, finding) in findings.iter().enumerate() {
            assert!(text.contains(&finding.found) && text.contains(&finding.cure));
            assert_eq!(value["findings"][i]["found"], finding.found);
        }
    }
}
