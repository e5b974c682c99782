//! Any bytes are a Java object stream or are refused; what is read is written in a form that is written the same again.

#![no_main]

use appserver::java::{Heap, JavaError, Limits, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((heap, all, _)) = read(bytes) else {
        return;
    };
    for object in all.iter().flatten() {
        let _ = heap.view(*object);
        if let Ok(value) = heap.to_attribute(*object) {
            let (heap, object) = Heap::new().with_attribute(&value).expect("what was read");
            let object = object.expect("an attribute is not null");
            let again = heap.to_attribute(object).expect("what was written");
            // As text, since a NaN equals nothing.
            assert_eq!(format!("{again:?}"), format!("{value:?}"));
        }
    }
    let canonical = write(&heap, &all);
    // Parts that objects share can come in an order that is deeper than before.
    match read(&canonical) {
        Ok((heap, all, None)) => assert_eq!(write(&heap, &all), canonical),
        Ok((_, _, Some(JavaError::Limit { .. }))) => {}
        other => panic!("{other:?}"),
    }
});

type Read = (Heap, Vec<Option<appserver::java::Ref>>, Option<JavaError>);

/// The objects up to the end or the first error.
fn read(bytes: &[u8]) -> Result<Read, JavaError> {
    let mut reader = Reader::new(bytes, Limits::default())?;
    let (mut all, mut error) = (Vec::new(), None);
    while !reader.is_end() && error.is_none() {
        match reader.object() {
            Ok(object) => all.push(object),
            Err(e) => error = Some(e),
        }
    }
    Ok((reader.into_heap(), all, error))
}

fn write(heap: &Heap, all: &[Option<appserver::java::Ref>]) -> Vec<u8> {
    let mut writer = Writer::new(heap);
    all.iter().for_each(|object| writer.object(*object));
    writer.finish()
}
