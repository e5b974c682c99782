//! Following the route in a session id (`ID.WEB1`, Tomcat's jvmRoute).

/// Where the session id stands.
#[derive(Debug)]
pub struct Route {}
