//! Java's object streams against what the JDK and a Tomcat wrote (`java/vectors.txt`, `java/tomcat.txt`), and against bytes
//! that nobody should have written.

use appserver::java::{Heap, JavaError, JavaText, Known, Limits, Reader, Ref, View, Writer};
use appserver::session::{Foreign, Value};
use proptest::prelude::*;

/// Name and bytes of each stream that the JDK wrote.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    parse(include_str!("java/vectors.txt"))
}

fn parse(lines: &'static str) -> Vec<(&'static str, Vec<u8>)> {
    let vector = |line: &'static str| {
        let (name, hex) = line.split_once(' ').expect("name and hex");
        let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
        (name, (0..hex.len()).step_by(2).map(byte).collect())
    };
    lines.lines().map(vector).collect()
}

fn vector(name: &str) -> Vec<u8> {
    let mut vectors = vectors().into_iter();
    vectors.find(|v| v.0 == name).expect(name).1
}

fn written(heap: &Heap, object: Option<Ref>) -> Vec<u8> {
    let mut writer = Writer::new(heap);
    writer.object(object);
    writer.finish()
}

fn one(bytes: &[u8]) -> Result<(Heap, Option<Ref>), JavaError> {
    let mut reader = Reader::new(bytes, Limits::default())?;
    let object = reader.object()?;
    Ok((reader.into_heap(), object))
}

#[test]
fn what_the_jdk_wrote_is_written_back_the_same() {
    let mut objects = 0;
    for (name, bytes) in vectors() {
        if name.starts_with("block_data") || name == "reset" {
            continue;
        }
        let mut reader = Reader::new(&bytes, Limits::default()).expect(name);
        let mut all = Vec::new();
        while !reader.is_end() {
            all.push(reader.object().unwrap_or_else(|e| panic!("{name}: {e}")));
        }
        let heap = reader.into_heap();
        let mut writer = Writer::new(&heap);
        all.into_iter().for_each(|object| writer.object(object));
        assert_eq!(writer.finish(), bytes, "{name}");
        objects += 1;
    }
    assert!(objects > 45, "{objects}");
}

