//! Log outs, new IDs and idle sessions.

use super::*;

#[test]
fn a_session_that_ended_does_not_come_back() {
    let core = core(&[TOMCAT, OTHER]);
    backed_up(&core, &[("k", "v")], 0);
    let mut out = Outbox::default();
    let session = find(&core, KEY, 1, &mut out).expect("here");
    let mut out = Outbox::default();
    core.remove(&session, at(2), &mut out);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![TOMCAT, OTHER])]);
    assert_eq!(told(&out)[0].1.key.as_deref(), Some(KEY));
    // One that took it over meanwhile hears of it.
    let out = backed_up(&core, &[("k", "v")], 3);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![TOMCAT])]);
    let out = hear(&core, OTHER, diff(KEY, OTHER, ME, vec![set("k", "w")]), 3);
    assert_eq!(kinds(&out), [(MapKind::Remove, vec![OTHER])]);
    hear(&core, OTHER, about(MapKind::Proxy, KEY, OTHER, TOMCAT), 3);
    assert!(find(&core, KEY, 4, &mut Outbox::default()).is_none());
    assert_eq!(core.cluster_status().refused, 2);
}

#[test]
fn a_remove_ends_it_for_the_requests_that_have_it() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    let session = find(&core, &key_of(&session), 1, &mut Outbox::default()).expect("here");
    let remove = |key: &str| MapMessage::of_key(MapKind::Remove, &map(), key);
    hear(&core, TOMCAT, remove(&format!("{}.T", key_of(&session))), 2);
    assert!(!session.is_ended(), "another route is another session");
    hear(&core, TOMCAT, remove(&key_of(&session)), 2);
    assert!(session.is_ended() && session.set("k", 1).is_err());
    let mut out = Outbox::default();
    core.commit(&session, true, at(3), &mut out);
    assert!(out.is_empty());
    assert_eq!(core.status().active, 0);
}

#[test]
fn a_new_id_is_a_new_session() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let (old, backup) = (key_of(&session), told(&out)[0].0[0]);
    let session = find(&core, &old, 1, &mut Outbox::default()).expect("here");
    let mut out = Outbox::default();
    core.change_id(&session, at(1), &mut out).expect("alive");
    let told = told(&out);
    let kinds: Vec<_> = told.iter().map(|(_, m)| m.kind).collect();
    assert_eq!(kinds, [MapKind::Remove, MapKind::Backup, MapKind::Proxy]);
    assert_eq!(told[0].1.key.as_deref(), Some(&*old));
    assert_eq!(told[1].1.key.as_deref(), Some(&*key_of(&session)));
    assert_eq!((told[0].0.len(), told[1].0[0]), (2, backup));

    // The route is a part of the id.
    let suffix = Suffix::new(None, Some("A")).expect("a route");
    let routed = with(CoreConfig { suffix, ..config() }, &[TOMCAT]);
    let key = format!("{KEY}.T");
    let message = about(MapKind::Backup, &key, TOMCAT, ME);
    hear(
        &routed,
        TOMCAT,
        message.with_session(&whole(&key, &[], 0)).0,
        0,
    );
    let mut out = Outbox::default();
    let session = find(&routed, &key, 1, &mut out).expect("here");
    assert_eq!(session.id().to_string(), format!("{KEY}.A"));
    let keys: Vec<_> = self::told(&out)
        .into_iter()
        .map(|(_, m)| (m.kind, m.key.expect("a key")))
        .collect();
    let expected = [
        (MapKind::Remove, key),
        (MapKind::Backup, format!("{KEY}.A")),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn idle_sessions_end_for_all() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    backed_up(&core, &[("k", "v")], 0);
    let late = 1_800_000;
    let mut out = Outbox::default();
    core.sweep(at(late), &mut out);
    assert_eq!(
        kinds(&out),
        [(MapKind::Remove, vec![TOMCAT])],
        "the other is the Tomcat's to end"
    );
    assert_eq!(told(&out)[0].1.key.as_deref(), Some(&*key_of(&session)));
    assert!(
        find(&core, KEY, late, &mut Outbox::default()).is_none(),
        "but it is not served"
    );
    assert_eq!(core.status().active, 1);
    core.sweep(at(2 * late), &mut out);
    assert_eq!(core.status().active, 0);
}
