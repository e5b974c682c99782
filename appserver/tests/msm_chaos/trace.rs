//! What happens, for whoever looks for a fault: printed with `MSM_CHAOS_TRACE=1`.

use std::fmt::Display;
use std::sync::LazyLock;

use appserver::manager::msm::attributes;
use appserver::manager::msm::protocol::{Answer, Command, Verb, World};
use appserver::manager::msm::record::Record;
use appserver::session::Value;

use super::START;
use super::nodes::Net;

static IS_ON: LazyLock<bool> = LazyLock::new(|| std::env::var_os("MSM_CHAOS_TRACE").is_some());

/// Prints what a browser does, or goes wrong.
pub(super) fn say(net: &Net, what: &dyn Display) {
    if *IS_ON {
        eprintln!("{:>7} {what}", net.now().0 - START);
    }
}

/// Prints what a node answered, except for the records of times.
pub(super) fn commands(
    net: &Net,
    node: usize,
    commands: &[Command],
    answers: &[Answer],
    is_lost: bool,
) {
    if !*IS_ON {
        return;
    }
    for (Command { verb, key }, answer) in commands.iter().zip(answers) {
        let key = String::from_utf8_lossy(key.as_ref());
        if key.contains("validity:") {
            continue;
        }
        let sent = match verb {
            Verb::Get => "get".to_owned(),
            Verb::Gets => "gets".to_owned(),
            Verb::Touch(_) => "touch".to_owned(),
            Verb::Delete => "delete".to_owned(),
            Verb::Set(_, value) => format!("set {}", shown(value)),
            Verb::Add(_, value) => format!("add {}", shown(value)),
            Verb::Replace(_, value) => format!("replace {}", shown(value)),
            Verb::Cas(_, value, unique) => format!("cas {unique} {}", shown(value)),
        };
        let got = match answer {
            Answer::Hit(value) => shown(value),
            Answer::HitCas(value, unique) => format!("{unique} {}", shown(value)),
            answer => format!("{answer:?}"),
        };
        let lost = if is_lost { ", which got lost" } else { "" };
        let server = net.server;
        let what = format_args!(
            "  server {server} to n{}: {key} {sent} -> {got}{lost}",
            node + 1
        );
        say(net, &what);
    }
}

/// When a record was stored, its extension, and the changes that it has.
fn shown(value: &[u8]) -> String {
    let Ok(record) = Record::decode(value) else {
        return String::from_utf8_lossy(value).into_owned();
    };
    let all = attributes::decode(record.attributes).unwrap_or_default();
    let all = all.iter().map(|(name, value)| match value.as_list() {
        Some(list) => format!(
            "{:?}",
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
        ),
        None => name.to_owned(),
    });
    let at = record.last_backup.0 - START;
    let kind = if record.is_valid { "record" } else { "mark" };
    let extension: String = record
        .extension
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{kind}@{at} {extension} {}",
        all.collect::<Vec<_>>().join(",")
    )
}
