//! The settings of `sessiond`, under memcached's names where they mean the same.

mod listen;
mod networks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use program::logging::LogFormat;
use program::{Failure, Size};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use listen::{Interface, Interfaces};
pub use networks::{Network, Networks};

/// The smallest and the largest that an item may be allowed to grow, as memcached's `-I`.
const ITEM_SIZE_MAX_RANGE: (Size, Size) = (Size(1 << 10), Size(1 << 30));

/// The smallest memory limit that makes sense; memcached's `cache_memlimit` refuses less.
const MEMORY_LIMIT_MIN: Size = Size(8 << 20);

/// More worker threads than this help nobody (memcached warns beyond 64).
const THREADS_MAX: usize = 256;

/// As a port: any that is free (memcached's `-p -1`).
const ANY_PORT: i32 = -1;

/// How `sessiond` listens, what it may use and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses for clients (memcached's `-l`).
    pub listen: Interfaces,
    /// The port of the addresses that name none (`-p`): 0 none, -1 any that is free.
    pub port: i32,
    /// The UDP port on the same addresses (`-U`): 0 none, -1 any that is free.
    pub udp_port: i32,
    /// Networks that get UDP replies of any length; others get no more than is safe with forged addresses.
    pub udp_trusted: Networks,
    /// A Unix socket in place of TCP and UDP (`-s`); empty: none.
    pub unix_socket: PathBuf,
    /// Who may use the Unix socket, an octal file mode (`-a`).
    pub unix_mask: UnixMask,
    /// Connections that the kernel holds until they are accepted (`-b`).
    pub listen_backlog: u32,
    /// Address and port of the health pages and figures; empty: none.
    pub admin: String,
    /// The node's name in logs and figures.
    pub node_id: String,
    /// How much memory items may take (`-m`).
    pub memory_limit: MemoryLimit,
    /// Whether a store that finds no room is refused in place of evicting items (`-M`).
    pub disable_evictions: bool,
    /// The largest item, counted as memcached counts: value, key and about 60 bytes (`-I`).
    pub item_size_max: Size,
    /// Whether items have no cas unique (`-C`).
    pub disable_cas: bool,
    /// A file that keeps the items over a stop and start (`-e`); empty: none.
    pub memory_file: PathBuf,
    /// Whether pages are locked in memory (`-k`).
    pub lock_memory: bool,
    /// How many clients may be connected (`-c`); one more is answered and closed.
    pub max_connections: usize,
    /// Worker threads (`-t`).
    pub threads: usize,
    /// Requests of one client in a row before others have their turn (`-R`).
    pub max_reqs_per_event: u32,
    /// Seconds after which a silent client is disconnected (`-o idle_timeout`); 0: never.
    pub idle_timeout: u32,
    /// Which protocols are spoken (`-B`).
    pub protocol: Protocol,
    /// Whether flush_all is refused (`-F`).
    pub disable_flush_all: bool,
    /// Whether stats cachedump and lru_crawler metadump are refused (`-X`).
    pub disable_dumping: bool,
    /// Whether watch is refused (`-W`).
    pub disable_watch: bool,
    /// Whether the command shutdown stops the node (`-A`).
    pub enable_shutdown: bool,
    /// Whether clients of the binary protocol must authenticate (`-S`).
    pub enable_sasl: bool,
    /// The users of `enable_sasl`, a file of `user:password` lines (memcached's `MEMCACHED_SASL_PWDB`).
    pub sasl_pwdb: PathBuf,
    /// A file of `user:password` lines; clients of the text protocol must authenticate (`-Y`). Empty: none.
    pub auth_file: PathBuf,
    /// What ends the prefix of a key in `stats detail` (`-D`); empty: `:`, and the statistics start switched off.
    pub prefix_delimiter: String,
    /// Whether TCP listeners speak TLS (`-Z`).
    pub enable_ssl: bool,
    /// The certificate chain, PEM (`-o ssl_chain_cert`).
    pub ssl_chain_cert: PathBuf,
    /// The private key, PEM (`-o ssl_key`); empty: it is in the chain's file.
    pub ssl_key: PathBuf,
    /// Whether clients must show a certificate (`-o ssl_verify_mode`): 0 no, 1 may, 2 and 3 must.
    pub ssl_verify_mode: u8,
    /// Whom client certificates must come from, PEM (`-o ssl_ca_cert`).
    pub ssl_ca_cert: PathBuf,
    /// The oldest TLS version: 2 is 1.2, 3 is 1.3 (`-o ssl_min_version`).
    pub ssl_min_version: u8,
    /// Whether the program goes into the background (`-d`).
    pub daemon: bool,
    /// Where a program in the background writes its process id (`-P`); empty: nowhere.
    pub pidfile: PathBuf,
    /// Whose rights to take on when started as root (`-u`); empty: none.
    pub user: String,
    /// Whether core files may have any size (`-r`).
    pub enable_coredumps: bool,
    /// How long connections may take to finish what they are doing when the process is asked to stop.
    pub grace_period: program::Duration,
    /// How much more is logged (`-v`, `-vv`, `-vvv`), where `log` is not set.
    pub verbose: u8,
    /// Log level or filter.
    pub log: String,
    /// How a log line is written.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Interfaces::default(),
            port: 11211,
            udp_port: 0,
            udp_trusted: Networks::loopback(),
            unix_socket: PathBuf::new(),
            unix_mask: UnixMask(0o700),
            listen_backlog: 1024,
            admin: String::new(),
            node_id: "n1".into(),
            memory_limit: MemoryLimit(Size(64 << 20)),
            disable_evictions: false,
            item_size_max: Size(1 << 20),
            disable_cas: false,
            memory_file: PathBuf::new(),
            lock_memory: false,
            max_connections: 1024,
            threads: 4,
            max_reqs_per_event: 20,
            idle_timeout: 0,
            protocol: Protocol::Auto,
            disable_flush_all: false,
            disable_dumping: false,
            disable_watch: false,
            enable_shutdown: false,
            enable_sasl: false,
            sasl_pwdb: PathBuf::new(),
            auth_file: PathBuf::new(),
            prefix_delimiter: String::new(),
            enable_ssl: false,
            ssl_chain_cert: PathBuf::new(),
            ssl_key: PathBuf::new(),
            ssl_verify_mode: 0,
            ssl_ca_cert: PathBuf::new(),
            ssl_min_version: 2,
            daemon: false,
            pidfile: PathBuf::new(),
            user: String::new(),
            enable_coredumps: false,
            grace_period: program::Duration::seconds(5),
            verbose: 0,
            log: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