#[test]
fn objects_mean_what_they_mean_in_java() {
    let text = |text: &str| format!("{:?}", View::Text(&JavaText::new(text)));
    let bytes: Vec<u8> = (0..300u32).map(|i| (i * 7) as u8).collect();
    for (name, meaning) in [
        ("string_empty", text("")),
        ("string_ascii", text("MeXP")),
        ("string_modified_utf8", text("héllo 世界 \0 😀")),
        ("integer", "Integer(1800)".into()),
        ("integer_min", "Integer(-2147483648)".into()),
        ("long", "Long(123456789012)".into()),
        ("boolean_true", "Boolean(true)".into()),
        ("boolean_false", "Boolean(false)".into()),
        ("double", "Double(3.25)".into()),
        ("double_nan", "Double(NaN)".into()),
        ("float", "Float(-0.5)".into()),
        ("short", "Short(-2)".into()),
        ("byte", "Byte(-3)".into()),
        ("character", "Character(8364)".into()),
        ("date", "Date(1795389394716)".into()),
        ("bytes", format!("{:?}", View::Bytes(&bytes))),
        ("bytes_empty", "Bytes([])".into()),
        ("array_short", "Primitives(Shorts, [0, 1, 255, 254])".into()),
        ("array_boolean", "Primitives(Booleans, [1, 0])".into()),
        ("array_list_empty", "List(ArrayList, [])".into()),
        ("cycle", "List(ArrayList, [Some(Ref(0))])".into()),
        ("hash_map_empty", "Map(HashMap, [])".into()),
        ("hash_set_empty", "Set(HashSet, [])".into()),
        ("tree_map_reverse", "Other".into()),
        ("externalizable", "Other".into()),
        ("class", "Other".into()),
        ("immutable", "Other".into()),
    ] {
        let (heap, object) = one(&vector(name)).expect(name);
        let object = object.expect("not null");
        assert_eq!(format!("{:?}", heap.view(object)), meaning, "{name}");
    }
    for (name, class, len) in [
        ("array_list", Known::ArrayList, 7),
        ("linked_list", Known::LinkedList, 2),
        ("hash_map", Known::HashMap, 41),
        ("linked_hash_map", Known::LinkedHashMap, 13),
        ("tree_map", Known::TreeMap, 2),
        ("hash_set", Known::HashSet, 5),
        ("hash_set_grown", Known::HashSet, 20),
        ("linked_hash_set", Known::LinkedHashSet, 3),
        ("tree_set", Known::TreeSet, 2),
    ] {
        let (heap, object) = one(&vector(name)).expect(name);
        let found = match heap.view(object.expect("not null")) {
            View::List(class, items) | View::Set(class, items) => (class, items.len()),
            View::Map(class, pairs) => (class, pairs.len()),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(found, (class, len), "{name}");
    }
}

/// Builds on an empty heap what the vector of that name holds.
type Build = fn(&mut Heap) -> Ref;

#[test]
fn what_is_built_here_is_written_as_the_jdk_writes_it() {
    let builds: &[(&str, Build)] = &[
        ("string_modified_utf8", |h| h.text("héllo 世界 \0 😀")),
        ("integer", |h| h.integer(1800)),
        ("long", |h| h.long(123_456_789_012)),
        ("boolean_true", |h| h.boolean(true)),
        ("double", |h| h.double(3.25)),
        ("float", |h| h.float(-0.5)),
        ("short", |h| h.short(-2)),
        ("byte", |h| h.byte(-3)),
        ("character", |h| h.character(0x20AC)),
        ("date", |h| h.date(1_795_389_394_716)),
        ("bytes", |h| {
            h.bytes(&(0..300u32).map(|i| (i * 7) as u8).collect::<Vec<_>>())
        }),
        ("array_string", |h| {
            let a = Some(h.text("a"));
            h.strings(&[a, None, a])
        }),
        ("array_object", |h| {
            let items = [
                Some(h.text("a")),
                Some(h.integer(1)),
                None,
                Some(h.bytes(&[1])),
            ];
            h.objects(&items)
        }),
        ("array_list_empty", |h| h.array_list(&[])),
        ("array_list", |h| {
            let (a, one) = (Some(h.text("a")), Some(h.integer(1)));
            let items = [
                a,
                one,
                Some(h.long(2)),
                Some(h.boolean(true)),
                Some(h.double(2.5)),
            ];
            let again = [a, Some(h.integer(1))];
            h.array_list(&[&items[..], &again].concat())
        }),
        ("array_list_nested", |h| {
            let x = h.text("x");
            let (first, empty) = (h.array_list(&[Some(x)]), h.array_list(&[]));
            let second = h.array_list(&[Some(empty)]);
            h.array_list(&[Some(first), Some(second)])
        }),
        ("linked_list", |h| {
            let items = [Some(h.text("a")), Some(h.integer(1))];
            h.linked_list(&items)
        }),
        ("hash_map_empty", |h| h.hash_map(&[])),
        ("hash_map", |h| {
            let mut pairs = Vec::new();
            for i in 0..30 {
                pairs.push((Some(h.text(&format!("key{i}"))), Some(h.integer(i * 100))));
            }
            let zero = Some(h.integer(0));
            pairs.extend([
                (Some(h.integer(7)), Some(h.text("seven"))),
                (Some(h.long(5_000_000_000)), Some(h.boolean(true))),
                (None, None),
                (Some(h.double(2.5)), Some(h.character(b'c'.into()))),
                (Some(h.boolean(false)), Some(h.text("no"))),
                (Some(h.text("世")), Some(h.short(3))),
                (Some(h.byte(-3)), Some(h.float(1.5))),
                (Some(h.character(b'x'.into())), Some(h.short(-9))),
                (Some(h.short(-9)), zero),
                (Some(h.float(1.5)), zero),
                (Some(h.date(1_795_389_394_716)), zero),
            ]);
            h.hash_map(&pairs)
        }),
        ("linked_hash_map", |h| {
            let pair = |i| (Some(h.text(&format!("k{i}"))), Some(h.integer(i)));
            let pairs: Vec<_> = (0..13).map(pair).collect();
            h.linked_hash_map(&pairs)
        }),
        ("tree_map", |h| {
            let a = (Some(h.text("a")), Some(h.integer(1)));
            let b = (Some(h.text("b")), Some(h.integer(2)));
            h.tree_map(&[a, b])
        }),
        ("hash_set_empty", |h| h.hash_set(&[])),
        ("hash_set", |h| {
            let texts = ["one", "two", "three"].map(|t| Some(h.text(t)));
            let numbers = [Some(h.integer(4)), Some(h.long(5))];
            h.hash_set(&[&texts[..], &numbers].concat())
        }),
        ("hash_set_grown", |h| {
            let items: Vec<_> = (0..20).map(|i| Some(h.text(&format!("v{i}")))).collect();
            h.hash_set(&items)
        }),
        ("linked_hash_set", |h| {
            let items = [Some(h.text("z")), Some(h.text("a")), Some(h.integer(3))];
            h.linked_hash_set(&items)
        }),
        ("shared", |h| {
            let s = h.text("s");
            let shared = Some(h.array_list(&[Some(s)]));
            h.array_list(&[shared, shared])
        }),
    ];
    for (name, build) in builds {
        let mut heap = Heap::new();
        let object = build(&mut heap);
        assert_eq!(written(&heap, Some(object)), vector(name), "{name}");
    }
    // Java's own output for these has 65535 times `x` and 65536 times `y`.
    for (letter, len, start) in [
        ("x", 65_535, &b"\xAC\xED\0\x05\x74\xFF\xFF"[..]),
        ("y", 65_536, b"\xAC\xED\0\x05\x7C\0\0\0\0\0\x01\0\0"),
    ] {
        let mut heap = Heap::new();
        let object = heap.text(&letter.repeat(len));
        let bytes = written(&heap, Some(object));
        assert_eq!(&bytes[..start.len()], start);
        assert_eq!(bytes.len(), start.len() + len);
        let (heap, object) = one(&bytes).expect("valid");
        assert_eq!(written(&heap, object), bytes);
    }
}

#[test]
fn primitive_data_is_cut_into_blocks_as_the_jdk_cuts_it() {
    let bytes = vector("block_data");
    let mut reader = Reader::new(&bytes, Limits::default()).expect("valid");
    assert_eq!(reader.i32(), Ok(-5));
    assert_eq!(reader.utf().map(|t| t.to_string()), Ok("name".into()));
    let o = reader.object().expect("a string").expect("not null");
    assert_eq!(reader.boolean(), Ok(true));
    assert_eq!(reader.i64(), Ok(7));
    let rest = reader.data(17).expect("all of it").into_owned();
    assert!(reader.is_end());
    let mut writer = Writer::new(reader.heap());
    writer.i32(-5);
    assert!(writer.utf(&JavaText::new("name")));
    writer.object(Some(o));
    writer.boolean(true);
    writer.i64(7);
    writer.data(&rest);
    assert_eq!(writer.finish(), bytes);

    let pattern: Vec<u8> = (0..3000u32).map(|i| (i * 7) as u8).collect();
    let bytes = vector("block_data_long");
    let mut reader = Reader::new(&bytes, Limits::default()).expect("valid");
    let heap = Heap::new();
    let mut writer = Writer::new(&heap);
    for i in 0..700 {
        assert_eq!(reader.i32(), Ok(i));
        writer.i32(i);
    }
    let text = reader.utf().expect("text");
    assert!(text == *"é".repeat(900).as_str());
    assert!(writer.utf(&text));
    assert_eq!(reader.data(3000).expect("data"), pattern);
    writer.data(&pattern);
    assert_eq!(writer.finish(), bytes);
    assert!(!Writer::new(&heap).utf(&JavaText::new(&"x".repeat(65_536))));

    let bytes = vector("block_data_255_256");
    let mut reader = Reader::new(&bytes, Limits::default()).expect("valid");
    assert!(reader.object().is_err(), "primitive data comes first");
    let mut reader = Reader::new(&bytes, Limits::default()).expect("valid");
    let mut writer = Writer::new(&heap);
    writer.data(&reader.data(255).expect("data"));
    writer.object(reader.object().expect("null"));
    writer.data(&reader.data(256).expect("data"));
    assert_eq!(writer.finish(), bytes);
}

#[test]
fn a_reset_forgets_what_references_name() {
    let bytes = vector("reset");
    let mut reader = Reader::new(&bytes, Limits::default()).expect("valid");
    let (one, two) = (reader.object().expect("a"), reader.object().expect("a"));
    assert_ne!(one, two);
    assert_eq!(reader.i32(), Ok(3));
    let bytes = b"\xAC\xED\0\x05\x74\0\x01a\x79\x71\0\x7E\0\0";
    let mut reader = Reader::new(bytes, Limits::default()).expect("valid");
    reader.object().expect("a");
    assert!(matches!(reader.object(), Err(JavaError::Damaged { .. })));
}

/// A Tomcat's own messages: objects of its classes that hold streams of their own.
#[test]
fn the_messages_of_a_tomcat_are_read_and_written_back() {
    let tomcat = parse(include_str!("java/tomcat.txt"));
    for (name, bytes) in &tomcat {
        let (heap, object) = one(bytes).expect(name);
        let message = object.expect("a message");
        assert_eq!(
            heap.class_name(message),
            "org.apache.catalina.ha.session.SessionMessageImpl"
        );
        assert_eq!(&written(&heap, object), bytes, "{name}");
    }
    let (_, bytes) = &tomcat[0];
    let at = bytes
        .windows(4)
        .rposition(|w| w == b"\xAC\xED\0\x05")
        .expect("a stream within");
    let mut delta = Reader::new(&bytes[at..], Limits::default()).expect("valid");
    assert_eq!(
        delta.utf().expect("id").to_string(),
        "5F752AD48B211800EA3D7E4FE5D04FC9.WEB1"
    );
    assert_eq!((delta.boolean(), delta.i32()), (Ok(false), Ok(3)));
    let mut actions = Vec::new();
    for _ in 0..3 {
        let (kind, action) = (delta.i32().expect("int"), delta.i32().expect("int"));
        let name = delta.utf().expect("name").to_string();
        assert_eq!(delta.boolean(), Ok(true));
        let value = delta.object().expect("value").expect("not null");
        let value = delta.heap().to_attribute(value).expect("plain");
        actions.push((kind, action, name, value));
    }
    assert_eq!(
        actions,
        [
            (2, 0, "__SET__ISNEW__".into(), Value::Boolean(true)),
            (3, 0, "__SET__MAXINTERVAL__".into(), Value::Integer(1800)),
            (0, 0, "Blog".into(), Value::String("MeXP".into())),
        ]
    );
}

#[test]
fn attributes_keep_their_types_and_foreign_ones_their_bytes() {
    let list = |items: &[Value]| Value::List(items.to_vec());
    for (name, value) in [
        ("string_ascii", Value::String("MeXP".into())),
        ("integer", Value::Integer(1800)),
        ("long", Value::Long(123_456_789_012)),
        ("boolean_true", Value::Boolean(true)),
        ("double", Value::Double(3.25)),
        ("bytes_empty", Value::Bytes(Vec::new())),
        (
            "array_list_nested",
            list(&[list(&["x".into()]), list(&[list(&[])])]),
        ),
    ] {
        let (heap, object) = one(&vector(name)).expect(name);
        assert_eq!(
            heap.to_attribute(object.expect("not null")),
            Ok(value.clone()),
            "{name}"
        );
        let (heap, object) = Heap::new().with_attribute(&value).expect(name);
        assert_eq!(written(&heap, object), vector(name), "{name}");
    }
    for (name, class) in [
        ("hash_map", "java.util.HashMap"),
        ("linked_list", "java.util.LinkedList"),
        ("cycle", "java.util.ArrayList"),
        ("string_lone_surrogate", "java.lang.String"),
        ("float", "java.lang.Float"),
        ("objects", "[Ljava.lang.Object;"),
        ("enum", "[Ljava.lang.Object;"),
        ("externalizable", "Vectors$Outside"),
        ("others", "java.util.ArrayList"),
        ("immutable", "java.util.CollSer"),
    ] {
        let stream = vector(name);
        let (heap, object) = one(&stream).expect(name);
        let value = heap.to_attribute(object.expect("not null")).expect(name);
        let class = class.to_owned();
        assert_eq!(
            value,
            Value::Foreign(Foreign {
                class,
                stream: stream.clone()
            }),
            "{name}"
        );
        let (heap, object) = Heap::new().with_attribute(&value).expect(name);
        assert_eq!(written(&heap, object), stream, "{name}");
    }
}

/// `AC ED 00 05` and these bytes.
fn stream(parts: &[&[u8]]) -> Vec<u8> {
    [b"\xAC\xED\0\x05", parts.concat().as_slice()].concat()
}

fn class_desc(name: &str, flags: u8) -> Vec<u8> {
    let len = (name.len() as u16).to_be_bytes();
    [
        b"\x72",
        &len[..],
        name.as_bytes(),
        &[0; 8],
        &[flags, 0, 0, 0x78],
    ]
    .concat()
}

#[test]
fn what_cannot_be_read_safely_is_refused_with_its_reason() {
    let plain = class_desc("a.B", 2);
    let externalizable = class_desc("a.B", 4);
    let both = class_desc("a.B", 6);
    let ints = class_desc("[I", 2);
    let objects = class_desc("[La.B;", 2);
    let strange = class_desc("[X", 2);
    let annotated = [&plain[..plain.len() - 1], b"\x70\x78"].concat();
    for (bytes, message) in [
        (b"".to_vec(), "ends within a value, at byte 0"),
        (
            b"\xAC\xED\0\x04\x70".to_vec(),
            "byte 0x04 at 3 where the beginning",
        ),
        (stream(&[b"\x42"]), "byte 0x42 at 4 where an object"),
        (
            stream(&[b"\x71\0\x7E\0\0"]),
            "a reference to an object that is not there",
        ),
        (
            stream(&[b"\x71\0\0\0\0"]),
            "a reference to an object that is not there",
        ),
        (stream(&[b"\x7B"]), "exception of its writer"),
        (stream(&[b"\x74\0\x01\xFF"]), "not modified UTF-8"),
        (stream(&[b"\x74\xFF\xFFa"]), "ends within a value"),
        (
            stream(&[b"\x7C\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFa"]),
            "ends within a value",
        ),
        (
            stream(&[b"\x7C\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFFa"]),
            "ends within a value",
        ),
        (
            stream(&[&plain, b"\x70"]),
            "a class description (java.io.ObjectStreamClass)",
        ),
        (
            stream(&[b"\x73", &externalizable, b"\x70\x77\0\x78"]),
            "without block data (a.B)",
        ),
        (stream(&[b"\x73", &both, b"\x70"]), "exclude each other"),
        (
            stream(&[b"\x73", &annotated, b"\x70"]),
            "an annotated class description (a.B)",
        ),
        (stream(&[b"\x73\x7D\0\0\0\0\x78\x70"]), "a dynamic proxy"),
        (stream(&[b"\x73\x70"]), "an object (null)"),
        (
            stream(&[b"\x73", &class_desc("a.B", 0), b"\x70"]),
            "no objects in streams",
        ),
        (stream(&[b"\x73", &ints, b"\x70"]), "no objects in streams"),
        (
            stream(&[b"\x75", &plain, b"\x70\0\0\0\0"]),
            "an array of a class that is none",
        ),
        (
            stream(&[b"\x75", &strange, b"\x70\0\0\0\0"]),
            "a type that does not exist",
        ),
        (
            stream(&[b"\x75", &ints, b"\x70\xFF\xFF\xFF\xFF"]),
            "ends within a value",
        ),
        (
            stream(&[b"\x75", &objects, b"\x70\x7F\xFF\xFF\xFF"]),
            "ends within a value",
        ),
        (stream(&[b"\x7E", &plain, b"\x70\x74\0\x01A"]), "no enum"),
        (
            stream(&[b"\x7E", &class_desc("a.E", 18), b"\x70\x70"]),
            "without a name",
        ),
        (
            stream(&[
                b"\x73\x72\0\x03a.B",
                &[0; 8],
                b"\x02\0\x01I\0\x01i\x78\x71\0\x7E\0\0",
            ]),
            "what is no class",
        ),
        (
            stream(&[b"\x73\x72\0\x03a.B", &[0; 8], b"\x02\0\x01Q\0\x01i\x78\x70"]),
            "a field's type",
        ),
        (
            stream(&[
                b"\x73\x72\0\x03a.B",
                &[0; 8],
                b"\x02\0\x01L\0\x01i\x71\0\x7E\0\0\x78\x70",
            ]),
            "a field's type",
        ),
        (
            stream(&[
                b"\x73\x72\0\x03a.B",
                &[0; 8],
                b"\x02\0\x02L\0\x01i\x74\0\x01LI\0\x01j\x78\x70",
            ]),
            "a primitive field after a reference",
        ),
    ] {
        let error = one(&bytes).expect_err(message).to_string();
        assert!(
            error.contains(message),
            "{error:?} does not say {message:?}"
        );
    }
}

#[test]
fn a_class_that_only_has_a_known_name_is_another_class() {
    let mut orphan = vector("integer");
    let parent = orphan.len() - 4 - 32..orphan.len() - 4;
    orphan.splice(parent, [0x70]);
    let mut other_version = vector("integer");
    other_version[30] ^= 1;
    let mut other_field = vector("integer");
    let at = other_field
        .windows(5)
        .position(|w| w == b"value")
        .expect("the field");
    other_field[at] = b'V';
    for bytes in [orphan, other_version, other_field] {
        let (heap, object) = one(&bytes).expect("valid");
        let object = object.expect("not null");
        assert_eq!(heap.class_name(object), "java.lang.Integer");
        assert_eq!(heap.view(object), View::Other);
        assert_eq!(written(&heap, Some(object)), bytes);
    }
}

#[test]
fn limits_hold() {
    let nested = |levels: usize| {
        let class = class_desc("[La.B;", 2);
        let first = [b"\x75", &class[..], b"\x70\0\0\0\x01"].concat();
        let more = b"\x75\x71\0\x7E\0\0\0\0\0\x01".repeat(levels - 1);
        stream(&[&first, &more, b"\x70"])
    };
    let limits = Limits::default();
    assert!(one(&nested(limits.depth)).is_ok());
    let too_deep = JavaError::Limit {
        what: "objects within objects",
        limit: limits.depth,
    };
    assert_eq!(one(&nested(limits.depth + 1)).err(), Some(too_deep));
    let deepest = Limits {
        depth: usize::MAX,
        ..limits
    };
    let bytes = nested(100_000);
    let error = Reader::new(&bytes, deepest).expect("a header").object();
    assert!(
        matches!(error, Err(JavaError::Limit { limit: 128, .. })),
        "{error:?}"
    );

    let long = stream(&[&b"\x70".repeat(limits.bytes)]);
    assert!(matches!(
        one(&long),
        Err(JavaError::Limit { what: "bytes", .. })
    ));
    let few = Limits {
        objects: 3,
        ..limits
    };
    let bytes = stream(&[&b"\x74\0\x01a".repeat(4)]);
    let mut reader = Reader::new(&bytes, few).expect("a header");
    (0..3).for_each(|_| assert!(reader.object().is_ok()));
    assert_eq!(
        reader.object(),
        Err(JavaError::Limit {
            what: "objects",
            limit: 3
        })
    );
    let nulls = [
        &class_desc("a.B", 3)[..],
        b"\x70",
        &b"\x70".repeat(10),
        b"\x78",
    ]
    .concat();
    let bytes = stream(&[b"\x73", &nulls]);
    assert!(matches!(
        Reader::new(&bytes, few).expect("header").object(),
        Err(JavaError::Limit { .. })
    ));

    // Ancestors without end, described one within the other and one by one.
    let chain: Vec<u8> = (0..1000)
        .flat_map(|i| class_desc(&format!("C{i}"), 2))
        .collect();
    let error = one(&stream(&[b"\x73", &chain, b"\x70"]));
    assert!(matches!(error, Err(JavaError::Limit { .. })), "{error:?}");
    let mut bytes = stream(&[]);
    for i in 0..100u8 {
        let parent = [b"\x71\0\x7E\0", &[2 * i.saturating_sub(1)][..]].concat();
        let parent = if i == 0 { b"\x70".to_vec() } else { parent };
        bytes.extend([b"\x76", &class_desc(&format!("C{i}"), 2)[..], &parent].concat());
    }
    let mut reader = Reader::new(&bytes, limits).expect("a header");
    let error = (0..100).find_map(|_| reader.object().err());
    assert!(matches!(error, Some(JavaError::Limit { .. })), "{error:?}");
}

/// A list that holds the same list twice, and so on: small in a stream, without end as a tree.
#[test]
fn shared_lists_do_not_multiply() {
    let mut heap = Heap::new();
    let text = heap.text(&"x".repeat(1000));
    let mut list = heap.array_list(&[Some(text)]);
    for _ in 0..14 {
        list = heap.array_list(&[Some(list); 20]);
    }
    let value = heap.to_attribute(list).expect("kept as it is");
    let Value::Foreign(Foreign { stream, .. }) = value else {
        panic!("a list of a trillion texts");
    };
    assert!(stream.len() < 5000);
    // Begun from the other end it is as deep as Java made it, and that is refused rather than kept unreadable.
    let mut list = heap.array_list(&[]);
    for _ in 0..100 {
        list = heap.array_list(&[Some(list)]);
    }
    assert!(heap.to_attribute(list).is_err());
    assert!(
        written(&heap, Some(list)).len() > 1000,
        "a writer has no depth"
    );
}

fn read_all(bytes: &[u8]) -> usize {
    let Ok(mut reader) = Reader::new(bytes, Limits::default()) else {
        return 0;
    };
    let mut all = Vec::new();
    while !reader.is_end() {
        match reader.object() {
            Ok(object) => all.push(object),
            Err(_) => break,
        }
    }
    let heap = reader.into_heap();
    for object in all.iter().flatten() {
        let _ = heap.view(*object);
        let _ = heap.to_attribute(*object);
    }
    let mut writer = Writer::new(&heap);
    all.iter().for_each(|object| writer.object(*object));
    let canonical = writer.finish();
    // What was read is written in a form that is read the same.
    let mut again = Reader::new(
        &canonical,
        Limits {
            bytes: usize::MAX,
            objects: usize::MAX,
            depth: usize::MAX,
        },
    )
    .expect("a header");
    let mut second = Vec::new();
    while !again.is_end() {
        // Shared parts can come in an order that is deeper than before.
        match again.object() {
            Ok(object) => second.push(object),
            Err(JavaError::Limit { .. }) => return all.len(),
            Err(error) => panic!("{error}: {canonical:x?}"),
        }
    }
    let heap = again.into_heap();
    let mut writer = Writer::new(&heap);
    second.iter().for_each(|object| writer.object(*object));
    assert_eq!(writer.finish(), canonical);
    all.len()
}

#[test]
fn cut_streams_are_errors() {
    for (name, bytes) in vectors() {
        if bytes.len() > 2000
            || name.starts_with("block_data")
            || name == "reset"
            || name == "attributes"
        {
            continue;
        }
        for end in 0..bytes.len() {
            assert!(one(&bytes[..end]).is_err(), "{name} cut at {end}");
        }
    }
}

#[test]
fn a_flipped_bit_harms_nobody() {
    for (_, bytes) in vectors()
        .into_iter()
        .chain(parse(include_str!("java/tomcat.txt")))
    {
        if bytes.len() > 900 {
            continue;
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_all(&flipped);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![0x70u8..0x80, any::<u8>()], 0..300)) {
        read_all(&stream(&[&bytes]));
    }

    /// Two valid streams cut and joined, some bytes replaced.
    #[test]
    fn mixed_streams_are_read_or_refused(a in 0usize..55, b in 0usize..55, cut: prop::sample::Index, join: prop::sample::Index, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let all = vectors();
        let (a, b) = (&all[a % all.len()].1, &all[b % all.len()].1);
        let mut bytes = [&a[..cut.index(a.len())], &b[join.index(b.len())..]].concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
    }
}
