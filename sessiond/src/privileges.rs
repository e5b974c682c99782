//! What a process asks of the system for itself: core files (`-r`), locked memory (`-k`), another user's rights (`-u`).

use program::Failure;
use rustix::mm::MlockAllFlags;
use rustix::process::{Gid, Resource, Uid, geteuid, getrlimit, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tracing::{info, warn};

use crate::config::Config;

/// Lets core files have any size, and locks the memory, as far as the settings say so and the system allows.
pub(crate) fn raise(config: &Config) -> Result<(), Failure> {
    if config.enable_coredumps {
        let mut limit = getrlimit(Resource::Core);
        limit.current = limit.maximum;
        setrlimit(Resource::Core, limit).map_err(|e| {
            Failure::environment(
                "cannot raise the limit of core files (--enable-coredumps)",
                e,
            )
        })?;
        if limit.maximum == Some(0) {
            return Err(Failure::Environment(
                "core files are forbidden by the hard limit; raise it (ulimit -Hc) or drop --enable-coredumps".into(),
            ));
        }
    }
    if config.lock_memory
        && let Err(error) = rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
    {
        // memcached warns and goes on, too.
        warn!(%error, "cannot lock the memory; raise the limit of locked memory (ulimit -l) or drop --lock-memory");
    }
    Ok(())
}

/// A user and the groups it is in.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// Takes on the rights of the user that the settings name. They belong to the thread that calls and to those it starts
/// later, so this comes before any other thread, and after whatever needs root (ports below 1024, locked memory).
pub(crate) fn drop_to_user(config: &Config) -> Result<(), Failure> {
    let name = config.user.as_str();
    if name.is_empty() {
        return Ok(());
    }
    if !geteuid().is_root() {
        info!(user = name, "not started as root: the user stays as it is");
        return Ok(());
    }
    let read = |path| {
        std::fs::read_to_string(path).map_err(|e| {
            Failure::environment(format!("cannot read {path} to find --user {name}"), e)
        })
    };
    let user = find(name, &read("/etc/passwd")?, &read("/etc/group")?).ok_or_else(|| {
        Failure::Environment(format!(
            "there is no user {name} in /etc/passwd; choose another with --user, or write its number"
        ))
    })?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(|e| Failure::environment(format!("cannot take on the rights of --user {name}"), e))
}

/// A user by name or number, from the texts of `/etc/passwd` and `/etc/group`.
fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let number = name.parse::<u32>().ok();
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _) = (fields.next()?, fields.next()?);
        let uid: u32 = fields.next()?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (user == name || number == Some(uid)).then_some((user, uid, gid))
    });
    let Some((login, uid, gid)) = entry else {
        // A container may have numbers that stand in no file.
        return number.map(|uid| User {
            uid,
            gid: uid,
            groups: vec![uid],
        });
    };
    let mut groups = vec![gid];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let id = fields.next().and_then(|id| id.parse().ok());
        let members = fields.next().unwrap_or_default();
        if let Some(id) = id
            && members.split(',').any(|member| member == login)
            && !groups.contains(&id)
        {
            groups.push(id);
        }
    }
    Some(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::{User, find};

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nmemcache:x:115:120:Memcached:/nonexistent:/bin/false\n";
        let group =
            "root:x:0:\nmemcache:x:120:\nssl-cert:x:110:memcache,www\nother:x:111:xmemcache\n";
        let memcache = || User {
            uid: 115,
            gid: 120,
            groups: vec![120, 110],
        };
        assert_eq!(find("memcache", passwd, group), Some(memcache()));
        assert_eq!(find("115", passwd, group), Some(memcache()));
        assert_eq!(find("nobody", passwd, group), None);
        let unknown = find("4000", passwd, group).expect("a number");
        assert_eq!((unknown.uid, unknown.gid), (4000, 4000));
    }
}