/// Which protocols a client may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The one that the first byte of a connection tells.
    #[serde(alias = "auto-negotiate")]
    Auto,
    /// Text, meta commands included.
    Ascii,
    /// Binary.
    Binary,
}

impl Config {
    /// Refuses what cannot work, with what to write instead.
    pub fn validate(&self) -> Result<(), Failure> {
        self.admin_address()?;
        let (least, most) = ITEM_SIZE_MAX_RANGE;
        if self.item_size_max < least || self.item_size_max > most {
            return refuse(format!(
                "item_size_max = {} is out of range; write {least} to {most}",
                self.item_size_max
            ));
        }
        let memory = self.memory_limit.0;
        if memory < MEMORY_LIMIT_MIN {
            return refuse(format!(
                "memory_limit = {memory} is too small; write at least {MEMORY_LIMIT_MIN}"
            ));
        }
        if self.item_size_max.0 > memory.0 / 2 {
            return refuse(format!(
                "item_size_max = {} is more than half of memory_limit = {memory}; raise memory_limit or lower item_size_max",
                self.item_size_max
            ));
        }
        if self.threads == 0 || self.threads > THREADS_MAX {
            return refuse(format!(
                "threads = {} is out of range; write 1 to {THREADS_MAX}",
                self.threads
            ));
        }
        if self.max_connections == 0 {
            return refuse("max_connections = 0 would refuse everybody; write at least 1");
        }
        if self.max_reqs_per_event == 0 {
            return refuse("max_reqs_per_event = 0 would serve nobody; write at least 1");
        }
        if self.prefix_delimiter.len() > 1 {
            return refuse(format!(
                "prefix_delimiter = \"{}\" is too long; write one character, such as \":\"",
                self.prefix_delimiter
            ));
        }
        self.validate_sockets()?;
        self.validate_authentication()?;
        self.validate_tls()
    }

