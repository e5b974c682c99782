//! A whole application with sessions: `cargo run -p appserver --example counter`, then open http://127.0.0.1:3000/.

use std::sync::Arc;

use appserver::session::cookie::CookieConfig;
use appserver::{Attach, Clock, Manager, Session, StandardConfig, StandardManager};
use axum::{Router, routing::get};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Arc::new(StandardManager::new(StandardConfig::default()));
    let cookie = CookieConfig::default().cookie("/")?;
    let sessions = Attach::new(Arc::clone(&manager), cookie, Clock::system());
    let app = Router::new().route("/", get(count)).layer(sessions);
    tokio::spawn(async move { manager.run(CancellationToken::new(), Clock::system()).await });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn count(session: Session) -> String {
    match session.add("visits", 1) {
        Ok(visits) => format!("visit {visits} of session {}\n", session.id()),
        Err(problem) => problem.to_string(),
    }
}
