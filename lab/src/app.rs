//! What TomcatA and TomcatB are: ours, or the real Tomcat.

use std::fmt;
use std::str::FromStr;

use program::Failure;
use serde::{Deserialize, Serialize};

use crate::tomcat;
use crate::topology::Kind;

/// Which program an application server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum App {
    /// Ours.
    #[default]
    Appserver,
    /// The real one, as the distribution has it.
    Tomcat,
}

impl App {
    /// Every program.
    pub const ALL: [Self; 2] = [Self::Appserver, Self::Tomcat];

    /// The name that settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Appserver => "appserver",
            Self::Tomcat => "tomcat",
        }
    }

    /// What the node is then.
    pub fn kind(self) -> Kind {
        match self {
            Self::Appserver => Kind::Appserver,
            Self::Tomcat => Kind::Tomcat,
        }
    }

    /// Refuses a program that is not on this machine, with what to do about it.
    pub fn is_here(self) -> Result<(), Failure> {
        if self == Self::Appserver || tomcat::is_installed() {
            return Ok(());
        }
        Err(Failure::Environment(
            "the real Tomcat is not installed here; install it (Debian: apt-get install tomcat10 openjdk-17-jre-headless), or use appserver".to_owned(),
        ))
    }
}

/// What the first two application servers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apps {
    /// TomcatA.
    pub a: App,
    /// TomcatB, and whoever joins later.
    pub b: App,
}

impl Apps {
    /// What `APP_A` and `APP_B` ask for, refused where it is not installed.
    pub fn of_environment() -> Result<Self, Failure> {
        let apps = Self {
            a: of_variables(["LNMT_APP_A", "APP_A"])?,
            b: of_variables(["LNMT_APP_B", "APP_B"])?,
        };
        apps.a.is_here()?;
        apps.b.is_here()?;
        Ok(apps)
    }

    /// Whether one of them is ours.
    pub fn has_ours(self) -> bool {
        [self.a, self.b].contains(&App::Appserver)
    }

    /// Whether one of them is the real one.
    pub fn has_tomcat(self) -> bool {
        [self.a, self.b].contains(&App::Tomcat)
    }
}

fn of_variables(names: [&str; 2]) -> Result<App, Failure> {
    let set = |name: &&str| std::env::var(name).is_ok_and(|text| !text.is_empty());
    let Some(name) = names.into_iter().find(set) else {
        return Ok(App::default());
    };
    let app = std::env::var(name).unwrap_or_default().parse();
    app.map_err(|e: UnknownApp| Failure::Usage(format!("{name}: {e}")))
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no application server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no application server `{0}`; use appserver or tomcat")]
pub struct UnknownApp(String);

impl FromStr for App {
    type Err = UnknownApp;

    fn from_str(text: &str) -> Result<Self, UnknownApp> {
        let found = Self::ALL.into_iter().find(|app| app.name() == text.trim());
        found.ok_or_else(|| UnknownApp(text.to_owned()))
    }
}

impl From<App> for String {
    fn from(app: App) -> Self {
        app.name().to_owned()
    }
}

impl TryFrom<String> for App {
    type Error = UnknownApp;

    fn try_from(text: String) -> Result<Self, UnknownApp> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::App;

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        for app in App::ALL {
            assert_eq!(app.to_string().parse(), Ok(app));
        }
        let error = "jetty".parse::<App>().expect_err("no such server");
        assert!(error.to_string().contains("appserver or tomcat"));
    }
}
