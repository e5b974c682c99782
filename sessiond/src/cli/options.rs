//! The table of settings: memcached's letters and long names, what each means, and which mean nothing here.

use program::settings::Settings;
use program::{Failure, Kind, Program, Setting};

const LISTENING: &str = "Listening";
const MEMORY: &str = "Items and memory";
const CLIENTS: &str = "Clients and threads";
const COMMANDS: &str = "Protocols and commands";
const RIGHTS: &str = "Authentication and TLS";
const PROCESS: &str = "Process and log";
const WITHOUT_EFFECT: &str = "Accepted without effect";

/// What `--version` says; the protocol command `version` answers 1.6.18 alone, because clients compare it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (memcached 1.6.18 protocol)");

/// Every flag of `sessiond`.
pub(super) const PROGRAM: Program = Program {
    name: "sessiond",
    about: "Keeps sessions in memory; takes memcached's options and speaks its protocols",
    version: VERSION,
    after_help: super::extended::HELP,
    settings: &[
        Setting::new(
            "port",
            Kind::Integer,
            "NUM",
            "TCP port of addresses that name none; 0: none, -1: any that is free [11211]",
        )
        .short('p')
        .group(LISTENING),
        Setting::new(
            "udp_port",
            Kind::Integer,
            "NUM",
            "UDP port; 0: none, -1: any that is free; without -p TCP moves there too [0]",
        )
        .short('U')
        .group(LISTENING),
        Setting::new(
            "udp_trusted",
            Kind::List,
            "NETWORKS",
            "Who gets UDP replies of any length; others get at most three times what they sent [127.0.0.0/8,::1]",
        )
        .group(LISTENING),
        Setting::new(
            "listen",
            Kind::List,
            "ADDR",
            "HOST, HOST:PORT, [IPV6]:PORT or *, with commas or repeated; notls: in front keeps TLS off. \
             memcached's default is *, ours is loopback [127.0.0.1]",
        )
        .short('l')
        .group(LISTENING),
        Setting::new(
            "unix_socket",
            Kind::Text,
            "FILE",
            "Unix socket in place of TCP and UDP [none]",
        )
        .short('s')
        .group(LISTENING),
        Setting::new(
            "unix_mask",
            Kind::Text,
            "MASK",
            "Access mask of the Unix socket, in octal [700]",
        )
        .short('a')
        .group(LISTENING),
        Setting::new(
            "listen_backlog",
            Kind::Integer,
            "NUM",
            "Connections that the kernel holds until they are accepted [1024]",
        )
        .short('b')
        .group(LISTENING),
        Setting::new(
            "admin",
            Kind::Text,
            "IP:PORT",
            "Address and port of /livez, /readyz, /status, /metrics; empty: none [none]",
        )
        .group(LISTENING),
        Setting::new(
            "memory_limit",
            Kind::Text,
            "MEGABYTES",
            "Memory for items; also with a unit: 1g [64]",
        )
        .short('m')
        .group(MEMORY),
        Setting::switch(
            "disable_evictions",
            "Refuse a store that finds no room, in place of evicting items",
        )
        .short('M')
        .group(MEMORY),
        Setting::new(
            "item_size_max",
            Kind::Text,
            "SIZE",
            "The largest item, 1k to 1g [1m]",
        )
        .short('I')
        .aliases(&["max-item-size"])
        .group(MEMORY),
        Setting::switch("disable_cas", "Give items no cas unique")
            .short('C')
            .group(MEMORY),
        Setting::new(
            "memory_file",
            Kind::Text,
            "FILE",
            "Keep the items over a stop and start in this file, on any disk [none]",
        )
        .short('e')
        .group(MEMORY),
        Setting::switch("lock_memory", "Lock all pages in memory")
            .short('k')
            .group(MEMORY),
        Setting::new(
            "max_connections",
            Kind::Integer,
            "NUM",
            "Clients connected at the same time [1024]",
        )
        .short('c')
        .aliases(&["conn-limit"])
        .group(CLIENTS),
        Setting::new("threads", Kind::Integer, "NUM", "Worker threads [4]")
            .short('t')
            .group(CLIENTS),
        Setting::new(
            "max_reqs_per_event",
            Kind::Integer,
            "NUM",
            "Requests of one client in a row before others have their turn [20]",
        )
        .short('R')
        .group(CLIENTS),
        Setting::new(
            "idle_timeout",
            Kind::Integer,
            "SECONDS",
            "Disconnect clients that are silent for so long; 0: never; also -o idle_timeout=N [0]",
        )
        .group(CLIENTS),
        Setting::new(
            "protocol",
            Kind::Text,
            "NAME",
            "auto, ascii or binary [auto]",
        )
        .short('B')
        .group(COMMANDS),
        Setting::switch("disable_flush_all", "Refuse flush_all")
            .short('F')
            .group(COMMANDS),
        Setting::switch(
            "disable_dumping",
            "Refuse stats cachedump and lru_crawler metadump",
        )
        .short('X')
        .group(COMMANDS),
        Setting::switch("disable_watch", "Refuse watch")
            .short('W')
            .group(COMMANDS),
        Setting::switch("enable_shutdown", "Let the command shutdown stop the node")
            .short('A')
            .group(COMMANDS),
        Setting::new(
            "prefix_delimiter",
            Kind::Text,
            "CHAR",
            "Ends the prefix of a key; switches stats detail on [: and off]",
        )
        .short('D')
        .group(COMMANDS),
        Setting::new(
            "auth_file",
            Kind::Text,
            "FILE",
            "user:password lines; clients of the text protocol must authenticate; SIGHUP reads it again [none]",
        )
        .short('Y')
        .group(RIGHTS),
        Setting::new(
            "sasl_pwdb",
            Kind::Text,
            "FILE",
            "user:password lines for enable_sasl; SIGHUP reads it again [MEMCACHED_SASL_PWDB]",
        )
        .group(RIGHTS),
        Setting::switch(
            "enable_sasl",
            "Clients of the binary protocol must authenticate (PLAIN)",
        )
        .short('S')
        .group(RIGHTS),
        Setting::switch("enable_ssl", "Speak TLS on TCP, needs ssl_chain_cert")
            .short('Z')
            .group(RIGHTS),
        Setting::new(
            "ssl_chain_cert",
            Kind::Text,
            "FILE",
            "Certificate chain, PEM; SIGHUP reads it again [none]",
        )
        .group(RIGHTS),
        Setting::new(
            "ssl_key",
            Kind::Text,
            "FILE",
            "Private key, PEM [in the chain's file]",
        )
        .group(RIGHTS),
        Setting::new(
            "ssl_verify_mode",
            Kind::Integer,
            "MODE",
            "Client certificates: 0 none, 1 checked when shown, 2 or 3 required [0]",
        )
        .group(RIGHTS),
        Setting::new(
            "ssl_ca_cert",
            Kind::Text,
            "FILE",
            "Whom client certificates must come from, PEM [none]",
        )
        .group(RIGHTS),
        Setting::new(
            "ssl_min_version",
            Kind::Integer,
            "VERSION",
            "2: TLS 1.2, 3: TLS 1.3; 0 and 1 mean 2 [2]",
        )
        .group(RIGHTS),
        Setting::switch("daemon", "Run in the background")
            .short('d')
            .group(PROCESS),
        Setting::new(
            "pidfile",
            Kind::Text,
            "FILE",
            "Write the process id there [none]",
        )
        .short('P')
        .group(PROCESS),
        Setting::new(
            "user",
            Kind::Text,
            "NAME",
            "Take on this user's rights when started as root [none]",
        )
        .short('u')
        .group(PROCESS),
        Setting::switch("enable_coredumps", "Allow core files of any size")
            .short('r')
            .group(PROCESS),
        Setting::new(
            "node_id",
            Kind::Text,
            "NAME",
            "The node's name in logs and figures [n1]",
        )
        .group(PROCESS),
        Setting::new(
            "grace_period",
            Kind::Text,
            "TIME",
            "How long a stop may take [5s]",
        )
        .group(PROCESS),
        Setting::new(
            "verbose",
            Kind::Count,
            "N",
            "-v: what is logged anyway, -vv: what clients do, -vvv: everything",
        )
        .short('v')
        .group(PROCESS),
        Setting::new(
            "log",
            Kind::Text,
            "FILTER",
            "off, error, warn, info, debug, trace, or target=level [info]",
        )
        .group(PROCESS),
        Setting::new("log_format", Kind::Text, "FORMAT", "text or json [text]").group(PROCESS),
        Setting::switch("license", "Print the licence, then stop")
            .short('i')
            .group(PROCESS)
            .argument(),
        Setting::new(
            "extended",
            Kind::List,
            "LIST",
            "memcached's extended options, NAME or NAME=VALUE, see below",
        )
        .short('o')
        .group(PROCESS)
        .argument(),
        Setting::new(
            "slab_min_size",
            Kind::Text,
            "BYTES",
            "There are no slab classes",
        )
        .short('n')
        .group(WITHOUT_EFFECT)
        .argument(),
        Setting::new(
            "slab_growth_factor",
            Kind::Text,
            "FACTOR",
            "There are no slab classes",
        )
        .short('f')
        .group(WITHOUT_EFFECT)
        .argument(),
        Setting::switch(
            "enable_largepages",
            "The kernel's transparent huge pages need no flag",
        )
        .short('L')
        .group(WITHOUT_EFFECT)
        .argument(),
        Setting::new(
            "napi_ids",
            Kind::Integer,
            "NUM",
            "Connections go to the workers in turn",
        )
        .short('N')
        .group(WITHOUT_EFFECT)
        .argument(),
    ],
};

