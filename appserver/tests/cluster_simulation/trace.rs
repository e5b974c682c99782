//! What happens, for whoever looks for a fault: printed with `CLUSTER_TRACE=1`.

use std::fmt::Display;
use std::sync::LazyLock;

use appserver::manager::cluster::native::{Item, Reader, Told};
use appserver::manager::cluster::peers::UniqueId;
use appserver::manager::cluster::stamp;
use appserver::session::Key;

use super::START;
use super::world::World;

static IS_ON: LazyLock<bool> = LazyLock::new(|| std::env::var_os("CLUSTER_TRACE").is_some());

/// Prints what a client or the network does, and which members each session is on then.
pub(super) fn say(world: &World, what: &dyn Display) {
    if !*IS_ON {
        return;
    }
    eprintln!("{:>7} {what}", world.now - START);
    for (client, key) in world.clients.iter().enumerate() {
        for (number, node) in world.nodes.iter().enumerate() {
            if let Some(place) = key.and_then(|key| node.core.place(key)) {
                let [primary, backup] = [place.primary, place.backup].map(|who| name(world, who));
                eprintln!("            client {client} at n{number}: {primary}, {backup}");
            }
        }
    }
}

/// Prints what a member is told, except of which keys it is told.
pub(super) fn message(world: &World, from: &UniqueId, to: usize, bytes: &[u8]) {
    if !*IS_ON {
        return;
    }
    let from = world
        .place(from)
        .map_or("the dead".to_owned(), |n| format!("n{n}"));
    let mut reader = Reader::new(bytes, world.now()).expect("a member's message");
    while let Some(item) = reader.item().expect("a member's message") {
        if matches!(item, Item::Range(..)) {
            continue;
        }
        eprintln!(
            "{:>7}   {from} to n{to}: {}",
            world.now - START,
            shown(&item)
        );
    }
}

/// The member of this number in stamps.
fn name(world: &World, number: u32) -> String {
    let mut nodes = world.nodes.iter();
    let here = nodes.position(|node| stamp::number(&node.id) == number);
    here.map_or("nobody".to_owned(), |node| format!("n{node}"))
}

fn shown(item: &Item<'_>) -> String {
    match item {
        Item::Record(record) => {
            let names = record.told.iter().map(|told| match told {
                Told::Set { name, .. } => format!("+{name}"),
                Told::Removed { .. } => "-".to_owned(),
            });
            let kind = if record.full { "all" } else { "changes" };
            let names: Vec<_> = names.collect();
            format!("{kind} of {} {}", short(record.key), names.join(" "))
        }
        Item::Gone(key, gone) => format!("{} gone: {gone:?}", short(*key)),
        Item::Accessed(key, _) => format!("{} used", short(*key)),
        other => format!("{other:?}"),
    }
}

fn short(key: Key) -> String {
    key.to_string()[..6].to_owned()
}
