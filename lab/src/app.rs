//! What TomcatA and TomcatB are: ours, or the real Tomcat.

use std::fmt;
use std::str::FromStr;

use program::Failure;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::tomcat;
use crate::topology::Kind;

/// The variables that choose TomcatA, and their plain names as one types them before a command.
pub const VARIABLES_A: [&str; 2] = ["LNMT_APP_A", "APP_A"];

/// The same for TomcatB.
pub const VARIABLES_B: [&str; 2] = ["LNMT_APP_B", "APP_B"];

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
        match self {
            Self::Appserver => Ok(()),
            Self::Tomcat => tomcat::is_here(),
        }
    }
}

/// What the first two application servers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apps {
    /// TomcatA.
    pub a: App,
    /// TomcatB, and the third server where one joins.
    pub b: App,
}

impl Apps {
    /// Refuses a program that is not on this machine, with what to do about it.
    pub fn are_here(self) -> Result<(), Failure> {
        self.a.is_here()?;
        self.b.is_here()
    }

    /// Refuses a mode that they have not got.
    pub fn can_be_in(self, mode: Mode) -> Result<(), Failure> {
        let why = match mode {
            _ if !self.has_tomcat() => return Ok(()),
            Mode::Msm | Mode::MsmSticky => {
                "it would need the libraries of memcached-session-manager, which no package has"
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(format!(
            "the real Tomcat cannot be on a stage in the mode {mode}: {why}. Choose another mode, or ours with \
             --app-a appserver --app-b appserver"
        )))
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
    use super::{App, Apps};
    use crate::mode::Mode;

    #[test]
    fn a_real_tomcat_is_refused_where_it_cannot_be() {
        let [ours, tomcat] = App::ALL;
        for mode in Mode::ALL {
            let can = |a, b| Apps { a, b }.can_be_in(mode).is_ok();
            assert!(can(ours, ours), "{mode}");
            assert_eq!(can(tomcat, tomcat), !mode.stores(), "{mode}");
            assert_eq!(can(ours, tomcat), !mode.stores(), "{mode}");
            assert_eq!(can(tomcat, ours), !mode.stores(), "{mode}");
        }
    }

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        for app in App::ALL {
            assert_eq!(app.to_string().parse(), Ok(app));
        }
        let error = "jetty".parse::<App>().expect_err("no such server");
        assert!(error.to_string().contains("appserver or tomcat"));
    }
}
