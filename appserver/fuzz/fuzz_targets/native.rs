//! Whatever a member says can be read or refused, and a member that hears it stays well; what is read is written back the same.

#![no_main]

use appserver::manager::cluster::core::{Core, CoreConfig, NewKey, Outbox, Spread};
use appserver::manager::cluster::native::{MAGIC, Reader, Writer};
use appserver::manager::cluster::peers::Peer;
use appserver::session::Timestamp;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    // The beginning is known; what follows is not.
    let message = [&MAGIC, &[4][..], b"/jsp", bytes].concat();
    if let Ok(mut reader) = Reader::new(&message, NOW) {
        let mut items = Vec::new();
        while let Ok(Some(item)) = reader.item() {
            items.push(item);
        }
        let mut writer = Writer::new("/jsp", NOW);
        items.iter().for_each(|item| writer.item(item));
        let written = writer.finish();
        let mut again = Reader::new(&written, NOW).expect("written here");
        for item in items {
            let read = again.item().expect("written here").expect("as many");
            // As text, since a NaN equals nothing. Times in the future are now.
            assert_eq!(format!("{read:?}"), format!("{item:?}"));
        }
    }
    let config = CoreConfig::new("/jsp", Spread::All);
    let core = Core::new(config, [1; 16], NewKey::default());
    core.member_added(Peer::new([2; 16], true, 0), NOW);
    for _ in 0..2 {
        let mut out = Outbox::default();
        let _ = core.receive(&[2; 16], &message, NOW, &mut out);
        for (_, mut stream) in out.streams {
            while core.pull(&mut stream, NOW).is_some() {}
        }
        core.tick(NOW, &mut Outbox::default());
    }
});
