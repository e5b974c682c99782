//! Primary, backup and proxies: who has a session, and what is told when it is used.

use super::*;

#[test]
fn a_new_session_goes_whole_to_one_and_the_others_hear_where_it_is() {
    let core = core(&[TOMCAT, OTHER, NATIVE]);
    let mut backups = Vec::new();
    for _ in 0..3 {
        let (session, out) = made(&core, 1);
        let told = told(&out);
        let [(backup, whole), (proxies, proxy)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((whole.kind, proxy.kind), (MapKind::Backup, MapKind::Proxy));
        let sent = whole.session().expect("readable").expect("a session");
        assert_eq!(sent.id, key_of(&session));
        assert_eq!(sent.attributes, [("k".to_owned(), "v".into())]);
        for message in [whole, proxy] {
            assert_eq!(message.primary, Some(member(ME)));
            assert_eq!(message.nodes.as_deref(), Some(&[member(backup[0])][..]));
        }
        assert_eq!((backup.len(), proxies.len()), (1, 2));
        assert!(!proxies.contains(&backup[0]));
        backups.push(backup[0]);

        // Only what changed, and only to the backup.
        let mut out = Outbox::default();
        let session = find(&core, &key_of(&session), 2, &mut out).expect("here");
        session.set("k", "w").expect("alive");
        core.commit(&session, true, at(2), &mut out);
        let told = self::told(&out);
        assert_eq!((told.len(), &told[0].0), (1, backup));
        let (delta, _) = Delta::decode(told[0].1.diff.as_deref().expect("a difference"));
        assert_eq!(delta.actions, [Action::IsNew(false), set("k", "w")]);
    }
    backups.sort_unstable();
    assert_eq!(backups, [NATIVE, TOMCAT, OTHER], "they take turns");
}

#[test]
fn use_is_told_a_few_times_per_interval() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    for (millis, count) in [(2_000, 0), (602_000, 1), (603_000, 0)] {
        let mut out = Outbox::default();
        let session = find(&core, &key_of(&session), millis, &mut out).expect("here");
        core.commit(&session, true, at(millis), &mut out);
        core.tick(at(millis), &mut out);
        publish(&core, &mut out, millis);
        let access = (MapKind::Access, vec![TOMCAT]);
        assert_eq!(kinds(&out), vec![access; count], "{millis}");
    }
}

#[test]
fn a_backup_that_serves_is_the_primary() {
    let core = core(&[TOMCAT, OTHER]);
    assert!(told(&backed_up(&core, &[("k", "v"), ("gone", "x")], 0)).is_empty());
    hear(
        &core,
        TOMCAT,
        diff(
            KEY,
            TOMCAT,
            ME,
            vec![set("k", "w"), Action::Removed("gone".into())],
        ),
        1,
    );
    let mut out = Outbox::default();
    let session = find(&core, KEY, 2, &mut out).expect("here");
    assert_eq!(session.get("k"), Some("w".into()));
    assert_eq!(session.get("gone"), None);
    // The former primary has it mostly: it is the backup.
    let told = told(&out);
    assert_eq!(
        kinds(&out),
        [
            (MapKind::Backup, vec![TOMCAT]),
            (MapKind::Proxy, vec![OTHER])
        ]
    );
    assert_eq!(
        told[0]
            .1
            .session()
            .expect("readable")
            .expect("a session")
            .attributes
            .len(),
        1
    );
    let mut out = Outbox::default();
    find(&core, KEY, 3, &mut out).expect("here");
    assert!(out.is_empty(), "it stays");

    // And is it no more when another one says so.
    hear(&core, OTHER, about(MapKind::Proxy, KEY, OTHER, TOMCAT), 4);
    drop(session);
    core.tick(at(5), &mut Outbox::default());
    assert!(find(&core, KEY, 6, &mut Outbox::default()).is_none());
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(
        core.holders(asked.key),
        [OTHER, TOMCAT],
        "the primary first"
    );
}

