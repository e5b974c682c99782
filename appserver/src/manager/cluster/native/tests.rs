use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn items() -> Vec<Item<'static>> {
    let key = Key::from_bytes([7; 16]);
    let stamp = Stamp { time: 5, member: 6 };
    let value = Packed::parse(0, b"MeXP").expect("text");
    let name = "Blog";
    let place = Place {
        stamp,
        primary: 1,
        backup: 2,
    };
    vec![
        Item::Record(Record {
            key,
            full: true,
            created: Timestamp(3),
            last_accessed: Timestamp(NOW.0 - 9),
            touched: NOW,
            primary: 8,
            interval: (-1, stamp),
            route: ("WEB1", Stamp::ZERO),
            origin: Some(Key::from_bytes([9; 16])),
            told: vec![
                Told::Set { name, stamp, value },
                Told::Removed { name: 12, stamp },
            ],
        }),
        Item::Gone(key, Gone::Expired(Timestamp(NOW.0 - 70_000))),
        Item::Gone(
            key,
            Gone::Moved {
                to: key,
                stamp,
                alias: true,
            },
        ),
        Item::Gone(key, Gone::Ended),
        Item::Accessed(key, NOW),
        Item::Ask,
        Item::Need(key),
        Item::Range(key, key),
        Item::Version(key, u64::MAX),
        Item::Owed(key, 7),
        Item::Complete(300),
        Item::NoContext,
        Item::Place(key, place),
        Item::Claim(key, place, 9),
    ]
}

fn read_all(bytes: &[u8]) -> Result<Vec<Item<'_>>, NativeError> {
    let mut reader = Reader::new(bytes, NOW)?;
    let mut items = Vec::new();
    while let Some(item) = reader.item()? {
        items.push(item);
    }
    Ok(items)
}

#[test]
fn what_is_written_is_read() {
    let mut writer = Writer::new("/jsp", NOW);
    assert!(writer.is_empty());
    items().iter().for_each(|item| writer.item(item));
    let bytes = writer.finish();
    assert_eq!(Reader::new(&bytes, NOW).map(|r| r.context), Ok("/jsp"));
    assert_eq!(read_all(&bytes), Ok(items()));
    for cut in 0..bytes.len() {
        assert_ne!(read_all(&bytes[..cut]), Ok(items()), "{cut}");
    }
}

/// The size that the cost of a replicated page is made of.
#[test]
fn a_change_takes_a_hundred_bytes() {
    let mut writer = Writer::new("/jsp", NOW);
    let Some(Item::Record(mut record)) = items().into_iter().next() else {
        return;
    };
    record.told.truncate(1);
    record.interval.1 = Stamp::ZERO;
    record.origin = None;
    writer.item(&Item::Record(record));
    assert!(writer.len() < 100, "{}", writer.len());
}

proptest! {
    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..400_usize, with: u8) {
        let _ = read_all(&[&MAGIC[..], &bytes].concat());
        let mut writer = Writer::new("/jsp", NOW);
        items().iter().for_each(|item| writer.item(item));
        let mut valid = writer.finish();
        let at = at % valid.len();
        valid[at] = with;
        let _ = read_all(&valid);
    }
}