/// An option that was accepted and means nothing here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WithoutEffect {
    /// As it was written.
    pub(super) option: String,
    /// Why it means nothing.
    pub(super) why: &'static str,
}

/// Checks the mere arguments as memcached does, and turns those of `-o` into settings.
pub(super) fn resolve(settings: &mut Settings) -> Result<Vec<WithoutEffect>, Failure> {
    let mut without_effect = Vec::new();
    for setting in PROGRAM.settings {
        if setting.group != WITHOUT_EFFECT {
            continue;
        }
        let Some((value, _)) = settings.argument(setting.name) else {
            continue;
        };
        let flag = format!("--{}", setting.name.replace('_', "-"));
        if let Some(text) = value.as_str() {
            check_slab_option(setting.name, &flag, text)?;
        }
        without_effect.push(WithoutEffect {
            option: flag,
            why: setting.help,
        });
    }
    super::extended::resolve(settings, &mut without_effect)?;
    Ok(without_effect)
}

fn check_slab_option(name: &str, flag: &str, text: &str) -> Result<(), Failure> {
    let (good, cure) = match name {
        "slab_growth_factor" => (
            text.parse::<f64>().is_ok_and(|factor| factor > 1.0),
            "a number above 1, such as 1.25",
        ),
        _ => (
            text.parse::<u32>().is_ok_and(|size| size > 0),
            "a number of bytes, such as 48",
        ),
    };
    if good {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "flag {flag}: `{text}` is not good; write {cure}"
    )))
}
