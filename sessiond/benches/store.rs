//! What a verb costs inside the store: `cargo bench -p sessiond`. A million items of a 32-byte key, asked for in random
//! order, so that the processor's caches help as little as they do in service. `lock` is what the mutex of a shard takes of
//! that when nobody else wants it.

use std::sync::Mutex;

use divan::Bencher;
use sessiond::store::{Condition, Data, Expiry, Layout, Store, UnixTime, Value};

const NOW: UnixTime = UnixTime(1_700_000_000);
const SIZES: [usize; 2] = [100, 2048];
const BYTES: usize = 256 << 20;

fn main() {
    divan::main();
}

fn key(number: usize) -> [u8; 32] {
    let mut key = [b'0'; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(data: &[u8]) -> Value<'_> {
    Value {
        flags: 0,
        expiry: Expiry::At(UnixTime(NOW.0 + 1800)),
        data: Data::Slice(data),
        base64_key: false,
    }
}

/// A store that is nearly full, and how many items it has.
fn filled(size: usize) -> (Store, usize) {
    let store = Store::new(Layout {
        memory: BYTES,
        item_size_max: 1 << 20,
        started: NOW,
        evict: true,
        cas: true,
    });
    let items = BYTES / (size + 80);
    for number in 0..items {
        store.put(&key(number), value(&vec![1; size]), Condition::Always, NOW);
    }
    (store, items)
}

#[divan::bench(args = SIZES)]
fn get(bencher: Bencher<'_, '_>, size: usize) {
    let (store, items) = filled(size);
    bencher
        .with_inputs(|| key(fastrand::usize(..items)))
        .bench_local_refs(|key| store.get(key.as_slice(), None, NOW, |item| item.value().len()));
}

#[divan::bench(args = SIZES)]
fn set_same_size(bencher: Bencher<'_, '_>, size: usize) {
    let (store, items) = filled(size);
    let data = vec![2; size];
    bencher
        .with_inputs(|| key(fastrand::usize(..items)))
        .bench_local_refs(|key| store.put(key.as_slice(), value(&data), Condition::Always, NOW));
}

#[divan::bench(args = SIZES)]
fn set_new_and_evict(bencher: Bencher<'_, '_>, size: usize) {
    let (store, items) = filled(size);
    let data = vec![2; size];
    let mut number = items;
    bencher
        .with_inputs(|| {
            number += 1;
            key(number)
        })
        .bench_local_refs(|key| store.put(key.as_slice(), value(&data), Condition::Always, NOW));
}

#[divan::bench(args = SIZES)]
fn add_refused(bencher: Bencher<'_, '_>, size: usize) {
    let (store, items) = filled(size);
    bencher
        .with_inputs(|| key(fastrand::usize(..items)))
        .bench_local_refs(|key| store.put(key.as_slice(), value(b"p"), Condition::Absent, NOW));
}

#[divan::bench]
fn lock(bencher: Bencher<'_, '_>) {
    let shard = Mutex::new(0u64);
    bencher.bench_local(|| {
        if let Ok(mut shard) = shard.lock() {
            *shard += 1;
        }
    });
}
