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
        match network.build() {
            Ok(()) => Some(network),
            Err(why) => {
                eprintln!(
                    "skipped: no network namespaces here ({why}); needs root and the package iproute2"
                );
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        for name in self.machines.iter().chain([&SWITCH]) {
            ip(&["netns", "add", &self.namespace(name)], "")?;
        }
        let mut switch =
            "link add name switch type bridge mcast_snooping 0\nlink set dev switch up\n".to_owned();
        for name in &self.machines {
            let other = self.namespace(name);
            switch += &format!(
                "link add name {name} type veth peer name eth0 netns {other}\nlink set dev {name} master switch\nlink set dev {name} up\n"
            );
        }
        self.inside_ip(SWITCH, &switch)?;
        for name in &self.machines {
            let address = self.address(name);
            let machine = format!(
                "link set dev lo up\naddress add {address}/24 dev eth0\nlink set dev eth0 up\nroute add 224.0.0.0/4 dev eth0\n"
            );
            self.inside_ip(name, &machine)?;
        }
        Ok(())
    }

    fn namespace(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn inside_ip(&self, machine: &str, lines: &str) -> Result<(), String> {
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
        let done = self.inside_ip(machine, "route del 224.0.0.0/4\n");
        done.expect("there was one");
    }

    /// Pulls the machine's cable out of the switch.
    pub(crate) fn cut(&self, machine: &str) {
        let done = self.inside_ip(SWITCH, &format!("link set dev {machine} down\n"));
        done.expect("there is a cable");
    }

    pub(crate) fn mend(&self, machine: &str) {
        let done = self.inside_ip(SWITCH, &format!("link set dev {machine} up\n"));
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
