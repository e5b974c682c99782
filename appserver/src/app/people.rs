//! Pages for people: the shopping cart whose goods vanish with the session, log in and log out, a counter. They work
//! without JavaScript; whatever changes something is a POST that redirects to the page that shows it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::attach::{Refused, Sessions};
use crate::pages::{CartPage, CounterPage, LoginPage, ProblemPage, Shell, fresh};
use crate::params::Params;
use crate::session::{Session, SessionError, Value};
use crate::site::Site;

/// What the shop sells.
const GOODS: [&str; 6] = ["Tea", "Rice", "Teapot", "Paper", "Brush", "Ink"];

/// The most goods in a cart.
const CART_MAX: usize = 100;

/// The attribute that holds the cart.
const CART: &str = "cart";

/// The longest user name in bytes.
const USER_MAX: usize = 400;

type Page = Result<Response, Refused>;

/// Shows the cart.
pub(super) async fn cart(State(site): State<Arc<Site>>, sessions: Sessions) -> Page {
    let session = sessions.current_or_new().await?;
    let cart = match session.get(CART) {
        Some(Value::List(goods)) => goods.iter().map(Value::to_string).collect(),
        _ => Vec::new(),
    };
    let page = CartPage {
        shell: shell(&site, &sessions, &session),
        goods: &GOODS,
        cart: &cart,
    };
    Ok(fresh(StatusCode::OK, &page))
}

/// Puts one of the goods into the cart.
pub(super) async fn add_to_cart(
    State(site): State<Arc<Site>>,
    sessions: Sessions,
    params: Params,
) -> Page {
    let session = sessions.current_or_new().await?;
    let Some(good) = GOODS.into_iter().find(|g| params.get("good") == Some(g)) else {
        let message = format!("This shop does not sell that: it has {}.", GOODS.join(", "));
        return Ok(problem(&shell(&site, &sessions, &session), &message));
    };
    let added = session.update(|edit| {
        let goods = edit.get(CART);
        let full = goods.is_some_and(|g| g.as_list().is_some_and(|g| g.len() >= CART_MAX));
        if !full {
            edit.append(CART, &good.into())?;
        }
        Ok(!full)
    });
    Ok(match added {
        Ok(true) => see(&site, "cart"),
        Ok(false) => {
            let message =
                format!("The cart is full: {CART_MAX} goods are the most. Empty it first.");
            problem(&shell(&site, &sessions, &session), &message)
        }
        Err(error) => failed(&shell(&site, &sessions, &session), &error),
    })
}

/// Empties the cart.
pub(super) async fn empty_cart(State(site): State<Arc<Site>>, session: Option<Session>) -> Page {
    if let Some(session) = session {
        session.remove(CART)?;
    }
    Ok(see(&site, "cart"))
}

/// Shows who is logged in.
pub(super) async fn login(State(site): State<Arc<Site>>, sessions: Sessions) -> Page {
    let session = sessions.current_or_new().await?;
    let user = session.get("user");
    let page = LoginPage {
        shell: shell(&site, &sessions, &session),
        user: user.as_ref().and_then(Value::as_str),
    };
    Ok(fresh(StatusCode::OK, &page))
}

/// Logs a user in, under a new session id.
pub(super) async fn do_login(
    State(site): State<Arc<Site>>,
    sessions: Sessions,
    params: Params,
) -> Page {
    let session = sessions.current_or_new().await?;
    let user = params.get("user").map(str::trim).unwrap_or_default();
    if user.is_empty() || user.len() > USER_MAX {
        let message = format!("A name has 1 to {USER_MAX} bytes. Go back and type one.");
        return Ok(problem(&shell(&site, &sessions, &session), &message));
    }
    session.set("user", user)?;
    sessions.change_id().await?;
    Ok(see(&site, "login"))
}

/// Logs out: ends the session and all that is in it.
pub(super) async fn do_logout(State(site): State<Arc<Site>>, session: Option<Session>) -> Response {
    if let Some(session) = session {
        session.invalidate();
    }
    see(&site, "login")
}

/// Shows the counter.
pub(super) async fn counter(State(site): State<Arc<Site>>, sessions: Sessions) -> Page {
    let session = sessions.current_or_new().await?;
    let count = session.get("count").and_then(|v| v.as_i64());
    let page = CounterPage {
        shell: shell(&site, &sessions, &session),
        count: count.unwrap_or(0),
    };
    Ok(fresh(StatusCode::OK, &page))
}

/// Adds one.
pub(super) async fn count(State(site): State<Arc<Site>>, sessions: Sessions) -> Page {
    let session = sessions.current_or_new().await?;
    Ok(match session.add("count", 1) {
        Ok(_) => see(&site, "counter"),
        Err(error) => failed(&shell(&site, &sessions, &session), &error),
    })
}

fn shell<'a>(site: &'a Site, sessions: &Sessions, session: &Session) -> Shell<'a> {
    Shell {
        site,
        session: Some(session.facts()),
        lost: sessions.lost(),
    }
}

/// On to another page of this context, by GET.
fn see(site: &Site, page: &str) -> Response {
    let to = format!("{}/{page}", site.context);
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

fn problem(shell: &Shell<'_>, message: &str) -> Response {
    fresh(StatusCode::BAD_REQUEST, &ProblemPage { shell, message })
}

fn failed(shell: &Shell<'_>, error: &SessionError) -> Response {
    let status = Refused::from(error.clone()).status();
    let message = error.to_string();
    fresh(
        status,
        &ProblemPage {
            shell,
            message: &message,
        },
    )
}