#[test]
fn a_proxy_fetches_the_session() {
    let core = core(&[TOMCAT, OTHER, NATIVE]);
    hear(&core, TOMCAT, about(MapKind::Proxy, KEY, TOMCAT, OTHER), 0);
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert!(find(&core, KEY, 1, &mut Outbox::default()).is_none());
    let holders = core.holders(asked.key);
    assert_eq!(holders, [TOMCAT, OTHER]);
    let (name, question) = core.ask_for_session(&asked, &OTHER, at(1)).expect("asked");
    assert!(core.is_open(&name));
    let Some(Ok(Said::Rpc(rpc))) = Said::decode(&question) else {
        panic!("no question");
    };
    let RpcBody::Ask(retrieve) = rpc.body.clone() else {
        panic!("{rpc:?}");
    };
    assert_eq!(
        (retrieve.kind, retrieve.key.as_deref()),
        (MapKind::Retrieve, Some(KEY))
    );
    let (answer, failed) = retrieve.with_session(&whole(KEY, &[("k", "v")], 1));
    assert!(failed.is_empty());
    let said = Said::Rpc(rpc.answered(reply(answer)));
    let mut out = Outbox::default();
    core.receive_map(&TOMCAT, said.clone(), at(2), &mut out);
    assert!(core.is_open(&name), "somebody else was asked");
    core.receive_map(&OTHER, said.clone(), at(2), &mut out);
    assert!(!core.is_open(&name) && core.holders(asked.key).is_empty());
    let session = find(&core, KEY, 3, &mut out).expect("fetched");
    assert_eq!(session.get("k"), Some("v".into()));
    assert_eq!(
        kinds(&out),
        [
            (MapKind::Notify, vec![OTHER]),
            (MapKind::Proxy, vec![TOMCAT, NATIVE]),
        ]
    );
    assert!(
        told(&out)
            .iter()
            .all(|(_, m)| m.primary == Some(member(ME)) && m.nodes == Some(vec![member(OTHER)]))
    );
    // An answer that nobody asked for any more changes nothing.
    session.set("k", "w").expect("alive");
    core.receive_map(&OTHER, said, at(4), &mut Outbox::default());
    assert_eq!(session.get("k"), Some("w".into()));
}

#[test]
fn a_difference_for_a_session_that_is_not_here_makes_it_ask() {
    let core = core(&[TOMCAT]);
    let out = hear(&core, TOMCAT, diff(KEY, TOMCAT, ME, vec![set("k", "w")]), 0);
    assert_eq!(sent(&out)[0].0, [TOMCAT]);
    assert!(find(&core, KEY, 1, &mut Outbox::default()).is_none());
    // One that ended meanwhile.
    let late = KEY.replace('A', "B");
    let lost = hear(
        &core,
        TOMCAT,
        diff(&late, TOMCAT, ME, vec![set("k", "w")]),
        0,
    );
    let asked = AskedId::parse(late.as_bytes()).expect("an id");
    assert_eq!(core.holders(asked.key), [TOMCAT]);
    answer(&core, &lost, |_| RpcBody::Reply(None), 1);
    assert!(core.holders(asked.key).is_empty());
    let session = whole(KEY, &[("k", "w"), ("other", "x")], 0);
    answer(
        &core,
        &out,
        |question| reply(question.with_session(&session).0),
        1,
    );
    let session = find(&core, KEY, 2, &mut Outbox::default()).expect("here");
    assert_eq!(session.get("other"), Some("x".into()));
}

#[test]
fn what_was_changed_while_another_became_the_primary_goes_there() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = key_of(&session);
    let backup = told(&out)[0].0[0];
    let session = find(&core, &key, 1, &mut Outbox::default()).expect("here");
    session.set("late", "x").expect("alive");
    let other = if backup == TOMCAT { OTHER } else { TOMCAT };
    hear(&core, other, about(MapKind::Proxy, &key, other, backup), 2);
    let mut out = Outbox::default();
    core.commit(&session, true, at(3), &mut out);
    let told = told(&out);
    assert_eq!((told.len(), &told[0].0[..]), (1, &[other][..]));
    let message = &told[0].1;
    assert_eq!(message.primary, Some(member(other)));
    assert_eq!(message.nodes, Some(vec![member(backup)]));
    let (delta, _) = Delta::decode(message.diff.as_deref().expect("a difference"));
    assert_eq!(delta.actions, [Action::IsNew(false), set("late", "x")]);

    // The other way round: the backup gets what came late.
    let core = self::core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = key_of(&session);
    let backup = self::told(&out)[0].0[0];
    let out = hear(
        &core,
        OTHER,
        diff(&key, ME, backup, vec![set("late", "x")]),
        1,
    );
    let told = self::told(&out);
    assert_eq!(
        (told[0].1.kind, told[1].1.kind),
        (MapKind::Backup, MapKind::Proxy)
    );
    let sent = told[0].1.session().expect("readable").expect("a session");
    assert!(sent.attributes.contains(&("late".to_owned(), "x".into())));
    assert_eq!(session.get("late"), Some("x".into()));
}

