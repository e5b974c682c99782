use super::{Kind, Origin, Program, Setting, nearest};
use crate::units::{Duration, Size};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    listen: Vec<String>,
    size: Size,
    verbose: u8,
    cookie: Cookie,
}

#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Cookie {
    name: String,
    secure: bool,
    maxidle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8080".into()],
            size: Size(1 << 20),
            verbose: 0,
            cookie: Cookie::default(),
        }
    }
}

const PROGRAM: Program = Program {
    name: "sample",
    about: "",
    after_help: "",
    version: "",
    settings: &[
        Setting::new("listen", Kind::List, "ADDR", "").short('l'),
        Setting::new("size", Kind::Text, "SIZE", "")
            .short('t')
            .aliases(&["volume"]),
        Setting::new("verbose", Kind::Count, "N", "").short('v'),
        Setting::switch("licence", "").short('i').argument(),
        Setting::new("cookie_name", Kind::Text, "NAME", "").at("cookie.name"),
        Setting::new("cookie_secure", Kind::Boolean, "BOOL", "").at("cookie.secure"),
    ],
};

fn arguments(text: &str) -> Vec<OsString> {
    ["sample"]
        .into_iter()
        .chain(text.split_whitespace())
        .map(Into::into)
        .collect()
}

fn file(text: &str) -> (std::path::PathBuf, Removed) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "program-settings-{}-{}.toml",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("the temporary folder is writable");
    (path.clone(), Removed(path))
}

/// Removes the file at the end of the test.
struct Removed(std::path::PathBuf);
impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn flags_win_over_the_file_and_origins_are_told() {
    let (path, _removed) = file("size = \"2m\"\n[cookie]\nname = \"route\"\nmaxidle = \"5m\"\n");
    let text = format!(
        "--config {} --size 3m --listen a:1,b:2 --cookie-secure",
        path.display()
    );
    let settings = PROGRAM.settings(arguments(&text)).expect("valid");
    let config: Config = settings.config().expect("valid");
    assert_eq!(config.listen, ["a:1", "b:2"]);
    assert_eq!(config.size, Size(3 << 20));
    assert_eq!(
        config.cookie,
        Cookie {
            name: "route".into(),
            secure: true,
            maxidle: Duration::seconds(300)
        }
    );
    assert_eq!(settings.origin("size"), Origin::Flag("--size".into()));
    assert_eq!(settings.origin("cookie.name"), Origin::File(path));
    assert_eq!(settings.origin("cookie.nothing"), Origin::Default);
    let printed = settings.print(&config).expect("printable");
    for line in [
        "listen = [\"a:1\", \"b:2\"]",
        "# flag --listen",
        "cookie.maxidle = \"5m\"",
    ] {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    assert!(
        printed.parse::<toml::Table>().is_ok(),
        "what is printed is TOML:\n{printed}"
    );
}

#[test]
fn letters_combine_and_repeat_as_getopt_has_them() {
    let given = "-vivt1m -l a:1 -l b:2,c:3 --volume 2m";
    let settings = PROGRAM.settings(arguments(given)).expect("valid");
    let config: Config = settings.config().expect("valid");
    assert_eq!(config.listen, ["a:1", "b:2", "c:3"]);
    assert_eq!(config.verbose, 2);
    assert_eq!(config.size, Size(2 << 20), "the last one wins");
    let licence = settings
        .argument("licence")
        .map(|(value, _)| value.as_bool());
    assert_eq!(licence, Some(Some(true)));
    assert_eq!(settings.argument("size"), None, "that is a setting");
}

#[test]
fn a_wrong_argument_is_told_in_one_line() {
    for (given, told) in [("--lisen a:1", "--listen"), ("-t", "--size"), ("-q", "-q")] {
        let error = PROGRAM.settings(arguments(given)).expect_err(given);
        let text = error.to_string();
        assert!(text.contains(told) && !text.contains('\n'), "{text}");
        assert!(
            text.ends_with("`sample --help` lists what there is"),
            "{text}"
        );
    }
}

#[test]
fn secrets_are_hidden_wherever_they_stand() {
    const SECRET: Program = Program {
        settings: &[Setting::new("key", Kind::Secret, "SECRET", "").at("cookie.key")],
        ..PROGRAM
    };
    let settings = SECRET.settings(arguments("")).expect("valid");
    let config: toml::Table = "[cookie]\nkey = \"s3cret\"\nmonkey = \"seen\"\n[[group]]\n[group.cookie]\nkey = \"s3cret\""
        .parse()
        .expect("TOML");
    let printed = settings.print(&config).expect("printable");
    assert_eq!(printed.matches("(hidden)").count(), 2, "{printed}");
    assert!(
        !printed.contains("s3cret") && printed.contains("seen"),
        "{printed}"
    );
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let flag = PROGRAM
        .settings(arguments("--lisen a:1"))
        .expect_err("unknown flag");
    assert!(flag.to_string().contains("--listen"), "{flag}");
    let (path, _removed) = file("[cookie]\nmaxidl = \"5m\"\n");
    let settings = PROGRAM
        .settings(arguments(&format!("--config {}", path.display())))
        .expect("readable");
    let key = settings.config::<Config>().expect_err("unknown key");
    assert!(key.to_string().contains("did you mean `maxidle`?"), "{key}");
    assert_eq!(nearest("zzz", ["listen"].into_iter()), None);
}

#[test]
fn wrong_values_say_where_they_stand() {
    let error = PROGRAM
        .settings(arguments("--cookie-secure=maybe"))
        .expect_err("not a boolean");
    assert!(
        error.to_string().contains("flag --cookie-secure"),
        "{error}"
    );
    let settings = PROGRAM
        .settings(arguments("--size 1x"))
        .expect("text for now");
    let error = settings.config::<Config>().expect_err("not a size");
    assert!(error.to_string().contains("`1x` is not a size"), "{error}");
}

#[test]
fn the_clap_command_is_consistent() {
    PROGRAM.command().debug_assert();
}
