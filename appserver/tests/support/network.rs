//! Machines of their own on one switch: network namespaces with an address each, and cables that can be cut and mended.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespace that holds the switch.
const SWITCH: &str = "switch";

/// Of the addresses that are set aside for tests of networks (RFC 2544).
const SUBNET: [u8; 3] = [198, 18, 4];

/// The namespaces, which are gone when this is dropped. Nothing outside of them is changed.
pub(crate) struct Network {
    prefix: String,
    machines: Vec<&'static str>,
}

impl Network {
    /// Machines with these names, each with an address and a route to the multicast groups. `None`, with a message: not here.
    pub(crate) fn new(machines: &[&'static str]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // `ip netns` prepares its folder when it is first used.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            prefix: format!("lnmt-{}-{number}", std::process::id()),
            machines: machines.to_vec(),
        };
        if let Err(why) = network.add_namespaces() {
            eprintln!(
                "skipped: no network namespaces here ({why}); needs root and the package iproute2"
            );
            return None;
        }
        network.connect();
        Some(network)
    }

    fn add_namespaces(&self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        for name in self.machines.iter().chain([&SWITCH]) {
            ip(&["netns", "add", &self.namespace(name)], "")?;
        }
        // Not every kernel has bridges and cables.
        let mut switch = String::from("link add name switch type bridge mcast_snooping 0\n");
        for name in &self.machines {
            let other = self.namespace(name);
            switch += &format!("link add name {name} type veth peer name eth0 netns {other}\n");
        }
        self.ip_at(SWITCH, &switch)
    }

    fn connect(&self) {
        let mut switch = String::from("link set dev switch up\n");
        for name in &self.machines {
            switch += &format!("link set dev {name} master switch\nlink set dev {name} up\n");
        }
        self.ip_at(SWITCH, &switch).expect("they were made");
        for name in &self.machines {
            let address = self.address(name);
            let lines = format!(
                "link set dev lo up\naddress add {address}/24 dev eth0\nlink set dev eth0 up\nroute add 224.0.0.0/4 dev eth0\n"
            );
            self.ip_at(name, &lines).expect("it was made");
        }
    }

    fn namespace(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn ip_at(&self, machine: &str, lines: &str) -> Result<(), String> {
        ip(&["-n", &self.namespace(machine), "-batch", "-"], lines)
    }

    pub(crate) fn address(&self, machine: &str) -> Ipv4Addr {
        let number = self.machines.iter().position(|name| *name == machine);
        let number = u8::try_from(number.expect("a machine") + 1).expect("few machines");
        let [a, b, c] = SUBNET;
        Ipv4Addr::new(a, b, c, number)
    }

    /// Takes the route to the multicast groups away.
    pub(crate) fn without_multicast_route(&self, machine: &str) {
        let done = self.ip_at(machine, "route del 224.0.0.0/4\n");
        done.expect("there was one");
    }

    /// Pulls the machine's cable out of the switch.
    pub(crate) fn cut(&self, machine: &str) {
        let done = self.ip_at(SWITCH, &format!("link set dev {machine} down\n"));
        done.expect("there is a cable");
    }

    pub(crate) fn mend(&self, machine: &str) {
        let done = self.ip_at(SWITCH, &format!("link set dev {machine} up\n"));
        done.expect("there is a cable");
    }

    /// Does this on the machine: sockets that it opens and processes that it starts are there.
    pub(crate) fn on<T: Send>(&self, machine: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace(machine));
        let there = move || {
            let namespace = File::open(path).expect("the namespace");
            // Of this thread only.
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may go there");
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().chain([&SWITCH]) {
            // There may be none when it could not be made.
            let _ = ip(&["netns", "delete", &self.namespace(name)], "");
        }
    }
}

/// Runs `ip`; what it said if it failed.
fn ip(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ip: {error}"))?;
    let mut stdin = child.stdin.take().expect("piped");
    // It may end without having read all.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|e| format!("ip: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", arguments.join(" "), said.trim())),
    }
}
