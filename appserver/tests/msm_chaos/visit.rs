//! One request of a browser, and what it may see.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use appserver::MsmManager;
use appserver::manager::msm::protocol::World;
use appserver::manager::{Manager, ManagerError};
use appserver::session::{AskedId, Session};

use super::nodes::Net;
use super::{LIST, REQUEST, trace};

/// What a browser knows of its session.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) id: String,
    /// Changes whose requests were answered.
    pub(super) kept: BTreeSet<u32>,
    pub(super) renames: usize,
    /// Log ins that were sent and not answered: each may or may not have given the session an id that the browser does not know.
    pub(super) changing: usize,
    /// A log out was sent; was answered.
    pub(super) leaving: bool,
    pub(super) gone: bool,
}

pub(super) type Users = Arc<Mutex<Vec<User>>>;
pub(super) type Server = Arc<MsmManager<Net>>;
pub(super) type Running = Pin<Box<dyn Future<Output = Result<(), String>>>>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Read,
    Write(u32),
    Append(u32),
    LogIn,
    LogOut,
}

/// One request.
pub(super) async fn visit(
    server: Server,
    net: Net,
    users: Users,
    user: usize,
    act: Act,
) -> Result<(), String> {
    let (id, kept, gone, renames) = {
        let users = users.lock().expect("not poisoned");
        let user = &users[user];
        (user.id.clone(), user.kept.clone(), user.gone, user.renames)
    };
    let may_be_over = || {
        let users = users.lock().expect("not poisoned");
        let user = &users[user];
        user.leaving || user.renames != renames || user.changing > 0
    };
    let over = |what: &str| match may_be_over() {
        true => Ok(()),
        false => Err(format!("user {user} {act:?}: {what} {id}")),
    };
    let say = |what: &dyn std::fmt::Display| {
        trace::say(&net, &format_args!("user {user} {act:?} {what}"));
    };
    let asked = AskedId::parse(id.as_bytes()).expect("an id of ours");
    say(&format_args!("asks for {id}"));
    let session = match server.find(&asked, &REQUEST, net.now()).await {
        Err(error) => {
            say(&error);
            return Ok(());
        }
        Ok(None) => return over("lost session"),
        Ok(Some(found)) => found.session,
    };
    if gone {
        return Err(format!("user {user} {act:?}: zombie session {id}"));
    }
    let seen = tokens(&session);
    if !kept.is_subset(&seen) && !session.is_ended() {
        let lost: Vec<_> = kept.difference(&seen).collect();
        return Err(format!(
            "user {user} {act:?}: lost updates {lost:?} of {id}"
        ));
    }
    net.some_time().await;
    if let Act::LogOut = act {
        users.lock().expect("not poisoned")[user].leaving = true;
        session.invalidate();
        let removed = server.remove(&session).await.is_ok();
        say(&format_args!("is answered: {removed}"));
        let user = &mut users.lock().expect("not poisoned")[user];
        // What a log in gave another id at the same time is another session to this log out.
        user.gone |= removed && user.renames == renames && user.changing == 0;
        return Ok(());
    }
    let changed = match act {
        Act::Write(token) => session.set(&format!("t{token}"), 1),
        Act::Append(token) => session.append(LIST, token.to_string()).map(drop),
        Act::Read | Act::LogIn | Act::LogOut => Ok(()),
    };
    if changed.is_err() {
        return over("ended");
    }
    // What the application does takes its time.
    net.some_time().await;
    if let Act::LogIn = act {
        users.lock().expect("not poisoned")[user].changing += 1;
        let changed = server.change_id(&session, net.now()).await.is_ok();
        let user = &mut users.lock().expect("not poisoned")[user];
        user.changing -= 1;
        if changed {
            user.id = session.id().to_string();
            user.renames += 1;
        }
    }
    say(&format_args!("stores {}", session.id()));
    match server.commit(&session, &REQUEST, net.now()).await {
        Ok(()) => {
            say(&"is answered");
            if let Act::Write(token) | Act::Append(token) = act
                && !session.is_ended()
            {
                users.lock().expect("not poisoned")[user].kept.insert(token);
            }
            Ok(())
        }
        Err(ManagerError::Session(_)) => over("ended"),
        Err(error) => {
            say(&error);
            Ok(())
        }
    }
}

fn tokens(session: &Session) -> BTreeSet<u32> {
    session.read(|all| {
        let names = all.iter().filter_map(|(name, _)| name[1..].parse().ok());
        let list = all.get(LIST);
        let items = list.iter().flat_map(|list| list.as_list().unwrap_or(&[]));
        let items = items.filter_map(|item| item.as_str()?.parse().ok());
        names.chain(items).collect()
    })
}
