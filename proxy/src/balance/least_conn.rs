//! nginx's `least_conn`.
