//! Measures the speed of the codec: `cargo bench -p payload-codec --bench codec`.
//!
//! To compare it with the cipher alone, on the same machine, run
//! `openssl speed -elapsed -evp aes-256-gcm -bytes 1048576`.
//!
//! In MB/s, and relative to openssl. Medians of three runs, on an AMD EPYC with OpenSSL 3.0.22 and its AVX-512 code:
//!
//! | bytes | openssl | encode | | decode | |
//! |---|---|---|---|---|---|
//! | 64 | 173 | 89 | 0.51 | 163 | 0.94 |
//! | 1 Ki | 1723 | 1144 | 0.66 | 1876 | 1.09 |
//! | 16 Ki | 3992 | 5475 | 1.37 | 6803 | 1.70 |
//! | 256 Ki | 4411 | 7285 | 1.65 | 7625 | 1.73 |
//! | 1 Mi | 4325 | 7248 | 1.68 | 7904 | 1.83 |
//! | 4 Mi | 4488 | 7192 | 1.60 | 1728 | 0.39 |
//!
//! Below a kilobyte, the system call for the nonce and the allocations for the metadata cost more than the cipher.
//! Decoding 4 MiB waits for new memory: with `MALLOC_TRIM_THRESHOLD_=268435456` and
//! `MALLOC_MMAP_THRESHOLD_=67108864` it does 7600 MB/s. A server refuses payloads of more than 2 MiB in any case.

#![allow(clippy::expect_used, reason = "a benchmark may panic")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use std::{collections::HashMap, hint::black_box};
use temporalio_common::protos::temporal::api::common::v1::Payload;

const SIZES: [usize; 6] = [64, 1 << 10, 16 << 10, 256 << 10, 1 << 20, 4 << 20];

fn payload(size: usize) -> Payload {
    Payload {
        metadata: HashMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: vec![b'x'; size],
        ..Default::default()
    }
}

fn codec(criterion: &mut Criterion) {
    let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY).expect("a valid key");
    let codec = EncryptionCodec::new(keys);
    let mut group = criterion.benchmark_group("codec");
    for size in SIZES {
        let plain = payload(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("encode", size), |bencher| {
            bencher.iter(|| codec.encrypt(black_box(&plain)));
        });
        let encrypted = codec.encrypt(&plain).expect("it encrypts");
        // Decrypting consumes its input, so the copy is made outside the measurement. Large copies are made one at a
        // time, because new memory would cost more than the cipher.
        let batch = match size {
            0..100_000 => BatchSize::SmallInput,
            _ => BatchSize::PerIteration,
        };
        group.bench_function(BenchmarkId::new("decode", size), |bencher| {
            let copy = || encrypted.clone();
            bencher.iter_batched(copy, |payload| codec.decrypt(payload), batch);
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