#[test]
fn sessions_get_a_backup_when_there_is_one() {
    let core = core(&[]);
    let (session, out) = made(&core, 0);
    assert!(out.map.is_empty());
    core.member_added(Peer::of(&member(TOMCAT)), at(1));
    let start = MapMessage::new(MapKind::Start, &map(), Some(member(TOMCAT)));
    let (_, sent) = ask(&core, TOMCAT, start.clone(), 1);
    let [(to, Said::Map(backup))] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((&to[..], backup.kind), (&[TOMCAT][..], MapKind::Backup));
    assert_eq!(backup.key.as_deref(), Some(&*key_of(&session)));
    assert_eq!(core.cluster_status().rules, "tomcat");
    // Once.
    assert!(ask(&core, TOMCAT, start, 2).1.is_empty());

    // A backup that stops, or dies, is replaced; a primary too, by its backup.
    core.member_added(Peer::of(&member(OTHER)), at(3));
    let start = MapMessage::new(MapKind::Start, &map(), Some(member(OTHER)));
    assert!(ask(&core, OTHER, start, 3).1.is_empty(), "it has one");
    backed_up(&core, &[("k", "v")], 4);
    hear(
        &core,
        TOMCAT,
        MapMessage::new(MapKind::Stop, &map(), Some(member(TOMCAT))),
        5,
    );
    let out = tick(&core, 6);
    let mut keys: Vec<_> = told(&out)
        .into_iter()
        .map(|(to, m)| {
            assert_eq!((&to[..], m.kind), (&[OTHER][..], MapKind::Backup));
            m.key.expect("a key")
        })
        .collect();
    keys.sort();
    let mut all = vec![KEY.to_owned(), key_of(&session)];
    all.sort();
    assert_eq!(keys, all);

    // The last Tomcat is gone: our own rules hold, and nothing is lost.
    core.member_removed(&TOMCAT, at(7), &mut Outbox::default());
    core.member_removed(&OTHER, at(7), &mut Outbox::default());
    assert_eq!(core.cluster_status().rules, "native");
    for key in [KEY, &key_of(&session)] {
        assert!(find(&core, key, 8, &mut Outbox::default()).is_some());
    }
}

#[test]
fn what_did_not_arrive_is_sent_again() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let key = out.map[0].backs_up.expect("it is a backup");
    assert_eq!(key, session.id().key);
    core.backup_failed(key);
    let out = tick(&core, 500);
    assert_eq!(kinds(&out)[0].0, MapKind::Backup);
    let backup = told(&out)[0].0[0];
    core.lost(&backup, at(600));
    let out = tick(&core, 1_000);
    assert_eq!(
        kinds(&out)[0].0,
        MapKind::Backup,
        "it lost what was queued for it"
    );
    let out = tick(&core, 1_500);
    assert!(out.is_empty());
}

/// A session that is about to get another backup is changed: the change goes with it, once.
#[test]
fn what_changes_meanwhile_is_not_overtaken() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let (key, backup) = (session.id().key, told(&out)[0].0[0]);
    core.member_removed(&backup, at(1), &mut Outbox::default());
    let mut waiting = Outbox::default();
    core.tick(at(2), &mut waiting);
    assert_eq!((&waiting.publish[..], waiting.map.len()), (&[key][..], 0));
    let mut out = Outbox::default();
    let session = find(&core, &key.to_string(), 3, &mut out).expect("here");
    session.set("k", "later").expect("alive");
    core.commit(&session, true, at(3), &mut out);
    let whole = told(&out)[0].1.session().expect("readable");
    assert_eq!(
        whole.expect("whole").attributes,
        [("k".to_owned(), "later".into())]
    );
    assert!(core.publish_orphan(key, at(4)).is_empty(), "it has one now");
}

/// A Tomcat that hears of use from a former primary takes it for the primary.
#[test]
fn use_is_not_told_by_a_former_primary() {
    let core = core(&[TOMCAT]);
    let (session, _) = made(&core, 0);
    let key = session.id().key.to_string();
    let mut out = Outbox::default();
    find(&core, &key, 700_000, &mut out).expect("here");
    core.tick(at(700_000), &mut out);
    assert_eq!(out.used, [session.id().key]);
    hear(
        &core,
        TOMCAT,
        about(MapKind::Notify, &key, TOMCAT, ME),
        700_001,
    );
    publish(&core, &mut out, 700_002);
    assert!(out.is_empty());
}

/// Who is told where all sessions are is not told that it is none of its own.
#[test]
fn a_backup_is_not_told_that_it_is_a_proxy() {
    let core = core(&[TOMCAT, OTHER]);
    let (session, out) = made(&core, 0);
    let backup = told(&out)[0].0[0];
    let other = if backup == TOMCAT { OTHER } else { TOMCAT };
    let key = session.id().key;
    assert_eq!(core.entry_of(key, &backup), None);
    let entry = MapMessage::decode(&core.entry_of(key, &other).expect("told")).expect("ours");
    assert_eq!(
        (entry.kind, entry.nodes),
        (MapKind::Proxy, Some(vec![member(backup)]))
    );
    // Nor is what is the other's to tell.
    backed_up(&core, &[("k", "v")], 1);
    let asked = AskedId::parse(KEY.as_bytes()).expect("an id");
    assert_eq!(core.entry_of(asked.key, &OTHER), None);
}
