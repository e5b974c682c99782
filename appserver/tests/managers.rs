//! Every way of keeping sessions passes the one suite.

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
