//! What msm keeps in its nodes: settings under its names, and records that a real msm stored.

use appserver::manager::msm::attributes::{self, AttributesError};
use appserver::manager::msm::key::{self, Kind};
use appserver::manager::msm::prefix::{KeyPrefix, PrefixRule};
use appserver::manager::msm::record::{LogIn, Record, RecordError};
use appserver::manager::msm::settings::{Behaviour, LockingMode, MsmSettings, Secret};
use appserver::manager::msm::validity::Validity;
use appserver::session::attributes::Attributes;
use appserver::session::{Foreign, Timestamp, Value};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The session page's session right after its first request.
const CREATED: &str = "00020057000001a2058c0f1c000001a2058c0f1c000007083131000001a2058c0f1e000001a2058c0f1f002333303545314436363137373736413043333932333434363037413137354646382d6e310000000000000000aced0005737200116a6176612e6c616e672e496e746567657212e2a0a4f781873802000149000576616c7565787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b020000787000000001740004426c6f677400044d655850";

/// The same session after another server set one more attribute.
const CHANGED: &str = "00020057000001a2058c0f1c000001a2058c16a2000007083031000001a2058c16a2000001a2058c16a2002333303545314436363137373736413043333932333434363037413137354646382d6e310000000000000000aced0005737200116a6176612e6c616e672e496e746567657212e2a0a4f781873802000149000576616c7565787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b020000787000000002740004426c6f677400044d6558507400016e7400027631";

