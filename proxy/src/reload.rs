//! Changing the site while it is being served: a new configuration, or names that resolve differently.
//!
//! Everything that can fail happens before anything changes: the configuration is checked, certificates are read, new
//! addresses are bound. Then each worker takes the new site over between two requests. Listeners, client connections,
//! pools and the health of peers that stay are kept, so that no request is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use program::Failure;

use crate::check::Checks;
use crate::config::Config;
use crate::server::{Bound, Proxy, bind};
use crate::site::{Site, Surroundings};
use crate::tls::{self, Acceptor};
use crate::worker::Order;

impl Proxy {
    /// Serves by `config` from now on. On an error nothing has changed.
    pub async fn reload(&mut self, config: &Config) -> Result<(), Failure> {
        let changed = self.change(config).await;
        match &changed {
            Ok(()) => {
                self.shared.generation.fetch_add(1, Relaxed);
                tracing::info!("configuration loaded");
            }
            Err(error) => self.refuse(error),
        }
        changed
    }

    /// Stays with the configuration in force.
    pub(crate) fn refuse(&self, error: &Failure) {
        self.shared.refused_reloads.fetch_add(1, Relaxed);
        tracing::error!(%error, "configuration refused; the old one stays in force");
    }

    async fn change(&mut self, config: &Config) -> Result<(), Failure> {
        let before = self.shared.site.load_full();
        if config.worker_processes != self.config.worker_processes {
            tracing::warn!("worker_processes changes at the next start only");
        }
        if config.admin != self.config.admin {
            tracing::warn!("admin changes at the next start only");
        }
        let sticky_key = crate::state::sticky_key(config, Some(&self.sticky_key));
        let addresses = crate::resolve::resolve(config).await;
        let mut site = build(
            config,
            &addresses,
            &sticky_key,
            self.workers.len(),
            Some(&before),
        )?;
        let plan = self.plan(&mut site)?;

        let site = Arc::new(site);
        self.sticky_key = sticky_key;
        self.addresses = site
            .listeners
            .iter()
            .map(|listener| listener.address)
            .collect();
        self.shared.site.store(Arc::clone(&site));
        self.order(|| Order::Site(Arc::clone(&site)));
        for (address, tls) in &plan.kept {
            self.order(|| Order::Tls(*address, tls.clone()));
        }
        for (configured, bound, tls) in plan.new {
            self.bound.push((configured, bound.address));
            for (worker, fd) in self.workers.iter().zip(bound.sockets) {
                worker.order(Order::Listen(bound.address, fd, tls.clone()));
            }
        }
        for address in plan.gone {
            self.bound.retain(|(_, bound)| *bound != address);
            self.order(|| Order::Unlisten(address));
        }
        self.checks = Checks::start(&site);
        self.config = config.clone();
        self.resolved = addresses;
        Ok(())
    }

    /// Asks for the addresses of all names again; where they have changed the peers change with them.
    pub(crate) async fn resolve_again(&mut self) {
        let mut addresses = crate::resolve::resolve(&self.config).await;
        // A name that cannot be resolved at the moment keeps what it had.
        for (name, known) in &self.resolved {
            addresses
                .entry(name.clone())
                .or_insert_with(|| known.clone());
        }
        if addresses == self.resolved {
            return;
        }
        let before = self.shared.site.load_full();
        let built = build(
            &self.config,
            &addresses,
            &self.sticky_key,
            self.workers.len(),
            Some(&before),
        );
        let mut site = match built {
            Ok(site) => site,
            Err(error) => {
                tracing::error!(%error, "cannot use the addresses of names; the old ones stay");
                return;
            }
        };
        for (listener, known) in site.listeners.iter_mut().zip(&before.listeners) {
            listener.address = known.address;
        }
        let site = Arc::new(site);
        self.shared.site.store(Arc::clone(&site));
        self.order(|| Order::Site(Arc::clone(&site)));
        self.checks = Checks::start(&site);
        self.resolved = addresses;
        tracing::info!("addresses of peers have changed");
    }

    /// What happens to the listeners; binds new addresses and reads certificates. Gives listeners with port 0 the ports
    /// that they have already.
    fn plan(&self, site: &mut Site) -> Result<Plan, Failure> {
        let mut plan = Plan::default();
        let mut open = self.bound.clone();
        for listener in &mut site.listeners {
            let tls = tls::acceptor(&listener.tls)?;
            let known = open
                .iter()
                .position(|(configured, _)| *configured == listener.address);
            if let Some(known) = known {
                let (_, address) = open.remove(known);
                listener.address = address;
                plan.kept.push((address, tls));
            } else {
                let configured = listener.address;
                let bound = bind(configured, self.workers.len())?;
                listener.address = bound.address;
                plan.new.push((configured, bound, tls));
            }
        }
        plan.gone = open.into_iter().map(|(_, address)| address).collect();
        Ok(plan)
    }
}

/// What a reload does to the listeners.
#[derive(Default)]
struct Plan {
    kept: Vec<(SocketAddr, Option<Acceptor>)>,
    /// The address as configured, and what became of it.
    new: Vec<(SocketAddr, Bound, Option<Acceptor>)>,
    gone: Vec<SocketAddr>,
}

/// The site for a configuration.
pub(crate) fn build(
    config: &Config,
    addresses: &crate::resolve::Addresses,
    sticky_key: &[u8],
    workers: usize,
    previous: Option<&Site>,
) -> Result<Site, Failure> {
    let surroundings = Surroundings {
        addresses,
        sticky_key,
        workers,
        now: Instant::now(),
        previous,
    };
    Site::build(config, &surroundings).map_err(|e| Failure::Usage(e.to_string()))
}