    fn validate_sockets(&self) -> Result<(), Failure> {
        for (name, port) in [("port", self.port), ("udp_port", self.udp_port)] {
            if !(ANY_PORT..=i32::from(u16::MAX)).contains(&port) {
                return refuse(format!(
                    "{name} = {port} is no port; write 1 to 65535, -1 for any that is free, or 0 for none"
                ));
            }
        }
        let own = self.listen.0.iter().any(|one| one.port.is_some());
        if is_empty(&self.unix_socket) && self.port == 0 && self.udp_port == 0 && !own {
            return refuse("port = 0 leaves nothing to listen on; write a port, or unix_socket");
        }
        Ok(())
    }

    fn validate_authentication(&self) -> Result<(), Failure> {
        let text = !is_empty(&self.auth_file);
        if self.enable_sasl && self.protocol == Protocol::Ascii {
            return refuse(
                "enable_sasl is for the binary protocol, and protocol = \"ascii\" forbids it; drop one, or use auth_file",
            );
        }
        if self.enable_sasl && is_empty(&self.sasl_pwdb) {
            return refuse(
                "enable_sasl needs users; write sasl_pwdb or set MEMCACHED_SASL_PWDB: a file of user:password lines",
            );
        }
        if text && self.protocol == Protocol::Binary {
            return refuse(
                "auth_file is for the text protocol, and protocol = \"binary\" forbids it; drop one, or use enable_sasl",
            );
        }
        if (text || self.enable_sasl) && self.udp_port != 0 {
            return refuse(
                "udp_port cannot be combined with enable_sasl or auth_file: a datagram has no session to authenticate; write udp_port = 0",
            );
        }
        Ok(())
    }

    fn validate_tls(&self) -> Result<(), Failure> {
        if self.ssl_verify_mode > 3 {
            return refuse(format!(
                "ssl_verify_mode = {} is unknown; write 0 (none), 1 (request), 2 (require) or 3 (once)",
                self.ssl_verify_mode
            ));
        }
        if self.ssl_min_version > 3 {
            return refuse(format!(
                "ssl_min_version = {} is unknown; write 2 (TLS 1.2) or 3 (TLS 1.3)",
                self.ssl_min_version
            ));
        }
        if !self.enable_ssl {
            return Ok(());
        }
        if is_empty(&self.ssl_chain_cert) {
            return refuse(
                "enable_ssl needs a certificate; write ssl_chain_cert (-o ssl_chain_cert=FILE)",
            );
        }
        if self.ssl_verify_mode > 0 && is_empty(&self.ssl_ca_cert) {
            return refuse(
                "ssl_verify_mode needs to know whose certificates are good; write ssl_ca_cert (-o ssl_ca_cert=FILE)",
            );
        }
        Ok(())
    }

    /// The address of the admin port; `None` when it is switched off.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>, Failure> {
        if self.admin.is_empty() {
            return Ok(None);
        }
        self.admin.parse().map(Some).map_err(|_| {
            Failure::Usage(format!(
                "admin = \"{}\" is not an address; write IP:PORT such as 127.0.0.1:11231, or nothing to switch it off",
                self.admin
            ))
        })
    }

    /// Which protocols clients may speak: where only one of them can authenticate, only that one, as in memcached.
    pub fn spoken(&self) -> Protocol {
        match (self.enable_sasl, !is_empty(&self.auth_file)) {
            (true, false) => Protocol::Binary,
            (false, true) => Protocol::Ascii,
            _ => self.protocol,
        }
    }

    /// The log filter: `log`, or what `verbose` stands for where `log` says no more than the default.
    pub fn log_filter(&self) -> &str {
        match self.verbose {
            _ if self.log != Self::default().log => &self.log,
            0 | 1 => &self.log,
            2 => "info,sessiond=debug",
            _ => "debug,sessiond=trace",
        }
    }
}

fn refuse(why: impl Into<String>) -> Result<(), Failure> {
    Err(Failure::Usage(why.into()))
}

/// Whether a path setting is left empty, which switches off what it is for.
pub(crate) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// A file mode in octal digits, as after memcached's `-a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixMask(pub u32);

