//! What is stored under a session's keys can be anything; a record that is read is written back the same, and so are its attributes.

#![no_main]

use appserver::manager::msm::prefix::KeyPrefix;
use appserver::manager::msm::record::Record;
use appserver::manager::msm::validity::Validity;
use appserver::manager::msm::{attributes, key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = key::parse(bytes, &KeyPrefix::default());
    if let Some(validity) = Validity::decode(bytes) {
        assert_eq!(validity.encode().as_slice(), bytes);
    }
    let Ok(record) = Record::decode(bytes) else {
        return;
    };
    // Lengths that Java reads as negative can be read, and are not written.
    if let Ok(again) = record.encode() {
        assert_eq!(Record::decode(&again), Ok(record.clone()));
    }
    if let Ok(found) = attributes::decode(record.attributes)
        && let Ok(stored) = attributes::encode(&found, |_| true)
    {
        let again = attributes::decode(&stored).expect("what was written");
        // As text, since a NaN equals nothing.
        assert_eq!(format!("{again:?}"), format!("{found:?}"));
    }
});
