//! Every way of keeping sessions passes the one suite.

#[path = "support/tables.rs"]
mod tables;

use std::time::Duration;

use appserver::manager::cluster::core::{CoreConfig, Spread};
use appserver::manager::cluster::group::Alone;
use appserver::manager::msm::settings::{Behaviour, LockingMode, MsmSettings};
use appserver::session::{Suffix, Timestamp};
use appserver::testing::Limits;
use appserver::tribes::options::SendOptions;
use appserver::{Clock, ClusterConfig, ClusterManager, MsmConfig, MsmManager};
use tables::{Tables, Timed};

mod standard {
    use appserver::session::Suffix;
    use appserver::{StandardConfig, StandardManager};

    appserver::manager_suite!(|limits| StandardManager::new(StandardConfig {
        suffix: Suffix::new(None, Some("WEB1")).expect("a valid route"),
        max_inactive: limits.max_inactive,
        max_active: limits.max_active,
        sweep_interval: limits.sweep_interval,
    }));
}

/// A cluster of one.
fn cluster(limits: Limits, spread: Spread) -> ClusterManager<Alone> {
    let config = ClusterConfig {
        core: CoreConfig {
            suffix: Suffix::new(None, Some("WEB1")).expect("a valid route"),
            max_inactive: limits.max_inactive,
            max_active: limits.max_active,
            ..CoreConfig::new("/jsp", spread)
        },
        send_options: SendOptions::from_bits(6),
        limit: Duration::from_secs(3),
        fetch_limit: Duration::from_secs(3),
        filter: None,
        sweep_interval: limits.sweep_interval,
    };
    let clock = Clock::manual(Timestamp(1_795_000_000_000));
    ClusterManager::new(config, Alone([1; 16]), clock)
}

mod cluster_of_one {
    use appserver::manager::cluster::core::Spread;

    appserver::manager_suite!(|limits| super::cluster(limits, Spread::All));
}

mod backup_of_one {
    use appserver::manager::cluster::core::Spread;

    appserver::manager_suite!(|limits| super::cluster(limits, Spread::Backup));
}

/// msm's own behaviour, on one node, so that a new id cannot name another.
fn msm(limits: Limits, sticky: bool, later: bool) -> Timed<MsmManager<Tables>> {
    with(limits, |settings| {
        settings.behaviour = Behaviour::Msm;
        settings.sticky = sticky;
        settings.session_backup_async = later;
    })
}

fn with(limits: Limits, set: impl FnOnce(&mut MsmSettings)) -> Timed<MsmManager<Tables>> {
    let clock = Clock::manual(Timestamp(0));
    let mut settings = MsmSettings {
        memcached_nodes: "n1:localhost:11211".parse().expect("a node"),
        ..MsmSettings::default()
    };
    set(&mut settings);
    let config = MsmConfig {
        prefix: settings.storage_key_prefix.prefix("localhost", "/jsp"),
        settings,
        context: "/jsp".into(),
        route: "WEB1".into(),
        max_inactive: limits.max_inactive,
        max_active: limits.max_active,
        sweep_interval: limits.sweep_interval,
    };
    let manager = MsmManager::new(config, Tables::new(clock.clone())).expect("valid");
    Timed { manager, clock }
}

mod msm_sticky {
    appserver::manager_suite!(|limits| super::msm(limits, true, false));
}

mod msm_sticky_async {
    appserver::manager_suite!(|limits| super::msm(limits, true, true));
}

/// Without the cases about sessions that no request holds: only the nodes know of them.
macro_rules! non_sticky_suite {
    ($make:expr) => {
        appserver::manager_suite!(@cases $make;
            a_session_is_found_until_it_is_removed
            an_unknown_id_is_never_adopted
            a_new_session_is_new_in_its_first_request_only
            a_session_without_interval_never_expires
            a_new_id_replaces_the_old
            a_suffix_survives_a_new_id
            an_end_wins_over_changes
            parallel_requests_share_one_state
            parallel_ends_and_new_ids_leave_nothing_behind
            it_stops_when_told
        );
    };
}

mod msm {
    non_sticky_suite!(|limits| super::msm(limits, false, false));
}

mod msm_async {
    non_sticky_suite!(|limits| super::msm(limits, false, true));
}

mod safe_sticky {
    appserver::manager_suite!(|limits| super::with(limits, |settings| settings.sticky = true));
}

mod safe_sticky_async {
    appserver::manager_suite!(|limits| super::with(limits, |settings| {
        settings.sticky = true;
        settings.session_backup_async = true;
    }));
}

mod safe {
    non_sticky_suite!(|limits| super::with(limits, |_| {}));
}

mod safe_async {
    non_sticky_suite!(|limits| super::with(limits, |settings| {
        settings.session_backup_async = true;
    }));
}

mod safe_locks {
    use super::LockingMode;

    non_sticky_suite!(|limits| super::with(limits, |settings| {
        settings.locking_mode = LockingMode::All;
    }));
}

mod safe_merges {
    use super::LockingMode;

    non_sticky_suite!(|limits| super::with(limits, |settings| {
        settings.locking_mode = LockingMode::Merge;
    }));
}