impl<'de> Deserialize<'de> for UnixMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(number) => number.to_string(),
            TextOrNumber::Text(text) => text,
        };
        match u32::from_str_radix(text.trim(), 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(de::Error::custom(format!(
                "`{text}` is not an access mask; write octal digits such as 700 or 770"
            ))),
        }
    }
}

impl Serialize for UnixMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:o}", self.0))
    }
}

/// An amount of memory: a bare number is megabytes, as after memcached's `-m`; with a unit it is a [`Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(pub Size);

/// Text, or a bare number, as TOML may hold either.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let megabytes = |number: u64| {
            let bytes = number.checked_mul(1 << 20);
            bytes
                .map(Size)
                .ok_or_else(|| de::Error::custom("more memory than there can be"))
        };
        let size = match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(number) => megabytes(number)?,
            TextOrNumber::Text(text) => match text.trim().parse() {
                Ok(number) => megabytes(number)?,
                Err(_) => text.parse().map_err(de::Error::custom)?,
            },
        };
        Ok(Self(size))
    }
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, MemoryLimit, Protocol, UnixMask};
    use program::Size;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("valid")
    }

    #[test]
    fn the_sample_file_says_the_defaults() {
        let sample = include_str!("../sessiond.toml");
        assert_eq!(config(sample), Config::default());
        let names = toml::Table::try_from(Config::default()).expect("serializable");
        for name in names.keys() {
            assert!(
                sample.contains(&format!("\n{name} = ")),
                "{name} is missing"
            );
        }
    }

    #[test]
    fn a_bare_memory_limit_is_megabytes() {
        for (text, bytes) in [
            ("memory_limit = 64", 64 << 20),
            ("memory_limit = \"64\"", 64 << 20),
            ("memory_limit = \"64m\"", 64 << 20),
            ("memory_limit = \"1g\"", 1 << 30),
        ] {
            assert_eq!(
                config(text).memory_limit,
                MemoryLimit(Size(bytes)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mask_is_octal() {
        for text in ["unix_mask = 770", "unix_mask = \"0770\""] {
            assert_eq!(config(text).unix_mask, UnixMask(0o770), "{text}");
        }
        for text in ["unix_mask = 780", "unix_mask = \"1777\""] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn authentication_leaves_only_protocols_that_have_it() {
        for (text, spoken) in [
            ("", Protocol::Auto),
            ("protocol = \"binary\"", Protocol::Binary),
            ("enable_sasl = true", Protocol::Binary),
            ("auth_file = \"x\"", Protocol::Ascii),
            ("auth_file = \"x\"\nenable_sasl = true", Protocol::Auto),
        ] {
            assert_eq!(config(text).spoken(), spoken, "{text}");
        }
    }

    #[test]
    fn more_letters_say_more_unless_the_filter_is_set() {
        assert_eq!(config("verbose = 1").log_filter(), "info");
        assert_eq!(config("verbose = 2").log_filter(), "info,sessiond=debug");
        assert_eq!(config("verbose = 2\nlog = \"warn\"").log_filter(), "warn");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(Config::default().validate().is_ok());
        for (text, named) in [
            ("memory_limit = 1", "memory_limit"),
            ("item_size_max = 100", "item_size_max"),
            ("item_size_max = \"40m\"", "item_size_max"),
            ("threads = 0", "threads"),
            ("max_connections = 0", "max_connections"),
            ("max_reqs_per_event = 0", "max_reqs_per_event"),
            ("admin = \"somewhere\"", "admin"),
            ("port = 65536", "port"),
            ("port = 0", "unix_socket"),
            ("udp_port = -2", "udp_port"),
            ("prefix_delimiter = \"::\"", "prefix_delimiter"),
            ("enable_sasl = true\nprotocol = \"ascii\"", "enable_sasl"),
            ("auth_file = \"x\"\nprotocol = \"binary\"", "auth_file"),
            ("auth_file = \"x\"\nudp_port = 1", "udp_port"),
            ("enable_ssl = true", "ssl_chain_cert"),
            (
                "enable_ssl = true\nssl_chain_cert = \"x\"\nssl_verify_mode = 2",
                "ssl_ca_cert",
            ),
            ("ssl_min_version = 4", "ssl_min_version"),
        ] {
            let error = config(text).validate().expect_err(text);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
