//! Which scenarios are played: those that words name, and that can be played with these servers.

use program::Failure;
use program::settings::nearest;

use crate::app::Apps;
use crate::client::Site;
use crate::mode::Mode;
use crate::scenario::{self, About, Scenario};

/// The scenarios that the words name; with a mode, those of this mode.
pub(super) fn choose(
    words: &[&String],
    mode: Option<Mode>,
    site: Option<&Site>,
) -> Result<Vec<Box<dyn Scenario>>, Failure> {
    let all = scenario::all();
    for word in words {
        if !all.iter().any(|scenario| is_meant(&scenario.about(), word)) {
            let known: Vec<About> = all.iter().map(|scenario| scenario.about()).collect();
            let hint = nearest(word, known.iter().map(|about| about.name.as_str()));
            let hint = hint.map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
            return Err(Failure::Usage(format!(
                "there is no scenario, claim or mode `{word}`{hint} (`lab list` shows them all)"
            )));
        }
    }
    if site.is_some() && mode.is_none() && words.is_empty() {
        return Err(Failure::Usage(
            "which mode is the site at --base-url in? Say --mode round_robin, ip_hash, session_sticky, msm, msm_sticky, cluster or backup".to_owned(),
        ));
    }
    let chosen = all.into_iter().filter(|scenario| {
        let about = scenario.about();
        let named = words.is_empty() || words.iter().any(|word| is_meant(&about, word));
        named && mode.is_none_or(|mode| about.mode == mode)
    });
    Ok(chosen.collect())
}

/// Those of the scenarios that are played with these application servers; where none is left, why. Whoever names one sees
/// what becomes of it, as long as that is possible at all.
pub(super) fn playable(
    chosen: Vec<Box<dyn Scenario>>,
    words: &[&String],
    apps: Apps,
) -> Result<Vec<Box<dyn Scenario>>, Failure> {
    let named = |about: &About| words.iter().any(|word| **word == about.name);
    let mut playable = Vec::new();
    let mut others = Vec::new();
    for scenario in chosen {
        let about = scenario.about();
        if let Err(why) = apps.can_be_in(about.mode) {
            others.push(why);
        } else if scenario.is_for(apps) || named(&about) {
            playable.push(scenario);
        } else {
            let why = format!("`{}` is played only when it is named", about.name);
            others.push(Failure::Usage(why));
        }
    }
    match others.into_iter().next() {
        Some(why) if playable.is_empty() => Err(why),
        _ => Ok(playable),
    }
}

fn is_meant(about: &About, word: &str) -> bool {
    about.name == word || about.claim.eq_ignore_ascii_case(word) || word.parse() == Ok(about.mode)
}
