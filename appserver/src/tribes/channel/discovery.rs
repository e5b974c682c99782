//! Which source of members is used.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::beacon;
use super::shared::Shared;
use crate::tribes::settings::membership::host_port;
use crate::tribes::settings::{ClusterSettings, MembershipType};

/// With `auto`: so long multicast has to show somebody.
const AUTO_WAIT: Duration = Duration::from_secs(2);

/// Begins to use the source of members, and says which and why.
pub(super) async fn find_members(
    shared: &Arc<Shared>,
    settings: &ClusterSettings,
    multicasts: bool,
) {
    let membership = &settings.membership;
    let port = settings.receiver.port;
    let name = |text: &String| {
        let parsed = host_port(text, port).ok();
        parsed.map(|(host, port)| (host.to_owned(), port))
    };
    let list: Vec<_> = membership.members.iter().filter_map(name).collect();
    let dns: Vec<_> = name(&membership.name)
        .filter(|_| !membership.name.is_empty())
        .into_iter()
        .collect();
    let kind = membership.kind;
    let (source, names, why) = match kind {
        MembershipType::Multicast => (kind, Vec::new(), "it is set".to_owned()),
        MembershipType::Static => (kind, list, "it is set".to_owned()),
        MembershipType::Dns => (kind, dns, "it is set".to_owned()),
        MembershipType::Auto => {
            let heard = multicasts && heard_somebody(shared).await;
            let multicast = match multicasts {
                true => format!("nobody was heard by multicast in {} s", AUTO_WAIT.as_secs()),
                false => "multicast is not possible here".to_owned(),
            };
            if heard {
                let why = "others were heard".to_owned();
                (MembershipType::Multicast, Vec::new(), why)
            } else if !beacon::resolve(shared, &dns).await.is_empty() {
                let why = format!("{multicast}, and {} has addresses", membership.name);
                (MembershipType::Dns, dns, why)
            } else if !list.is_empty() {
                let why = format!("{multicast}, no name has addresses, and there is a list");
                (MembershipType::Static, list, why)
            } else if dns.is_empty() {
                let why = format!("{multicast}, and neither a name nor a list is set");
                (MembershipType::Multicast, Vec::new(), why)
            } else {
                let why = format!("{multicast}, and {} may get addresses", membership.name);
                (MembershipType::Dns, dns, why)
            }
        }
    };
    tracing::info!(source = source.name(), why, "members are found by");
    shared.discovery.store(Arc::new(source.name().to_owned()));
    if !names.is_empty() {
        let first = beacon::resolve(shared, &names).await;
        beacon::start(shared, names, first);
    }
}

async fn heard_somebody(shared: &Shared) -> bool {
    let mut changed = shared.changed.subscribe();
    let end = Instant::now() + AUTO_WAIT;
    let nobody = || shared.view.load().members.is_empty();
    while nobody() {
        match timeout_at(end, changed.changed()).await {
            Ok(Ok(())) => {}
            _ => return false,
        }
    }
    true
}
