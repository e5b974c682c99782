//! Who the client is, when trusted proxies stand in front.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// Networks that are believed, and the field they say it in.
#[derive(Debug, Clone)]
pub struct RealIp {}

impl RealIp {
    /// Whether what this address says about the client is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        unimplemented!()
    }

    /// The client of a request that came over a connection from `peer`. `announced` is the source of the PROXY protocol.
    pub fn client(
        &self,
        peer: IpAddr,
        announced: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> IpAddr {
        unimplemented!()
    }
}
