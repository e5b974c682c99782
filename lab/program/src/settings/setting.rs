//! What a program says of each setting.

use super::ENV_PREFIX;

/// One simple setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Snake-case name, from which flag and variable are made.
    pub name: &'static str,
    /// Dotted path of the TOML key; empty: the name itself.
    pub path: &'static str,
    /// One-letter flag where the real program has one (`-p` of memcached).
    pub short: Option<char>,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Placeholder in the help (`ADDR:PORT`).
    pub value: &'static str,
    /// One sentence for the help, with the default.
    pub help: &'static str,
    /// Other long flags that mean the same (`--conn-limit` of memcached).
    pub aliases: &'static [&'static str],
    /// The heading in the help under which it stands; empty: with all others.
    pub group: &'static str,
    /// Whether it is only an argument: it has no place in the file, and the program asks [`super::Settings::argument`] for it.
    pub argument: bool,
}

impl Setting {
    /// A setting whose TOML key is its name.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            path: "",
            short: None,
            kind,
            value,
            help,
            aliases: &[],
            group: "",
            argument: false,
        }
    }

    /// A bare flag, off unless given.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Boolean, "BOOL", help)
    }

    /// The same under another TOML path.
    pub const fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// The same with a one-letter flag.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// The same with other long flags.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same under a heading of the help.
    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    /// The same as a mere argument, see [`Setting::argument`].
    pub const fn argument(mut self) -> Self {
        self.argument = true;
        self
    }

    pub(super) fn toml_path(&self) -> &'static str {
        if self.path.is_empty() {
            self.name
        } else {
            self.path
        }
    }

    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    pub(super) fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_ascii_uppercase())
    }
}

/// The kind of a setting's value, which decides how its text becomes TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; also sizes, durations, addresses and names, which `Config` parses itself.
    Text,
    /// Comma-separated text; the flag may be repeated.
    List,
    /// How many times the bare flag is given (`-vv`); a number in the file and the environment.
    Count,
    /// A whole number.
    Integer,
    /// `true`/`false`, `on`/`off`, `yes`/`no`, `1`/`0`; the bare flag means true.
    Boolean,
    /// Text from the variable itself or from the file that `..._FILE` names; never printed.
    Secret,
}