fn of(pairs: &[(&str, Value)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in pairs {
        attributes.set(name, value).expect("small");
    }
    attributes
}

#[test]
fn records_of_msm_are_read_and_written_back_the_same() {
    let created = Timestamp(1_795_389_394_716);
    for (hex, last, is_new, this, backup, pairs) in [
        (
            CREATED,
            created.0,
            true,
            1_795_389_394_718,
            1_795_389_394_719,
            &[("Blog", Value::from("MeXP"))][..],
        ),
        (
            CHANGED,
            1_795_389_396_642,
            false,
            1_795_389_396_642,
            1_795_389_396_642,
            &[("Blog", Value::from("MeXP")), ("n", Value::from("v1"))],
        ),
    ] {
        let stored = bytes(hex);
        let record = Record::decode(&stored).expect("a record of msm");
        let expected = Record {
            created,
            last_accessed: Timestamp(last),
            interval: 1800,
            is_new,
            is_valid: true,
            this_accessed: Timestamp(this),
            last_backup: Timestamp(backup),
            id: "305E1D6617776A0C392344607A175FF8-n1",
            log_in: LogIn::None,
            principal: &[],
            saved_request: &[],
            saved_principal: &[],
            extension: &[],
            attributes: &stored[87..],
        };
        assert_eq!(record, expected);
        assert_eq!(record.encode().as_ref(), Ok(&stored));
        let attributes = attributes::decode(record.attributes).expect("Java");
        assert_eq!(attributes, of(pairs));
        let again = attributes::encode(&attributes, |_| true).expect("plain");
        assert_eq!(again, record.attributes);
    }
}

#[test]
fn the_four_items_of_a_session_are_those_that_msm_stored() {
    const ID: &str = "305E1D6617776A0C392344607A175FF8-n1";
    const VALIDITY: &str = "00000708000001a2058c0f1c000001a2058c0f1e";
    for (kind, name, value) in [
        (Kind::Session, ID.to_owned(), CREATED),
        (Kind::Validity, format!("validity:{ID}"), VALIDITY),
        (Kind::Backup, format!("bak:{ID}"), CREATED),
        (Kind::BackupValidity, format!("bak:validity:{ID}"), VALIDITY),
    ] {
        let prefix = KeyPrefix::default();
        let (found, id) = key::parse(name.as_bytes(), &prefix).expect("a key of msm");
        let id = id.confirmed().expect("an id of msm");
        assert_eq!((found, id.to_string().as_str()), (kind, ID));
        assert_eq!(key::key(kind, &prefix, id).as_str(), name);
        let stored = bytes(value);
        let written = match Validity::decode(&stored) {
            Some(validity) => validity.encode().to_vec(),
            None => {
                let record = Record::decode(&stored).expect("a record of msm");
                assert_eq!(record.id, ID);
                record.encode().expect("as it was")
            }
        };
        assert_eq!(written, stored, "{name}");
    }
}

#[test]
fn the_first_version_is_read_and_what_tomcat_needs_is_kept() {
    let stored = bytes(CREATED);
    let record = Record::decode(&stored).expect("valid");
    let logged_in = Record {
        log_in: LogIn::Form,
        principal: b"who",
        saved_request: b"what",
        saved_principal: b"again",
        extension: b"beyond",
        ..record.clone()
    };
    let encoded = logged_in.encode().expect("short");
    assert_eq!(Record::decode(&encoded).as_ref(), Ok(&logged_in));

    let mut first = stored.clone();
    first[1] = 1;
    first[3] -= 4;
    first.drain(83..87);
    assert_eq!(Record::decode(&first).as_ref(), Ok(&record));
}

#[test]
fn damaged_records_are_refused_by_part() {
    let stored = bytes(CREATED);
    for end in 0..87 {
        assert!(Record::decode(&stored[..end]).is_err(), "cut at {end}");
    }
    for (at, byte, error) in [
        (1, 3, RecordError::Version(3)),
        (2, 0xFF, RecordError::Truncated),
        (3, 86, RecordError::Truncated),
        (4, 0x80, RecordError::Field("creation time")),
        (24, 2, RecordError::Field("mark for new sessions")),
        (25, b'x', RecordError::Field("mark for valid sessions")),
        (50, 0xFF, RecordError::Field("id")),
        (80, 5, RecordError::Field("kind of log in")),
    ] {
        let mut damaged = stored.clone();
        damaged[at] = byte;
        assert_eq!(Record::decode(&damaged), Err(error), "{at}");
    }
    let record = Record::decode(&stored).expect("valid");
    let large = vec![0; 32_768];
    let too_long = Record {
        saved_request: &large,
        ..record
    };
    assert_eq!(
        too_long.encode(),
        Err(RecordError::TooLong {
            what: "saved request",
            len: 32_768
        })
    );
}

#[test]
fn attributes_are_refused_with_what_is_wrong() {
    let stored = bytes(CREATED);
    let stream = &stored[87..];
    let refused = |bytes: &[u8]| attributes::decode(bytes).expect_err("refused").to_string();
    let mut more = stream.to_vec();
    more.push(0x70);
    assert!(
        refused(&more).contains("more data where the end"),
        "{}",
        refused(&more)
    );
    let mut count = stream.to_vec();
    let at = count.len() - 15;
    assert_eq!(count[at], 1);
    count[at] = 2;
    assert!(refused(&count).contains("the end where an attribute's name"));
    assert!(refused(b"\xAC\xED\0\x05\x74\0\x01a").contains("java.lang.String where the number"));
    assert!(refused(b"\xAC\xED\0\x05\x70").contains("null where the number"));
    let long = [b"\x74\x01\0", "n".repeat(256).as_bytes(), b"\x74\0\x01v"].concat();
    let long = [&stream[..stream.len() - 14], &long].concat();
    assert!(matches!(
        attributes::decode(&long),
        Err(AttributesError::Attribute { .. })
    ));
    for end in 0..stream.len() {
        assert!(attributes::decode(&stream[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn only_the_attributes_that_the_filter_lets_through_are_stored() {
    let settings = settings("sessionAttributeFilter = '^(user|n)$'").expect("valid");
    let all = of(&[("user", "u".into()), ("other", 1.into()), ("n", 2.into())]);
    let stored = attributes::encode(&all, |name| settings.stores(name)).expect("plain");
    let found = attributes::decode(&stored).expect("just written");
    assert_eq!(found, of(&[("user", "u".into()), ("n", 2.into())]));
    assert!(MsmSettings::default().stores("anything"));
}

fn foreign(class: &str, hex: &str) -> Just<Value> {
    Just(Value::Foreign(Foreign {
        class: class.into(),
        stream: bytes(hex),
    }))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::String),
        any::<i32>().prop_map(Value::Integer),
        any::<i64>().prop_map(Value::Long),
        any::<bool>().prop_map(Value::Boolean),
        (-1e300..1e300).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        // An empty java.util.LinkedList and a java.lang.Float.
        foreign(
            "java.util.LinkedList",
            "aced0005737200146a6176612e7574696c2e4c696e6b65644c6973740c29535d4a60882203000078707704000000\
             0078",
        ),
        foreign(
            "java.lang.Float",
            "aced00057372000f6a6176612e6c616e672e466c6f6174daedc9a2db3cf0ec02000146000576616c7565787200106a\
             6176612e6c616e672e4e756d62657286ac951d0b94e08b0200007870bf000000",
        ),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        let plain = inner.prop_filter("a list of foreign objects is foreign", |v| {
            !matches!(v, Value::Foreign(_))
        });
        prop::collection::vec(plain, 0..5).prop_map(Value::List)
    })
}

proptest! {
    #[test]
    fn any_attributes_come_back(pairs in prop::collection::btree_map("[a-zä]{1,9}", any_value(), 0..8)) {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        let all = of(&pairs);
        let stored = attributes::encode(&all, |_| true).expect("writable");
        prop_assert_eq!(attributes::decode(&stored), Ok(all));
    }

    #[test]
    fn any_validity_comes_back(interval: i32, last in 0u64..1 << 62, this in 0u64..1 << 62) {
        let (last_accessed, this_accessed) = (Timestamp(last), Timestamp(this));
        let validity = Validity { interval, last_accessed, this_accessed };
        prop_assert_eq!(Validity::decode(&validity.encode()), Some(validity));
    }

    #[test]
    fn any_key_comes_back(id in "[0-9A-F]{32}(-[a-z0-9]{1,9})?(\\.[a-zA-Z0-9]{1,9})?", kind in 0usize..5, prefix in prop::option::of("[a-z]{1,9}")) {
        let rule = prefix.map_or_else(PrefixRule::default, |text| format!("static:{text}").parse().expect("a rule"));
        let (kind, prefix) = (Kind::ALL[kind], rule.prefix("localhost", "/jsp"));
        let name = key::key(kind, &prefix, &id);
        let (found, asked) = key::parse(name.as_bytes(), &prefix).expect("a key");
        let again = asked.confirmed().expect("an id").to_string();
        prop_assert_eq!((found, again), (kind, id));
    }

    #[test]
    fn any_record_comes_back(interval: i32, times in prop::array::uniform4(0u64..1 << 62), new: bool, id in "[0-9A-F]{32}(-n1)?", log_in in 0usize..5, parts in prop::array::uniform5(prop::collection::vec(any::<u8>(), 0..50))) {
        let record = Record {
            created: Timestamp(times[0]),
            last_accessed: Timestamp(times[1]),
            interval,
            is_new: new,
            is_valid: !new,
            this_accessed: Timestamp(times[2]),
            last_backup: Timestamp(times[3]),
            id: &id,
            log_in: [LogIn::None, LogIn::Basic, LogIn::ClientCert, LogIn::Digest, LogIn::Form][log_in],
            principal: &parts[0],
            saved_request: &parts[1],
            saved_principal: &parts[2],
            extension: &parts[3],
            attributes: &parts[4],
        };
        let bytes = record.encode().expect("short");
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn damaged_records_are_refused_or_written_the_same(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = bytes(CHANGED);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(record) = Record::decode(&bytes) {
            if bytes[1] == 2 {
                prop_assert_eq!(record.encode(), Ok(bytes.clone()));
            }
            let _ = attributes::decode(record.attributes);
        }
    }
}

/// Settings from TOML, checked.
fn settings(toml: &str) -> Result<MsmSettings, String> {
    let settings: MsmSettings = toml::from_str(toml).map_err(|e| e.to_string())?;
    let contexts = ["/jsp".to_owned(), "/test".to_owned()];
    let checked = settings.check("localhost", &contexts, "WEB1");
    checked.map_err(|e| e.to_string())?;
    Ok(settings)
}

#[test]
fn the_articles_settings_are_the_defaults() {
    let article = settings(
        r#"
        memcachedNodes = "n1:192.168.23.180:11211,n2:192.168.23.181:11211"
        sticky = false
        sessionBackupAsync = false
        lockingMode = "uriPattern:/path1|/path2"
        requestUriIgnorePattern = '.*\.(ico|png|gif|jpg|css|js)$'
        "#,
    );
    assert_eq!(article, Ok(MsmSettings::default()));
    let sticky = settings(
        r#"
        memcachedNodes = "n1:a:11211 n2:b:11211"
        sticky = true
        failoverNodes = "n1"
        lockingMode = "none"
        requestUriIgnorePattern = ""
        behaviour = "msm"
        enabled = false
        "#,
    )
    .expect("valid");
    assert_eq!(sticky.locking_mode, LockingMode::None);
    assert_eq!(sticky.behaviour, Behaviour::Msm);
    assert_eq!(sticky.failover_places(), Ok(vec![0]));
    assert!(!sticky.request_uri_ignore_pattern.is_set());
}

#[test]
fn settings_are_written_as_they_are_read_and_passwords_are_not() {
    let given = toml::from_str(
        "memcachedProtocol = 'binary'\nusername = 'u'\npassword = 'secret'\nstorageKeyPrefix = 'static:a,host'\nlockingMode = 'auto'",
    );
    let mut given: MsmSettings = given.expect("valid");
    let toml = toml::to_string(&given).expect("TOML");
    assert!(!toml.contains("secret"), "{toml}");
    let told = format!("{given:?}");
    assert!(!told.contains("secret"), "{told}");
    let again: MsmSettings = toml::from_str(&toml).expect("what was written");
    given.password = Secret::default();
    assert_eq!(again, given);
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for (toml, message) in [
        ("memcachedNode = 'n1:a:1'", "memcachedNode"),
        ("currentValveExpressions = 'x'", "currentValveExpressions"),
        ("memcachedNodes = 'a:11211'", "`a:11211` is no node"),
        ("memcachedNodes = ''", "names no node"),
        ("memcachedNodes = 'redis://a'", "no memcached"),
        ("sticky = 'yes'", "sticky"),
        ("failoverNodes = 'n1'", "needs sticky"),
        ("sticky = true\nfailoverNodes = 'n3'", "`n3` is none of"),
        (
            "sticky = true\nfailoverNodes = 'n1,n2'",
            "all of memcachedNodes",
        ),
        ("sticky = true\nfailoverNodes = 'n1 n1'", "twice"),
        (
            "sticky = true\nmemcachedNodes = 'n1:a:1'\nfailoverNodes = 'n1'",
            "all of",
        ),
        ("sessionBackupTimeout = 0", "sessionBackupTimeout = 0"),
        ("operationTimeout = 60001", "1 to 60000"),
        ("lockExpiration = -1", "lockExpiration"),
        ("backupThreadCount = 5000", "backupThreadCount = 5000"),
        ("lockingMode = 'some'", "`some` is unknown"),
        ("lockingMode = 'uriPattern:'", "is unknown"),
        ("lockingMode = 'uriPattern:('", "no regular expression"),
        ("lockingMode = 'app'\nbehaviour = 'msm'", "does not start"),
        ("requestUriIgnorePattern = '(?=x)'", "look-around"),
        ("sessionAttributeFilter = '['", "no regular expression"),
        ("storageKeyPrefix = 'contxt'", "`contxt` is unknown"),
        ("storageKeyPrefix = 'static:www.example'", "host.hash"),
        ("memcachedProtocol = 'ascii'", "memcachedProtocol"),
        ("username = 'u'\npassword = 'p'", "binary"),
        (
            "username = 'u'\nmemcachedProtocol = 'binary'",
            "belong together",
        ),
        (
            "transcoderFactoryClass = 'de.javakaffee.web.msm.serializer.kryo.KryoTranscoderFactory'",
            "only de.javakaffee",
        ),
        ("enabled = false", "needs sticky"),
        ("behaviour = 'better'", "behaviour"),
        (
            "lockingMode = 'merge'\nbehaviour = 'msm'",
            "use behaviour = safe",
        ),
        ("lockTimeout = 0", "lockTimeout = 0"),
        ("lockOnTimeout = 'never'", "lockOnTimeout"),
        (
            "memcachedProtocol = 'binary'\nusername = \"a\\u0000b\"\npassword = 'p'",
            "no zero byte",
        ),
    ] {
        let refused = settings(toml).expect_err(toml);
        assert!(
            refused.contains(message),
            "{toml}: {refused:?} does not say {message:?}"
        );
    }
    let long = MsmSettings::default().check("localhost", &["/jsp".into()], &"r".repeat(250));
    assert!(
        long.expect_err("too long")
            .to_string()
            .contains("memcached takes 250")
    );
}
